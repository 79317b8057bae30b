"""Leaves nothing of what was removed: not in the index, its older states, nor the cache."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from encoder.embedding_cache import EmbeddingCache, digest_of
from indexing.catalog import Catalog
from indexing.duplicates import read_duplicates
from indexing.errors import BuildFailedError
from indexing.generation import Generation, finished_generations, open_current
from indexing.manifest import Manifest
from indexing.publishing import clear_leftovers, new_generation, next_number, publish
from indexing.rewriting import rewrite
from indexing.segment import CATALOG
from indexing.work import WorkFile


@dataclass(frozen=True, kw_only=True)
class PurgeReport:
    """What a purge did."""

    index: str
    generation: int
    """The only one that is left."""
    removed_generations: int
    removed_chunks: int
    """Distinct embedded texts that were in older states and are in the index no more."""
    removed_cached: int
    """Their rows in this user's embedding cache."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def purge_index(index: Path, work: WorkFile) -> PurgeReport:
    """Rewrite the index without what was removed, and delete all else that held it.

    The caller holds the lock. Readers that opened the index before keep what they have open.
    """
    live = open_current(index, with_stores=False)
    duplicates = read_duplicates(live.folder)
    work.reconcile(live.states().keys() | duplicates.keys(), live.sources)
    older = finished_generations(index)
    gone = _keys_that_are_gone(older, live)
    number = next_number(index)
    with new_generation(index, number) as folder:
        rewrite(live, folder, number)
        # Before publishing: a purge that fails here can be called again, and finds the same.
        work.drop_work()
        cached = EmbeddingCache().purge(digests=sorted(gone)) if gone else 0
        final = publish(index, folder, keep=1)
    clear_leftovers(index)
    left = [path.name for path in index.glob("gen-*") if path != final]
    if left:
        raise BuildFailedError(
            f"{index / left[0]} cannot be removed, so what was purged may still be in it, or in "
            "the store. Purge again when the store answers, or remove that folder."
        )
    return PurgeReport(
        index=str(index),
        generation=number,
        removed_generations=len(older),
        removed_chunks=len(gone),
        removed_cached=cached,
    )


def _keys_that_are_gone(generations: list[Path], live: Generation) -> set[bytes]:
    """The cache's keys of all embedded texts that the live generation does not hold."""
    kept = live.digests()
    gone: set[bytes] = set()
    for folder in generations:
        template = Manifest.read(folder).encoder.template("document")
        for path in sorted(folder.glob(f"*/{CATALOG}")):
            catalog = Catalog(path)
            gone |= {
                digest_of(text, template)
                for digest, text in catalog.embedded()
                if digest not in kept
            }
            catalog.close()
    return gone
