"""Takes documents out of an index by their ids, without their sources."""

from collections.abc import Collection
from pathlib import Path

from indexing.duplicates import read_duplicates, write_duplicates
from indexing.generation import open_current
from indexing.publishing import KEPT_GENERATIONS, new_generation, next_number, publish
from indexing.rewriting import terms_of
from indexing.work import after_publishing, job
from indexing.writing import GenerationWriter


def remove_documents(index: Path, ids: Collection[str]) -> int:
    """Publish an index without some documents; ids that are not there are passed over.

    Documents that repeat a removed one go with it; a build of their sources brings them back.

    Returns:
        How many were there.

    Raises:
        IndexNotFoundError: If there is no index.
        IndexLockedError: If another process is writing it.
    """
    with job(index, "remove documents") as work:
        old = open_current(index, with_stores=False)
        states = old.states()
        duplicates = read_duplicates(old.folder)
        gone = states.keys() & set(ids)
        kept = [one for one in duplicates.values() if not {one.id, one.of} & set(ids)]
        if not gone and len(kept) == len(duplicates):
            return 0
        number = next_number(index)
        with (
            new_generation(index, number) as folder,
            GenerationWriter(folder, old, terms_of(old.manifest)) as writer,
        ):
            write_duplicates(folder, kept)
            writer.finish(
                number,
                gone=set(gone),
                documents=len(states) - len(gone),
                next_id=old.manifest.next_id,
            )
            publish(index, folder, keep=work.setting("keep", KEPT_GENERATIONS))
        with after_publishing():
            left = (states.keys() - gone) | {one.id for one in kept}
            work.reconcile(left, old.sources)
        return len(gone)
