"""Another encoder for an index, without its sources and without a pause."""

import os
import shutil
import threading

import numpy as np
import pytest

import indexing.embedding
from indexing import UsageError, build_index, managing, open_index, points
from indexing.errors import BuildStoppedError
from indexing.generation import current_folder
from indexing.manifest import Manifest
from indexing.reencoding import reembed_index


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02}.md").write_text(
            f"# Page {number}\n\nword{number} of page {number}. " + "filler words here. " * 8
        )
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))
    return folder


@pytest.fixture
def kb(docs, tmp_path, word_encoder):
    folder = tmp_path / "kb"
    build_index([str(docs)], folder, encoder=word_encoder)
    os.utime(docs / "00.md", (1e9 + 1, 1e9 + 1))
    (docs / "00.md").write_text("# Page 0\n\nchanged page.\n")
    build_index([str(docs)], folder, encoder=word_encoder)
    return folder


@pytest.fixture
def other(make_word_encoder):
    """An encoder of another kind, with embeddings of another size."""
    return make_word_encoder(name="other", weights="o" * 64, dim=48)


def chunks(kb):
    generation = open_index(kb).generation
    found = generation.chunks(generation.chunk_ids().tolist())
    return {(c.id, c.document, c.start, c.end, c.text) for c in found.values()}


def test_the_same_chunks_get_the_new_encoders_embeddings(docs, kb, other):
    before = chunks(kb)
    shutil.rmtree(docs)  # no source is needed

    report = reembed_index(kb, other)

    assert (report.encoder, report.before, report.split_again) == ("other", "words", 0)
    assert chunks(kb) == before
    generation = open_index(kb, encoder=other).generation
    ids = generation.chunk_ids().tolist()
    records = [r for portion in generation.portions() for r in portion]
    embedded = {c.chunk.id: c.embedded for r in records for c in r.chunks}
    want = other.encode_documents([embedded[id_] for id_ in ids])
    np.testing.assert_allclose(generation.embeddings(ids), want, atol=1e-6)
    assert open_index(kb, encoder=other).search("word17", 1)[0].document == "docs/17.md"


def test_documents_that_the_new_encoder_cannot_read_whole_are_split_again(kb, make_word_encoder):
    small = make_word_encoder(name="small", weights="s" * 64, max_tokens=24)

    report = reembed_index(kb, small)

    assert report.split_again >= 19
    manifest = Manifest.read(current_folder(kb))
    assert manifest.splitter.chunk_tokens == 24
    generation = open_index(kb, encoder=small).generation
    records = [r for portion in generation.portions() for r in portion]
    embedded = [chunk.embedded for record in records for chunk in record.chunks]
    assert max(small.count_tokens(embedded)) <= 24
    for record in records:
        for chunk in record.chunks:
            place = slice(chunk.chunk.start, chunk.chunk.end)
            assert record.document.text[place] == chunk.chunk.text


def test_the_old_encoder_can_be_returned_to(kb, word_encoder, other):
    before = chunks(kb)
    reembed_index(kb, other)

    managing.roll_back(kb, None)

    assert chunks(kb) == before
    assert open_index(kb, encoder=word_encoder).search("word5", 1)[0].document == "docs/05.md"


def test_builds_go_on_with_the_new_encoder(docs, kb, other):
    reembed_index(kb, other)
    other.encoded.clear()
    (docs / "new.md").write_text("# New\n\nbrand new.\n")

    report = build_index([str(docs)], kb, encoder=other)

    assert (report.added, report.skipped) == (1, 20)
    assert len(other.encoded) == 1


def test_a_stopped_change_goes_on_where_it_stopped(kb, other, word_encoder, monkeypatch):
    monkeypatch.setenv("ANGLER_CACHE_MIB", "0")
    monkeypatch.setattr(indexing.embedding, "_KEPT_EVERY_S", 0.0)
    passed = []

    def passing(point):
        passed.append(point)
        if passed.count("portion encoded") == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(points, "passing", passing)
        with pytest.raises(BuildStoppedError):
            reembed_index(kb, other)
    first = list(other.encoded)
    other.encoded.clear()
    assert open_index(kb, encoder=word_encoder).search("word5", 1)[0].document == "docs/05.md"

    reembed_index(kb, other)

    assert len(first) == 12
    assert not set(first) & set(other.encoded)


def test_the_same_encoder_is_refused(kb, word_encoder):
    with pytest.raises(UsageError, match="was built with words already"):
        reembed_index(kb, word_encoder)


def test_an_open_index_moves_on_to_the_new_encoder(kb, word_encoder, other, monkeypatch):
    encoders = {"words": word_encoder, "other": other}
    monkeypatch.setattr("encoder.load_encoder", lambda name, **_: encoders[name])
    reader, stop, wrong = open_index(kb), threading.Event(), []

    query = "Page 17\nword17 of page 17. " + "filler words here. " * 8

    def search():
        while not stop.is_set():
            hits = reader.search(query, 1, mode="dense")
            if [hit.document for hit in hits] != ["docs/17.md"]:
                wrong.append(hits)

    thread = threading.Thread(target=search)
    thread.start()
    reembed_index(kb, other)
    assert reader.refresh()
    stop.set()
    thread.join()

    assert wrong == []
    assert reader.encoder is other
    managing.roll_back(kb, None)
    assert reader.refresh()
    assert reader.encoder is word_encoder
