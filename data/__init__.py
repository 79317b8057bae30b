"""Documents, training pairs, judged queries and metrics; knows no encoder, index or screen."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from data.beir import BeirDataset, BeirDocument, load_beir
    from data.golden import GoldenQuestion, load_golden
    from data.loaders import SUFFIXES, load_document, readable_name, supported_formats
    from data.loaders.base import UnreadableDocumentError
    from data.loaders.records import load_records
    from data.loaders.text import decode_text, is_visible
    from data.metrics import (
        evaluate_run,
        hit_at_k,
        map_at_k,
        mean,
        mrr_at_k,
        ndcg_at_k,
        recall_at_k,
    )
    from data.pair_reading import (
        BadPairError,
        PairOptions,
        ReadingReport,
        load_pairs,
        read_pairs,
    )
    from data.pairs import Pair, PairRecord, ScoredPair, Triplet
    from data.records import Chunk, Document

__all__ = [
    "Document",
    "Chunk",
    "load_document",
    "load_records",
    "decode_text",
    "is_visible",
    "readable_name",
    "SUFFIXES",
    "supported_formats",
    "UnreadableDocumentError",
    "BeirDataset",
    "BeirDocument",
    "load_beir",
    "GoldenQuestion",
    "load_golden",
    "Pair",
    "Triplet",
    "ScoredPair",
    "PairRecord",
    "PairOptions",
    "ReadingReport",
    "BadPairError",
    "read_pairs",
    "load_pairs",
    "evaluate_run",
    "ndcg_at_k",
    "mrr_at_k",
    "map_at_k",
    "recall_at_k",
    "hit_at_k",
    "mean",
]

_MODULE_OF = {
    "Document": "records",
    "Chunk": "records",
    "load_document": "loaders",
    "load_records": "loaders.records",
    "decode_text": "loaders.text",
    "is_visible": "loaders.text",
    "readable_name": "loaders",
    "SUFFIXES": "loaders",
    "supported_formats": "loaders",
    "UnreadableDocumentError": "loaders.base",
    "BeirDataset": "beir",
    "BeirDocument": "beir",
    "load_beir": "beir",
    "GoldenQuestion": "golden",
    "load_golden": "golden",
    "Pair": "pairs",
    "Triplet": "pairs",
    "ScoredPair": "pairs",
    "PairRecord": "pairs",
    "PairOptions": "pair_reading",
    "ReadingReport": "pair_reading",
    "BadPairError": "pair_reading",
    "read_pairs": "pair_reading",
    "load_pairs": "pair_reading",
    "evaluate_run": "metrics",
    "ndcg_at_k": "metrics",
    "mrr_at_k": "metrics",
    "map_at_k": "metrics",
    "recall_at_k": "metrics",
    "hit_at_k": "metrics",
    "mean": "metrics",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attributes are of any type
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
