import csv

import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from data.trec import read_run, write_csv, write_run

RUN = {"q1": {"b": 2.5, "a": 1.0, "c": 1.0}, "q2": {"a": 0.1}}


def test_a_run_file_has_the_six_fields_of_trec(tmp_path):
    write_run(tmp_path / "x.run", RUN, tag="mine")

    lines = (tmp_path / "x.run").read_text().splitlines()
    assert lines[0] == "q1 Q0 b 1 2.5 mine"
    assert [line.split()[3] for line in lines] == ["1", "2", "3", "1"]


@given(
    st.dictionaries(
        st.sampled_from(["q1", "q2"]),
        st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([0.0, 1.0, -2.0, 1e9])),
    )
)
def test_other_tools_read_the_order_that_was_written(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("run") / "x.run"

    write_run(path, run)

    want = {query: list(found) for query, found in run.items() if found}
    assert {query: list(found) for query, found in read_run(path).items()} == want
    with path.open() as file:
        theirs = pytrec_eval.parse_run(file)
    assert {q: sorted(found, key=lambda d: -found[d]) for q, found in theirs.items()} == want


def test_a_run_is_read_by_its_scores(tmp_path):
    (tmp_path / "x.run").write_text("q Q0 a 1 0.5 t\nq Q0 b 2 0.9 t\n")

    assert list(read_run(tmp_path / "x.run")["q"]) == ["b", "a"]


@pytest.mark.parametrize("line", ["q Q0 a 1 t", "q Q0 a 1 high t", "only words"])
def test_a_line_that_is_none_is_named(tmp_path, line):
    (tmp_path / "x.run").write_text(f"q Q0 a 1 0.5 t\n{line}\n")

    with pytest.raises(ValueError, match="line 2 must be"):
        read_run(tmp_path / "x.run")


def test_a_document_named_twice_is_an_error(tmp_path):
    (tmp_path / "x.run").write_text("q Q0 a 1 0.5 t\nq Q0 a 2 0.4 t\n")

    with pytest.raises(ValueError, match="line 2 names 'a' for 'q' again"):
        read_run(tmp_path / "x.run")


def test_an_id_with_a_space_is_refused(tmp_path):
    with pytest.raises(ValueError, match="white space"):
        write_run(tmp_path / "x.run", {"q": {"my file.md": 1.0}})


def test_csv_has_a_row_for_each_query(tmp_path):
    write_csv(
        tmp_path / "x.csv", {"hit@1": {"a,b": 1.0, "q": 0.0}, "mrr@10": {"a,b": 1, "q": 1 / 3}}
    )

    with (tmp_path / "x.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows == [["query", "hit@1", "mrr@10"], ["a,b", "1.0", "1"], ["q", "0.0", "0.333333"]]
