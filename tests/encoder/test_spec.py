import dataclasses
import json

import pytest

from encoder import EncoderSpec
from encoder.spec import LATER_FIELDS, POOLINGS

FACTS = {
    "name": "a",
    "weights": "w" * 64,
    "config": "c" * 64,
    "tokenizer": "t" * 64,
    "pooling": "mean",
    "max_tokens": 256,
    "dim": 384,
    "templates": {"query": "query: {text}", "sts": "{text}"},
}
CHANGES = {
    "weights": "x" * 64,
    "config": "y" * 64,
    "tokenizer": "z" * 64,
    "pooling": "cls",
    "max_tokens": 255,
    "dim": 383,
    "normalize": False,
    "append_eos": True,
    "templates": {"query": "query:{text}", "sts": "{text}"},
    "precision": "int8",
    "layer": 1,
    "endpoint": "http://host/v1",
    "head": "h" * 64,
    "layer_norm": True,
    "skip_instruction": True,
    "both_ways_from": 0,
    "adapter": "a" * 64,
    "clean": "prompteol",
}


@pytest.fixture
def spec() -> EncoderSpec:
    return EncoderSpec(**FACTS)


def test_the_cases_below_cover_every_field():
    assert {*CHANGES, "name"} == {field.name for field in dataclasses.fields(EncoderSpec)}


@pytest.mark.parametrize("field", CHANGES)
def test_every_field_but_the_name_changes_the_fingerprint(spec, field):
    other = dataclasses.replace(spec, **{field: CHANGES[field]})

    assert other.fingerprint != spec.fingerprint


def test_the_name_and_the_order_of_templates_do_not_change_the_fingerprint(spec):
    templates = dict(reversed(FACTS["templates"].items()))

    other = dataclasses.replace(spec, name="b", templates=templates)

    assert other.fingerprint == spec.fingerprint
    assert other.differences(spec) == []


def test_a_task_that_no_index_uses_does_not_change_the_fingerprint(spec):
    other = dataclasses.replace(spec, templates=FACTS["templates"] | {"code": "code: {text}"})

    assert other.fingerprint == spec.fingerprint
    assert other.differences(spec) == []


def test_the_fingerprint_is_the_same_in_every_version(spec):
    want = "bca19efcd87aa400f24b2ea53937b71ab34dae4486cff99106403ddc00702a63"

    assert spec.fingerprint == want, "every index built before would be refused"


def test_a_field_that_came_later_counts_only_where_it_is_not_at_its_default(spec):
    defaults = {f.name: f.default for f in dataclasses.fields(EncoderSpec)}

    assert {name: defaults[name] for name in LATER_FIELDS} == LATER_FIELDS
    assert not LATER_FIELDS.keys() & spec.as_dict().keys(), "an older version could not read it"
    for name in LATER_FIELDS:
        assert dataclasses.replace(spec, **{name: CHANGES[name]}).as_dict()[name] == CHANGES[name]


@pytest.mark.parametrize("field", CHANGES)
def test_differences_name_the_field_and_both_values(spec, field):
    other = dataclasses.replace(spec, **{field: CHANGES[field]})

    (phrase,) = spec.differences(other)

    assert phrase.startswith(f"{field} ")
    assert " instead of " in phrase


def test_differences_are_short_and_readable(spec):
    other = dataclasses.replace(spec, pooling="last", max_tokens=512, weights="x" * 64)

    assert spec.differences(other) == [
        "weights wwwwwwwwwwww… instead of xxxxxxxxxxxx…",
        'pooling "mean" instead of "last"',
        "max_tokens 256 instead of 512",
    ]


def test_a_spec_survives_json(spec):
    for some in (spec, EncoderSpec(**(FACTS | CHANGES))):
        text = json.dumps(some.as_dict(), ensure_ascii=False)

        got = EncoderSpec.from_dict(json.loads(text))

        assert got == some
        assert got.fingerprint == some.fingerprint


@pytest.mark.parametrize("values", [FACTS | {"colour": 1}, {"name": "a"}])
def test_an_unknown_or_missing_key_is_a_type_error(values):
    with pytest.raises(TypeError):
        EncoderSpec.from_dict(values)


def test_a_role_has_its_template_or_the_bare_text(spec):
    assert spec.template("query") == "query: {text}"
    assert spec.template("document") == "{text}"
    assert spec.template("query", "sts") == "{text}"


def test_an_unknown_task_is_refused_and_the_known_ones_are_named(spec):
    with pytest.raises(ValueError, match=r"^a has no task 'tts'\. Its tasks: query, sts\.$"):
        spec.template("query", "tts")


def test_a_model_without_tasks_says_so(spec):
    with pytest.raises(ValueError, match="Its tasks: none"):
        dataclasses.replace(spec, templates={}).template("query", "sts")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"pooling": "mean+median"},
            f"Unknown pooling 'median'. Known: {', '.join(POOLINGS)}.",
        ),
        ({"clean": "soap"}, "Unknown way to clean a text 'soap'. Known: '', 'prompteol'."),
        ({"max_tokens": 0}, "max_tokens and dim must be positive, got 0 and 384."),
        ({"dim": -1}, "max_tokens and dim must be positive, got 256 and -1."),
        ({"templates": {"query": "query: "}}, "A template must contain {text}, got 'query: '."),
    ],
)
def test_a_wrong_value_is_refused_in_a_sentence(change, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared in full
        EncoderSpec(**(FACTS | change))

    assert str(caught.value) == message
