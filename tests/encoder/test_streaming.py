"""Texts from an iterator to a file: every row in its place, all or nothing, flat memory."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoder import EncodeReport
from encoder.npy import NpyWriter
from encoder.streaming import windows
from encoder.text_file import count_lines, read_lines

ROOT = Path(__file__).parent.parent.parent
QUICK = settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
MANY = [f"number {n} " + "and more " * (n % 5) for n in range(25)]


@pytest.fixture
def small_windows(monkeypatch):
    monkeypatch.setattr("encoder.streaming.WINDOW_TEXTS", 4)


@pytest.fixture
def encoder(small_encoder):
    return small_encoder("bert-mean")


def failing_after(count):
    yield from MANY[:count]
    raise OSError("the cable is out")


# --- the stream ---


@QUICK
@given(count=st.integers(0, 13), role=st.sampled_from(["query", "document"]))
def test_a_stream_gives_the_rows_of_a_list(small_windows, encoder, count, role):
    encode = {"query": encoder.encode_queries, "document": encoder.encode_documents}[role]

    got = list(encoder.encode_stream(iter(MANY[:count]), role=role))

    assert [len(rows) for rows in got] == [4] * (count // 4) + ([count % 4] if count % 4 else [])
    together = np.concatenate([np.empty((0, 16), np.float32), *got])
    np.testing.assert_allclose(together, encode(MANY[:count]), rtol=0, atol=1e-5)


def test_a_stream_takes_no_more_texts_than_it_needs(small_windows, encoder):
    taken = []
    texts = (taken.append(text) or text for text in MANY)

    next(iter(encoder.encode_stream(texts)))

    assert taken == MANY[:4]


def test_positions_count_from_the_first_text(small_windows, encoder, tmp_path):
    long = "a " * 60
    report = EncodeReport()

    list(encoder.encode_stream([*"abcd", "b", long, "b", long], report=report))

    assert (report.texts, report.duplicates) == (8, 2)
    assert report.truncated.first == [5, 7]
    with pytest.raises(TypeError, match=r"^texts\[6\] must be a string, got NoneType\.$"):
        encoder.encode_to_file(iter([*"abcdef", None]), tmp_path / "x.npy")
    with pytest.raises(ValueError, match=r"^texts\[5\] holds lone surrogates"):
        encoder.encode_to_file(iter([*"abcde", "\ud800"]), tmp_path / "x.npy")
    assert list(tmp_path.iterdir()) == []


@given(st.lists(st.integers(0, 30), max_size=30))
def test_a_window_is_bounded_in_texts_and_characters(lengths):
    texts = ["x" * length for length in lengths]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("encoder.streaming.WINDOW_TEXTS", 5)
        patch.setattr("encoder.streaming.WINDOW_CHARACTERS", 40)

        got = list(windows(iter(texts), dim=4))

    assert [text for window in got for text in window] == texts
    assert all(0 < len(window) <= 5 for window in got)
    assert all(sum(map(len, window[:-1])) < 40 for window in got)


def test_wide_embeddings_make_small_windows():
    assert len(next(windows(("x" for _ in range(9000)), dim=4096))) == 2048
    assert len(next(windows(("x" for _ in range(9000)), dim=384))) == 8192


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        ("one string", "texts must be a list of strings, got one string; put it in a list."),
        (None, "texts must be a list of strings, got NoneType."),
        (7, "texts must be a list of strings, got int."),
    ],
)
@pytest.mark.parametrize("call", ["encode_stream", "encode_documents", "encode_to_file"])
def test_what_is_no_list_is_refused_at_once(encoder, tmp_path, call, texts, sentence):
    more = [tmp_path / "x.npy"] if call == "encode_to_file" else []

    with pytest.raises(TypeError) as caught:
        getattr(encoder, call)(texts, *more)

    assert str(caught.value) == sentence


def test_an_unknown_role_is_refused(encoder, tmp_path):
    with pytest.raises(ValueError, match=r"^Unknown role 'doc'. Known: query, document\.$"):
        encoder.encode_to_file(["a"], tmp_path / "x.npy", role="doc")


# --- the file ---


def test_a_file_holds_the_rows_and_may_be_mapped(small_windows, encoder, tmp_path):
    calls = []

    report = encoder.encode_to_file(
        iter(MANY), tmp_path / "x.npy", role="query", progress=lambda *call: calls.append(call)
    )

    got = np.load(tmp_path / "x.npy", mmap_mode="r", allow_pickle=False)
    assert (got.dtype, got.shape, got.flags.c_contiguous) == (np.float32, (25, 16), True)
    np.testing.assert_allclose(got, encoder.encode_queries(MANY), rtol=0, atol=1e-5)
    assert report.texts == 25
    assert calls[-1] == (25, None)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    encoder.encode_to_file(MANY, tmp_path / "x.npy", progress=lambda *call: calls.append(call))
    assert calls[-1] == (25, 25)


def test_a_file_without_rows(encoder, tmp_path):
    encoder.encode_to_file([], str(tmp_path / "x.npy"))

    assert np.load(tmp_path / "x.npy").shape == (0, 16)


def test_an_error_leaves_the_old_file_and_nothing_else(small_windows, encoder, tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.ones(3))

    with pytest.raises(OSError, match="the cable is out"):
        encoder.encode_to_file(failing_after(9), path)

    assert [file.name for file in tmp_path.iterdir()] == ["x.npy"]
    assert np.load(path).tolist() == [1, 1, 1]


def test_a_folder_that_is_not_there_is_an_error(encoder, tmp_path):
    with pytest.raises(FileNotFoundError):
        encoder.encode_to_file(["a"], tmp_path / "none" / "x.npy")


@given(rows=st.integers(0, 40), dim=st.integers(1, 4096), large=st.integers(0, 10**15))
def test_a_header_is_what_numpy_reads(rows, dim, large):
    from io import BytesIO

    from numpy.lib import format as npy

    from encoder.npy import HEADER_BYTES, npy_header

    for count in (rows, large):
        file = BytesIO(npy_header(count, dim))
        assert npy.read_magic(file) == (1, 0)
        assert npy.read_array_header_1_0(file) == ((count, dim), False, np.dtype("<f4"))
        assert file.tell() == HEADER_BYTES == len(file.getvalue())


# --- work that was cut off ---


def test_work_goes_on_where_it_was_cut_off(small_windows, encoder, tmp_path):
    path = tmp_path / "x.npy"
    with pytest.raises(OSError, match="cable"):
        encoder.encode_to_file(failing_after(10), path, resume=True)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["x.npy.part", "x.npy.part.json"]
    calls = []

    report = encoder.encode_to_file(
        MANY, path, resume=True, progress=lambda *call: calls.append(call)
    )

    assert (report.resumed, report.texts) == (8, 17)
    assert (calls[0][0] > 8, calls[-1]) == (True, (25, 25))
    np.testing.assert_allclose(np.load(path), encoder.encode_documents(MANY), rtol=0, atol=1e-5)
    assert [file.name for file in tmp_path.iterdir()] == ["x.npy"]


def test_rows_that_the_journal_does_not_know_are_written_again(small_windows, encoder, tmp_path):
    path, part = tmp_path / "x.npy", tmp_path / "x.npy.part"
    with pytest.raises(OSError, match="cable"):
        encoder.encode_to_file(failing_after(10), path, resume=True)
    with part.open("ab") as file:
        file.write(b"\x01" * 99)

    encoder.encode_to_file(MANY, path, resume=True)

    np.testing.assert_allclose(np.load(path), encoder.encode_documents(MANY), rtol=0, atol=1e-5)


@pytest.mark.parametrize("change", ["first text", "fewer texts", "role", "encoder", "shorter"])
def test_what_was_begun_otherwise_is_not_resumed(
    small_windows, encoder, small_encoder, tmp_path, change
):
    path, part = tmp_path / "x.npy", tmp_path / "x.npy.part"
    with pytest.raises(OSError, match="cable"):
        encoder.encode_to_file(failing_after(10), path, resume=True)
    texts = {"first text": ["other", *MANY[1:]], "fewer texts": MANY[:5]}.get(change, MANY)
    role = "query" if change == "role" else "document"
    other = small_encoder("bert-cls") if change == "encoder" else encoder
    if change == "shorter":
        part.write_bytes(part.read_bytes()[:-1])
    begun = part.read_bytes()

    with pytest.raises(
        ValueError, match=r"x\.npy\.part (was begun with other|is damaged: .*short)"
    ):
        other.encode_to_file(texts, path, role=role, resume=True)

    assert part.read_bytes() == begun
    assert not path.exists()


def test_a_killed_process_can_be_resumed(small_windows, encoder, tmp_path):
    """Killed for good, in the middle of the work."""
    code = f"""
