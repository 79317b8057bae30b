"""Choices of a training: recipes with sources, files, options, and what is refused."""

import subprocess
import sys
import time
import tomllib
from dataclasses import fields
from importlib.resources import files

import pytest

from encoder.errors import UsageError
from finetune.config import (
    TrainConfig,
    known_recipes,
    make_config,
    option_help,
    parse_option,
    read_config,
    read_recipe,
    write_config,
)


@pytest.mark.parametrize("name", known_recipes())
def test_every_number_of_a_recipe_says_where_it_comes_from(name):
    table = tomllib.loads(files("finetune.recipes").joinpath(f"{name}.toml").read_text("utf-8"))

    assert table["config"].keys() == table["sources"].keys()
    assert all(table["sources"].values())
    assert make_config(name, None, {}) == TrainConfig(**read_recipe(name))


def test_the_recipes_of_the_field_are_there():
    wanted = {"bge", "angle", "uniem", "e5-mistral", "gte", "cocktail", "angle-llama", "prompteol"}
    assert wanted <= known_recipes().keys()


def test_what_is_given_goes_over_the_file_and_the_file_over_the_recipe(tmp_path):
    file = tmp_path / "c.toml"
    file.write_text("learning-rate = 1\nnegatives = 3\n")

    config = make_config("bge", file, {"negatives": 5})

    assert (config.temperature, config.learning_rate, config.negatives) == (0.02, 1.0, 5)


def test_what_took_effect_is_written_as_a_file_that_can_be_read(tmp_path):
    config = make_config("gte", None, {"averages": (0.5, 0.25), "lora_targets": ("query",)})

    write_config(tmp_path, config)

    assert TrainConfig(**read_config(tmp_path / "train.toml")) == config


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("rate = 1", "unknown key 'rate'. Known: task, model, method"),
        ("epochs = 1.5", "epochs must be a whole number, got 1.5"),
        ("epochs = true", "epochs must be a whole number, got True"),
        ("averages = 0.5", "averages must be a list, got 0.5"),
        ("averages = ['a']", "averages must be a number, got 'a'"),
        ("symmetric = 1", "symmetric must be true or false, got 1"),
        ("epochs = ", "Cannot read the configuration"),
    ],
)
def test_a_wrong_file_is_refused_in_a_sentence(tmp_path, text, sentence):
    (tmp_path / "c.toml").write_text(text)

    with pytest.raises(UsageError, match=sentence):
        read_config(tmp_path / "c.toml")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"method": "magic"}, "Unknown method 'magic'. Known: full, lora"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"batch_size": 0}, "batch-size must be above 0, got 0"),
        ({"max_steps": 0}, "max-steps must be above 0, got 0"),
        ({"holdout": 1.0}, "holdout must be 0 or more and below 1, got 1.0"),
        ({"averages": ()}, "averages must lie above 0"),
        ({"averages": (1.5,)}, "averages must lie above 0"),
        ({"set_weights": (1.0, 0.0)}, "set-weights must be above 0"),
    ],
)
def test_wrong_values_are_refused_in_a_sentence(changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        TrainConfig(**changes)


def test_an_unknown_recipe_is_refused_with_those_that_there_are():
    with pytest.raises(UsageError, match=r"Unknown recipe 'x'\. Known: angle, angle-llama, bge"):
        read_recipe("x")


def test_options_are_read_as_their_field_wants_them():
    assert parse_option("averages", "0.5, 1") == (0.5, 1.0)
    assert parse_option("symmetric", "true") is True
    assert parse_option("effective_batch", "64") == 64
    assert parse_option("model", "a/b") == "a/b"
    with pytest.raises(UsageError, match="--epochs must be a whole number, got 'many'"):
        parse_option("epochs", "many")


def test_every_choice_has_a_sentence_and_help_is_quick():
    assert list(option_help()) == [field.name for field in fields(TrainConfig)]
    call = [sys.executable, "-m", "finetune.train", "--help"]

    start = time.monotonic()
    done = subprocess.run(call, capture_output=True, text=True, check=True)

    assert "--effective-batch" in done.stdout
    assert not done.stderr
    assert time.monotonic() - start < 5  # the speed itself is measured in benchmarks/
