"""Training pairs: every format by its keys, every kind of file, bad rows, examples by epoch."""

import csv
import gzip
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.pair_formats import FORMATS, PairRowError, RowReader
from data.pair_reading import BadPairError, PairOptions, ReadingReport, load_pairs, read_pairs
from data.pairs import Pair, PairRecord, ScoredPair, Triplet

Q, P, N = "怎么重置密码？", "Open the account page.", "Buy a new phone."


def read(row, **options):
    return RowReader(**options).read(row, "line 1")


def simple(queries=(Q,), positives=(P,), negatives=(), **fields):
    return PairRecord(
        queries=queries, positives=positives, negatives=negatives, place="line 1", **fields
    )


# Formats

PASSAGES = [{"docid": "7", "title": "Help", "text": P}, {"docid": "8", "title": "", "text": "B"}]
RECOGNISED = [
    ("AnglE A", {"text1": Q, "text2": P, "label": 1}, simple(label=1.0)),
    ("AnglE A", {"text1": [Q, "b"], "text2": P, "label": "0.5"}, simple((Q, "b"), label=0.5)),
    ("AnglE B", {"query": Q, "positive": P}, simple()),
    ("AnglE C", {"query": Q, "positive": P, "negative": N}, simple(negatives=(N,))),
    (
        "AnglE C",
        {"query": [Q, "b"], "positive": [P, "c"], "negative": [N, "d"]},
        simple((Q, "b"), (P, "c"), (N, "d")),
    ),
    ("AnglE up to 0.5, B", {"text": Q, "positive": P, "negative": N}, simple(negatives=(N,))),
    ("AnglE up to 0.5, C", {"text": Q, "positive": P}, simple()),
    (
        "FlagEmbedding",
        {
            "query": Q,
            "pos": [P, "c"],
            "neg": [N],
            "pos_scores": [0.9, 0.8],
            "neg_scores": [0.1],
            "prompt": "Find it: ",
            "type": "only_1neg",
            "pos_id": [3],
        },
        simple(
            positives=(P, "c"),
            negatives=(N,),
            positive_scores=(0.9, 0.8),
            negative_scores=(0.1,),
            instruction="Find it: ",
            kind="only_1neg",
        ),
    ),
    ("FlagEmbedding without negatives", {"query": Q, "pos": [P]}, simple()),
    ("FlagEmbedding without negatives", {"query": Q, "pos": [P], "neg": []}, simple()),
    ("uniem pair", {"text": Q, "text_pos": P}, simple()),
    ("uniem triplet", {"text": Q, "text_pos": P, "text_neg": N}, simple(negatives=(N,))),
    ("uniem scored pair", {"sentence1": Q, "sentence2": P, "label": 0.25}, simple(label=0.25)),
    ("text and positive_text", {"text": Q, "positive_text": P}, simple()),
    (
        "text, positive_text and negative_text",
        {"text": Q, "positive_text": P, "negative_text": N},
        simple(negatives=(N,)),
    ),
    ("text and scored_text", {"text": Q, "scored_text": P, "score": 3}, simple(label=3.0)),
    ("two texts with a score", {"text1": Q, "text2": P, "score": 3}, simple(label=3.0)),
    ("GTE and CoROM", {"query": Q, "positives": [P], "negatives": [N]}, simple(negatives=(N,))),
    ("GTE and CoROM", {"query": Q, "positives": P, "negatives": N}, simple(negatives=(N,))),
    ("GTE and CoROM without negatives", {"query": Q, "positives": [P]}, simple()),
    (
        "tevatron",
        {
            "query_id": "1",
            "query": Q,
            "positive_passages": PASSAGES,
            "negative_passages": [{"docid": "9", "text": N}],
        },
        simple(positives=(f"Help {P}", "B"), negatives=(N,)),
    ),
    (
        "tevatron without negatives",
        {"query_id": "1", "query": Q, "positive_passages": PASSAGES, "negative_passages": []},
        simple(positives=(f"Help {P}", "B")),
    ),
    ("sentence-transformers pair", {"anchor": Q, "positive": P}, simple()),
    (
        "sentence-transformers triplet",
        {"anchor": Q, "positive": P, "negative": N},
        simple(negatives=(N,)),
    ),
    (
        "sentence-transformers triplet",
        {"anchor": Q, "positive": P, "negative_10": "z", "negative_2": "y", "negative_1": N},
        simple(negatives=(N, "y", "z")),
    ),
    (
        "sentence-transformers scored pair",
        {"sentence1": Q, "sentence2": P, "score": 0.25},
        simple(label=0.25),
    ),
    (
        "sentence-transformers margins",
        {"query": Q, "positive": P, "negative": N, "label": 2.5},
        simple(negatives=(N,), positive_scores=(0.0,), negative_scores=(-2.5,)),
    ),
    (
        "sentence-transformers margins",
        {"query": Q, "positive": P, "negative_1": N, "negative_2": "y", "label": [9.0, 1.0, 2.0]},
        simple(negatives=(N, "y"), positive_scores=(9.0,), negative_scores=(1.0, 2.0)),
    ),
    ("question and answer", {"question": Q, "answer": P}, simple()),
    ("query and answer with a score", {"query": Q, "answer": P, "label": 0}, simple(label=0.0)),
    ("two texts", {"text1": Q, "text2": P}, simple()),
    ("AnglE B", [Q, P], simple()),
    ("AnglE C", [Q, P, N, "d"], simple(negatives=(N, "d"))),
    ("AnglE A", [Q, P, 0.5], simple(label=0.5)),
    ("AnglE B", {"set": [Q, P, "c"]}, simple(positives=(P, "c"))),
    ("AnglE A", {"text1": Q, "text2": P, "label": True}, simple(label=1.0)),
]


