"""LangChain's splitters in place of ours, and ours in the place of LangChain's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.documents import Document as LangChainDocument
from langchain_text_splitters import CharacterTextSplitter, RecursiveCharacterTextSplitter

from data import Document
from indexing import UsageError, build_index, open_index
from indexing.config import BuildConfig
from indexing.foreign import foreign_spans, name_of
from indexing.generation import open_current
from indexing.langchain_adapters import EncoderTextSplitter
from indexing.splitting import SplitterConfig, split_document

TEXT = "# Doors\n\n" + " ".join(f"Door {n} opens with key {n * 7}." for n in range(60)) + "\n"


def recursive(size=120, overlap=30):
    return RecursiveCharacterTextSplitter(chunk_size=size, chunk_overlap=overlap)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "doors.md").write_text(TEXT)
    return tmp_path / "docs"


def test_a_build_stores_the_chunks_of_a_langchain_splitter(folder, tmp_path, default_encoder):
    config = BuildConfig(store="exact")

    build_index(
        [str(folder)], tmp_path / "kb", config, encoder=default_encoder, splitter=recursive()
    )

    index = open_current(tmp_path / "kb", with_stores=False)
    [record] = [record for portion in index.portions() for record in portion]
    text = record.document.text
    assert [c.chunk.text for c in record.chunks] == recursive().split_text(text)
    assert all(text[c.chunk.start : c.chunk.end] == c.chunk.text for c in record.chunks)
    assert {c.chunk.heading for c in record.chunks} == {("Doors",)}
    hit = open_index(tmp_path / "kb", encoder=default_encoder).search("door 30", 1)[0]
    assert "Door 30 opens" in hit.text


def test_an_index_keeps_to_its_splitter(folder, tmp_path, default_encoder):
    kb, sources = tmp_path / "kb", [str(folder)]
    config = BuildConfig(store="exact")
    build_index(sources, kb, config, encoder=default_encoder, splitter=recursive())
    (folder / "new.md").write_text("Windows open from within.")

    with pytest.raises(UsageError, match=r"built with langchain.*got no other splitter"):
        build_index(sources, kb, config, encoder=default_encoder)
    with pytest.raises(UsageError, match=r"built with langchain.*got langchain"):
        build_index(sources, kb, config, encoder=default_encoder, splitter=recursive(size=200))
    assert len(open_index(kb, encoder=default_encoder).generation.states()) == 1

    report = build_index(sources, kb, config, encoder=default_encoder, splitter=recursive())
    assert (report.added, report.skipped) == (1, 1)


def test_an_index_of_ours_takes_no_other_splitter(folder, tmp_path, default_encoder):
    config = BuildConfig(store="exact")
    build_index([str(folder)], tmp_path / "kb", config, encoder=default_encoder)

    with pytest.raises(UsageError, match="built with the splitter of Angler, got langchain"):
        build_index([str(folder)], tmp_path / "kb", encoder=default_encoder, splitter=recursive())


def test_chunks_that_are_too_long_for_the_encoder_are_split_further(default_encoder):
    splitter = recursive(size=1500, overlap=0)
    config = SplitterConfig(chunk_tokens=48, overlap_tokens=0, foreign=name_of(splitter))
    document = Document(id="d", title="", text=TEXT, source="d")

    pieces = split_document(document, default_encoder, config, splitter)

    assert max(piece.tokens for piece in pieces) <= 48
    assert "".join("".join(p.text for p in pieces).split()) == "".join(TEXT.split())


def test_a_splitter_that_changes_the_text_is_refused():
    class Shouting:
        def split_text(self, text):
            return [text[:5], text[5:].upper()]

    with pytest.raises(
        UsageError, match=r"Chunk 2 that Shouting made of d does not stand .* 'E TW"
    ):
        foreign_spans("one, e two", Shouting(), "d")


def test_settings_change_the_name_and_nothing_else_does():
    assert name_of(recursive()) == name_of(recursive())
    assert name_of(recursive()) != name_of(recursive(overlap=31))
    assert name_of(recursive()) != name_of(CharacterTextSplitter(chunk_size=120, chunk_overlap=30))


@settings(max_examples=100, deadline=None)
@given(
    st.text(alphabet="ab。\n ", max_size=200),
    st.sampled_from([5, 20]),
    st.sampled_from([0, 3]),
)
def test_every_chunk_is_found_again(text, size, overlap):
    splitter = recursive(size, overlap)

    spans = foreign_spans(text, splitter, "d")

    chunks = {chunk.strip() for chunk in splitter.split_text(text)} - {""}
    assert {text[start:end] for start, end in spans} == chunks
    if overlap == 0:
        covered = {place for span in spans for place in range(*span)}
        assert not "".join(c for i, c in enumerate(text) if i not in covered).strip()


def test_ours_is_a_langchain_splitter(default_encoder):
    splitter = EncoderTextSplitter(default_encoder, chunk_tokens=48, overlap_tokens=8)
    document = LangChainDocument(page_content=TEXT, metadata={"title": "House", "page": 3})

    got = splitter.split_documents([document])

    config = SplitterConfig(chunk_tokens=48, overlap_tokens=8)
    want = split_document(
        Document(id="d", title="House", text=TEXT, source="d"), default_encoder, config
    )
    assert [d.page_content for d in got] == [piece.text for piece in want]
    assert [d.metadata["embedded"] for d in got] == [piece.embedded for piece in want]
    for found in got:
        facts = found.metadata
        assert TEXT[facts["start_index"] : facts["end_index"]] == found.page_content
        assert (facts["page"], facts["heading"]) == (3, ["Doors"])
        assert facts["tokens"] <= 48
    assert splitter.split_text(TEXT)[0].startswith("Door 0 opens")


def test_our_langchain_splitter_refuses_wrong_numbers(default_encoder):
    with pytest.raises(ValueError, match="overlap_tokens must be between 0 and half"):
        EncoderTextSplitter(default_encoder, chunk_tokens=48, overlap_tokens=40)
