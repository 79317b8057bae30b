"""The commands as a user types them: output, exit codes, and one clear sentence for bad input."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from indexing import build, evaluate, merge, open_index, plan, search
from indexing.config import BuildConfig, read_config
from indexing.errors import UsageError

ROOT = Path(__file__).parent.parent.parent
COMMANDS = {
    "build": build,
    "merge": merge,
    "plan": plan,
    "search": search,
    "evaluate": evaluate,
}


@pytest.fixture
def call(monkeypatch, capsys):
    """Call a command in this process; gives (exit code, stdout, stderr)."""

    def call(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            COMMANDS[name].main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return call


def one_sentence(err):
    """The complaint, after checking that it is one line and no traceback."""
    assert "Traceback" not in err
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    return lines[0]


@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources") / "docs"
    folder.mkdir()
    (folder / "reset.md").write_text(
        "# Accounts\n\n## Forgotten password\n\nOpen settings and choose a new one.\n"
    )
    (folder / "trains.md").write_text("# Travel\n\nThe office books trains and hotels for you.\n")
    (folder / "请假.md").write_text("# 请假制度\n\n请假需要提前三天向主管申请。\n")
    return folder


@pytest.fixture(scope="module")
def kb(docs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("index") / "kb"
    command = [sys.executable, "-m", "indexing.build", str(docs), "--index", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert json.loads(done.stdout)["documents"] == 3
    return folder


def test_build_prints_the_json_of_the_design(docs, kb, call):
    code, out, _ = call("build", docs, "--index", kb, "--json")

    report = json.loads(out)
    assert code == 0
    assert list(report) == [
        "index", "generation", "encoder", "documents", "chunks", "added", "updated", "skipped",
        "duplicates", "deleted", "failed", "seconds", "tokens", "tokens_per_s",
    ]  # fmt: skip
    assert (report["skipped"], report["tokens"]) == (3, 0)


def test_build_tells_people_what_it_did(docs, tmp_path, call):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "good.md").write_text("Good text.")
    (tmp_path / "docs" / "bad.md").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")

    code, out, err = call("build", tmp_path / "docs", "--index", tmp_path / "kb")

    assert code == 0
    assert "1 documents, 1 chunks, generation 1." in out
    assert "1 added, 0 updated, 0 deleted, 0 unchanged, 0 duplicates, 1 failed" in out
    assert "bad.md: The file holds binary content" in one_sentence(err)


def test_build_says_which_documents_the_encoder_cannot_read(docs, tmp_path, call, caplog):
    code, _, _ = call("build", docs, "--index", tmp_path / "kb")

    assert code == 0
    assert "cannot read 1 of the 3 new documents (for example docs/请假.md)" in caplog.text
    assert "--encoder BAAI/bge-small-zh-v1.5" in caplog.text


def test_build_reads_json_lines_from_standard_input(tmp_path):
    record = json.dumps({"id": "faq-1", "text": "Ask the help desk.", "title": "Help"})
    command = [
        sys.executable,
        "-m",
        "indexing.build",
        "-",
        "--index",
        str(tmp_path / "kb"),
        "--json",
    ]

    done = subprocess.run(
        command, input=record, capture_output=True, text=True, check=True, cwd=ROOT
    )

    assert json.loads(done.stdout)["added"] == 1


def test_the_effective_configuration_is_written_and_can_be_read_again(kb):
    choices = read_config(kb / "build.toml")

    assert choices["chunk_tokens"] == 256
    assert choices["store"] == "faiss"
    BuildConfig(**choices)


def test_a_configuration_file_gives_options_and_the_command_line_wins(docs, tmp_path, call):
    (tmp_path / "c.toml").write_text('chunk-tokens = 64\nstore = "exact"\n')

    code, _, _ = call(
        "build",
        docs,
        "--index",
        tmp_path / "kb",
        "--config",
        tmp_path / "c.toml",
        "--chunk-tokens",
        "80",
    )

    manifest = open_index(tmp_path / "kb").generation.manifest
    assert code == 0
    assert (manifest.splitter.chunk_tokens, manifest.store) == (80, "exact")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("chunk_token = 3", "unknown key 'chunk-token'. Known: allow-mass-delete, chunk-tokens"),
        ('chunk-tokens = "many"', "chunk-tokens must be a whole number"),
        ("strict = 1", "strict must be true or false"),
        ("= 3", "Cannot read the configuration"),
    ],
)
def test_a_wrong_configuration_file_is_refused(tmp_path, text, complaint):
    (tmp_path / "c.toml").write_text(text)

    with pytest.raises(UsageError, match=complaint.replace(".", r"\.")):
        read_config(tmp_path / "c.toml")


def test_search_prints_the_json_of_the_design(kb, call):
    code, out, _ = call("search", "I forgot my password", "--index", kb, "--k", "2", "--json")

    found = json.loads(out)
    assert code == 0
    assert list(found) == ["query", "mode", "hits", "took_ms"]
    assert found["mode"] == "hybrid"
    hit = found["hits"][0]
    assert list(hit) == [
        "rank", "score", "scores", "relevance", "document", "title", "source", "page", "heading",
        "text", "start", "end", "chunk", "metadata", "better_than",
    ]  # fmt: skip
    assert list(hit["scores"]) == ["dense", "lexical", "fused", "rerank"]
    assert (hit["rank"], hit["document"], hit["relevance"]) == (1, "docs/reset.md", None)
    assert hit["heading"] == ["Accounts", "Forgotten password"]
    assert hit["score"] == hit["scores"]["fused"]


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_search_shows_people_the_place_and_the_passage(kb, call, mode):
    code, out, _ = call("search", "trains and hotels", "--index", kb, "--mode", mode)

    assert code == 0
    assert " 1. Travel\n    docs/trains.md" in out
    assert "The office books trains and hotels for you." in out


def test_a_chinese_query_follows_the_words_where_the_encoder_is_blind(kb, call):
    _, out, _ = call("search", "请假要提前几天申请？", "--index", kb, "--json")

    hits = json.loads(out)["hits"]
    assert hits[0]["document"] == "docs/请假.md"
    assert hits[0]["score"] == 1.0  # the best of the words, which have the whole weight


def test_a_query_that_nothing_matches_says_so(kb, call):
    assert call("search", "zebra", "--index", kb, "--mode", "lexical")[:2] == (
        0,
        "Nothing found.\n",
    )


def test_evaluate_asks_golden_questions_by_language(kb, tmp_path, call):
    questions = [
        {
            "question": "I forgot my password",
            "document": "docs/reset.md",
            "heading": "Forgotten password",
            "language": "en",
        },
        {"question": "请假申请", "document": "docs/请假.md", "quote": "提前三天", "language": "zh"},
        {
            "question": "trains",
            "document": "docs/trains.md",
            "heading": "No such heading",
            "language": "en",
        },
    ]
    golden = tmp_path / "golden.jsonl"
    golden.write_text("\n".join(map(json.dumps, questions)))

    code, out, _ = call("evaluate", "--index", kb, "--golden", golden, "--json")

    result = json.loads(out)
    assert code == 0
    assert (result["queries"], result["mode"]) == (3, "hybrid")
    assert result["hit@1"] == pytest.approx(2 / 3, abs=1e-5)
    assert {name: s["hit@1"] for name, s in result["by_language"].items()} == {"en": 0.5, "zh": 1.0}


@pytest.fixture
def beir(tmp_path):
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        ("d1", "Trains", "leave at noon"),
        ("d2", "Cats", "sleep all day"),
        ("q2", "", "cats sleep"),
    ]
    rows = [json.dumps({"_id": id_, "title": title, "text": text}) for id_, title, text in corpus]
    (folder / "corpus.jsonl").write_text("\n".join(rows))
    queries = [{"_id": "q1", "text": "when do trains leave"}, {"_id": "q2", "text": "cats sleep"}]
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq2\td2\t1\n")
    return folder


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_evaluate_scores_a_beir_folder(beir, call, mode):
    _, out, _ = call("evaluate", "--dataset", beir, "--mode", mode, "--json")
    _, without, _ = call(
        "evaluate", "--dataset", beir, "--mode", mode, "--ignore-identical-ids", "--json"
    )

    result = json.loads(out)
    assert list(result) == [
        "dataset", "split", "encoder", "mode", "queries", "documents", "ndcg@10", "mrr@10",
        "map@100", "recall@1", "recall@3", "recall@5", "recall@10", "recall@100", "hit@1", "hit@3",
        "hit@5", "hit@10", "intervals", "by_language",
    ]  # fmt: skip
    # The document called like the second query is its exact copy, and in the way.
    assert (result["hit@1"], result["hit@3"]) == (0.5, 1.0)
    assert json.loads(without)["hit@1"] == 1.0


def test_evaluate_prints_a_table_for_people(beir, call):
    _, out, _ = call("evaluate", "--dataset", beir)

    assert "tiny (test), dense" in out
    assert "ndcg@10" in out


# Bad input: one clear sentence, the right exit code, and nothing lost.


def test_a_missing_source_is_named(tmp_path, call):
    code, _, err = call("build", tmp_path / "nowhere", "--index", tmp_path / "kb")

    assert code == 2
    assert "No such file or folder" in one_sentence(err)
    assert not (tmp_path / "kb").exists()


def test_an_empty_folder_is_an_error_that_says_what_is_read(tmp_path, call):
    (tmp_path / "empty").mkdir()

    code, _, err = call("build", tmp_path / "empty", "--index", tmp_path / "kb")

    assert code == 1
    assert "No documents found" in one_sentence(err)
    assert ".md" in err


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x7fELF\x02\x01\x01\x00" + bytes(range(256)) * 4, "binary content"),
        (b"", "holds no text"),
        (b" \n\n ", "holds no text"),
        (bytes([0x81, 0xFF, 0x80, 0xFE, 0xC0, 0xFF]) * 40, "encoding"),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_a_reason(tmp_path, call, content, reason):
    (tmp_path / "bad.md").write_bytes(content)

    code, _, err = call("build", tmp_path / "bad.md", "--index", tmp_path / "kb")

    assert code == 1
    assert "bad.md" in one_sentence(err)
    assert reason in err


def test_an_unreadable_file_is_refused_with_the_systems_reason(tmp_path, call):
    # A link to itself cannot be opened by anyone, root included.
    (tmp_path / "loop.md").symlink_to(tmp_path / "loop.md")
    (tmp_path / "good.md").write_text("Good text.")

    code, out, err = call("build", tmp_path, "--index", tmp_path / ".kb")

    assert code == 0
    assert "1 added" in out
    assert "loop.md: The file cannot be read: Too many levels of symbolic links." in err


def test_an_unsupported_file_that_was_named_is_refused(tmp_path, call):
    (tmp_path / "data.xyz").write_text("text")

    code, _, err = call("build", tmp_path / "data.xyz", "--index", tmp_path / "kb")

    assert code == 1
    assert "'.xyz' are not supported" in one_sentence(err)


def test_two_sources_of_one_name_are_refused(tmp_path, call):
    for name in ("a/docs", "b/docs"):
        (tmp_path / name).mkdir(parents=True)

    code, _, err = call(
        "build", tmp_path / "a/docs", tmp_path / "b/docs", "--index", tmp_path / "kb"
    )

    assert code == 2
    assert "both called 'docs'" in one_sentence(err)


def test_a_page_is_indexed_from_its_address_and_updated(tmp_path, call):
    from tests.data.test_site import page, served

    pages = {
        "/": page("Passwords", "/fees"),
        "/fees": page("Fees", text="Fees are due in May. " * 20),
    }
    index = tmp_path / "kb"
    with served(pages) as (base, _):
        first = json.loads(call("build", f"{base}/", "--depth", 1, "--index", index, "--json")[1])
        again = json.loads(call("build", f"{base}/", "--depth", 1, "--index", index, "--json")[1])
        pages["/fees"] = (500, {}, "")
        broken = json.loads(call("build", f"{base}/", "--depth", 1, "--index", index, "--json")[1])
        hits = json.loads(call("search", "when are fees due", "--index", index, "--json")[1])[
            "hits"
        ]

    assert (first["added"], again["added"], again["skipped"]) == (2, 0, 2)
    assert (broken["documents"], broken["deleted"]) == (2, 0)
    assert "earlier version stays" in broken["failed"][0]["reason"]
    assert hits[0]["document"] == f"{base}/fees"


def test_a_page_that_did_not_change_is_neither_sent_nor_read_again(tmp_path, call, monkeypatch):
    import data.site
    from tests.data.test_site import page, served

    pages = {
        "/": (200, {"ETag": "a"}, page("Passwords", "/fees")),
        "/fees": (200, {"ETag": "b"}, page("Fees", text="Fees are due in May. " * 20)),
    }
    index, read = tmp_path / "kb", []
    document_of = data.site.document_of
    monkeypatch.setattr(
        data.site, "document_of", lambda *a, **k: read.append(k["id"]) or document_of(*a, **k)
    )

    def build(base):
        read.clear()
        return json.loads(call("build", f"{base}/", "--depth", 1, "--index", index, "--json")[1])

    with served(pages) as (base, asked):
        build(base)
        again, asked_again, read_again = build(base), asked[-5:], list(read)
        pages["/fees"] = (200, {"ETag": "c"}, page("Fees", text="Fees are due in June. " * 20))
        changed, read_then = build(base), list(read)
        build(base)
        read_last = list(read)
        (index / "work.sqlite").unlink()  # a mere aid
        without = build(base)

    assert (again["skipped"], again["deleted"], read_again) == (2, 0, [])
    assert asked_again == ["/robots.txt", "/", "unchanged", "/fees", "unchanged"]
    assert (changed["updated"], changed["skipped"], read_then) == (1, 1, [f"{base}/fees"])
    assert (read_last, without["skipped"], len(read)) == ([], 2, 2)


def test_what_is_no_web_address_is_a_wrong_call(tmp_path, call):
    code, _, err = call("build", "ftp://example.com/a", "--index", tmp_path / "kb")

    assert code == 2
    assert "no web address" in one_sentence(err)


def test_a_folder_with_other_files_is_not_made_an_index(docs, call):
    code, _, err = call("build", docs, "--index", docs)

    assert code == 2
    assert "holds no index but other files" in one_sentence(err)


def test_standard_input_of_a_person_is_not_waited_for(tmp_path, call, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    code, _, err = call("build", "-", "--index", tmp_path / "kb")

    assert code == 2
    assert "nothing is piped in" in one_sentence(err)


def test_an_unknown_model_without_network_is_one_sentence(docs, tmp_path, call):
    code, _, err = call("build", docs, "--index", tmp_path / "kb", "--encoder", "nobody/nothing")

    assert code == 2
    assert "Cannot load the model 'nobody/nothing'" in one_sentence(err)


def test_an_index_of_another_encoder_is_refused(docs, tmp_path, call, word_encoder):
    from indexing import build_index

    build_index([str(docs)], tmp_path / "kb", encoder=word_encoder)

    default = "sentence-transformers/all-MiniLM-L6-v2"
    code, _, err = call("build", docs, "--index", tmp_path / "kb", "--encoder", default)

    assert code == 1
    assert "was built with words" in one_sentence(err)
    assert "dim 384 instead of 32" in err


def test_an_option_that_does_not_exist_is_one_sentence(docs, call):
    code, _, err = call("build", docs, "--index", "x", "--frobnicate")

    assert code == 2
    assert "--frobnicate" in one_sentence(err)


@pytest.mark.parametrize("arguments", [("", "--k", "3"), ("word", "--k", "0"), ("  ",)])
def test_a_search_for_nothing_is_refused(kb, call, arguments):
    code, _, err = call("search", *arguments, "--index", kb)

    assert code == 2
    assert "not empty" in one_sentence(err)


@pytest.mark.parametrize(
    "query",
    ["the of and", "🙂🙂", "!?", "的了", "word " * 20_000, "x" * 100_000],
    ids=lambda q: q[:9],
)
@pytest.mark.parametrize("mode", ["lexical", "hybrid"])
def test_an_odd_query_gives_a_list_and_no_error(kb, call, query, mode):
    arguments = ["--index", kb, "--mode", mode, "--k", "1000", "--json"]
    code, out, err = call("search", query, *arguments)

    assert (code, err) == (0, "")
    hits = json.loads(out)["hits"]
    assert len(hits) <= len(open_index(kb))
    assert [hit["rank"] for hit in hits] == list(range(1, len(hits) + 1))


def test_the_command_quotes_an_answer_before_the_hits(kb, call):
    query = "trains and hotels"
    code, out, _ = call("search", query, "--index", kb, "--answer", "--json")
    answer = json.loads(out)["answer"]

    assert code == 0
    quoted = answer["sentences"][0]
    text = open_index(kb).generation.text(quoted["document"])
    assert text[quoted["start"] : quoted["end"]] == quoted["text"]
    _, shown, _ = call("search", query, "--index", kb, "--answer")
    assert shown.startswith(f"“{quoted['text']}”\n  {quoted['document']}, {quoted['start']}-")


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "The filter is empty"),
        ("lang = 'en'", "cannot be read at character 6: write == to compare"),
        ("colour == 'red'", "No document has the field 'colour'"),
    ],
)
def test_a_wrong_filter_is_a_wrong_call(kb, call, expression, message):
    code, out, err = call("search", "word", "--index", kb, "--filter", expression, "--json")

    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--diversity", "2"], "--diversity must be between 0 and 1, got 2.0."),
        (["--diversity", "nan"], "--diversity must be between 0 and 1, got nan."),
        (["--per-document", "0"], "--per-document must be at least 1, got 0."),
        (["--context", "-1"], "--context must be 0 or more, got -1."),
        (["--k", "many"], "invalid int value: 'many'"),
    ],
)
def test_choices_out_of_range_are_a_wrong_call(kb, call, options, message):
    code, out, err = call("search", "word", "--index", kb, *options)

    assert (code, out) == (2, "")
    assert message in err


def test_a_filter_keeps_the_other_documents_out(kb, call):
    arguments = ["search", "password 请假", "--index", kb, "--mode", "lexical", "--json"]
    everything = json.loads(call(*arguments)[1])["hits"]
    chinese = json.loads(call(*arguments, "--filter", 'lang == "zh"')[1])["hits"]

    assert [hit["document"] for hit in chinese] == ["docs/请假.md"]
    assert len(everything) > len(chinese)


def test_searching_where_no_index_is_says_how_to_build_one(tmp_path, call):
    code, _, err = call("search", "word", "--index", tmp_path)

    assert code == 1
    assert "Build one: python -m indexing.build" in one_sentence(err)


def test_a_damaged_index_names_the_file(kb, tmp_path, call):
    import shutil

    shutil.copytree(kb, tmp_path / "kb")
    (tmp_path / "kb/gen-000001/base/ids.npy").unlink()

    code, _, err = call("search", "word", "--index", tmp_path / "kb")

    assert code == 1
    assert "ids.npy is missing" in one_sentence(err)


@pytest.mark.parametrize(
    "arguments",
    [(), ("--index", "kb"), ("--golden", "g.jsonl"), ("--dataset", "d", "--index", "kb")],
)
def test_evaluate_wants_either_a_dataset_or_golden_questions(call, arguments):
    code, _, err = call("evaluate", *arguments)

    assert code == 2
    assert "either --dataset, or --index and --golden" in one_sentence(err)


def test_a_split_that_does_not_exist_lists_those_that_do(beir, call):
    code, _, err = call("evaluate", "--dataset", beir, "--split", "dev")

    assert code == 1
    assert "it has: test" in one_sentence(err)


def test_shards_are_built_and_merged_by_the_commands(docs, call, tmp_path):
    shards = [tmp_path / "s1", tmp_path / "s2"]
    reports = [
        json.loads(call("build", docs, "--index", s, "--shard", f"{n}/2", "--json")[1])
        for n, s in enumerate(shards, start=1)
    ]

    code, out, _ = call("merge", *shards, "--index", tmp_path / "kb", "--json")
    merged = json.loads(out)

    assert code == 0
    assert sum(report["documents"] for report in reports) == merged["documents"] == 3
    assert (merged["shards"], merged["added"], merged["failed"]) == (2, 3, [])
    assert (
        open_index(tmp_path / "kb").search("forgotten password", 1)[0].document == "docs/reset.md"
    )
    code, out, _ = call("merge", *shards, "--index", tmp_path / "kb")
    assert out.splitlines()[0].endswith("3 documents, 3 chunks of 2 shards, generation 1.")
    code, _, err = call("merge", shards[0], "--index", tmp_path / "kb")
    assert (code, "Shard 2 of 2 is missing" in one_sentence(err)) == (2, True)


def test_what_is_for_a_cluster_wants_its_engine(docs, call, tmp_path, monkeypatch):
    build = ("build", docs, "--index", tmp_path / "kb")

    code, _, err = call(*build, "--shards", "3")
    assert (code, "--shards is for --engine ray" in one_sentence(err)) == (2, True)
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "indexing.ray_driver", raising=False)
    code, _, err = call(*build, "--engine", "ray")
    assert (code, "pip install -e '.[ray]'" in one_sentence(err)) == (1, True)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_library_and_gives_no_warning(name):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('indexing.{name}', run_name='__main__')\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numpy', 'faiss', 'tantivy', 'huggingface_hub', 'bs4'}\n"
        "print('HEAVY', sorted(heavy & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )

    assert done.stdout.splitlines()[-1] == "HEAVY []"
    assert done.stderr == ""


def test_output_to_a_closed_pipe_is_no_error(kb):
    search = f"{sys.executable} -m indexing.search trains --index {kb} --mode lexical"

    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"{search} | true"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )

    assert (done.returncode, done.stderr) == (0, "")


# Files, runs, pairs and comparisons


def test_evaluate_writes_a_run_and_a_table_that_score_the_same(beir, tmp_path, call):
    run, table = tmp_path / "x.run", tmp_path / "x.csv"
    _, first, _ = call(
        "evaluate",
        "--dataset",
        beir,
        "--mode",
        "lexical",
        "--json",
        "--run-out",
        run,
        "--csv",
        table,
    )
    code, again, _ = call("evaluate", "--dataset", beir, "--run", run, "--json")

    first, again = json.loads(first), json.loads(again)
    assert code == 0
    assert {name: again[name] for name in first["intervals"]} == {
        name: first[name] for name in first["intervals"]
    }
    rows = table.read_text().splitlines()
    assert rows[0].startswith("query,ndcg@10,mrr@10")
    assert len(rows) == first["queries"] + 1


def test_evaluate_compares_two_modes(beir, call):
    systems = ("mode=lexical", "mode=dense,store=faiss")

    code, out, _ = call("evaluate", "--dataset", beir, "--compare", *systems, "--json")

    result = json.loads(out)
    assert code == 0
    assert (result["a"]["mode"], result["b"]["mode"]) == ("lexical", "dense")
    for name, found in result["b_less_a"].items():
        want = result["b"][name] - result["a"][name]
        assert found["difference"] == pytest.approx(want, abs=2e-5)
    _, table, _ = call("evaluate", "--dataset", beir, "--compare", *systems)
    assert "B - A" in table
    assert "hit@3" in table


@pytest.mark.parametrize("system", ["mode", "depth=3", "mode=sparse"])
def test_a_comparison_of_something_unknown_is_refused(beir, call, system):
    code, _, err = call("evaluate", "--dataset", beir, "--compare", system, "mode=dense")

    assert code == 2
    assert "Known:" in one_sentence(err) or "NAME=VALUE" in one_sentence(err)


def test_evaluate_measures_pairs(tmp_path, call):
    pairs = tmp_path / "pairs.jsonl"
    alike = [("a red car", "a red automobile"), ("dogs bark", "the dog is barking")]
    unlike = [("a red car", "dogs bark"), ("stock prices fell", "she sings well")]
    rows = [(a, b, 1) for a, b in alike] + [(a, b, 0) for a, b in unlike]
    pairs.write_text(
        "".join(json.dumps({"text1": a, "text2": b, "label": c}) + "\n" for a, b, c in rows)
    )

    code, out, _ = call("evaluate", "--pairs", pairs, "--json")

    result = json.loads(out)
    assert code == 0
    assert (result["accuracy"], result["ap"], result["pairs"]) == (1.0, 1.0, 4)
    assert result["spearman"] == pytest.approx(0.89443, abs=1e-4)
    code, _, err = call("evaluate", "--pairs", pairs, "--task", "cooking")
    assert (code, "no task 'cooking'" in one_sentence(err)) == (1, True)
