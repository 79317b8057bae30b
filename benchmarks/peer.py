"""Another library behind a pipe: `texts` or `query` on stdin, the seconds it took on stdout.

`python -m benchmarks.peer KIND MODEL WORK` runs in the peers' environment and imports nothing of
Angler's. WORK holds texts.json; rows.npy is written there.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def main() -> None:
    """Load, say so, and embed whenever asked to."""
    kind, model, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    answers = sys.stdout
    sys.stdout = sys.stderr  # what a library prints must not come among the answers
    texts = json.loads((work / "texts.json").read_text("utf-8"))
    try:
        name, encode = KINDS[kind](model, work)
        encode(texts["query"])
    except Exception as error:  # noqa: BLE001 - whatever a peer raises, it is left out
        print(json.dumps({"error": " ".join(str(error).split())[:300]}), file=answers, flush=True)
        return
    print(json.dumps({"name": name}), file=answers, flush=True)
    for line in sys.stdin:
        what = line.strip()
        started = time.perf_counter()
        rows = encode(texts[what])
        seconds = time.perf_counter() - started
        if what == "texts":
            np.save(work / "rows.npy", np.asarray(rows, np.float32))
        print(json.dumps({"seconds": seconds}), file=answers, flush=True)


Encode = Callable[[list[str]], Any]


def _sentence_transformers(backend: str, name: str) -> Callable[[Path, Path], tuple[str, Encode]]:
    def load(model: Path, work: Path) -> tuple[str, Encode]:
        from sentence_transformers import SentenceTransformer

        source = model
        if backend != "torch":  # it writes what it exports beside the model
            import shutil

            source = work / "model"
            shutil.copytree(model, source)
        loaded = SentenceTransformer(str(source), device="cpu", backend=backend)  # type: ignore[arg-type]
        return name, lambda texts: loaded.encode(
            texts, normalize_embeddings=True, show_progress_bar=False
        )

    return load


def _fastembed(model: Path, work: Path) -> tuple[str, Encode]:
    """A local model through its own runtime: exported by sentence-transformers first."""
    import shutil

    from fastembed import TextEmbedding
    from fastembed.common.model_description import ModelSource, PoolingType
    from sentence_transformers import SentenceTransformer

    folder = work / "fastembed"
    shutil.copytree(model, folder)
    exported = SentenceTransformer(str(folder), device="cpu", backend="onnx")
    exported.save_pretrained(str(folder))
    pooling = exported[1].pooling_mode
    TextEmbedding.add_custom_model(
        model="local/model",
        pooling=PoolingType.CLS if "cls" in str(pooling) else PoolingType.MEAN,
        normalization=True,
        sources=ModelSource(hf="local/model"),
        dim=int(exported.get_embedding_dimension() or 0),
        model_file="onnx/model.onnx",
    )
    loaded = TextEmbedding("local/model", specific_model_path=str(folder))
    # It reads 512 tokens or what the tokenizer says, not the model's own maximum.
    loaded.model.tokenizer.enable_truncation(exported.max_seq_length)
    return "fastembed", lambda texts: np.stack(list(loaded.embed(texts)))


KINDS: dict[str, Callable[[Path, Path], tuple[str, Encode]]] = {
    "torch": _sentence_transformers("torch", "sentence-transformers"),
    "openvino": _sentence_transformers("openvino", "sentence-transformers, openvino"),
    "onnx": _sentence_transformers("onnx", "sentence-transformers, onnx"),
    "fastembed": _fastembed,
}


if __name__ == "__main__":
    main()