@pytest.mark.parametrize(("name", "row", "want"), RECOGNISED)
def test_a_format_is_recognised_by_its_keys(name, row, want):
    got, found = read(row)

    assert found.format.name == name
    assert got == want


def test_every_format_is_recognised_from_its_own_columns_alone():
    for row in FORMATS:
        values = dict.fromkeys((row.query, row.positive), "a") | {row.query: "q"}
        values |= {row.negative: ["n"]} if row.negative else {}
        values |= {key: 0.5 for key in (row.label, row.margin) if key}

        record, found = read(values)

        assert (found.format.query, found.format.positive) == (row.query, row.positive)
        assert found.format.required == row.required
        assert record.queries == ("q",)


def test_columns_that_are_not_read_are_named():
    _, found = read({"query": Q, "positive": P, "id": 7, "source": "faq"})

    assert found.ignored == ("id", "source")


def test_columns_can_be_renamed():
    record, _ = read({"frage": Q, "antwort": P}, rename={"frage": "query", "antwort": "positive"})

    assert record == simple()


def test_a_format_can_be_asked_for():
    row = {"text": Q, "positive": P, "text_pos": "c"}

    assert read(row, name="uniem pair")[0].positives == ("c",)
    with pytest.raises(
        PairRowError, match="not recognised as 'angle b', which has positive, query"
    ):
        read(row, name="angle b")
    with pytest.raises(
        ValueError, match=r"Unknown format of pairs 'angel'. Known: AnglE A, AnglE B"
    ):
        RowReader(name="angel")


def test_labels_in_words_are_counted_as_asked():
    row = {"text1": Q, "text2": P, "label": "Entailment"}

    assert read(row, labels={"entailment": 1.0, "neutral": 0.5})[0].label == 1.0
    with pytest.raises(PairRowError, match=r"got 'Entailment'; .*--label Entailment=1"):
        read(row)


def test_blank_texts_of_a_list_go_with_their_scores():
    row = {"query": Q, "pos": ["", P], "neg": [N, " ", "d"], "pos_scores": [1, 2]}
    row["neg_scores"] = [3, 4, 5]

    record, _ = read(row)

    assert (record.positives, record.positive_scores) == ((P,), (2.0,))
    assert (record.negatives, record.negative_scores) == ((N, "d"), (3.0, 5.0))


