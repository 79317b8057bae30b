"""Pairs in, a better encoder out; the losses load (and with them torch) when first asked for."""

from importlib import import_module
from types import ModuleType

__all__ = ["losses"]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
