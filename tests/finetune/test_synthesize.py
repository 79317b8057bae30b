"""Pairs made of documents alone: what each way makes, what the round trip keeps, a real service."""

import json
import os
import subprocess
import sys
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace

import pytest

from data.pair_reading import load_pairs
from data.records import Chunk, Document
from finetune.language_model import LanguageModel, LanguageModelError, brainstormed, invented
from finetune.synthesis import (
    Made,
    Passage,
    SynthesisReport,
    keep_found,
    make_pairs,
    passages_of,
)

BODY = (
    "The account page lists all settings. How do I reset the password? "
    "Open the account page and choose reset. A letter with a new one is sent to you."
)


def passage(text=BODY, heading=("Help", "Passwords and accounts"), id_=7, document="a.md"):
    chunk = Chunk(id=id_, document=document, start=0, end=9, page=None, heading=heading, text=text)
    return Passage(chunk, "The handbook", True)


def made(passages, way, seed=0):
    return [(one.query, one.text) for one in make_pairs(passages, ways=[way], seed=seed)]


def test_a_heading_asks_for_its_section_without_giving_itself_away():
    text = f"## Passwords and accounts\n\n{BODY}"

    assert made([passage(text)], "heading") == [("Passwords and accounts", BODY)]


def test_a_heading_that_many_documents_have_names_no_subject():
    few = [passage(document=f"{i}.md") for i in range(3)]

    assert len(made(few, "heading")) == 3
    assert made([*few, passage(document="4.md")], "heading") == []


def test_a_title_asks_for_the_beginning_of_its_document_only():
    later = Passage(passage().chunk, "The handbook", False)

    assert made([passage(), later], "title") == [("The handbook", BODY)]


def test_a_question_asks_for_what_follows_it():
    chinese = "怎么重置密码？请打开账户页面，选择“重置”。系统会给您发送一封新的邮件，"
    chinese += "里面有新的密码，请在一天之内使用。"

    assert made([passage()], "question") == [
        (
            "How do I reset the password?",
            "Open the account page and choose reset. A letter with a new one is sent to you.",
        )
    ]
    assert made([passage(chinese)], "question") == [("怎么重置密码？", chinese[7:])]


def test_cloze_takes_a_sentence_out_of_its_text_nine_times_of_ten():
    kept = 0
    for seed in range(300):
        ((query, text),) = made([passage()], "cloze", seed)
        assert query in " ".join(BODY.split())
        kept += query in text
        if query not in text:
            assert len(text) + len(query) <= len(BODY)
    assert 15 <= kept <= 45


def test_keywords_are_what_is_frequent_here_and_rare_elsewhere():
    here = passage("the heron saw a heron and the pond, and the fish in the pond of the mill")
    others = [passage("the mill and a fish in the river", id_=i, document=f"{i}") for i in range(9)]

    for seed in range(20):
        (query, text), *_ = made([here, *others], "keywords", seed)
        asked = query.split()
        assert set(asked[:2]) == {"heron", "pond"} or asked[:3] == ["heron", "saw", "pond"]
        assert 2 <= len(asked) <= 5
        assert text == here.chunk.text


@pytest.mark.parametrize("way", ["phrase", "asked"])
def test_sentences_are_worded_and_code_tables_and_addresses_are_not(way):
    prose = passage(
        "Press the red button twice. Then the old machine in the cellar starts at once."
    )
    code = passage("```bash python -m streamlit run app/main.py --server.port 8080 --now ```")
    table = passage("| one key | its long value | what it means | when it came to be |")
    address = passage("See https://example.org/a for all that is known about the old machine here.")

    found = {query for seed in range(30) for query, _ in made([prose], way, seed)}

    assert len(found) > 5
    assert {text for _, text in made([prose], way)} == {prose.chunk.text}
    for other in (code, table, address):
        assert not any(made([other], way, seed) for seed in range(30))


def test_the_same_seed_makes_the_same_pairs():
    many = [passage(id_=i, document=f"{i}.md") for i in range(5)]

    assert list(make_pairs(many, seed=3)) == list(make_pairs(many, seed=3))
    assert made(many, "cloze", 1) != made(many, "cloze", 2)


def test_what_is_too_short_is_no_pair():
    assert list(make_pairs([passage("Short."), passage("", heading=())])) == []


def test_an_unknown_way_is_refused():
    with pytest.raises(ValueError, match=r"Unknown way to pairs 'magic'. Known: heading, title"):
        list(make_pairs([passage()], ways=["magic"]))


