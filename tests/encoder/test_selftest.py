import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from encoder import Encoder, describe_encoder, load_described
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
    import encoder.backends.torch

    monkeypatch.setattr(encoder.backends.torch, "pool", lambda vectors, *_, **__: vectors.mean(1))

    assert "padding" in failed(Encoder(*parts))


@pytest.mark.parametrize("kind", ["bert-mean", "qwen-last"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_model_that_reads_its_padding_fails(small_encoder, kind, side, monkeypatch):
    encoder = small_encoder(kind)
    engine = encoder._backend
    model = engine.model

    def blind(input_ids, attention_mask, **options):
        all_right = attention_mask[0, 0] == 1
        if (side == "right") == bool(all_right):
            attention_mask = torch.ones_like(attention_mask)
        return model(input_ids=input_ids, attention_mask=attention_mask, **options)

    monkeypatch.setattr(engine, "call", blind)
    (check,) = [check for check in selftest(encoder) if check.name == "padding"]

    # A decoder reads nothing that stands behind a token, whatever the mask says.
    assert check.passed == (kind == "qwen-last" and side == "right")


def test_padding_is_tried_in_float32_where_the_encoder_runs_in_sixteen_bits():
    from encoder import load_encoder

    encoder = load_encoder(device="cpu", backend="openvino", dtype="bfloat16")
    (check,) = [check for check in selftest(encoder) if check.name == "padding"]

    assert check.passed
    found = re.fullmatch(r"largest difference in float32: left (.*), right (.*)", check.detail)
    assert all(0 <= float(value) < 1e-5 for value in found.groups())


@pytest.mark.parametrize("pooling", ["avg_top2", "embedding_last_mean", "cls+max"])
def test_padding_is_tried_whatever_is_pooled(model_folder, pooling):
    found = describe_encoder(str(model_folder("bert-mean")))
    dim = found.spec.dim * (1 + pooling.count("+"))
    found = replace(found, spec=replace(found.spec, pooling=pooling, dim=dim))
    encoder = load_described(found, device="cpu", backend="torch")
    (check,) = [check for check in selftest(encoder) if check.name == "padding"]

    assert check.passed
    assert "left" in check.detail


def test_what_cannot_be_checked_is_said(parts):
    spec, tokenizer, engine = parts

    class Bare:
        device, engine, token_budget = "cpu", "another engine", 100

    bare = Bare()
    bare.embed = engine.embed
    checks = selftest(Encoder(spec, tokenizer, bare))

    assert [check.detail for check in checks if check.name == "padding"] == [
        "not run: another engine is not ours to pad"
    ]
