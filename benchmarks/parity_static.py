"""Does model2vec give the vectors that Angler gives, from the same tables?

`python -m benchmarks.parity_static record FILE` runs in an environment with model2vec and writes
its vectors of small random tables; `compare FILE` runs in Angler's own and compares. `make parity`
does both. The texts are short: model2vec cuts long ones by characters before it counts tokens.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = ("wordpiece", "mapped", "half", "int8")
"""A table for each token; rows that tokens share, with weights; in 16 bit; in 8 bit."""
TOLERANCE = {"wordpiece": 1e-6, "mapped": 1e-6, "half": 2e-3, "int8": 1e-6}
"""Largest difference of a value of unit vectors; model2vec takes the mean of 16 bit in 16 bit."""
TEXTS = (
    "reset my password",
    "Reset, my PASSWORD! reset",
    "",
    "zzz ### unknownword",
    "reset zzz password",
    "怎么重置密码",
    "my password " * 90,
)
_WORDS = (
    "reset",
    "my",
    "password",
    "pass",
    "##word",
    "the",
    "how",
    ",",
    "!",
    "怎",
    "么",
    "密",
    "码",
)
_SPECIAL = ("[PAD]", "[UNK]")
_WIDTH = 12


def save_table(kind: str, folder: Path) -> None:
    """Write a small random table as model2vec does.

    Args:
        kind: One of `KINDS`.
        folder: Where to; it is made.
    """
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _unigram() if kind == "mapped" else _wordpiece()
    tokenizer.save(str(folder / "tokenizer.json"))
    random = np.random.default_rng(5)
    count = tokenizer.get_vocab_size()
    vectors = random.normal(size=(count, _WIDTH)).astype(np.float32)
    tensors: dict[str, NDArray[Any]] = {"embeddings": vectors}
    if kind == "mapped":
        tensors["embeddings"] = vectors[:5]
        tensors["mapping"] = random.integers(0, 5, count)
        tensors["weights"] = random.uniform(0.2, 2, count).astype(np.float32)
    elif kind == "half":
        tensors["embeddings"] = vectors.astype(np.float16)
    elif kind == "int8":
        tensors["embeddings"] = np.round(vectors * 30).clip(-127, 127).astype(np.int8)
    save_file(tensors, folder / "model.safetensors")
    config = {"model_type": "model2vec", "architectures": ["StaticModel"], "normalize": True}
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    modules = [{"idx": 0, "name": "0", "path": ".", "type": "x.models.StaticEmbedding"}]
    (folder / "modules.json").write_text(json.dumps(modules), "utf-8")


def _wordpiece() -> Any:  # noqa: ANN401 - tokenizers.Tokenizer is untyped
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
    from tokenizers.processors import TemplateProcessing

    vocabulary = {word: place for place, word in enumerate((*_SPECIAL, *_WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Marks that a table must not count.
    tokenizer.post_processor = TemplateProcessing(
        single="[PAD] $A [PAD]", special_tokens=[("[PAD]", 0)]
    )
    return tokenizer


def _unigram() -> Any:  # noqa: ANN401
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = ["<unk>", "▁", "▁reset", "▁my", "▁pass", "word", "pass", "怎么", "密码", "s", "t"]
    scores = [(word, -float(place)) for place, word in enumerate(words)]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    return tokenizer


def record(work: Path) -> dict[str, Any]:
    """Run model2vec over every table in an empty folder."""
    from model2vec import StaticModel  # type: ignore[import-not-found]

    vectors = {}
    for kind in KINDS:
        save_table(kind, work / kind)
        rows = StaticModel.from_pretrained(work / kind).encode(list(TEXTS))
        vectors[kind] = np.asarray(rows, np.float64).tolist()
    return {"model2vec": version("model2vec"), "texts": list(TEXTS), "vectors": vectors}


def differences(recorded: Mapping[str, Any], work: Path) -> dict[str, float]:
    """The largest difference of a value for each kind of table, made anew in an empty folder.

    Raises:
        ValueError: If the record is of other texts.
    """
    from encoder import load_encoder

    if recorded["texts"] != list(TEXTS):
        raise ValueError("The vectors are of other texts; run `make parity` again.")
    found = {}
    for kind in KINDS:
        save_table(kind, work / kind)
        rows = load_encoder(str(work / kind)).encode_documents(TEXTS)
        found[kind] = float(np.abs(rows - np.asarray(recorded["vectors"][kind])).max())
    return found


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity_static", description=__doc__)
    parser.add_argument("task", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if chosen.task == "record":
            text = json.dumps(record(Path(work)), ensure_ascii=False, separators=(",", ":"))
            chosen.file.write_text(text + "\n", "utf-8")
            return 0
        recorded = json.loads(chosen.file.read_text("utf-8"))
        worst = differences(recorded, Path(work))
    print(f"model2vec {recorded['model2vec']}")
    for kind, value in worst.items():
        print(f"{kind:22} {value:.1e}  {'agrees' if value <= TOLERANCE[kind] else 'DIFFERS'}")
    return 0 if all(value <= TOLERANCE[kind] for kind, value in worst.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
