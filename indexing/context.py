"""A hit with what stands around it in its document: neighbouring chunks, or its whole section."""

from collections.abc import Sequence
from dataclasses import replace

from data import Chunk
from indexing.generation import Generation
from indexing.hits import Hit


def window(generation: Generation, hit: Hit, before: int = 1, after: int = 1) -> Hit:
    """A hit whose text reaches from `before` chunks earlier to `after` chunks later.

    Raises:
        LookupError: If the hit's document is no longer in the index.
        ValueError: If a number is negative.
    """
    if before < 0 or after < 0:
        raise ValueError(f"before and after must be 0 or more, got {before} and {after}.")
    chunks = generation.chunks_of(hit.document)
    places = [n for n, chunk in enumerate(chunks) if _overlap(chunk, hit)]
    if not places:
        raise _gone(hit)
    return _widened(generation, hit, chunks[max(0, places[0] - before) : places[-1] + after + 1])


def section(generation: Generation, hit: Hit) -> Hit:
    """A hit whose text is the section that it stands in, subsections included.

    Raises:
        LookupError: If the hit's document is no longer in the index.
    """
    chunks = generation.chunks_of(hit.document)
    places = [n for n, chunk in enumerate(chunks) if _overlap(chunk, hit)]
    if not places:
        raise _gone(hit)
    first, last = places[0], places[-1]
    while first > 0 and _is_below(chunks[first - 1], hit.heading):
        first -= 1
    while last + 1 < len(chunks) and _is_below(chunks[last + 1], hit.heading):
        last += 1
    return _widened(generation, hit, chunks[first : last + 1])


def _overlap(chunk: Chunk, hit: Hit) -> bool:
    return chunk.id == hit.chunk or (chunk.start < hit.end and hit.start < chunk.end)


def _is_below(chunk: Chunk, heading: tuple[str, ...]) -> bool:
    return chunk.heading[: len(heading)] == heading


def _widened(generation: Generation, hit: Hit, chunks: Sequence[Chunk]) -> Hit:
    text = generation.text(hit.document)
    if text is None:
        raise _gone(hit)
    start = min(hit.start, *(chunk.start for chunk in chunks))
    end = max(hit.end, *(chunk.end for chunk in chunks))
    return replace(hit, text=text[start:end], start=start, end=end, page=chunks[0].page)


def _gone(hit: Hit) -> LookupError:
    return LookupError(
        f"{hit.document} has changed since this hit was found, or is gone; search again."
    )
