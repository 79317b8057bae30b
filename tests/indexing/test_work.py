"""A build that does not end: what was done is kept, and the same call goes on from there."""

import itertools
import os
import threading
import time

import numpy as np
import pytest

import indexing.embedding
import indexing.filling
from indexing import BuildConfig, BuildFailedError, build_index, open_index, points
from indexing.errors import BuildStoppedError
from indexing.estimate import Estimate
from indexing.journal import EmbeddingJournal
from indexing.splitting import split_document
from indexing.work import WORK_FOLDER, WORK_NAME, FileRow, State, WorkFile, file_states, jobs


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(40):
        path = folder / f"{number:02}.md"
        path.write_text(f"# Page {number}\n\nword{number} of page {number}.\n")
        os.utime(path, (1e9, 1e9))
    return folder


@pytest.fixture
def kb(tmp_path):
    return tmp_path / "kb"


@pytest.fixture
def small_portions(monkeypatch):
    monkeypatch.setenv("ANGLER_CACHE_MIB", "0")  # so that only the journal remembers
    monkeypatch.setattr(indexing.filling, "ENCODED_AT_ONCE", 10)
    monkeypatch.setattr(indexing.embedding, "_KEPT_EVERY_S", 0.0)


def stop_at(monkeypatch, nth, error=KeyboardInterrupt):
    """Interrupt the build when it has encoded its nth portion."""
    passed = []

    def passing(point):
        passed.append(point)
        if passed.count("portion encoded") == nth and point == "portion encoded":
            raise error

    monkeypatch.setattr(points, "passing", passing)


@pytest.mark.parametrize("nth", [1, 4, 9])
def test_a_stopped_build_goes_on_where_it_stopped(
    docs, kb, word_encoder, monkeypatch, small_portions, nth
):
    with monkeypatch.context() as patch:
        stop_at(patch, nth)
        with pytest.raises(BuildStoppedError, match="The same call goes on from here"):
            build_index([str(docs)], kb, encoder=word_encoder)
    before = list(word_encoder.encoded)
    word_encoder.encoded.clear()

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert report.documents == 40
    assert before
    assert not set(before) & set(word_encoder.encoded)
    assert len(before) + len(word_encoder.encoded) == 40
    assert open_index(kb, encoder=word_encoder).search("word17", 1)[0].document == "docs/17.md"
    assert not (kb / WORK_FOLDER).exists()
    assert [job.outcome for job in jobs(kb)] == ["done", "stopped"]


def test_what_was_encoded_before_a_failure_is_not_encoded_again(docs, kb, word_encoder):
    encode = word_encoder._embed
    word_encoder._embed = lambda texts: encode(texts) if len(word_encoder.encoded) < 20 else 1 / 0
    with pytest.raises(ZeroDivisionError):
        build_index([str(docs)], kb, encoder=word_encoder)
    word_encoder._embed, before = encode, word_encoder.encoded[:16]
    word_encoder.encoded.clear()

    build_index([str(docs)], kb, encoder=word_encoder)

    assert not set(before) & set(word_encoder.encoded)
    assert len(word_encoder.encoded) == 24


def test_documents_are_split_while_those_before_are_encoded(
    docs, kb, word_encoder, monkeypatch, small_portions
):
    last, waited = threading.Event(), []
    spans, embed = word_encoder.token_spans, word_encoder._embed

    def noticed(text):
        if "word19 " in text:  # of the portion after the first
            last.set()
        return spans(text)

    def waiting(texts):
        waited.append(last.wait(timeout=30))
        return embed(texts)

    monkeypatch.setattr(word_encoder, "token_spans", noticed)
    monkeypatch.setattr(word_encoder, "_embed", waiting)

    build_index([str(docs)], kb, encoder=word_encoder)

    assert all(waited)


def test_a_build_that_is_stopped_leaves_no_thread(
    docs, kb, word_encoder, monkeypatch, small_portions
):
    split = "indexing.pipeline.split_document"
    monkeypatch.setattr(split, interrupting(split_document, after=30))
    embed = word_encoder._embed
    monkeypatch.setattr(word_encoder, "_embed", lambda texts: time.sleep(0.05) or embed(texts))

    with pytest.raises(BuildStoppedError):
        build_index([str(docs)], kb, encoder=word_encoder)

    done = len(word_encoder.encoded)
    assert not [one for one in threading.enumerate() if one.name.startswith("encoding")]
    time.sleep(0.2)
    assert len(word_encoder.encoded) == done


