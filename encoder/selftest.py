"""Proves on one loaded model, in seconds, that Angler runs it as it says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from encoder.encoder import Encoder
from encoder.running import PaddedBackend
from encoder.spec import EncoderSpec
from encoder.templates import PLACE, fill
from encoder.tokenizer import Tokenizer

TEXTS = (
    "reset my password",
    "怎么重置密码？",
    "How do I reset the password of a locked account, and who may do so?",
    "A much longer text stands beside the short ones. " * 6,
    "🦩 {text} and {0} are braces, not places",
)
TOLERANCE = 1e-5
"""Largest difference of a value in float32."""
COSINE = 0.9999
"""Lowest cosine in 16 bits."""
PADDING = 7
"""Tokens that are put beside a text, and that it must not read."""


@dataclass(frozen=True)
class Check:
    """What was proved, or how it failed."""

    name: str
    passed: bool
    detail: str


def selftest(encoder: Encoder) -> list[Check]:
    """Run every check; none of them changes the encoder.

    Raises:
        ValueError: If the model runs behind a service.
    """
    if encoder.spec.endpoint:
        raise ValueError(
            f"{encoder.spec.name} runs behind a service, whose inside cannot be looked at; "
            "selftest proves models that run here."
        )
    checks: tuple[Callable[[Encoder], Check], ...] = (
        _unit_length,
        _batch_invariance,
        _padding,
        _end_mark,
        _instructions,
        _truncation,
    )
    return [check(encoder) for check in checks]


def _unit_length(encoder: Encoder) -> Check:
    lengths = np.linalg.norm(encoder.encode_documents(TEXTS), axis=1)
    worst = float(np.abs(lengths - 1).max())
    return Check("unit length", worst < 1e-3, f"largest deviation {worst:.1e}")


def _batch_invariance(encoder: Encoder) -> Check:
    together = encoder.encode_documents(TEXTS)
    alone = np.concatenate([encoder.encode_documents([text]) for text in TEXTS])
    return _compared("batch invariance", together, alone)


def _compared(name: str, got: NDArray[np.float32], want: NDArray[np.float32]) -> Check:
    difference = float(np.abs(got - want).max())
    cosine = float((got * want).sum(axis=1).min())
    passed = difference <= TOLERANCE or cosine >= COSINE
    return Check(name, passed, f"largest difference {difference:.1e}, lowest cosine {cosine:.6f}")


def _padding(encoder: Encoder) -> Check:
    """In float32, whatever the encoder runs in: 16 bits would hide what leaks in."""
    engine = encoder.in_float32()
    if not isinstance(engine, PaddedBackend):
        return Check("padding", True, f"not run: {encoder.engine} is not ours to pad")
    if engine.is_unpadded:
        return Check("padding", True, "not needed: only texts of one length run together")
    spec = encoder.spec
    tokens = encoder._tokenizer.encode(TEXTS, spec.template("document"), spec)
    ids = [item.ids for item in tokens if len(item.ids) + PADDING <= spec.max_tokens]
    if not ids:
        return Check("padding", True, f"not run: {spec.max_tokens} tokens leave no room for it")
    want = engine.embed_between(ids, 0, 0)
    sides = {"left": (PADDING, 0), "right": (0, PADDING)}
    worst = {
        side: float(np.abs(engine.embed_between(ids, *widths) - want).max())
        for side, widths in sides.items()
    }
    passed = all(value <= TOLERANCE for value in worst.values())  # no NaN is below it
    told = ", ".join(f"{side} {value:.1e}" for side, value in worst.items())
    return Check("padding", passed, f"largest difference in float32: {told}")


def _end_mark(encoder: Encoder) -> Check:
    spec, tokenizer = encoder.spec, encoder._tokenizer
    if not spec.append_eos and "last" not in spec.pooling:
        return Check("end mark", True, f"not needed: {spec.pooling} pooling")
    for template in _templates(spec):
        texts = [*TEXTS, _long_text(spec)]
        ends = {tokens.ids[-1] for tokens in tokenizer.encode(texts, template, spec)}
        # Where the row asks for no mark, the tokenizer or the template must give one and the same.
        if len(ends) > 1 or (spec.append_eos and ends != {tokenizer.eos_id}):
            detail = f"the last tokens {sorted(ends)} are no end mark ({tokenizer.eos_id})"
            return Check("end mark", False, f"{template!r}: {detail}")
    return Check("end mark", True, "on every text, also behind a cut")


def _instructions(encoder: Encoder) -> Check:
    spec, tokenizer = encoder.spec, encoder._tokenizer
    for template in _templates(spec):
        composed = [fill(template, text).composed for text in TEXTS]
        want = tokenizer.encode(composed, PLACE, spec)
        if [t.ids for t in tokenizer.encode(TEXTS, template, spec)] != [t.ids for t in want]:
            return Check("instructions", False, f"{template!r} is not what the model reads")
        if broken := _broken(tokenizer, template, spec):
            return Check("instructions", False, broken)
    return Check("instructions", True, f"{len(list(_templates(spec)))} whole, also around a cut")


def _broken(tokenizer: Tokenizer, template: str, spec: EncoderSpec) -> str:
    """How the cut of a long text harms the template; empty where it does not."""
    text = _long_text(spec)
    unlimited = replace(spec, max_tokens=spec.max_tokens * 100)
    (whole,) = tokenizer.encode([text], template, unlimited)
    (cut,) = tokenizer.encode([text], template, spec)
    before, _, after = template.partition(PLACE)
    kept = tokenizer.count(["", before.rstrip(), after.lstrip()], PLACE, spec)
    head, tail = kept[1] - kept[0], kept[2] - kept[0]
    if cut.ids[:head] != whole.ids[:head]:
        return f"a long text cuts the words before it in {template!r}"
    if tail and cut.ids[-tail:] != whole.ids[-tail:]:
        return f"a long text cuts the words behind it in {template!r}"
    return ""


def _truncation(encoder: Encoder) -> Check:
    spec = encoder.spec
    (tokens,) = encoder._tokenizer.encode([_long_text(spec)], spec.template("document"), spec)
    passed = len(tokens.ids) == spec.max_tokens and tokens.dropped > 0
    return Check("truncation", passed, f"{len(tokens.ids)} tokens kept, {tokens.dropped} dropped")


def _templates(spec: EncoderSpec) -> Iterator[str]:
    yield from dict.fromkeys(
        (spec.template("query"), spec.template("document"), *spec.templates.values())
    )


def _long_text(spec: EncoderSpec) -> str:
    return "a b c d e f g h " * (spec.max_tokens // 4)