def test_a_text_in_brackets_is_a_list_only_where_it_is_json():
    assert read({"query": Q, "pos": '["a", "b"]'})[0].positives == ("a", "b")
    assert read({"query": Q, "pos": "[sic]"})[0].positives == ("[sic]",)
    assert read({"query": Q, "pos": "[1]"})[0].positives == ("[1]",)


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        ({"foo": Q, "bar": P}, "columns", "not recognised: bar, foo; rename them to query"),
        ({}, "columns", "not recognised: none"),
        ("words", "not an object", "must be a JSON object with keys, got 'words'"),
        ([Q], "not an object", "got \\['怎么"),
        (7, "not an object", "got 7"),
        ({"query": "", "positive": P}, "empty", "'query' holds no text"),
        ({"query": "\u200b \t", "positive": P}, "empty", "'query' holds no text"),
        ({"query": Q, "positive": None}, "empty", "'positive' holds no text"),
        ({"query": Q, "pos": []}, "empty", "'pos' holds no text"),
        ({"query": Q, "positive": 7}, "not text", "'positive' must hold text, got 7"),
        ({"query": Q, "positive": {"title": "a"}}, "not text", "must hold text, got {'title'"),
        ({"query": Q, "pos": [P, 7]}, "not text", "'pos' must hold text, got 7"),
        ({"query": Q, "pos": P, "type": 7}, "not text", "'type' must hold text, got 7"),
        ({"text1": Q, "text2": P, "label": None}, "label", "'label' holds nothing"),
        ({"text1": Q, "text2": P, "label": "high"}, "label", "finite number, got 'high'"),
        ({"text1": Q, "text2": P, "label": "nan"}, "label", "finite number, got 'nan'"),
        ({"text1": Q, "text2": P, "label": "1e999"}, "label", "finite number, got '1e999'"),
        ({"text1": Q, "text2": P, "label": [1]}, "label", "finite number, got \\[1\\]"),
        (
            {"query": Q, "pos": [P, "c"], "pos_scores": [1]},
            "scores",
            "positive_scores has 1 values for 2 texts",
        ),
        ({"query": Q, "pos": P, "pos_scores": ["x"]}, "scores", "finite numbers, got \\['x'\\]"),
        (
            {"query": Q, "positive": P, "negative": N, "label": [1, 2, 3]},
            "scores",
            "'label' has 3 values for 1 negatives",
        ),
    ],
)
def test_a_row_that_cannot_be_used_says_why(row, kind, message):
    with pytest.raises(PairRowError, match=message) as caught:
        read(row)

    assert caught.value.kind == kind


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from(["query", "text", "title", "a"]), children, max_size=3)
    ),
    max_leaves=6,
)
columns = sorted({column for row in FORMATS for column in row.columns} | {"negative_1"})


@given(st.dictionaries(st.sampled_from(columns), json_values) | json_values)
def test_no_row_breaks_the_reader_and_what_it_gives_can_be_trained_on(row):
    try:
        record, _ = read(row)
    except PairRowError:
        return
    assert record.queries
    assert record.positives
    assert all(isinstance(text, str) and text.strip() for text in record.texts())
    assert len(record.positive_scores) in {0, 1, len(record.positives)}
    assert len(record.negative_scores) in {0, len(record.negatives)}
    record.example(negatives=2)


# Kinds of file

ROWS = [
    {"query": "q1", "positive": "p, one", "negative": 'n "1"'},
    {"query": "问题二", "positive": "答\n案", "negative": "n2"},
]
WANT = [(("q1",), ("p, one",), ('n "1"',)), (("问题二",), ("答\n案",), ("n2",))]


def as_lines(rows):
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write_table(path, rows, **options):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), **options)
        writer.writeheader()
        writer.writerows(rows)