class FixedIndex:
    """Finds chunk 7 for what speaks of passwords, and nothing else."""

    def search(self, query, k=10):
        return [SimpleNamespace(chunk=7)][:k] if "password" in query.lower() else []


def test_only_queries_that_find_their_text_again_are_kept_and_each_once():
    candidates = [
        Made("heading", "Passwords", "p1", 7),
        Made("title", "passwords", "p2", 7),
        Made("heading", "Password of another", "p3", 8),
        Made("question", "What else?", "p4", 7),
        Made("cloze", "Nothing like it.", "p5", 7),
    ]
    report = SynthesisReport()

    kept = keep_found(candidates, FixedIndex(), report=report)
    every = keep_found(candidates, None)

    assert [(r.queries, r.positives, r.place) for r in kept] == [
        (("Passwords",), ("p1",), "heading"),
        (("Nothing like it.",), ("p5",), "cloze"),
    ]
    assert report.made == {"heading": 1, "cloze": 1}
    assert report.left_out == {"duplicate": 1, "round trip": 2}
    assert len(every) == 4


def test_chunks_come_with_their_title_and_place():
    document = Document(id="a.md", title="T", text="", source="a.md")
    chunks = [passage(id_=i).chunk for i in range(2)]

    found = passages_of([[(document, chunks)]])

    assert [(p.title, p.is_first, p.chunk.id) for p in found] == [("T", True, 0), ("T", False, 1)]


# A language model, behind a real service on this machine


