"""The list of published figures is one that the commands can run."""

import tomllib

import pytest

from benchmarks.reproduce import FIGURES, read_figures
from indexing.evaluate import _parser
from indexing.evaluation import TABLE


def test_every_figure_is_a_call_that_the_command_takes():
    figures = read_figures(FIGURES)

    assert len({figure.name for figure in figures}) == len(figures) > 10
    for figure in figures:
        module, *words = figure.command.split()
        arguments = _parser().parse_args(words)
        assert module == "indexing.evaluate"
        assert figure.metric in (("spearman",) if arguments.pairs else TABLE)
        assert 0 < figure.tolerance < 0.01


def test_a_figure_with_an_unknown_key_is_refused(tmp_path):
    row = tomllib.loads(FIGURES.read_text("utf-8"))["figure"][0] | {"colour": "red"}
    lines = [f"{key} = {value!r}" for key, value in row.items()]
    (tmp_path / "x.toml").write_text("[[figure]]\n" + "\n".join(lines))

    with pytest.raises(TypeError, match="colour"):
        read_figures(tmp_path / "x.toml")
