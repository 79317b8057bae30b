"""The example as a person runs it: another process, no network."""

import json
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments, typed=None):
    return subprocess.run(
        [sys.executable, "examples/chatbot.py", *map(str, arguments)],
        cwd=ROOT,
        input=typed,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("notes")
    (folder / "shop.md").write_text(
        "# Shop\n\n## Refunds\n\nThe money is back on your card within\nfive days."
        " Keep the receipt.\n\n## Opening hours\n\nWe open at nine. On Sundays we are closed.\n"
    )
    (folder / "more").mkdir()
    (folder / "more" / "printer.txt").write_text("Hold the green button to restart the printer.\n")
    return folder


@pytest.fixture
def chat_service():
    """A real chat service over HTTP that tells how many messages it was given."""
    received = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            received.append((self.path, body))
            text = f"I was given {len(body['messages'])} messages [1]."
            answer = {"choices": [{"message": {"role": "assistant", "content": text}}]}
            data = json.dumps(answer if body["model"] == "small" else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1", received
    server.shutdown()
    server.server_close()
    thread.join()


def test_it_answers_offline_with_sentences_and_their_sources(notes):
    done = run(notes, typed="When do I get my money back?\nhow to restart the printer\n\n")

    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.split("  [3]")[0], done.stdout.split("printer.txt")[-2]
    assert "The money is back on your card within five days. [1]" in first
    assert "[1] shop.md: Refunds" in first
    assert "Hold the green button to restart the printer. [1]" in second
    assert "[1] more/printer.txt: printer" in done.stdout


def test_a_chat_service_gets_the_passages_and_what_was_said(notes, chat_service):
    url, received = chat_service

    done = run(
        notes,
        "--chat-url",
        url,
        "--chat-model",
        "small",
        typed="When do I get my money back?\nAnd on Sundays?\n",
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert "I was given 2 messages [1]." in done.stdout
    assert "I was given 4 messages [1]." in done.stdout
    path, body = received[1]
    assert path == "/v1/chat/completions"
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "user", "assistant", "user"]
    assert body["messages"][1]["content"] == "When do I get my money back?"
    assert "within five days." in received[0][1]["messages"][1]["content"]
    assert body["messages"][3]["content"].endswith("Question: And on Sundays?")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["nowhere"], 2, "there is no folder nowhere"),
        (["docs", "--chat-url", "http://x/v1"], 2, "--chat-url and --chat-model go together"),
        (["docs/en", "--encoder", "./nothing"], 1, "error: No folder ./nothing"),
    ],
)
def test_a_wrong_call_is_a_sentence(arguments, code, sentence):
    done = run(*arguments, "--question", "a")

    assert (done.returncode, done.stdout) == (code, "")
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_text_and_a_service_without_an_answer(tmp_path, notes, chat_service):
    empty = run(tmp_path, "--question", "a")
    assert (empty.returncode, "holds no .md or .txt file" in empty.stderr) == (1, True)

    mute = run(notes, "--chat-url", chat_service[0], "--chat-model", "other", "--question", "a")
    assert (mute.returncode, "gave no answer" in mute.stderr) == (1, True)
