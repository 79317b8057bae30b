"""The remote backend against a real HTTP service that the embedded model answers for."""

import base64
import json
import logging
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from encoder import EncoderSpec, describe_encoder, load_encoder
from encoder.backends.remote import RemoteError, RemoteOptions
from encoder.embedding_cache import EmbeddingCache, digest_of
from encoder.errors import UsageError
from encoder.estimating import estimated_spans, exact_spans, spans_of_openai
from encoder.remote_encoder import load_remote
from encoder.report import EncodeReport
from encoder.show import show

SECRET = "sk-not-for-anyone-else"
TEXTS = ["reset my password", "怎么重置密码？", "", "Refunds take 14 days.", "reset my password"]


class Service:
    """Answers POST /v1/embeddings; a fault is asked before each answer and may give its own."""

    def __init__(self, encoder):
        self.encoder = encoder
        self.faults = []
        """Used up one per request, first in, first out."""
        self.always = []
        self.requests, self.headers, self.times = [], [], []
        self.lock = threading.Lock()
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_POST(self):
                service.handle(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    @property
    def texts(self):
        return [text for body in self.requests for text in body["input"]]

    def close(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def handle(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            self.requests.append(body)
            self.headers.append(dict(handler.headers))
            self.times.append(time.monotonic())
            faults = [*self.always, *self.faults[:1]]
            del self.faults[:1]
        if not any(fault(self, handler, body) for fault in faults):
            assert handler.path == "/v1/embeddings"
            reply(handler, 200, self.answer(body))

    def answer(self, body):
        with self.lock:
            rows = self.encoder.encode_documents(body["input"])[:, : body.get("dimensions")]
        # As OpenAI's, of length 1; the order is not promised.
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        data = [{"index": place, "embedding": row.tolist()} for place, row in enumerate(rows)]
        usage = {"prompt_tokens": 7 * len(rows), "total_tokens": 7 * len(rows)}
        return {"object": "list", "model": body["model"], "data": data[::-1], "usage": usage}


def reply(handler, status, value, **headers):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    for name, text in headers.items():
        handler.send_header(name.replace("_", "-"), text)
    handler.end_headers()
    handler.wfile.write(data)


def status(code, message="busy", **headers):
    def fault(_, handler, __):
        reply(handler, code, {"error": {"message": message, "code": None}}, **headers)
        return True

    return fault


def altered(change):
    """The right answer after a change."""

    def fault(service, handler, body):
        answer = service.answer(body)
        reply(handler, 200, change(answer) or answer)
        return True

    return fault


def cut_connection(_, handler, __):
    handler.send_response(200)
    handler.send_header("Content-Length", "10000")
    handler.end_headers()
    handler.wfile.write(b'{"data": [')
    handler.close_connection = True
    return True


def slow(seconds):
    def fault(*_):
        time.sleep(seconds)
        return False

    return fault


def more_than(count, code, message):
    """A refusal of requests of more texts."""

    def fault(_, handler, body):
        if len(body["input"]) <= count:
            return False
        reply(handler, code, {"error": message})
        return True

    return fault


def refusing(test, code, message):
    """A refusal of requests with a text that the test is true of."""

    def fault(_, handler, body):
        if not any(test(text) for text in body["input"]):
            return False
        reply(handler, code, {"error": {"message": message}})
        return True

    return fault


def first_value(value):
    def change(answer):
        answer["data"][0]["embedding"][0] = value

    return change


@pytest.fixture
def service(default_encoder):
    running = Service(default_encoder)
    yield running
    running.close()


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("ANGLER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("encoder.backends.remote._FIRST_PAUSE_S", 0.01)


@pytest.fixture
def make(service):
    """A function to an encoder of the service, with options and without pauses."""

    def load(model="all-MiniLM-L6-v2", *, dim=None, cache=None, **options):
        found = describe_encoder(f"{service.endpoint}#{model}", dim=dim)
        return load_remote(
            found.spec, found.languages, options=RemoteOptions(**options), cache=cache
        )

    return load


@pytest.fixture
def want(default_encoder):
    return default_encoder.encode_documents


# What comes back


def test_the_service_gives_what_the_model_gives(service, want):
    encoder = load_encoder(f"{service.endpoint}#all-MiniLM-L6-v2")
    report, shown = EncodeReport(), []

    got = encoder.encode_documents(TEXTS, report=report, progress=lambda *step: shown.append(step))

    # An empty text cannot be sent, so a blank is.
    np.testing.assert_allclose(got, want([text or " " for text in TEXTS]), atol=1e-6)
    assert got.dtype == np.float32
    assert (report.texts, report.duplicates, report.tokens) == (5, 1, 4 * 7)
    assert shown[-1] == (5, 5)
    assert (encoder.dim, encoder.device) == (384, "remote")
    assert encoder.engine == f"all-MiniLM-L6-v2 at {service.endpoint}"
    assert encoder.encode_documents([]).shape == (0, 384)
    assert encoder.languages == ("en",)


def test_many_texts_go_in_several_requests_and_come_back_in_order(make, service, want):
    texts = [f"text number {number} " * (number % 7) for number in range(60)]
    encoder = make(texts_per_request=8, tokens_per_request=100, parallel=3)

    got = encoder.encode_documents(texts)

    np.testing.assert_allclose(got, want([text or " " for text in texts]), atol=1e-6)
    assert len(service.requests) > 7
    assert max(len(body["input"]) for body in service.requests) <= 8
    for body in service.requests:
        tokens = sum(len(estimated_spans(text)) + 2 for text in body["input"])
        assert tokens <= 100 or len(body["input"]) == 1


def test_rows_in_base64_are_read_too(make, service, want):
    def packed(answer):
        for item in answer["data"]:
            row = np.array(item["embedding"], "<f4")
            item["embedding"] = base64.b64encode(row.tobytes()).decode()

    service.faults = [altered(packed)]

    np.testing.assert_allclose(make().encode_documents(["a"]), want(["a"]), atol=1e-6)


def test_rows_of_another_length_are_scaled_to_1(make, service, want):
    def longer(answer):
        for item in answer["data"]:
            item["embedding"] = [3 * value for value in item["embedding"]]

    service.faults = [altered(longer)]

    np.testing.assert_allclose(make().encode_documents(["a"]), want(["a"]), atol=1e-6)


def test_a_served_model_gets_its_authors_instruction(make, service):
    encoder = make("BAAI/bge-small-zh-v1.5", dim=None)
    assert encoder.dim == 512
    service.always = [altered(lambda answer: _widened(answer, 512))]

    encoder.encode_queries(["怎么退款"])
    encoder.encode_documents(["退款"])

    assert service.texts == ["为这个句子生成表示以用于检索相关文章：怎么退款", "退款"]


def _widened(answer, width):
    for item in answer["data"]:
        item["embedding"] = (item["embedding"] * 3)[:width]


def test_another_template_is_another_encoder(make, service):
    encoder = make()
    other = encoder.with_templates({"query": "ask: {text}"})

    other.encode_queries(["a"])
    encoder.encode_queries(["a"])

    assert service.texts == ["ask: a", "a"]
    assert other.spec.fingerprint != encoder.spec.fingerprint


def test_a_model_that_nobody_knows_is_measured_with_one_request(service, make, want):
    found = describe_encoder(f"{service.endpoint}#my-own-model")

    assert found.spec.dim == 384
    assert service.texts == ["dimension"]
    assert found.guesses == ("Nothing says how many tokens my-own-model reads; 8191 is a guess.",)
    np.testing.assert_allclose(make("my-own-model").encode_documents(["a"]), want(["a"]), atol=1e-6)


# Dimensions


@pytest.mark.parametrize("knows", [True, False])
def test_dimensions_are_asked_for_and_cut_where_the_service_does_not_know_them(
    make, service, want, knows
):
    if not knows:
        service.always = [lambda _, __, body: body.pop("dimensions", None) and False]
    encoder = make("my-own-model", dim=100)

    got = encoder.encode_documents(["a", "b c"])

    cut = want(["a", "b c"])[:, :100]
    np.testing.assert_allclose(got, cut / np.linalg.norm(cut, axis=1, keepdims=True), atol=1e-6)
    if knows:
        assert service.requests[-1]["dimensions"] == 100


def test_a_model_that_was_not_trained_for_it_is_cut_here_as_it_would_be_locally(make, service):
    local = load_encoder(dim=100, device="cpu", backend="torch")

    got = make("all-MiniLM-L6-v2", dim=100).encode_documents(["a", "b c"])

    np.testing.assert_allclose(got, local.encode_documents(["a", "b c"]), atol=1e-6)
    assert "dimensions" not in service.requests[0]


def test_without_dim_no_dimensions_are_sent(make, service):
    make().encode_documents(["a"])

    assert set(service.requests[0]) == {"model", "input"}


@pytest.mark.parametrize(
    ("model", "dim", "sentence"),
    [
        (
            "text-embedding-3-small",
            1537,
            "dim must be between 1 and 1536, the width of text-embedding-3-small; got 1537",
        ),
        ("text-embedding-3-large", 0, "dim must be between 1 and 3072, .*; got 0"),
        ("text-embedding-ada-002", 512, "has 1536 dimensions and cannot be cut; got dim=512"),
    ],
)
def test_dimensions_that_a_model_does_not_have(model, dim, sentence):
    with pytest.raises(ValueError, match=sentence):
        describe_encoder(model, dim=dim)


def test_embeddings_of_another_width_are_refused(make, service):
    encoder = make("BAAI/bge-m3")

    with pytest.raises(RemoteError, match="embeddings of 384 values instead of 1024: it runs anot"):
        encoder.encode_documents(["a"])


# Nothing is paid twice


def test_what_was_paid_for_is_not_asked_again(make, service, want):
    first = make().encode_documents(["a", "b", "a"])
    report, shown = EncodeReport(), []
    again = make().encode_documents(
        ["b", "c", "a"], report=report, progress=lambda *step: shown.append(step)
    )

    assert sorted(service.texts) == ["a", "b", "c"]
    np.testing.assert_array_equal(again[[2, 0]], first[:2])
    np.testing.assert_allclose(again[1:2], want(["c"]), atol=1e-6)
    assert (report.tokens, report.texts) == (7, 3)
    assert shown[-1] == (3, 3)
    make().encode_documents(["a"], progress=lambda *step: shown.append(step))
    assert shown[-1] == (1, 1)
    assert len(service.requests) == 2


def test_answers_are_handed_over_as_they_come(make):
    make().encode_documents(["b"])  # known before the others
    calls = []

    got = make().encode_documents(["a", "b", "a", "c"], on_batch=lambda *call: calls.append(call))

    assert calls[0][0] == [1]
    assert sorted(place for places, _ in calls for place in places) == [0, 1, 2, 3]
    for places, rows in calls:
        np.testing.assert_array_equal(rows, got[places])


def test_what_came_before_a_failure_is_kept(make, service):
    texts = [f"text {number}" for number in range(20)]
    service.always = [refusing(lambda text: text == "text 13", 500, "down")]
    with pytest.raises(RemoteError, match="What came before is remembered"):
        make(texts_per_request=2, parallel=1, attempts=2).encode_documents(texts)
    paid = len(service.texts)
    service.always = []

    make(texts_per_request=2, parallel=1).encode_documents(texts)

    asked = service.texts[paid:]
    assert set(asked) == {f"text {number}" for number in range(12, 20)}


def test_without_a_cache_everything_is_asked_again(make, service, tmp_path):
    off = EmbeddingCache(tmp_path / "off.sqlite", size_mib=0)
    for _ in range(2):
        make(cache=off).encode_documents(["a"])

    assert service.texts == ["a", "a"]


def test_a_query_and_a_document_are_two_texts_where_the_model_tells_them_apart(make, service):
    encoder = make("intfloat/e5-small-v2")
    service.always = []

    encoder.encode_queries(["a"])
    encoder.encode_documents(["a"])

    assert service.texts == ["query: a", "passage: a"]


def test_what_was_paid_for_is_purged_by_the_text_as_it_came(make, service):
    encoder = make("intfloat/e5-small-v2")
    carrying = "passage: a text that already carries the instruction"
    encoder.encode_documents([carrying, "b"])
    key = digest_of(carrying, encoder.spec.template("document"))

    assert EmbeddingCache().purge(digests=[key]) == 1
    assert len(EmbeddingCache()) == 1


def test_a_closed_encoder_opens_again(make, service, want):
    with make() as encoder:
        encoder.encode_documents(["a"])

    np.testing.assert_allclose(encoder.encode_documents(["a", "b"]), want(["a", "b"]), atol=1e-6)


# What may pass


@pytest.mark.parametrize(
    "fault",
    [
        status(429),
        status(500),
        status(503),
        cut_connection,
        altered(lambda answer: b'{"data": [{"index": 0, "embed'),
        altered(lambda answer: b"<html>bad gateway</html>"),
        altered(lambda answer: answer["data"].pop() and None),
        altered(lambda answer: answer["data"].append(answer["data"][0])),
        altered(lambda answer: answer["data"][0].update(index=7)),
        altered(lambda answer: answer.pop("data") and None),
        altered(lambda answer: answer["data"][0].update(embedding="?")),
        altered(lambda answer: answer["data"][0].update(embedding=[[1, 2]])),
        altered(lambda answer: answer["data"][0].update(embedding=None)),
        altered(first_value(float("nan"))),
        altered(first_value("1e5x")),
        altered(lambda answer: answer["data"][0].update(embedding=[0.0] * 384)),
    ],
)
def test_what_may_pass_is_tried_again(make, service, want, fault):
    service.faults = [fault, fault]

    got = make().encode_documents(["a", "b"])

    np.testing.assert_allclose(got, want(["a", "b"]), atol=1e-6)
    assert len(service.requests) == 3


def test_a_slow_answer_is_not_waited_for_for_ever(make, service, want):
    service.faults = [slow(2)]

    got = make(timeout_s=1).encode_documents(["a"])

    np.testing.assert_allclose(got, want(["a"]), atol=1e-6)
    assert len(service.requests) == 2


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured(make, service, as_date):
    when = formatdate(time.time() + 2, usegmt=True) if as_date else "0.6"
    service.faults = [status(429, Retry_After=when)]

    make().encode_documents(["a"])

    first, second = service.times
    assert 0.5 < second - first < 10


def test_all_threads_wait_when_one_is_told_to(make, service):
    service.faults = [status(429, Retry_After="1.5")]

    make(texts_per_request=1, parallel=2).encode_documents([str(n) for n in range(6)])

    # What was under way goes on; nothing new begins before the time is over.
    later = [begun for begun in service.times if begun - service.times[0] > 1]
    assert len(later) >= 4
    assert min(later) - service.times[0] > 1.4


def test_requests_keep_apart_where_a_limit_is_set(make, service):
    encoder = make(texts_per_request=1, parallel=4, requests_per_minute=1200)
    start = time.monotonic()

    encoder.encode_documents(list("abcdef"))

    assert len(service.requests) == 6
    assert time.monotonic() - start >= 5 * 60 / 1200


def test_pauses_grow_and_are_not_the_same_for_all(monkeypatch):
    from encoder.backends.remote import _pause

    monkeypatch.setattr("encoder.backends.remote._FIRST_PAUSE_S", 0.5)
    drawn = {attempt: [_pause(attempt) for _ in range(50)] for attempt in (1, 4, 20)}

    assert all(0.25 <= pause <= 0.5 for pause in drawn[1])
    assert all(2 <= pause <= 4 for pause in drawn[4])
    assert all(15 <= pause <= 30 for pause in drawn[20])
    assert len(set(drawn[1])) > 10


# What does not pass


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (status(503, "down for today"), r"answers 503 \(down for today\); 3 attempts were made"),
        (altered(lambda answer: b"{"), "no list of embeddings"),
        (altered(first_value(float("nan"))), "not finite or zero"),
        (altered(lambda answer: answer["data"].pop() and None), "gave 0 embeddings for 1 texts"),
        (cut_connection, "cannot be reached or broke off"),
        (slow(0.4), r"gave no answer within 0.2 s; 3 attempts"),
        (status(429, Retry_After="3600"), "asks to wait 3600 s; 1 attempts"),
        (status(429, "You exceeded your current quota"), "the account has no quota left"),
        (status(404, "no such model"), "check the name of the model, and the address"),
        (
            status(401, "who are you"),
            r"the key is missing. Set OPENAI_API_KEY, and OPENAI_BASE_URL",
        ),
        (status(400, "no"), r"refuses the request: 400 \(no\). It is about texts\[0\]"),
        (status(418, "teapot"), r"refuses the request: 418 \(teapot\)"),
    ],
)
def test_what_does_not_pass_is_one_sentence(make, service, fault, sentence):
    service.always = [fault]
    options = {"timeout_s": 0.2} if "0.2" in sentence else {}

    with pytest.raises(RemoteError, match=sentence) as caught:
        make(attempts=3, **options).encode_documents(["a"])

    assert "\n" not in str(caught.value)
    assert len(service.requests) <= 3


def test_nobody_is_there():
    with pytest.raises(RemoteError, match="cannot be reached or broke off"):
        load_remote(
            describe_encoder("http://127.0.0.1:9/v1#bge-m3").spec,
            options=RemoteOptions(attempts=2),
        ).encode_documents(["a"])


def test_a_refused_text_is_named(make, service):
    service.always = [refusing(lambda text: text == "bad", 400, "forbidden word")]

    with pytest.raises(RemoteError, match=r"\(forbidden word\). It is about texts\[9\]\."):
        make(texts_per_request=8).encode_documents([*"abcdefgh", "i", "bad", *"jkl"])


# Limits of the service


def test_a_service_that_takes_fewer_texts_is_given_fewer(make, service, want):
    service.always = [more_than(4, 422, "batch size 16 > maximum allowed batch size 4")]
    texts = [f"text {number}" for number in range(40)]
    encoder = make(texts_per_request=16, parallel=1)

    np.testing.assert_allclose(encoder.encode_documents(texts), want(texts), atol=1e-6)
    refused = [body for body in service.requests if len(body["input"]) > 4]

    assert [len(body["input"]) for body in refused] == [16, 8]
    assert encoder._service.texts_per_request == 4


def test_a_text_that_is_too_long_for_the_service_is_cut_and_reported(make, service, want, caplog):
    service.always = [
        refusing(
            lambda text: len(text) > 100, 400, "This model's maximum context length is 25 tokens"
        )
    ]
    long = "a long story " * 20
    report = EncodeReport()

    got = make("my-own-model").encode_documents(["a", "b", long, "c"], report=report)

    sent = [text for text in service.texts if text.startswith("a long") and len(text) <= 100]
    np.testing.assert_allclose(got, want(["a", "b", sent[-1], "c"]), atol=1e-6)
    assert (report.truncated.count, report.truncated.first) == (1, [2])
    assert "texts[2] is too long" in caplog.text
    assert 100 * 0.75 <= len(sent[-1]) <= 100


def test_a_text_longer_than_the_model_reads_is_cut_before_it_is_sent(make, service):
    encoder = make("intfloat/e5-small-v2")
    report = EncodeReport()

    encoder.encode_queries(["short", "word " * 2000], report=report)

    (short, long) = service.texts
    assert (short, long[:11]) == ("query: short", "query: word")
    assert len(estimated_spans(long)) == 510
    assert (report.truncated.count, report.truncated.first) == (1, [1])
    encoder.encode_queries(["word " * 2000], report=report)
    assert (report.truncated.count, len(service.requests)) == (2, 1)
    assert encoder.count_tokens(["word " * 2000], role="query") == [2000 + 3 + 2]


# Names, keys and endpoints


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("openai:text-embedding-3-small", "https://api.openai.com/v1#text-embedding-3-small"),
        ("openai/text-embedding-3-large", "https://api.openai.com/v1#text-embedding-3-large"),
        ("text-embedding-ada-002", "https://api.openai.com/v1#text-embedding-ada-002"),
        ("http://LocalHost:8080/v1/#BAAI/bge-m3", "http://localhost:8080/v1#BAAI/bge-m3"),
        ("http://tei/V1/embeddings#BAAI/bge-m3", "http://tei/V1#BAAI/bge-m3"),
        ("https://api.openai.com/v1#bge-m3:latest", "https://api.openai.com/v1#bge-m3:latest"),
    ],
)
def test_names_of_models_behind_a_service(model, name):
    found = describe_encoder(model)

    assert found.spec.name == name
    assert found.spec.endpoint == name.partition("#")[0]
    assert describe_encoder(name).spec == found.spec
    assert EncoderSpec.from_dict(json.loads(json.dumps(found.spec.as_dict()))) == found.spec


