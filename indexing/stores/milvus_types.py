"""Index types of Milvus by name, with their parameters checked; no engine is imported."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from indexing.errors import UsageError

Range = tuple[int, int]
Parameter = int | bool | str

_MOST = 2**31 - 1
_NLIST = (1, 65_536)
_LISTS: dict[str, Range] = {"nlist": _NLIST}
_PROBES: dict[str, Range] = {"nprobe": _NLIST}


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """What an index is made with and searched with: whole numbers by range, others by value."""

    build: Mapping[str, Range]
    search: Mapping[str, Range]
    words: Mapping[str, tuple[Parameter, ...]]
    defaults: Mapping[str, Parameter]
    widened: str | None = None
    """The search parameter that must be at least `k`."""
    exact: bool = False
    most_k: int = 16_384
    """Hits of one search."""


def _kind(
    build: Mapping[str, Range] | None = None,
    search: Mapping[str, Range] | None = None,
    **more: Any,  # noqa: ANN401 - the other fields of _Kind
) -> _Kind:
    filled = {"words": {}, "defaults": {}} | more
    return _Kind(build=build or {}, search=search or {}, **filled)


_LISTED = {"nlist": 1024, "nprobe": 32}
_PQ: dict[str, Range] = {"m": (1, 32_768), "nbits": (1, 24)}
_KINDS = {
    "auto": _kind(),
    "flat": _kind(exact=True),
    "ivf_flat": _kind(_LISTS, _PROBES, defaults=_LISTED),
    "ivf_sq8": _kind(_LISTS, _PROBES, defaults=_LISTED),
    "ivf_pq": _kind(_LISTS | _PQ, _PROBES, defaults=_LISTED | {"nbits": 8}),
    "scann": _kind(
        _LISTS,
        _PROBES | {"reorder_k": (1, _MOST)},
        words={"with_raw_data": (True, False)},
        defaults=_LISTED | {"with_raw_data": True, "reorder_k": 256},
        widened="reorder_k",
    ),
    "hnsw": _kind(
        {"M": (2, 2048), "efConstruction": (1, _MOST)},
        {"ef": (1, _MOST)},
        defaults={"M": 16, "efConstruction": 200, "ef": 128},
        widened="ef",
    ),
    "diskann": _kind(
        None, {"search_list": (1, 65_535)}, defaults={"search_list": 100}, widened="search_list"
    ),
    "gpu_cagra": _kind(
        {"intermediate_graph_degree": (1, 1024), "graph_degree": (1, 1024)},
        {"itopk_size": (1, 1024), "search_width": (1, 1024), "max_iterations": (0, _MOST)},
        words={
            "build_algo": ("IVF_PQ", "NN_DESCENT"),
            "cache_dataset_on_device": (True, False),
            "adapt_for_cpu": (True, False),
        },
        defaults={"intermediate_graph_degree": 128, "graph_degree": 64, "itopk_size": 128},
        widened="itopk_size",
        most_k=1024,
    ),
    "gpu_ivf_flat": _kind(_LISTS, _PROBES, defaults=_LISTED, most_k=2048),
    "gpu_ivf_pq": _kind(_LISTS | _PQ, _PROBES, defaults=_LISTED | {"nbits": 8}, most_k=1024),
    "gpu_brute_force": _kind(exact=True, most_k=2048),
}
"""Source: https://milvus.io/docs/index.md and https://milvus.io/docs/gpu_index.md."""

LITE_KINDS = ("auto", "flat", "ivf_flat", "ivf_sq8", "hnsw")
"""What Milvus Lite has of these. Source: milvus_lite/index/factory.py of 3.2."""


