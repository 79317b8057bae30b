import gzip

import pytest

from data import BeirDataset, BeirDocument, load_beir

CORPUS = (
    '{"_id": "d1", "title": "密码", "text": "重置密码"}\n'
    '{"_id": "d2", "title": null, "text": "x", "url": "ignored"}\n\n'
    '{"_id": 3, "text": "y"}\n'
)
QUERIES = '{"_id": "q1", "text": "怎么重置"}\n{"_id": "q2", "text": "other split"}\n'
HEADER = "query-id\tcorpus-id\tscore\n"
QRELS = HEADER + "q1\td1\t2\nq1\td2\t1.0\nq1\t3\t0\nq1\tgone\t-1\n"


def write(path, text, gzipped=False):
    path.parent.mkdir(parents=True, exist_ok=True)
    if gzipped:
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "tiny"
    write(folder / "corpus.jsonl", CORPUS)
    write(folder / "queries.jsonl", QUERIES)
    write(folder / "qrels" / "test.tsv", QRELS)
    write(folder / "qrels" / "dev.tsv", HEADER + "q2\td1\t1\n")
    return folder


def test_a_folder_becomes_corpus_queries_and_qrels(folder):
    got = load_beir(folder)

    assert got == BeirDataset(
        name="tiny",
        split="test",
        corpus={
            "d1": BeirDocument("密码", "重置密码"),
            "d2": BeirDocument("", "x"),
            "3": BeirDocument("", "y"),
        },
        queries={"q1": "怎么重置"},
        qrels={"q1": {"d1": 2, "d2": 1, "3": 0, "gone": -1}},
    )


def test_gzipped_files_read_the_same(folder, tmp_path):
    other = tmp_path / "other" / "tiny"
    write(other / "corpus.jsonl", CORPUS, gzipped=True)
    write(other / "queries.jsonl", QUERIES, gzipped=True)
    write(other / "qrels" / "test.tsv", QRELS.replace("\n", "\r\n"), gzipped=True)

    assert load_beir(other) == load_beir(folder)


def test_another_split_judges_other_queries(folder):
    assert load_beir(folder, "dev").queries == {"q2": "other split"}


def test_the_name_is_the_folders_also_from_inside_it(folder, monkeypatch):
    monkeypatch.chdir(folder)

    assert load_beir(type(folder)(".")).name == "tiny"


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No dataset folder .*gone"):
        load_beir(tmp_path / "gone")


def test_a_missing_split_lists_those_that_exist(folder):
    with pytest.raises(FileNotFoundError, match=r"No split 'train' in .*; it has: dev, test\."):
        load_beir(folder, "train")


def test_a_folder_without_qrels_says_so(folder):
    for file in (folder / "qrels").iterdir():
        file.unlink()

    with pytest.raises(FileNotFoundError, match=r"it has: none\."):
        load_beir(folder)


@pytest.mark.parametrize("name", ["corpus.jsonl", "queries.jsonl"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()

    with pytest.raises(FileNotFoundError, match=f"No {name} or {name}.gz in"):
        load_beir(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("corpus.jsonl", '{"_id": "d1", "text": "x"}\n{"_id": "d2"}', "Line 2 has no 'text'"),
        ("corpus.jsonl", "{", r"corpus\.jsonl: Line 1 is not JSON"),
        ("queries.jsonl", '{"text": "x"}', r"queries\.jsonl: Line 1 has no '_id'"),
        ("queries.jsonl", '{"_id": "q9", "text": "x"}', "lacks 1 of the 1 judged .* 'q1'"),
        ("qrels/test.tsv", "q1\td1\t1\n", "first line must be"),
        ("qrels/test.tsv", "", "first line must be"),
        ("qrels/test.tsv", HEADER, "holds no judgement"),
        ("qrels/test.tsv", HEADER + "q1\td1\t1\nq1 d1 1\n", r"test\.tsv: line 3 must be"),
        ("qrels/test.tsv", HEADER + "q1\td1\thigh\n", "line 2 must be .* 'high'"),
        ("qrels/test.tsv", HEADER + "q1\td1\t0.5\n", "whole number"),
        ("qrels/test.tsv", HEADER + "q1\td1\tnan\n", "whole number"),
    ],
)
def test_what_cannot_be_used_is_named_with_file_and_line(folder, name, text, message):
    write(folder / name, text)

    with pytest.raises(ValueError, match=message):
        load_beir(folder)


def test_a_file_that_only_claims_to_be_gzipped_is_named(folder):
    (folder / "corpus.jsonl").rename(folder / "corpus.jsonl.gz")

    with pytest.raises(ValueError, match=r"corpus\.jsonl\.gz: Not a gzipped file"):
        load_beir(folder)