@pytest.mark.parametrize(
    ("model", "dim", "max_tokens"),
    [
        ("text-embedding-ada-002", 1536, 8191),
        ("text-embedding-3-small", 1536, 8191),
        ("text-embedding-3-large", 3072, 8191),
    ],
)
def test_openais_models_are_known(model, dim, max_tokens):
    spec = describe_encoder(f"openai:{model}").spec

    assert (spec.dim, spec.max_tokens, spec.templates) == (dim, max_tokens, {})


def test_the_fingerprint_is_endpoint_model_and_dimensions():
    names = ["http://a/v1#bge-m3", "http://b/v1#bge-m3", "http://a/v1#bge-large-en"]
    specs = [describe_encoder(name).spec for name in names]
    specs += [describe_encoder("openai:text-embedding-3-small").spec]
    specs += [
        describe_encoder("openai:text-embedding-3-small", dim=dim).spec for dim in (512, 1536)
    ]

    assert len({spec.fingerprint for spec in specs}) == 6
    assert any("endpoint" in found for found in specs[0].differences(specs[1]))


def test_the_environment_says_where_openai_is(service, monkeypatch, want):
    monkeypatch.setenv("OPENAI_BASE_URL", service.endpoint + "/")
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)

    encoder = load_encoder("all-MiniLM-L6-v2", backend="remote")

    np.testing.assert_allclose(encoder.encode_documents(["a"]), want(["a"]), atol=1e-6)
    assert encoder.spec.name == f"{service.endpoint}#all-MiniLM-L6-v2"
    assert describe_encoder("openai:all-MiniLM-L6-v2").spec == encoder.spec
    assert service.headers[0]["Authorization"] == f"Bearer {SECRET}"