def texts(records):
    return [(r.queries, r.positives, r.negatives) for r in records]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", as_lines(ROWS)),
        ("a.json", as_lines(ROWS)),
        ("a.jsonl", b"\xef\xbb\xbf" + as_lines(ROWS)),
        ("a.jsonl", as_lines(ROWS).replace(b"\n", b"\r\n\r\n")),
        ("a.jsonl.gz", gzip.compress(as_lines(ROWS), mtime=0)),
        ("a.JSON", json.dumps(ROWS).encode()),
        ("a.json", json.dumps(ROWS, indent=2).encode()),
        ("a.json", json.dumps({k: [r[k] for r in ROWS] for k in ROWS[0]}).encode()),
        ("a.jsonl", as_lines([[r["query"], r["positive"], r["negative"]] for r in ROWS])),
        ("a.json", json.dumps([list(r.values()) for r in ROWS]).encode()),
    ],
)
def test_json_is_read_in_every_layout(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    assert texts(load_pairs(tmp_path / name)) == WANT


def test_a_single_json_object_is_one_pair(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(ROWS[0], indent=1))

    assert texts(load_pairs(tmp_path / "a.json")) == WANT[:1]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimited_files_are_read(tmp_path, delimiter):
    path = tmp_path / ("a.tsv" if delimiter == "\t" else "a.csv")
    write_table(path, ROWS, delimiter=delimiter)

    assert texts(load_pairs(path)) == WANT


def test_quotation_marks_of_a_tab_separated_file_may_be_part_of_the_text(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text('query\tpositive\n"so called\tp1\nq2\tthe "best\n')

    assert texts(load_pairs(path)) == [
        (('"so called',), ("p1",), ()),
        (("q2",), ('the "best',), ()),
    ]


@pytest.mark.parametrize("encoding", ["gb18030", "utf-16"])
@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_another_encoding_is_read_when_named(tmp_path, encoding, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix == ".csv":
        write_table(path, ROWS)
        path.write_bytes(path.read_bytes().decode().encode(encoding))
    else:
        path.write_bytes(as_lines(ROWS).decode().encode(encoding))

    assert texts(load_pairs(path, PairOptions(encoding=encoding))) == WANT


def test_parquet_and_saved_datasets_are_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_list(ROWS)
    table.to_parquet(tmp_path / "a.parquet")
    table.save_to_disk(tmp_path / "saved")
    both = datasets.DatasetDict({"train": table, "dev": table.select([1])})
    both.save_to_disk(tmp_path / "splits")

    assert texts(load_pairs(tmp_path / "a.parquet")) == WANT
    assert texts(load_pairs(tmp_path / "saved")) == WANT
    assert texts(load_pairs(tmp_path / "splits")) == WANT
    assert texts(load_pairs(tmp_path / "splits", PairOptions(split="dev"))) == WANT[1:]
    with pytest.raises(FileNotFoundError, match=r"No split 'test' in .*; it has: dev, train"):
        load_pairs(tmp_path / "splits", PairOptions(split="test"))


def test_a_folder_of_files_is_read_by_split(tmp_path):
    (tmp_path / "train-00000-of-00002.jsonl").write_bytes(as_lines(ROWS[:1]))
    (tmp_path / "train-00001-of-00002.jsonl.gz").write_bytes(gzip.compress(as_lines(ROWS[1:])))
    (tmp_path / "dev.jsonl").write_bytes(as_lines(ROWS[:1]))

    records = load_pairs(tmp_path)

    assert texts(records) == WANT
    assert records[1].place == "train-00001-of-00002.jsonl.gz, line 1"
    assert texts(load_pairs(tmp_path, PairOptions(split="dev"))) == WANT[:1]


def test_a_folder_in_the_beir_layout_gives_its_judgements(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "train.tsv").write_text(
        "query-id\tcorpus-id\tscore\n1\ta\t1\n1\tb\t2\n1\tc\t0\n2\tc\t1\n"
    )
    corpus = [
        {"_id": i, "title": t, "text": f"text {i}"} for i, t in zip("abc", "T  ", strict=True)
    ]
    (tmp_path / "corpus.jsonl").write_bytes(as_lines(corpus).replace(b'" "', b'""'))
    (tmp_path / "queries.jsonl").write_bytes(as_lines({"_id": i, "text": f"q{i}"} for i in "12"))

    assert texts(load_pairs(tmp_path)) == [
        (("q1",), ("T text a", "text b"), ("text c",)),
        (("q2",), ("text c",), ()),
    ]


def test_a_data_set_that_cannot_be_had_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("datasets")
    with pytest.raises(
        FileNotFoundError, match="No file or folder someone/some-pairs, and no data"
    ):
        load_pairs("someone/some-pairs")
    with pytest.raises(FileNotFoundError, match=r"No file or folder .*nothing.jsonl; give one"):
        load_pairs(tmp_path / "nothing.jsonl")
    (tmp_path / "a.docx").touch()
    with pytest.raises(
        ValueError, match=r"a.docx: no kind of file that holds pairs; known: .jsonl"
    ):
        load_pairs(tmp_path / "a.docx")
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(ValueError, match=r"a.parquet cannot be read as parquet"):
        load_pairs(tmp_path / "a.parquet")


def test_what_a_library_loads_is_read_as_rows_are(tmp_path):
    datasets = pytest.importorskip("datasets")
    from data.pair_sources import _hub_rows

    (tmp_path / "train.jsonl").write_bytes(as_lines(ROWS))
    datasets.disable_progress_bars()

    got = [row.value for row in _hub_rows(str(tmp_path), None)]

    assert got == ROWS


# Bad rows

BAD = {
    "not JSON": b'{"query": "q", "positive":\n',
    "not UTF-8": '{"query": "caf\u00e9", "positive": "p"}\n'.encode("latin-1"),
    "columns": b'{"foo": "q"}\n',
    "empty": b'{"query": " ", "positive": "p"}\n',
    "not an object": b"7\n",
}


def with_bad_lines(path, bad=None, good=4):
    line = b'{"query": "q", "positive": "p"}\n'
    path.write_bytes(line * good + b"".join(bad or BAD.values()) + line)


@pytest.mark.parametrize("kind", BAD)
def test_the_first_bad_line_stops_reading_and_is_named(tmp_path, kind):
    with_bad_lines(tmp_path / "a.jsonl", [BAD[kind]])

    with pytest.raises(BadPairError, match=r"a.jsonl: line 5: .*\.$") as caught:
        load_pairs(tmp_path / "a.jsonl")

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("on_bad", ["skip", "name"])
def test_bad_lines_are_skipped_or_named_as_asked_and_always_counted(tmp_path, caplog, on_bad):
    with_bad_lines(tmp_path / "a.jsonl")
    report = ReadingReport()

    with caplog.at_level(logging.WARNING):
        records = load_pairs(tmp_path / "a.jsonl", PairOptions(on_bad=on_bad), report=report)

    assert [record.place for record in records] == [f"line {n}" for n in (1, 2, 3, 4, 10)]
    assert report.problems == dict.fromkeys(BAD, 1)
    assert "a.jsonl: line 6: not UTF-8" in report.examples[1]
    assert len(caplog.messages) == (len(BAD) if on_bad == "name" else 0)


def test_one_bad_line_among_many_costs_only_itself_and_no_memory(tmp_path):
    import tracemalloc

    count = 4_000
    with_bad_lines(tmp_path / "a.jsonl", [BAD["not JSON"]], good=count)
    report = ReadingReport()

    tracemalloc.start()
    got = sum(
        1 for _ in read_pairs(tmp_path / "a.jsonl", PairOptions(on_bad="skip"), report=report)
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert got == count + 1
    assert len(report.examples) == report.problems.total() == 1
    assert f"line {count + 1}: not JSON" in report.examples[0]
    assert peak < 2**18


def test_bad_rows_of_a_table_are_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"query,positive\nq,p\nq\nq,p,x\nq,caf\xe9\n,p\n\nq,p\n")
    report = ReadingReport()

    records = load_pairs(path, PairOptions(on_bad="skip"), report=report)

    assert [record.place for record in records] == ["line 2", "line 8"]
    assert [text.partition("a.csv: ")[2] for text in report.examples] == [
        "line 3: 1 fields where the first line has 2.",
        "line 4: 3 fields where the first line has 2.",
        "line 5: not UTF-8.",
        "line 6: 'query' holds no text.",
    ]


def test_a_file_without_one_usable_pair_is_an_error(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(BAD["columns"])
    with pytest.raises(ValueError, match=r"holds no pair that can be used. The first: .*not recog"):
        load_pairs(path, PairOptions(on_bad="skip"))
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="holds no pair that can be used"):
        load_pairs(path)


def test_a_damaged_archive_is_named(tmp_path):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(as_lines(ROWS * 500))[:-20])

    with pytest.raises(ValueError, match=r"a.jsonl.gz is damaged"):
        load_pairs(path)


def test_lone_surrogates_are_replaced(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"query": "a\\ud800", "positive": "p"}\n')

    assert load_pairs(tmp_path / "a.jsonl")[0].queries == ("a\ufffd",)


def test_wrong_options_say_what_came():
    with pytest.raises(ValueError, match="stop, skip, name; got 'ignore'"):
        PairOptions(on_bad="ignore")
    with pytest.raises(ValueError, match="Unknown encoding 'utf8000'"):
        PairOptions(encoding="utf8000")


# Examples

MANY = PairRecord(
    queries=("q",), positives=("p0", "p1", "p2"), negatives=("n0", "n1", "n2", "n3", "n4")
)


def test_a_record_gives_the_example_of_its_shape():
    assert simple().example() == Pair(query=Q, positive=P)
    assert simple(label=0.5).example() == ScoredPair(text1=Q, text2=P, label=0.5)
    assert simple(negatives=(N,), instruction="x").example() == Triplet(
        query=Q, positive=P, negatives=(N,), instruction="x"
    )
    assert simple(negatives=(N,)).example(negatives=0) == Pair(query=Q, positive=P)
    assert [simple().shape, simple(negatives=(N,)).shape, simple(label=0.0).shape] == [
        "pair",
        "triplet",
        "scored pair",
    ]


@pytest.mark.parametrize("index", range(5))
def test_every_text_of_a_list_is_drawn_once_before_any_is_drawn_again(index):
    examples = [MANY.example(seed=3, epoch=e, index=index) for e in range(15)]

    for start in range(0, 15, 3):
        assert sorted(e.positive for e in examples[start : start + 3]) == ["p0", "p1", "p2"]
    for start in range(0, 15, 5):
        drawn = sorted(n for e in examples[start : start + 5] for n in e.negatives)
        assert drawn == ["n0", "n1", "n2", "n3", "n4"]


def test_the_same_numbers_draw_the_same_and_others_differ():
    def draws(seed):
        return [MANY.example(seed=seed, epoch=1, index=i, negatives=2) for i in range(30)]

    assert draws(1) == draws(1)
    assert draws(1) != draws(2)
    assert len({example.positive for example in draws(1)}) == 3
    assert draws(7)[0] == Triplet(query="q", positive="p0", negatives=("n2", "n3"))  # any machine


def test_negatives_are_distinct_and_scores_follow_their_texts():
    record = PairRecord(
        queries=("q",),
        positives=("p0", "p1"),
        negatives=("n0", "n1", "n2"),
        positive_scores=(10.0, 11.0),
        negative_scores=(0.0, 1.0, 2.0),
    )

    for epoch in range(6):
        example = record.example(epoch=epoch, negatives=8)

        assert sorted(example.negatives) == ["n0", "n1", "n2"]
        assert example.scores[0] == 10.0 + int(example.positive[1])
        assert example.scores[1:] == tuple(float(text[1]) for text in example.negatives)
