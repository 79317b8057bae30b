from dataclasses import replace

import numpy as np
import pytest

from encoder import Encoder
from encoder.selftest import selftest


def failed(encoder):
    return [check.name for check in selftest(encoder) if not check.passed]


def test_every_kind_of_model_passes(small_encoder, kind):
    assert failed(small_encoder(kind)) == []


def test_the_default_passes_in_sixteen_bits_too(default_encoder):
    from encoder import load_encoder

    assert failed(default_encoder) == []
    assert failed(load_encoder(device="cpu", dtype="bfloat16")) == []


class Wrong:
    """Stands before a part of an encoder and breaks one method of it."""

    def __init__(self, part, **methods):
        self._part = part
        self.__dict__ |= methods

    def __getattr__(self, name):
        return getattr(self._part, name)


@pytest.fixture
def parts(small_encoder):
    encoder = small_encoder("qwen-last")
    return encoder.spec, encoder._tokenizer, encoder._backend


def test_vectors_that_depend_on_their_batch_fail(parts):
    spec, tokenizer, engine = parts

    def embed(ids):
        rows = engine.embed(ids) + 0.1 * len(ids)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    assert failed(Encoder(spec, tokenizer, Wrong(engine, embed=embed))) == ["batch invariance"]


def test_vectors_without_unit_length_fail(parts):
    spec, tokenizer, engine = parts
    wrong = Wrong(engine, embed=lambda ids: engine.embed(ids) * 1.1)

    assert "unit length" in failed(Encoder(spec, tokenizer, wrong))


def test_a_missing_end_mark_fails(parts):
    spec, tokenizer, engine = parts

    def encode(texts, template, spec):
        return [replace(t, ids=t.ids[:-1] or [5]) for t in tokenizer.encode(texts, template, spec)]

    assert "end mark" in failed(Encoder(spec, Wrong(tokenizer, encode=encode), engine))


def test_an_end_mark_that_is_not_the_model_s_fails(parts):
    spec, tokenizer, engine = parts
    other = Wrong(tokenizer, eos_id=7)

    assert failed(Encoder(replace(spec, append_eos=True), other, engine)) == ["end mark"]


def test_an_instruction_that_is_left_out_or_cut_fails(parts):
    spec, tokenizer, engine = parts

    def without(texts, template, spec):
        return tokenizer.encode(texts, "{text}", spec)

    def cut(texts, template, spec):
        rows = tokenizer.encode(texts, template, replace(spec, max_tokens=100_000))
        return [replace(t, ids=t.ids[-spec.max_tokens :], dropped=1) for t in rows]

    for encode in (without, cut):
        wrong = Encoder(spec, Wrong(tokenizer, encode=encode), engine)
        assert "instructions" in failed(wrong)


def test_a_cut_that_does_not_happen_fails(parts):
    spec, tokenizer, engine = parts

    def encode(texts, template, spec):
        return tokenizer.encode(texts, template, replace(spec, max_tokens=100_000))

    wrong = Encoder(spec, Wrong(tokenizer, encode=encode), engine)
    names = [check.name for check in selftest_of_tokens(wrong) if not check.passed]

    assert names == ["truncation"]


def selftest_of_tokens(encoder):
    """The checks that run no model: an uncut text is too long for this one's positions."""
    from encoder.selftest import _instructions, _truncation

    return [_instructions(encoder), _truncation(encoder)]


def test_padding_that_leaks_into_the_vectors_fails(parts, monkeypatch):
    import encoder.pooling

    monkeypatch.setattr(encoder.pooling, "pool", lambda vectors, mask, pooling: vectors.mean(1))

    assert failed(Encoder(*parts)) == ["padding"]


@pytest.mark.parametrize("pooling", ["avg_top2", "embedding_last_mean"])
def test_what_cannot_be_checked_is_said(parts, pooling):
    spec, tokenizer, engine = parts
    (check,) = [
        check
        for check in selftest(Encoder(replace(spec, pooling=pooling), tokenizer, engine))
        if check.name == "padding"
    ]

    assert check.detail == f"not run: {pooling} pools more than the last layer"