class Service(BaseHTTPRequestHandler):
    """Answers as `server.answers` says; keeps what it was asked."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), body))
        status, content = self.server.answers(body, len(self.server.asked))
        answer = content if isinstance(content, bytes) else as_message(content)
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def as_message(content):
    return json.dumps({"choices": [{"message": {"content": content}}]}).encode()


def two_steps(body, _):
    prompt = body["messages"][0]["content"]
    if "JSON array" in prompt:
        return 200, 'Sure! ["Given a wish, find the page.", "Given an error, find help.", 3]'
    assert BODY in prompt
    return 200, f'```json\n{{"query": "reset password {body["seed"]}"}}\n```'


@pytest.fixture
def service():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Service)
    server.asked, server.answers = [], two_steps
    Thread(target=server.serve_forever, daemon=True).start()
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    yield server
    server.shutdown()
    server.server_close()


def model_of(service, **options):
    return LanguageModel(service.url, "some-model", key="secret", pause_s=0.01, **options)


def test_a_model_thinks_of_tasks_and_then_of_queries(service):
    found = list(invented([passage(id_=3), passage(id_=4)], model_of(service), seed=5))

    assert found == [
        Made("llm", "reset password 5", BODY, 3),
        Made("llm", "reset password 6", BODY, 4),
    ]
    paths = {(path, key) for path, key, _ in service.asked}
    assert paths == {("/v1/chat/completions", "Bearer secret")}
    prompts = [body["messages"][0]["content"] for _, _, body in service.asked]
    assert len(prompts) == 3
    assert BODY in prompts[0]
    assert all("A search task: Given a" in prompt for prompt in prompts[1:])


def test_answers_that_are_no_query_are_passed_over(service):
    answers = iter(['["a task"]', "I cannot.", '{"query": 7}', '{"query": " "}', '{"query": "ok"}'])
    service.answers = lambda body, count: (200, next(answers))

    found = list(invented([passage(id_=i) for i in range(4)], model_of(service)))

    assert [(one.query, one.chunk) for one in found] == [("ok", 3)]


def test_a_service_that_is_busy_is_asked_again_and_one_that_refuses_is_not(service):
    service.answers = lambda body, count: (503, b"busy") if count < 3 else (200, '["t"]')
    assert brainstormed([passage()], model_of(service)) == ["t"]
    assert len(service.asked) == 3

    service.answers = lambda body, count: (401, b"no such key")
    with pytest.raises(LanguageModelError, match=r"did not answer \(status 401: no such key\)"):
        model_of(service).ask("x")
    assert len(service.asked) == 4


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"<html>", "answer has no message: <html>"),
        (b'{"choices": []}', "answer has no message"),
        (b'{"choices": [{"message": {"content": null}}]}', "message is no text: None"),
    ],
)
def test_an_answer_without_a_message_is_named(service, answer, message):
    service.answers = lambda body, count: (200, answer)

    with pytest.raises(LanguageModelError, match=message):
        model_of(service).ask("x")


def test_a_model_without_tasks_is_named(service):
    service.answers = lambda body, count: (200, "I am only a small model.")

    with pytest.raises(LanguageModelError, match="no JSON array of tasks in 3 answers"):
        brainstormed([passage()], model_of(service))


def test_a_service_that_is_not_there_is_named(service):
    service.shutdown()
    service.server_close()

    with pytest.raises(LanguageModelError, match="is the service up"):
        model_of(service, attempts=2).ask("x")


# The command, on an index with the embedded model


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    from indexing import build_index

    root = tmp_path_factory.mktemp("kb")
    (root / "docs").mkdir()
    for name, subject in {"doors": "door", "ovens": "oven", "boats": "boat"}.items():
        (root / "docs" / f"{name}.md").write_text(
            f"# All about {name}\n\nThis page tells what a {subject} is good for in daily life.\n\n"
            f"## Cleaning a {subject}\n\nUse warm water and a soft cloth. Never use sand on it. "
            f"Dry the {subject} afterwards with another cloth. It will then last for years.\n"
        )
    build_index([str(root / "docs")], root / "index")
    return root / "index"


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "finetune.synthesize", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


def test_the_command_makes_pairs_that_the_reader_reads(index, tmp_path):
    out = tmp_path / "pairs.jsonl"

    done = run("--index", index, "--out", out, "--json", "--ways", "heading,cloze", "--k", "3")

    assert (done.returncode, done.stderr) == (0, "")
    body = json.loads(done.stdout)
    records = load_pairs(out)
    assert body["pairs"] == len(records) == Counter(body["by_way"]).total()
    queries = {record.queries[0] for record in records}
    assert {f"Cleaning a {subject}" for subject in ("door", "oven", "boat")} <= queries
    for record in records:
        assert not record.positives[0].startswith("#")


def test_taught_pairs_bring_other_hits_and_the_scores_of_both_searches(index, tmp_path):
    from indexing import open_index

    out = tmp_path / "taught.jsonl"

    done = run("--index", index, "--out", out, "--ways", "heading,phrase,asked", "--teach", "2")

    assert (done.returncode, done.stderr) == (0, "")
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len(load_pairs(out)) == len(rows) >= 3
    opened = open_index(index)
    texts = {hit.text: hit.chunk for hit in opened.search("door oven boat cloth page", k=50)}
    for row in rows:
        query = opened.ask(row["query"])
        assert len(row["pos"]) == 1
        assert len({*row["pos"], *row["neg"]}) == 3
        ids = [texts[text] for text in [*row["pos"], *row["neg"]]]
        [embedded] = opened.encoder.encode_queries([row["query"]])
        cosines = opened.generation.embeddings(ids) @ embedded
        _, best = opened.generation.lexical.search(row["query"], 50)
        bm25 = dict(
            zip(best.tolist(), opened.generation.lexical.search(row["query"], 50)[0], strict=True)
        )
        ceiling = opened.generation.lexical.ceiling(row["query"]) or 1.0
        for id_, cosine, score in zip(
            ids, cosines, row["pos_scores"] + row["neg_scores"], strict=True
        ):
            want = 20 * (query.trust * cosine + bm25.get(id_, 0.0) / ceiling)
            assert score == pytest.approx(want, abs=1e-3)


def test_a_query_with_too_few_others_teaches_nothing(index):
    from finetune.teaching import HybridTeacher
    from indexing import open_index

    report = SynthesisReport()

    kept = keep_found(
        [Made("heading", "cloth", "x", 0)],
        None,
        teacher=HybridTeacher(open_index(index), 50),
        report=report,
    )

    assert kept == []
    assert report.left_out == {"too few others": 1}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--teach", "-1"], 2, "--teach must be 0 or more, got -1"),
        (["--ways", "magic"], 2, "Unknown way to pairs 'magic'. Known: heading"),
        (["--ways", "none"], 2, "leaves nothing to do without --llm"),
        (["--llm", "http://x/v1"], 2, "Give --llm and --model together"),
        (["--k", "0"], 2, "must be at least 1, got 0 and 1000"),
        (["--index", "nowhere"], 1, "No index in nowhere"),
    ],
)
def test_a_wrong_call_is_one_sentence(index, tmp_path, arguments, code, message):
    done = run("--index", index, "--out", tmp_path / "out.jsonl", *arguments)

    assert done.returncode == code
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
