"""Errors of training that a caller may want to tell apart."""

from encoder.errors import UsageError

__all__ = ["NotBetterError", "TrainingStoppedError", "UsageError"]


class TrainingStoppedError(RuntimeError):
    """Training cannot go on; what was saved before is whole."""


class NotBetterError(RuntimeError):
    """The tuned model is not better than its base by more than chance, so it is not handed out."""
