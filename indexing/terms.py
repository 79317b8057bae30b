"""What a build must keep to: the existing index's terms, or the caller's choices for a new one."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from encoder import EncoderSpec, describe_encoder
from indexing.config import BuildConfig
from indexing.errors import IndexMismatchError, UsageError
from indexing.foreign import ForeignSplitter, name_of
from indexing.manifest import Manifest
from indexing.splitting import (
    DEFAULT_OVERLAP_TOKENS,
    MOST_CHUNK_TOKENS,
    SplitterConfig,
    check_foreign,
)
from indexing.stores.index_types import AUTO, DEFAULT_RECALL, FLAT

if TYPE_CHECKING:
    from encoder import Encoder


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What all chunks of an index have in common."""

    encoder: EncoderSpec
    splitter: SplitterConfig
    store: str
    index_type: str
    recall: float = DEFAULT_RECALL
    """Share of the nearest that an approximate store is to find."""
    device: str = "auto"
    """Where the store is built; it leaves no trace in the index."""


def agree(
    index: Path,
    built: Manifest | None,
    config: BuildConfig,
    encoder: EncoderSpec | None,
    foreign: ForeignSplitter | None = None,
) -> Terms:
    """The terms of a build.

    Args:
        index: The index's folder, for messages.
        built: The manifest of the existing index, if there is one; its terms hold.
        config: The caller's choices; what they leave open is taken from `built` or the defaults.
        encoder: The loaded encoder's spec, if the caller has one.
        foreign: Another library's splitter that the caller wants.

    Raises:
        IndexMismatchError: If the index was built with another encoder.
        UsageError: If another choice contradicts the index, or the encoder.
    """
    name = config.encoder or (built.encoder.name if built else None)
    spec = encoder or describe_encoder(name).spec
    if built is not None and encoder is None:
        spec = replace(spec, precision=built.encoder.precision)  # loading follows the index
    if built is None:
        return Terms(
            encoder=spec,
            splitter=_splitter(spec, config, foreign),
            store=config.store or "faiss",
            index_type=config.index_type or default_type(config.store),
            recall=config.recall or DEFAULT_RECALL,
            device=config.device,
        )
    check_same_encoder(index, built.encoder, spec)
    _check_unchanged(index, built, config)
    if foreign is not None:
        check_foreign(built.splitter, foreign)
    return Terms(
        encoder=spec,
        splitter=built.splitter,
        store=built.store,
        index_type=built.index_type,
        recall=built.recall,
        device=config.device,
    )


def check_same_encoder(index: Path, built: EncoderSpec, given: EncoderSpec) -> None:
    """Raise IndexMismatchError unless two encoders give the same vectors."""
    differences = given.differences(built)
    if differences:
        raise IndexMismatchError(index, built.name, given.name, differences)


def load_built(built: EncoderSpec, *, device: str = "auto", backend: str = "auto") -> "Encoder":
    """Load the encoder that an index names, in its precision and cut to its dimensions.

    Whether it still gives the same vectors is for `check_same_encoder` to say.
    """
    from encoder import load_encoder

    load = partial(load_encoder, built.name, device=device, backend=backend, dtype=built.dtype)
    encoder = load()
    return load(dim=built.dim) if built.dim < encoder.dim else encoder


def _splitter(
    spec: EncoderSpec, config: BuildConfig, foreign: ForeignSplitter | None
) -> SplitterConfig:
    chunk_tokens = config.chunk_tokens
    if chunk_tokens is None:
        chunk_tokens = min(spec.max_tokens, MOST_CHUNK_TOKENS)
    elif chunk_tokens > spec.max_tokens:
        raise UsageError(
            f"--chunk-tokens {chunk_tokens} is more than {spec.name} reads "
            f"({spec.max_tokens} tokens)."
        )
    overlap_tokens = config.overlap_tokens
    if overlap_tokens is None:
        overlap_tokens = min(DEFAULT_OVERLAP_TOKENS, chunk_tokens // 4)
    try:
        return SplitterConfig(
            chunk_tokens=chunk_tokens,
            overlap_tokens=overlap_tokens,
            foreign=name_of(foreign) if foreign is not None else None,
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def default_type(store: str | None) -> str:
    """The index type where none was chosen."""
    return FLAT if store in {"exact", "torch"} else AUTO


def _way_out(option: str, index: Path, wanted: object) -> str:
    if option == "--index-type":
        return f"change it: python -m indexing.manage index-type {wanted} --index {index}"
    return "build a new index"


def _chosen_type(config: BuildConfig) -> str | None:
    return None if config.index_type == "auto" else config.index_type


def _check_unchanged(index: Path, built: Manifest, config: BuildConfig) -> None:
    pairs = {
        "--store": (config.store, built.store),
        "--index-type": (_chosen_type(config), built.index_type),
        "--recall": (config.recall, built.recall),
        "--chunk-tokens": (config.chunk_tokens, built.splitter.chunk_tokens),
        "--overlap-tokens": (config.overlap_tokens, built.splitter.overlap_tokens),
    }
    for option, (wanted, fixed) in pairs.items():
        if wanted is not None and wanted != fixed:
            raise UsageError(
                f"The index in {index} was built with {option} {fixed}, got {wanted}. "
                f"Leave the option out, or {_way_out(option, index, wanted)}."
            )
