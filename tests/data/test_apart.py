import sys
import threading
import time

import pytest

from data import UnreadableDocumentError
from data.loaders.apart import ParseLimits, ParserPool

# Loaders that misbehave, found by the parsing process as `data.loaders.bad_loaders`.
BAD = """
import os, time
from data.loaders.base import Parsed, report_progress

def sleep(raw, stem): time.sleep(60)
def eat(raw, stem): return Parsed(stem, str(len(b"x" * 2**31)))
def crash(raw, stem): os.abort()
def leave(raw, stem): os._exit(3)
def surprise(raw, stem): raise KeyError("no such thing")
def deep(raw, stem): return deep(raw, stem)
def chatter(raw, stem):
    print("a library talks", flush=True)
    os.write(1, b"and again")
    return Parsed(stem, raw.decode())
def slow_pages(raw, stem):
    for _ in range(6): time.sleep(0.25); report_progress()
    return Parsed(stem, "done")
def pid(raw, stem): return Parsed(stem, str(os.getpid()), ("a", "b"), {"n": 1})
def long(raw, stem): return Parsed(stem, "重" * 3_000_000)
"""


@pytest.fixture
def pool(tmp_path, monkeypatch):
    import data.loaders

    (tmp_path / "bad_loaders.py").write_text(BAD)
    (tmp_path / "sitecustomize.py").write_text(
        f"import data.loaders; data.loaders.__path__.append({str(tmp_path)!r})"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert data.loaders
    pool = ParserPool(ParseLimits(timeout_s=1.0, memory_mib=1024))
    yield pool
    pool.close()


@pytest.mark.parametrize(
    ("loader", "reason"),
    [
        ("sleep", "took longer than 1 s"),
        ("crash", "crashed .SIGABRT.*damaged, or needs more than 1024 MiB"),
        ("leave", "crashed .exit code 3"),
        ("surprise", "damaged or not what its name says .KeyError: 'no such thing'"),
        ("deep", "nested too deeply"),
    ],
)
def test_a_bad_file_costs_one_reason_and_the_next_is_read(pool, loader, reason):
    with pytest.raises(UnreadableDocumentError, match=reason):
        pool.parse(b"", f"bad_loaders:{loader}", "x")

    assert pool.parse("好".encode(), "text:read_text", "next").text == "好"


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux only")
def test_a_file_that_needs_too_much_memory_is_given_up(pool):
    with pytest.raises(UnreadableDocumentError, match="needs more than 1024 MiB"):
        pool.parse(b"", "bad_loaders:eat", "x")

    assert pool.parse(b"ok", "text:read_text", "next").text == "ok"


def test_pages_done_put_the_deadline_off(pool):
    assert pool.parse(b"", "bad_loaders:slow_pages", "x").text == "done"


def test_the_whole_time_is_limited_too(pool):
    pool._limits = ParseLimits(timeout_s=1.0, total_s=0.6)

    with pytest.raises(UnreadableDocumentError, match=r"took longer than 0\.6 s"):
        pool.parse(b"", "bad_loaders:slow_pages", "x")


def test_what_libraries_print_does_not_disturb(pool):
    assert pool.parse(b"text", "bad_loaders:chatter", "x").text == "text"


def test_a_process_is_used_again_and_what_it_reads_comes_back_whole(pool):
    first = pool.parse(b"", "bad_loaders:pid", "x")

    assert pool.parse(b"", "bad_loaders:pid", "x").text == first.text
    assert (first.pages, first.metadata) == (("a", "b"), {"n": 1})
    assert pool.parse(b"", "bad_loaders:long", "x").text == "重" * 3_000_000


def test_threads_get_a_process_each(pool):
    found = []
    threads = [
        threading.Thread(
            target=lambda: found.append(pool.parse(b"", "bad_loaders:slow_pages", "x"))
        )
        for _ in range(2)
    ]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 2
    assert time.monotonic() - started < 2 * 1.5


def test_a_large_plain_text_is_parsed_apart_with_the_same_result(tmp_path):
    from data import load_document

    text = "Reset the password. 重置密码。\n" * 60_000
    path = tmp_path / "large.txt"
    path.write_text(text, "utf-8")

    assert load_document(path, id="x").text == text
