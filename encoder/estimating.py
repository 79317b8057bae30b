"""Places of tokens in a text for a model whose tokenizer is not here: exact or estimated."""

import logging
import re
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

log = logging.getLogger(__name__)

Spans = Callable[[str], list[tuple[int, int]]]
"""The place of each token of a text as (start, end)."""

_PIECE = re.compile(
    r"[A-Za-z]{1,4}"  # English words of everyday length are one token, long ones several
    r"|[0-9]{1,2}"
    r"|[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff]"  # kana, hanzi, hangul: one each
    r"|[^\W\d_]{1,2}"  # other scripts
    r"|\S"
)


def estimated_spans(text: str) -> list[tuple[int, int]]:
    """Pieces that a tokenizer would hardly cut finer: rather too many than too few.

    At most four Latin letters, two digits, two letters of another alphabet, or one Chinese,
    Japanese or Korean character or other sign make a piece.
    """
    return [match.span() for match in _PIECE.finditer(text)]


def spans_of_openai(model: str) -> Spans:
    """An OpenAI model's own tokens where tiktoken and its vocabulary are here, else estimates."""
    if find_spec("tiktoken") is None:
        return estimated_spans
    import tiktoken

    try:
        encoding = tiktoken.encoding_for_model(model)
    except (KeyError, OSError, ValueError) as error:
        log.info("tiktoken has no vocabulary for %s (%s); tokens are estimated.", model, error)
        return estimated_spans
    return lambda text: exact_spans(encoding, text)


def exact_spans(encoding: Any, text: str) -> list[tuple[int, int]]:  # noqa: ANN401
    """The places of tiktoken's tokens; those that share a character share its place."""
    ends = [
        len(encoding.decode_single_token_bytes(token)) for token in encoding.encode_ordinary(text)
    ]
    # From places in UTF-8 to places in the string.
    starts_of_bytes = [
        place for place, character in enumerate(text) for _ in range(len(character.encode()))
    ]
    spans, start = [], 0
    for size in ends:
        last = starts_of_bytes[start + size - 1]
        spans.append((starts_of_bytes[start], last + 1))
        start += size
    return spans