def interrupting(call, *, after):
    """The same call, which is interrupted when it was made so often."""
    calls = itertools.count()

    def interrupted(*given):
        if next(calls) == after:
            raise KeyboardInterrupt
        return call(*given)

    return interrupted


def test_a_stopped_first_build_leaves_no_index(docs, kb, word_encoder, monkeypatch):
    stop_at(monkeypatch, 1)

    with pytest.raises(BuildStoppedError):
        build_index([str(docs)], kb, encoder=word_encoder)

    with pytest.raises(FileNotFoundError, match="No index in"):
        open_index(kb)
    assert not list(kb.glob("gen-*"))


def test_parsed_text_that_took_long_is_not_parsed_again(
    docs, kb, word_encoder, monkeypatch, small_portions
):
    monkeypatch.setattr("indexing.pipeline._SLOW_S", 0.0)
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(BuildStoppedError):
            build_index([str(docs)], kb, encoder=word_encoder)
    parsed = []
    real = indexing.sources.load_document
    monkeypatch.setattr(
        "indexing.sources.load_document", lambda path, **k: parsed.append(path) or real(path, **k)
    )

    build_index([str(docs)], kb, encoder=word_encoder)

    assert 0 < len(parsed) <= 40 - 10
    assert docs / "00.md" not in parsed


def test_every_file_has_a_state(docs, kb, word_encoder):
    (docs / "bad.md").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    build_index([str(docs)], kb, encoder=word_encoder)
    first = {row.document: row.state for row in file_states(kb)}
    (docs / "00.md").write_text("changed")
    build_index([str(docs)], kb, encoder=word_encoder)
    second = {row.document: row.state for row in file_states(kb)}

    assert set(first.values()) == {State.PUBLISHED, State.FAILED}
    (failed,) = file_states(kb, State.FAILED)
    assert (failed.document, failed.source) == ("docs/bad.md", str(docs / "bad.md"))
    assert "binary" in failed.reason
    assert [second[f"docs/{name}.md"] for name in ("00", "01", "bad")] == [
        State.PUBLISHED,
        State.UNCHANGED,
        State.FAILED,
    ]


@pytest.mark.parametrize("damage", ["deleted", "rubbish", "cut", "flipped"])
def test_a_lost_or_damaged_work_file_costs_nothing_but_the_states(docs, kb, word_encoder, damage):
    build_index([str(docs)], kb, encoder=word_encoder)
    path = kb / WORK_NAME
    data = path.read_bytes()
    if damage == "deleted":
        path.unlink()
    else:
        half = len(data) // 2
        spoilt = bytes([data[half] ^ 1]) + data[half + 1 :]
        path.write_bytes(
            {"rubbish": b"rubbish" * 999, "cut": data[:half], "flipped": data[:half] + spoilt}[
                damage
            ]
        )

    report = build_index([str(docs)], kb, encoder=word_encoder)

    assert (report.skipped, report.generation) == (40, 1)
    assert {row.state for row in file_states(kb)} <= {State.UNCHANGED, State.PUBLISHED}
    assert len(file_states(kb)) == 40


def test_files_that_settle_are_read_once_more_and_then_no_longer(
    docs, kb, word_encoder, monkeypatch
):
    (docs / "00.md").touch()
    build_index([str(docs)], kb, encoder=word_encoder)
    os.utime(docs / "00.md", (1e9 + 1, 1e9 + 1))
    build_index([str(docs)], kb, encoder=word_encoder)
    read = []
    monkeypatch.setattr("indexing.sources._digest_of_file", read.append)

    build_index([str(docs)], kb, encoder=word_encoder)

    assert read == []


def test_a_long_build_is_estimated_and_its_sample_is_not_encoded_twice(
    docs, kb, word_encoder, monkeypatch
):
    monkeypatch.setattr("indexing.pipeline.WORTH_BYTES", 100)
    found = []

    build_index([str(docs)], kb, encoder=word_encoder, estimated=found.append)

    (estimate,) = found
    assert (estimate.documents, estimate.chunks) == (40, 40)
    assert 0 < estimate.seconds < 60
    assert 0 < estimate.disk_mib < 1 < estimate.free_mib
    assert len(word_encoder.encoded) == len(set(word_encoder.encoded)) == 40


