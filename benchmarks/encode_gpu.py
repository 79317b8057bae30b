"""`python -m benchmarks.encode_gpu`: tokens per second in 16 bits, on a GPU where there is one.

Angler without and with padding and sentence-transformers take turns in one process, all in
bfloat16. Without a GPU the same runs on the CPU, and the GPU's column stays empty.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.encode import DEFAULT, Vectors, mixed_texts
from benchmarks.machine import write_result
from benchmarks.shapes import DECODER, SHAPES, save_shape
from encoder import describe_encoder, load_encoder
from encoder.backends.torch import TorchBackend

SIZE = 8192
"""Rows and columns of the matrices whose product is the GPU's measure."""
Encode = Callable[[list[str]], Vectors]


def main() -> None:
    """Measure, print, and write what was measured."""
    arguments = _parser().parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    texts = mixed_texts(arguments.texts)
    limit = matmul_gflops(device)
    name = torch.cuda.get_device_name() if device == "cuda" else "no GPU on this machine"
    parts = [f"GPU: {name}; a product of bfloat16 matrices reaches {limit:.0f} GFLOP/s on {device}"]
    print(parts[0], flush=True)
    for model in arguments.models.split(","):
        with tempfile.TemporaryDirectory() as folder:
            path = describe_encoder().folder if model == DEFAULT else Path(folder) / model
            if model != DEFAULT:
                save_shape(model, path)
            parts.append(_measured(model, path, device, texts, limit, arguments.rounds))
        print(parts[-1], flush=True)
    if arguments.write:
        command = " ".join(["python -m benchmarks.encode_gpu", *sys.argv[1:]])
        write_result("encode_gpu.md", "Encoding in 16 bits", command, "\n\n".join(parts))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.encode_gpu", description=__doc__)
    parser.add_argument("--texts", type=int, default=3000, help="default: 3000")
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    known = ",".join((*SHAPES, DECODER))
    parser.add_argument("--models", default=known, help=f"some of {DEFAULT},{known} (the default)")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results")
    return parser


def matmul_gflops(device: str) -> float:
    """The best rate of a large product of bfloat16 matrices in torch, GFLOP/s."""
    size = SIZE if device == "cuda" else SIZE // 8
    left = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    taken = []
    for _ in range(10):
        _wait(device)
        started = time.perf_counter()
        torch.matmul(left, left)
        _wait(device)
        taken.append(time.perf_counter() - started)
    return 2 * size**3 / min(taken) / 1e9


def gflops(config: Any, lengths: Sequence[int], *, causal: bool) -> float:  # noqa: ANN401
    """GFLOP of a model's matrix products over texts of these lengths, without padding.

    Args:
        config: A BERT's or a Qwen3's configuration.
        lengths: Tokens of each text.
        causal: Whether a token reads only what stands before it.
    """
    width, heads = config.hidden_size, config.num_attention_heads
    inside = getattr(config, "head_dim", width // heads) * heads
    shared = inside * getattr(config, "num_key_value_heads", heads) // heads
    feed = (3 if causal else 2) * width * config.intermediate_size
    weights = 2 * width * inside + 2 * width * shared + feed
    tokens = np.asarray(lengths, np.float64)
    seen = (tokens**2).sum() / (2 if causal else 1)
    return float(config.num_hidden_layers * (2 * weights * tokens.sum() + 4 * inside * seen) / 1e9)


def _measured(
    model: str, path: Path, device: str, texts: list[str], limit: float, rounds: int
) -> str:
    from transformers import AutoConfig

    systems = dict(_systems(path, device))
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    rows: dict[str, Vectors] = {}
    for turn in range(rounds + 1):
        for name, encode in systems.items():
            _wait(device)
            started = time.perf_counter()
            rows[name] = encode(texts)
            if turn:  # the first one warms up
                seconds[name].append(time.perf_counter() - started)
    encoder = load_encoder(str(path), device="cpu", backend="torch")
    lengths = [min(n, encoder.spec.max_tokens) for n in encoder.count_tokens(texts)]
    work = gflops(AutoConfig.from_pretrained(path), lengths, causal=model == DECODER)
    lines = [
        f"{model}: {len(texts)} texts, {sum(lengths)} tokens",
        "",
        "| system | GPU, tokens/s | CPU, tokens/s | times sentence-transformers "
        "| of the matrix limit | lowest cosine |",
        "|---|---|---|---|---|---|",
    ]
    *_, baseline = systems
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        ratio = statistics.median(a / b for a, b in zip(seconds[baseline], taken, strict=True))
        speed = f"{sum(lengths) / middle:.0f}"
        columns = (speed, "") if device == "cuda" else ("", speed)
        cosine = _lowest_cosine(rows[name], rows[baseline])
        lines.append(
            f"| {name} | {columns[0]} | {columns[1]} | {ratio:.2f} "
            f"| {work / middle / limit:.0%} | {cosine:.5f} |"
        )
    return "\n".join(lines)


def _systems(path: Path, device: str) -> list[tuple[str, Encode]]:
    from sentence_transformers import SentenceTransformer

    packing, padding = (
        load_encoder(str(path), device=device, backend="torch", dtype="bfloat16") for _ in range(2)
    )
    backend = padding._backend
    assert isinstance(backend, TorchBackend)
    backend.call = backend.model
    peer = SentenceTransformer(
        str(path), device=device, model_kwargs={"torch_dtype": torch.bfloat16}
    )

    def theirs(texts: list[str]) -> Vectors:
        found = peer.encode(texts, normalize_embeddings=True, show_progress_bar=False)
        return np.asarray(found, np.float32)

    own = [(f"Angler, {packing.engine}", packing.encode_documents)]
    if packing.engine.endswith("without padding"):
        own.append(("Angler, with padding", padding.encode_documents))
    return [*own, ("sentence-transformers, bfloat16", theirs)]


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def _lowest_cosine(got: Vectors, want: Vectors) -> float:
    lengths = np.linalg.norm(got, axis=1) * np.linalg.norm(want, axis=1)
    return float(((got * want).sum(axis=1) / lengths).min())


if __name__ == "__main__":
    main()