def test_the_key_goes_to_no_other_service(service, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    load_encoder(f"{service.endpoint}#all-MiniLM-L6-v2").encode_documents(["a"])
    monkeypatch.setenv("OPENAI_BASE_URL", f"{service.endpoint}/other")
    load_encoder(f"{service.endpoint}#all-MiniLM-L6-v2").encode_documents(["b"])

    assert len(service.headers) == 2
    assert not any("Authorization" in headers for headers in service.headers)


def test_the_key_is_never_shown(service, monkeypatch, caplog):
    monkeypatch.setenv("OPENAI_BASE_URL", service.endpoint)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    service.always = [status(401, "no")]
    encoder = load_encoder("openai:all-MiniLM-L6-v2")

    with caplog.at_level(logging.DEBUG), pytest.raises(RemoteError, match="was not accepted") as it:
        encoder.encode_documents(["a"])

    shown = [str(it.value), caplog.text, repr(encoder.spec), repr(encoder._service._remote)]
    assert not any(SECRET in text for text in shown)


def test_openai_without_a_key_is_one_sentence_before_any_request():
    with pytest.raises(UsageError, match="wants a key: set OPENAI_API_KEY"):
        load_encoder("openai:text-embedding-3-small")


def test_a_redirect_is_not_followed(service, monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", service.endpoint)
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    service.always = [status(307, Location=f"{service.endpoint}/elsewhere")]

    with pytest.raises(RemoteError, match="refuses the request: 307"):
        load_encoder("openai:all-MiniLM-L6-v2").encode_documents(["a"])

    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("model", "backend", "sentence"),
    [
        (
            "http://tei:80/v1",
            "auto",
            "names no model; write it behind the address: http://tei:80/v1#M",
        ),
        ("http://u:p@tei/v1#m", "auto", "holds a name, a password or a query"),
        ("http://tei/v1?key=1#m", "auto", "holds a name, a password or a query"),
        ("http://#m", "auto", "is no web address of a service"),
        ("http://tei:port/v1#m", "auto", "is no web address"),
        ("openai:", "auto", "names no model"),
        (None, "remote", "needs the name of a model"),
        ("openai:text-embedding-3-small", "torch", "not with backend='torch'"),
    ],
)
def test_names_that_are_wrong(model, backend, sentence):
    with pytest.raises(UsageError, match=sentence):
        load_encoder(model, backend=backend)


@pytest.mark.parametrize(
    ("option", "value", "sentence"),
    [
        ("attempts", 0, "attempts must be at least 1, got 0"),
        ("parallel", 0, "parallel must be at least 1"),
        ("timeout_s", 0, "timeout_s must be positive"),
        ("requests_per_minute", -1, "must not be negative"),
    ],
)
def test_options_that_are_wrong(option, value, sentence):
    with pytest.raises(ValueError, match=sentence):
        RemoteOptions(**{option: value})


def test_wrong_texts_are_named_and_nothing_is_asked(make, service):
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, got int"):
        make().encode_documents(["a", 1])
    with pytest.raises(TypeError, match="got one string; put it in a list"):
        make().encode_documents("abc")
    with pytest.raises(ValueError, match=r"texts\[0\] holds lone surrogates"):
        make().encode_queries(["\ud800"])
    with pytest.raises(TypeError, match="gives no vectors of single tokens"):
        make().encode_tokens(["a"])

    assert service.requests == []


def test_show_names_the_service_and_not_a_folder():
    shown = show("http://tei/v1#BAAI/bge-m3")
    facts = {fact.name: (fact.value, fact.source) for fact in shown.facts}

    assert facts["endpoint"] == ("http://tei/v1", "name")
    assert facts["dim"] == (1024, "registry")
    assert "folder" not in facts


# Tokens


def test_estimates_by_hand():
    def cut(text):
        return [text[start:end] for start, end in estimated_spans(text)]

    assert cut("The encyclopedia, 12345!") == [
        "The",
        "ency",
        "clop",
        "edia",
        ",",
        "12",
        "34",
        "5",
        "!",
    ]
    assert cut("怎么 退款？🙂") == ["怎", "么", "退", "款", "？", "🙂"]
    assert cut("Привет déjà") == ["Пр", "ив", "ет", "d", "éj", "à"]
    assert cut(" \n\t") == []


def test_an_estimate_is_rather_too_high(default_encoder):
    texts = [
        "The quick brown fox jumps over the lazy dog, and nobody minded at all.",
        "Refunds are paid within fourteen days after the returned goods have been inspected.",
        "Internationalisation and misunderstandings: 42 cases since 1998 (see chapter 7.3).",
    ]
    for text in texts:
        exact = len(default_encoder.token_spans(text))
        assert exact <= len(estimated_spans(text)) <= 1.7 * exact


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_estimated_places_are_in_order_and_cover_all_but_blanks(text):
    spans = estimated_spans(text)

    assert all(start < end for start, end in spans)
    assert all(before[1] <= after[0] for before, after in pairwise(spans))
    left = "".join(
        character
        for place, character in enumerate(text)
        if not any(start <= place < end for start, end in spans)
    )
    assert left.strip() == ""


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_tiktokens_tokens_have_their_places(text):
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"th": 256, "中".encode()[:2]: 257}
    encoding = tiktoken.Encoding(
        "small", pat_str=r"\w+|\W+", mergeable_ranks=ranks, special_tokens={}
    )

    spans = exact_spans(encoding, text)

    assert len(spans) == len(encoding.encode_ordinary(text))
    want = encoding.decode_with_offsets(encoding.encode_ordinary(text))[1]
    assert [start for start, _ in spans] == want
    assert not spans or (spans[0][0], spans[-1][1]) == (0, len(text))


def test_a_model_without_a_vocabulary_is_estimated():
    assert spans_of_openai("nobody-knows-this-one") is estimated_spans


# In an index


def test_an_index_is_built_and_searched_through_a_service(service, tmp_path):
    from indexing import build_index, open_index
    from indexing.config import BuildConfig

    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "refunds.md").write_text("# Refunds\n\nRefunds take 14 days.\n")
    (folder / "hours.md").write_text("# Opening hours\n\nWe open at nine.\n")
    config = BuildConfig(encoder=f"{service.endpoint}#all-MiniLM-L6-v2")

    build_index([str(folder)], tmp_path / "kb", config=config)
    paid = len(service.texts)
    build_index([str(folder)], tmp_path / "other", config=config)
    (hit, *_) = open_index(tmp_path / "kb").search("when do I get my money back", mode="dense")

    assert hit.source.endswith("refunds.md")
    assert service.texts[paid:] == ["when do I get my money back"]
