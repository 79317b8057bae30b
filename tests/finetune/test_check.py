"""What `python -m finetune.check` recognises and finds, each by a file that has it."""

import json
import os
import subprocess
import sys

import pytest

from data.pair_reading import PairOptions
from finetune.checking import check_pairs
from finetune.lint import SAMPLE, Linter


def write(path, rows):
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


def pairs(count=200, **changes):
    return [
        {"query": f"what is {i}", "positive": f"it is thing {i}"} | changes for i in range(count)
    ]


def scored(labels):
    return [
        {"text1": f"a {i}", "text2": f"b {i}", "label": label} for i, label in enumerate(labels)
    ]


def findings(tmp_path, rows, **options):
    checked = check_pairs(write(tmp_path / "a.jsonl", rows), **options)
    return {finding.name: finding for finding in checked.summary.findings}


def test_clean_pairs_have_no_findings(tmp_path):
    path = write(tmp_path / "a.jsonl", pairs())

    checked = check_pairs(path)

    assert checked.summary.findings == []
    assert checked.summary.records == 200
    assert checked.summary.formats == {"AnglE B": 200}
    assert checked.summary.shapes == {"pair": 200}
    assert not checked.summary.has_errors


ONE = {
    "query equals positive": {"query": "Same  text", "positive": "same text"},
    "positive equals negative": {"query": "q", "positive": "p", "negative": "P"},
    "query equals negative": {"query": "q", "positive": "p", "negative": "q"},
    "duplicate": {"query": "what is 0", "positive": "it is thing 0"},
    "damaged text": {"query": "what is cafÃ©", "positive": "p"},
}


@pytest.mark.parametrize("name", ONE)
def test_a_fault_of_one_record_is_counted_and_placed(tmp_path, name):
    found = findings(tmp_path, [*pairs(), ONE[name]])

    assert found[name].severity == "warning"
    assert found[name].count == 1
    assert found[name].places == ("line 201",)
    assert set(found) - {"repeated query"} == {name}


def test_equal_texts_of_a_scored_pair_are_no_fault(tmp_path):
    rows = [*scored([0.1, 0.9] * 100), {"text1": "x", "text2": "x", "label": 1.0}]

    assert findings(tmp_path, rows) == {}


def test_bad_rows_are_counted_by_what_is_wrong(tmp_path):
    rows = [*pairs(), {"query": "", "positive": "p"}, {"foo": 1}, {"foo": 2}]
    path = write(tmp_path / "a.jsonl", rows)

    bad = [f for f in check_pairs(path).summary.findings if f.name == "bad rows"]

    assert {(f.count, f.message) for f in bad} == {
        (1, "1 rows cannot be used (empty)"),
        (2, "2 rows cannot be used (columns)"),
    }
    assert any("line 201: 'query' holds no text" in text for f in bad for text in f.places)


def test_labels_are_looked_at(tmp_path):
    constant = findings(tmp_path, scored([1.0] * 200))
    skewed = findings(tmp_path, scored([1.0] * 190 + [0.0] * 10))
    wide = findings(tmp_path, scored([0, 5, 2.5, 1] * 50))

    assert constant["constant labels"].severity == "error"
    assert skewed["label skew"].message == "95% of the labels are 1"
    assert wide["label range"].message.startswith("labels go from 0 to 5;")
    assert set(constant) | set(skewed) | set(wide) == {
        "constant labels",
        "label skew",
        "label range",
    }


def test_a_label_that_is_not_read_is_pointed_out(tmp_path):
    rows = [{"text": f"t {i}", "text_pos": f"p {i}", "label": i % 2, "id": i} for i in range(200)]

    checked = check_pairs(write(tmp_path / "a.jsonl", rows))

    assert [f.name for f in checked.summary.findings] == ["ignored label"]
    assert checked.summary.ignored_columns == {"id": 200, "label": 200}


def test_a_single_pair_is_an_error_and_few_are_noted(tmp_path):
    assert findings(tmp_path, pairs(1))["single pair"].severity == "error"
    assert findings(tmp_path, pairs(20))["few pairs"].severity == "note"


def test_what_two_splits_share_is_a_leak(tmp_path):
    test = write(
        tmp_path / "test.jsonl", [*pairs(3), {"query": "new", "positive": "it is thing 9"}]
    )

    found = findings(tmp_path, pairs(), against=[test])

    assert found["leak of queries"].count == 3
    assert found["leak of queries"].severity == "warning"
    assert found["shared documents"].count == 4


