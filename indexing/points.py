"""The points of writing an index at which a crash is tried out."""

POINTS = (
    "portion encoded",
    "portion merged",
    "segment closed",
    "rows uploaded",
    "folding",
    "folded",
    "manifest written",
    "files synced",
    "pointer prepared",
    "generation named",
    "pointer replaced",
    "old generation set aside",
    "old generation removed",
    "published",
    "file restored",
)
"""Every point that writing can pass, in about the order in which it does."""


def passing(point: str) -> None:
    """Nothing; the kill tests put a function in its place that kills the process here."""
