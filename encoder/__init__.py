"""Texts to embeddings: loads an encoder and runs it as its authors meant."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from encoder.encoder import Encoder, load_described, load_encoder
    from encoder.errors import MissingExtraError, ModelNotFoundError
    from encoder.heads import HeadEmbeddings, mixed_scores
    from encoder.model_folder import describe_encoder
    from encoder.registry import known_instructions, known_models
    from encoder.report import EncodeReport
    from encoder.reranker import Ranked, Reranker, load_reranker
    from encoder.rerankers import known_rerankers
    from encoder.similarity import Similarity, compare
    from encoder.spec import EncoderSpec

_HOMES = {
    "load_encoder": "encoder.encoder",
    "load_described": "encoder.encoder",
    "Encoder": "encoder.encoder",
    "EncoderSpec": "encoder.spec",
    "EncodeReport": "encoder.report",
    "describe_encoder": "encoder.model_folder",
    "HeadEmbeddings": "encoder.heads",
    "mixed_scores": "encoder.heads",
    "compare": "encoder.similarity",
    "Similarity": "encoder.similarity",
    "load_reranker": "encoder.reranker",
    "Reranker": "encoder.reranker",
    "Ranked": "encoder.reranker",
    "known_rerankers": "encoder.rerankers",
    "known_models": "encoder.registry",
    "known_instructions": "encoder.registry",
    "MissingExtraError": "encoder.errors",
    "ModelNotFoundError": "encoder.errors",
}

__all__ = [
    "load_encoder",
    "Encoder",
    "EncoderSpec",
    "EncodeReport",
    "describe_encoder",
    "load_described",
    "compare",
    "Similarity",
    "load_reranker",
    "Reranker",
    "Ranked",
    "known_models",
    "known_rerankers",
    "known_instructions",
    "HeadEmbeddings",
    "mixed_scores",
    "MissingExtraError",
    "ModelNotFoundError",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module attribute can be anything
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