def test_repeated_queries_are_noted(tmp_path):
    rows = [*pairs(), {"query": "what is 7", "positive": "another answer"}]

    assert findings(tmp_path, rows)["repeated query"].count == 1


def test_tokens_and_languages_are_those_of_the_encoder(tmp_path, make_word_encoder):
    encoder = make_word_encoder(max_tokens=8)
    encoder.languages = ("en",)
    chinese = [{"query": f"怎么设置{i}", "positive": "请打开设置页面"} for i in range(100)]
    long = [{"query": "what is x", "positive": "one two three four five six seven"}]

    found = findings(tmp_path, [*pairs(100), *chinese, *long], encoder=encoder)

    assert found["unread language"].message.startswith("the encoder was not made for some of the")
    assert "zh 50%" in found["mixed languages"].message
    cut = {f for f in found.values() if f.name == "truncation"}
    assert any("longer than 8 tokens (the longest has 9)" in f.message for f in cut)


def test_examples_are_rendered_with_their_instructions(tmp_path, make_word_encoder):
    encoder = make_word_encoder(templates={"query": "query: {text}", "document": "passage: {text}"})
    rows = [
        {"query": "{q}", "pos": ["p"], "neg": ["n"]},
        {"query": "q", "pos": ["p"], "prompt": "Find: "},
        {"text1": "a", "text2": "b", "label": 0.5},
        *pairs(),
    ]

    checked = check_pairs(write(tmp_path / "a.jsonl", rows), encoder=encoder)

    assert [example.texts for example in checked.examples[:3]] == [
        (("query", "query: {q}"), ("positive", "passage: p"), ("negative", "passage: n")),
        (("query", "Find: q"), ("positive", "passage: p")),
        (("text 1", "a"), ("text 2", "b")),
    ]
    assert len(checked.examples) == 5


def test_the_sample_is_drawn_evenly_and_a_long_file_needs_little_memory():
    from data.pairs import PairRecord

    linter = Linter("many")
    count = 3 * SAMPLE
    for i in range(count):
        linter.add(PairRecord(queries=(f"q{i}",), positives=(f"p{i}",), place=str(i)))

    assert len(linter.sample) == SAMPLE
    late = sum(int(record.place) >= count // 2 for record in linter.sample)
    assert 0.45 < late / SAMPLE < 0.55


def test_options_reach_the_reader(tmp_path):
    rows = [{"a": f"x {i}", "b": f"y {i}", "label": "yes" if i % 2 else "no"} for i in range(200)]
    options = PairOptions(rename={"a": "text1", "b": "text2"}, labels={"yes": 1.0, "no": 0.0})

    summary = check_pairs(write(tmp_path / "a.jsonl", rows), options).summary

    assert summary.labels == {"min": 0.0, "max": 1.0, "mean": 0.5, "distinct": 2}


# The command


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "finetune.check", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


def test_the_command_prints_one_json_object(tmp_path):
    path = write(tmp_path / "a.jsonl", pairs())

    done = run(path, "--json", "--no-encoder")

    found = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert found["records"] == 200
    assert found["examples"][0]["texts"][0] == {"role": "query", "text": "what is 0"}


def test_the_command_prints_for_people_and_fails_on_useless_pairs(tmp_path):
    done = run(write(tmp_path / "a.jsonl", scored([1.0] * 9)), "--no-encoder")

    assert done.returncode == 1
    assert "9 records (9 scored pairs)" in done.stdout
    assert "recognised as AnglE A: 9" in done.stdout
    assert "error: all labels are 1;" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothing.jsonl"], 1, "No file or folder nothing.jsonl"),
        (["{path}", "--label", "yes"], 2, "--label WORD=N is the form; got 'yes'"),
        (["{path}", "--label", "yes=x"], 2, "'x' is no number"),
        (["{path}", "--format", "abc"], 2, "Unknown format of pairs 'abc'"),
        (["{path}", "--encoding", "abc"], 2, "Unknown encoding 'abc'"),
        (["{path}", "--rename", "query=="], 1, "holds no pair that can be used"),
        ([], 2, "required: PAIRS"),
    ],
)
def test_a_wrong_call_is_one_sentence(tmp_path, arguments, code, message):
    path = write(tmp_path / "a.jsonl", pairs(3))

    done = run(*(str(path) if a == "{path}" else a for a in arguments), "--no-encoder")

    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["check", "negatives", "synthesize"])
def test_help_loads_nothing_heavy(command):
    code = f"import sys, finetune.{command} as c; c._parser().format_help(); "
    code += "sys.exit(bool({'torch', 'numpy', 'transformers', 'datasets'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
