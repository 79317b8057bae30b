"""What every command shares: errors to one sentence and an exit code, JSON, progress."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from encoder.errors import ModelNotFoundError, UsageError

DONE, FAILED, WRONG_CALL, INTERRUPTED = 0, 1, 2, 130

_OF_PYTHON = (OSError, ValueError, ArithmeticError, ImportError, MemoryError)
"""Errors that our code raises with a sentence of its own."""


class Parser(argparse.ArgumentParser):
    """Complains in one sentence, without the usage text, and exits with 2."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong with the call."""
        print(f"{self.prog}: {message}. See {self.prog} --help.", file=sys.stderr)
        sys.exit(WRONG_CALL)


def run(
    command: Callable[[], int | None], *, failures: tuple[type[Exception], ...] = ()
) -> NoReturn:
    """Run a command and exit with its code; known errors become one sentence on stderr.

    Args:
        command: Does the work; None counts as done.
        failures: Errors that say in one sentence why this command's work failed, besides Python's.
    """
    known: tuple[type[Exception], ...] = (*_OF_PYTHON, *failures)
    logging.basicConfig(format="%(levelname)s: %(message)s", stream=sys.stderr)
    try:
        code = command()
        sys.stdout.flush()
    except KeyboardInterrupt as error:
        _complain(str(error) or "Stopped before anything was changed.")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(DONE)
    except (UsageError, ModelNotFoundError) as error:
        _complain(str(error))
        sys.exit(WRONG_CALL)
    except known as error:
        _complain(str(error) or "Out of memory.")
        sys.exit(FAILED)
    sys.exit(code or DONE)


def _complain(sentence: str) -> None:
    print(f"error: {' '.join(sentence.split())}", file=sys.stderr)


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object."""
    print(json.dumps(value, ensure_ascii=False))


class ProgressBar:
    """Counts, rate and time left on stderr, only where a person is looking."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._bar: Any = None

    def __call__(self, done: int, total: int | None, current: str = "") -> None:
        """Show that `done` of `total` are finished; None where nobody knows how many there are."""
        if self._bar is None:
            if not sys.stderr.isatty():
                return
            from tqdm import tqdm

            self._bar = tqdm(total=total, unit=f" {self._unit}", dynamic_ncols=True, leave=False)
        self._bar.set_postfix_str(current[-40:], refresh=False)
        self._bar.update(done - self._bar.n)
        if total is not None and done >= total:
            self.close()

    def close(self) -> None:
        """Take the bar away; done by itself when all is finished."""
        if self._bar is not None:
            self._bar.close()
