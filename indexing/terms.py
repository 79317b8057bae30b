"""What a build must keep to: the existing index's terms, or the caller's choices for a new one."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from encoder import EncoderSpec, describe_encoder
from encoder.backends.choice import precision_of
from indexing.config import BuildConfig
from indexing.errors import IndexMismatchError, PrecisionMismatchError, UsageError
from indexing.foreign import ForeignSplitter, name_of
from indexing.manifest import Manifest
from indexing.sharding import check_same_shard
from indexing.shared import check_same_store, new_options, refuse_others
from indexing.splitting import (
    DEFAULT_OVERLAP_TOKENS,
    MOST_CHUNK_TOKENS,
    SplitterConfig,
    check_foreign,
)
from indexing.stores.factory import canonical_type
from indexing.stores.index_types import AUTO, DEFAULT_RECALL, FLAT
from indexing.stores.milvus_options import stored_uri

if TYPE_CHECKING:
    from encoder import Encoder

PRECISIONS = {
    "float": "floats",
    "int8-static": "int8 of the CPU",
    "int8": "int8 of a GPU",
    "int4": "int4",
}
"""What people are told of a spec's precision."""


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
    store_options: Mapping[str, str] = field(default_factory=dict)
    """Where the rows lie, for a store outside the index's folder."""
    shard: str = ""
    """Which part of an index this is, as `1/3`; empty for a whole one."""


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
    if encoder is None:
        spec = replace(spec, precision=_precision(config, built))
    if built is None:
        # A shard is searched by nobody: its rows alone are needed.
        store = config.store or ("exact" if config.shard else "faiss")
        return Terms(
            encoder=spec,
            splitter=_splitter(spec, config, foreign),
            store=store,
            index_type=_chosen_type(config, store) or default_type(store),
            recall=config.recall or DEFAULT_RECALL,
            device=config.device,
            store_options=new_options(config, index),
            shard=config.shard or "",
        )
    check_same_shard(index, built.shard, config.shard)
    check_same_encoder(index, built.encoder, spec)
    refuse_others(replace(config, store=built.store, shard=None))
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
        store_options=built.store_options,
        shard=built.shard,
    )


def check_same_encoder(index: Path, built: EncoderSpec, given: EncoderSpec) -> None:
    """Raise IndexMismatchError unless two encoders give the same vectors."""
    differences = given.differences(built)
    if not differences:
        return
    if replace(given, precision=built.precision).differences(built):
        raise IndexMismatchError(index, built.name, given.name, differences)
    raise PrecisionMismatchError(
        index, built.name, PRECISIONS[built.precision], PRECISIONS[given.precision], built.dtype
    )


def load_built(
    built: EncoderSpec, *, device: str = "auto", backend: str = "auto", dtype: str = "auto"
) -> "Encoder":
    """Load the encoder that an index names, in its precision and cut to its dimensions.

    Whether it still gives the same vectors is for `check_same_encoder` to say.

    Args:
        built: The spec in the index's manifest.
        device: As `load_encoder`; for an index of the CPU's int8, `auto` is the CPU.
        backend: As `load_encoder`.
        dtype: As `load_encoder`; `auto` is what the index was built with.
    """
    from encoder import load_encoder

    if built.precision == "int8-static" and device == "auto":
        device = "cpu"  # a GPU's int8 gives other vectors
    if dtype == "auto":
        dtype = built.dtype
    load = partial(load_encoder, built.name, device=device, backend=backend, dtype=dtype)
    encoder = load()
    return load(dim=built.dim) if built.dim < encoder.dim else encoder


def _precision(config: BuildConfig, built: Manifest | None) -> str:
    """That of the caller's choice; without one, that of the index."""
    if built is not None and config.dtype in {None, "auto"}:
        return built.encoder.precision
    return precision_of(config.dtype or "auto", config.device)


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


def _way_out(option: str, built: Manifest, index: Path, wanted: object) -> str:
    if option == "--index-type" and built.store == "faiss":
        return f"change it: python -m indexing.manage index-type {wanted} --index {index}"
    return "build a new index"


def _chosen_type(config: BuildConfig, store: str) -> str | None:
    if config.index_type in {None, AUTO}:
        return None
    return canonical_type(store, config.index_type or "")


def _check_unchanged(index: Path, built: Manifest, config: BuildConfig) -> None:
    pairs = {
        "--store": (config.store, built.store),
        "--index-type": (_chosen_type(config, built.store), built.index_type),
        "--recall": (config.recall, built.recall),
        "--chunk-tokens": (config.chunk_tokens, built.splitter.chunk_tokens),
        "--overlap-tokens": (config.overlap_tokens, built.splitter.overlap_tokens),
    }
    options = built.store_options
    if built.store == "langchain":
        check_same_store(index, options, config)
    if built.store == "milvus":
        pairs["--consistency"] = (config.consistency, options["consistency"])
        pairs["--uri"] = (config.uri and stored_uri(config.uri, index), options["uri"])
    for option, (wanted, fixed) in pairs.items():
        if wanted is not None and wanted != fixed:
            raise UsageError(
                f"The index in {index} was built with {option} {fixed}, got {wanted}. "
                f"Leave the option out, or {_way_out(option, built, index, wanted)}."
            )