def test_a_disk_that_cannot_hold_the_build_is_refused_before_it(
    docs, kb, word_encoder, monkeypatch
):
    monkeypatch.setattr("indexing.pipeline.WORTH_BYTES", 100)
    real = indexing.estimate.shutil.disk_usage
    monkeypatch.setattr(
        "indexing.estimate.shutil.disk_usage", lambda path: real(path)._replace(free=1000)
    )

    with pytest.raises(BuildFailedError, match=r"has 1 MiB free, and this build needs about"):
        build_index([str(docs)], kb, encoder=word_encoder, estimated=lambda _: None)


def test_an_estimate_is_a_sentence():
    estimate = Estimate(documents=10, chunks=3400, seconds=1500, disk_mib=3000, free_mib=9e5)

    assert str(estimate) == (
        "About 3400 chunks of 10 documents: about 25 min, and up to 2.9 GiB of disk "
        "(878.9 GiB free)."
    )


def test_progress_is_noted_for_those_who_look_on(kb):
    kb.mkdir()
    work = WorkFile(kb, "build docs")
    work.mark([FileRow("a", "/a", State.QUEUED, "")])
    work.progress(3, 10, "docs/a.md")

    (job,) = jobs(kb)
    assert (job.command, job.done, job.total, job.current) == ("build docs", 3, 10, "docs/a.md")
    assert (job.process, job.outcome, job.ended) == (os.getpid(), None, None)
    assert file_states(kb) == [FileRow("a", "/a", State.QUEUED, "")]


def test_a_folder_without_a_work_file_has_no_states_and_no_jobs(tmp_path):
    assert (file_states(tmp_path), jobs(tmp_path)) == ([], [])
    (tmp_path / WORK_NAME).write_text("rubbish")
    assert (file_states(tmp_path), jobs(tmp_path)) == ([], [])


def rows_of(count, dim=3):
    generator = np.random.default_rng(0)
    digests = [generator.bytes(32) for _ in range(count)]
    return digests, generator.normal(size=(count, dim)).astype(np.float32)


@pytest.mark.parametrize("cut", [0, 1, 47, 48, 49, 100, 144])
def test_a_journal_that_was_cut_keeps_its_whole_rows(tmp_path, cut):
    digests, rows = rows_of(3)
    path = tmp_path / "journal"
    journal = EmbeddingJournal(path, 3)
    journal.add(digests, rows)
    journal.close()
    assert path.stat().st_size == 3 * 48
    path.write_bytes(path.read_bytes()[:cut])

    journal = EmbeddingJournal(path, 3)
    journal.add(digests[2:], rows[2:])

    got = journal.get(digests)
    whole = {*range(cut // 48), 2}
    assert {digests.index(digest) for digest in got} == whole
    for place in whole:
        assert got[digests[place]].tolist() == rows[place].tolist()


def test_a_flipped_bit_ends_a_journal_before_it(tmp_path):
    digests, rows = rows_of(3)
    path = tmp_path / "journal"
    EmbeddingJournal(path, 3).add(digests, rows)
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)

    assert set(EmbeddingJournal(path, 3).get(digests)) == {digests[0]}


def test_an_encoder_of_another_fingerprint_has_a_journal_of_its_own(kb):
    kb.mkdir()
    work = WorkFile(kb, "build")
    digests, rows = rows_of(1)

    work.journal("a" * 64, 3).add(digests, rows)

    assert work.journal("b" * 64, 3).get(digests) == {}
    assert set(work.journal("a" * 64, 3).get(digests)) == set(digests)


def test_a_strict_build_that_failed_does_not_encode_again(docs, kb, word_encoder, small_portions):
    (docs / "bad.md").write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00")
    with pytest.raises(BuildFailedError, match="--strict"):
        build_index([str(docs)], kb, BuildConfig(strict=True), encoder=word_encoder)
    word_encoder.encoded.clear()
    (docs / "bad.md").unlink()

    build_index([str(docs)], kb, BuildConfig(strict=True), encoder=word_encoder)

    assert word_encoder.encoded == []