@dataclass(frozen=True)
class MilvusType:
    """An index type with its parameters, all of them checked."""

    name: str
    given: Mapping[str, Parameter]
    """What was chosen; the rest are the defaults."""

    @classmethod
    def parse(cls, text: str, *, dim: int | None = None, is_lite: bool = False) -> "MilvusType":
        """Read `hnsw` or `hnsw,M=32,ef=200`.

        Args:
            text: A name, then parameters of the index and of its search.
            dim: The embeddings' width, where it is known; product quantisation must divide it.
            is_lite: Whether it is for Milvus Lite, which has fewer types.

        Raises:
            UsageError: If there is no such type or parameter, or its value is out of range.
        """
        name, *settings = [part.strip() for part in text.split(",")]
        name = "auto" if name.lower() == "autoindex" else name.lower()
        known = LITE_KINDS if is_lite else tuple(_KINDS)
        if name not in known:
            raise UsageError(
                f"{'Milvus Lite' if is_lite else 'The milvus store'} has no index type {name!r}. "
                f"Known: {', '.join(known)}."
            )
        given = dict(_setting(name, setting) for setting in settings)
        found = cls(name, given)
        if "m" in _KINDS[name].build and dim is not None:
            found = found._divided(dim)
        return found

    def __str__(self) -> str:
        """The text that `parse` reads."""
        return ",".join([self.name, *(f"{key}={_text(self.given[key])}" for key in self.given)])

    @property
    def _kind(self) -> _Kind:
        return _KINDS[self.name]

    @property
    def milvus_name(self) -> str:
        """What Milvus calls it."""
        return "AUTOINDEX" if self.name == "auto" else self.name.upper()

    @property
    def exact(self) -> bool:
        """Whether it finds the true nearest."""
        kind = self._kind
        whole = "nprobe" in kind.search and self._value("nprobe") >= self._value("nlist")
        return kind.exact or (self.name in {"ivf_flat", "gpu_ivf_flat"} and whole)

    @property
    def gpu(self) -> bool:
        """Whether it needs a server with a GPU."""
        return self.name.startswith("gpu_")

    @property
    def most_k(self) -> int:
        """The most hits of one search."""
        return self._kind.most_k

    @property
    def build(self) -> dict[str, Parameter]:
        """What the index is made with."""
        kind = self._kind
        return {key: v for key, v in self._all.items() if key in kind.build or key in kind.words}

    def search(self, k: int) -> dict[str, Parameter]:
        """What a search of `k` hits is made with."""
        kind = self._kind
        found = {key: value for key, value in self._all.items() if key in kind.search}
        if kind.widened is not None:
            found[kind.widened] = max(self._value(kind.widened), k)
        if "nprobe" in found:
            found["nprobe"] = min(self._value("nprobe"), self._value("nlist"))
        return found

    @property
    def _all(self) -> dict[str, Parameter]:
        return {**self._kind.defaults, **self.given}

    def _value(self, key: str) -> int:
        return int(self._all[key])

    def _divided(self, dim: int) -> "MilvusType":
        """With a number of parts that divides the dimension; by default one for 4 values."""
        if "m" not in self.given:
            parts = next(p for p in range(max(1, dim // 4), 0, -1) if dim % p == 0)
            return MilvusType(self.name, {**self.given, "m": parts})
        if dim % self._value("m"):
            raise UsageError(
                f"{self.name} needs an m that divides the embeddings' {dim} values, "
                f"got {self.given['m']}."
            )
        return self


def _setting(name: str, text: str) -> tuple[str, Parameter]:
    """One `key=value` of an index type."""
    kind = _KINDS[name]
    key, equals, value = (part.strip() for part in text.partition("="))
    ranges = {**kind.build, **kind.search}
    known = (*ranges, *kind.words)
    if not equals or key not in known:
        takes = f"takes {', '.join(known)}" if known else "takes no parameters"
        raise UsageError(f"The index type {name} {takes}; got {text!r}.")
    if key in kind.words:
        words = {_text(word): word for word in kind.words[key]}
        if value not in words:
            raise UsageError(f"{key} must be one of {', '.join(words)}, got {value!r}.")
        return key, words[value]
    least, most = ranges[key]
    if not value.isdecimal() or not least <= int(value) <= most:
        raise UsageError(f"{key} must be a whole number from {least} to {most}, got {value!r}.")
    return key, int(value)


def _text(value: Parameter) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