import os, signal, sys
import encoder.streaming
from encoder import load_encoder
encoder.streaming.WINDOW_TEXTS = 4
texts = [f"number {{n}} " + "and more " * (n % 5) for n in range(25)]
def killed(texts):
    yield from texts[:18]
    os.kill(os.getpid(), signal.SIGKILL)
encoder = load_encoder({encoder.spec.name!r}, backend="torch")
encoder.encode_to_file(killed(texts), {str(tmp_path / "x.npy")!r}, resume=True)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=False)
    assert done.returncode == -9, done.stderr
    assert json.loads((tmp_path / "x.npy.part.json").read_text())["rows"] == 16

    report = encoder.encode_to_file(MANY, tmp_path / "x.npy", resume=True)

    assert report.resumed == 16
    want = encoder.encode_documents(MANY)
    np.testing.assert_allclose(np.load(tmp_path / "x.npy"), want, rtol=0, atol=1e-5)


def test_a_writer_that_goes_on_keeps_the_rows_it_is_told_to_keep(tmp_path):
    path, unfinished = tmp_path / "x.npy", tmp_path / "part"
    rows = np.arange(12, dtype=np.float32).reshape(6, 2)
    writer = NpyWriter(path, unfinished, 2)
    writer.keep = True
    writer.add(rows[:4])
    writer.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)

    with NpyWriter(path, unfinished, 2, rows=3) as writer:
        writer.add(rows[3:])

    assert np.load(path).tolist() == rows.tolist()


# --- lines of a file ---


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
def test_lines_are_what_line_feeds_separate(tmp_path_factory, lines):
    path = tmp_path_factory.mktemp("lines") / "x"
    content = "".join(f"{line}\n" for line in lines)
    for text, want in ((content, lines), (content[:-1], lines)):
        if text == content[:-1] and (not lines or not lines[-1]):
            continue
        path.write_bytes(text.encode())
        with path.open("rb") as file:
            assert list(read_lines(file, "x")) == [
                line.removeprefix("\ufeff") if n == 0 else line for n, line in enumerate(want)
            ]
        assert count_lines(path) == len(want)
