"""Language models: a real OpenAI-compatible server, a real model in a folder, and every fault."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from app.answering import ModelFailedError
from app.chat_models import ChatSettings, load_chat

MESSAGES = [("system", "Be brief."), ("user", "Do rods bend?")]
WORDS = ["<s>", "</s>", "<unk>", "rods", "bend", "do", "the", "[1]", "?", ":", ".", "be", "brief"]


def event(text=None, finish=None):
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n".encode()


DONE = b"data: [DONE]\n\n"
WHOLE = [event("Rods "), event("bend [1]."), event(finish="stop"), DONE]


@contextmanager
def stand_in(status, pieces, *, wait_s=0.0, length=None):
    """A server that answers every request the same way."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append((dict(self.headers), self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Type", "text/event-stream" if status == 200 else "text/html")
            if length:
                self.send_header("Content-Length", str(length))
            self.end_headers()
            try:
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(wait_s)
            except OSError:
                pass

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()


def reply(url, **settings):
    model = load_chat(ChatSettings(url=url, model="m", timeout_s=1.0, **settings))
    return "".join(model.stream(MESSAGES))


def test_a_whole_answer_is_passed_on_and_the_key_goes_to_the_server_alone():
    with stand_in(200, WHOLE) as (url, asked):
        assert reply(url, key="sk-secret") == "Rods bend [1]."

    [(headers, body)] = asked
    sent_by = {name.lower(): value for name, value in headers.items()}
    assert sent_by["authorization"] == "Bearer sk-secret"
    sent = json.loads(body)
    assert sent["stream"] is True
    assert [one["role"] for one in sent["messages"]] == ["system", "user"]
    assert "tools" not in sent
    assert b"secret" not in body


@pytest.mark.parametrize(
    ("status", "pieces", "key"),
    [
        (500, [b"<h1>Internal error sk-secret</h1>"], "chat_broken"),
        (503, [b""], "chat_broken"),
        (401, [b'{"error": {"message": "bad key sk-secret"}}'], "chat_refused"),
        (404, [b"no such model"], "chat_refused"),
        (429, [b"slow down"], "chat_refused"),
        (200, [b"data: {not json\n\n"], "chat_garbled"),
        (200, [b'data: {"hello": 1}\n\n', DONE], "chat_garbled"),
        (200, [b"data: [1, 2]\n\n", DONE], "chat_garbled"),
        (200, [b"<html>a proxy's page</html>"], "chat_garbled"),
        (200, [b""], "chat_garbled"),
        (200, [event("Rods ")], "chat_garbled"),
        (200, [event("Rods "), DONE], "chat_garbled"),
        (200, [event(finish="stop"), DONE], "chat_garbled"),
        (
            200,
            [event("Rods "), b'data: {"error": {"message": "out of memory"}}\n\n'],
            "chat_garbled",
        ),
    ],
)
def test_a_fault_of_a_server_is_named_without_its_words(status, pieces, key):
    with stand_in(status, pieces) as (url, _), pytest.raises(ModelFailedError) as caught:
        reply(url, key="sk-secret")

    assert caught.value.key == key
    assert "secret" not in str(caught.value)


def test_a_stream_that_is_cut_is_no_answer():
    with (
        stand_in(200, [event("Rods ")], length=10_000) as (url, _),
        pytest.raises(ModelFailedError) as caught,
    ):
        reply(url)

    assert caught.value.key == "chat_garbled"


def test_a_server_that_says_nothing_is_given_up():
    started = time.monotonic()
    with (
        stand_in(200, [event("Rods "), *WHOLE], wait_s=5) as (url, _),
        pytest.raises(ModelFailedError) as caught,
    ):
        reply(url)

    assert caught.value.key == "chat_slow"
    assert time.monotonic() - started < 4


def test_no_server_is_named_so():
    with pytest.raises(ModelFailedError) as caught:
        reply("http://127.0.0.1:9/v1")

    assert caught.value.key == "chat_down"


def test_the_environment_names_a_model_and_its_key_is_never_shown():
    assert ChatSettings.of_environment({}) is None
    found = ChatSettings.of_environment(
        {
            "ANGLER_CHAT_URL": "https://user:pass@chat.example/v1",
            "ANGLER_CHAT_MODEL": "qwen3",
            "ANGLER_CHAT_KEY": "sk-secret",
        }
    )

    assert found.name == "qwen3 (chat.example)"
    assert "secret" not in repr(found)
    assert "pass" not in found.name


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    """A random causal model of two layers that knows a dozen words, with a chat template."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("chat") / "tiny"
    words = Tokenizer(models.WordLevel({word: n for n, word in enumerate(WORDS)}, "<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="<s>", unk_token="<unk>")
    tokenizer.chat_template = (
        "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} {% endfor %}"
    )
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=600,
        bos_token_id=0,
        eos_token_id=None,  # so that it never says nothing
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def test_a_model_in_a_folder_speaks(tiny_model):
    model = load_chat(ChatSettings(folder=str(tiny_model)))

    text = "".join(model.stream(MESSAGES))

    assert text.split()
    assert set(text.split()) <= set(WORDS)
    assert model.name == "tiny"


def test_a_folder_without_a_model_is_one_sentence(tmp_path):
    with pytest.raises(ModelFailedError, match="cannot be loaded") as caught:
        load_chat(ChatSettings(folder=str(tmp_path)))

    assert caught.value.key == "chat_down"


@pytest.fixture(scope="module")
def real_server(tiny_model, tmp_path_factory):
    """transformers' own server on the tiny model."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", code, "serve", str(tiny_model)]
    command += ["--port", str(port), "--host", "127.0.0.1", "--device", "cpu"]
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    with log.open("w") as output:
        server = subprocess.Popen(
            command, stdout=output, stderr=output, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
    try:
        end = time.monotonic() + 90
        while time.monotonic() < end and server.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        else:
            pytest.fail(f"The server did not start: {log.read_text()[-800:]}", pytrace=False)
        yield f"http://127.0.0.1:{port}/v1", log
    finally:
        server.terminate()
        server.wait(20)


def test_a_real_server_is_understood(real_server, tiny_model):
    url, log = real_server
    model = load_chat(ChatSettings(url=url, model=str(tiny_model), timeout_s=60))

    text = "".join(model.stream(MESSAGES))

    assert text.split(), log.read_text()[-800:]
    assert set(text.split()) <= set(WORDS)
