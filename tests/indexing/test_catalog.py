import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import Chunk, Document
from indexing.catalog import Catalog, CatalogWriter, ChunkRecord, DocumentRecord, FileState

TEXT = "# 重置\n\nOpen the page.\n\n点击“忘记密码”。\U0001f600 e\u0301\x00\n"


def make_record(id_="docs/说明 1.md", first_chunk=1, text=TEXT, cuts=((6, 20), (22, 32))):
    document = Document(
        id=id_,
        title="Guide “指南”",
        text=text,
        source=f"/home/用户/{id_}",
        metadata={"author": "李雷", "year": 2026, "tags": ["a", None, 1.5], "x": {"y": True}},
        page_starts=(0, 22),
    )
    state = FileState(root="/home/用户/docs", size=len(text), mtime_ns=2**60, content="ab" * 32)
    chunks = tuple(
        make_chunk_record(document, number, *cut) for number, cut in enumerate(cuts, first_chunk)
    )
    return DocumentRecord(document, state, chunks)


def make_chunk_record(document, number, start, end):
    chunk = Chunk(
        id=number,
        document=document.id,
        start=start,
        end=end,
        page=document.page_at(start),
        heading=("指南", "Reset > it"),
        text=document.text[start:end],
    )
    embedded = f"{document.title}\n{chunk.text}"
    return ChunkRecord(chunk, embedded, sha256(embedded.encode()).digest())


def written(path, records):
    writer = CatalogWriter(path)
    writer.add(records)
    writer.close()
    return Catalog(path)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.sqlite"


def test_records_come_back_as_they_were_written(path):
    records = [make_record(), make_record("b", 3), make_record("empty", 5, cuts=())]

    catalog = written(path, records)

    assert list(catalog.records(["b", "docs/说明 1.md", "empty"])) == [
        records[1],
        records[0],
        records[2],
    ]


def test_chunks_are_exact_places_in_the_text(path):
    record = make_record()
    catalog = written(path, [record])

    chunks = catalog.chunks([2, 1, 99])

    assert chunks == {chunk.chunk.id: chunk.chunk for chunk in record.chunks}
    assert catalog.text(record.document.id) == TEXT
    assert all(chunk.text == TEXT[chunk.start : chunk.end] for chunk in chunks.values())
    assert [chunks[1].page, chunks[2].page] == [1, 2]
    assert chunks[1].heading == ("指南", "Reset > it")


def test_documents_come_without_their_texts(path):
    record = make_record()
    catalog = written(path, [record])

    assert catalog.documents([record.document.id, "none"]) == {
        record.document.id: replace(record.document, text="")
    }
    assert catalog.text("none") is None


def test_chunks_are_found_by_document_and_documents_by_chunk(path):
    catalog = written(path, [make_record("b", 5), make_record("a", 1), make_record("c", 3)])

    assert catalog.chunk_ids(["b", "a", "none"]) == [1, 2, 5, 6]
    assert catalog.documents_of([6, 1, 99]) == {"a", "b"}


def test_a_chunk_is_found_by_what_was_embedded_for_it(path):
    record = make_record()
    catalog = written(path, [record])
    first, second = record.chunks

    assert catalog.ids_by_digest([second.digest, b"\x00" * 32]) == {second.digest: 2}
    assert catalog.ids_by_digest([first.digest, second.digest]) == {
        first.digest: 1,
        second.digest: 2,
    }


def test_states_come_back_for_every_document(path):
    records = [make_record("a", 1), make_record("b", 3)]
    catalog = written(path, records)

    assert catalog.states() == {"a": records[0].state, "b": records[1].state}


def test_documents_that_differ_in_case_or_form_alone_are_different(path):
    ids = ["a", "A", "é", "e\u0301", "a ", "文件", "%", "_", "'; DROP TABLE documents"]
    catalog = written(path, [make_record(id_, 1 + 2 * n) for n, id_ in enumerate(ids)])

    assert set(catalog.states()) == set(ids)
    assert [catalog.chunk_ids([id_]) for id_ in ids] == [[n, n + 1] for n in range(1, 18, 2)]


def test_more_ids_than_one_statement_takes(path):
    count = 1234
    cuts = [(n % 20, n % 20 + 5) for n in range(count)]
    records = [make_record(f"d{n}", n + 1, cuts=[cut]) for n, cut in enumerate(cuts)]
    catalog = written(path, records)
    ids, names = list(range(count, 0, -1)), [f"d{n}" for n in range(count)]
    digests = {record.chunks[0].digest for record in records}

    assert set(catalog.chunks(ids)) == set(ids)
    assert set(catalog.documents(names)) == set(names)
    assert catalog.chunk_ids(names) == sorted(ids)
    assert catalog.documents_of(ids) == set(names)
    assert set(catalog.ids_by_digest(list(digests))) == digests
    assert len(catalog.states()) == count


def test_no_ids_find_nothing(path):
    catalog = written(path, [make_record()])

    assert catalog.chunks([]) == {}
    assert catalog.documents([]) == {}
    assert catalog.chunk_ids([]) == []
    assert catalog.documents_of([]) == set()
    assert catalog.ids_by_digest([]) == {}
    assert list(catalog.records([])) == []


def test_an_empty_catalogue_is_read(path):
    catalog = written(path, [])

    assert catalog.states() == {}
    assert catalog.chunks([1]) == {}


def test_chunk_ids_may_be_as_large_as_int64(path):
    record = make_record(first_chunk=2**63 - 1, cuts=[(0, 4)])

    assert written(path, [record]).chunks([2**63 - 1]) == {2**63 - 1: record.chunks[0].chunk}


@pytest.mark.parametrize("name", ["a b", "100%", "why?", "no#1", "a%20b", "目录", "a&mode=rwc"])
def test_the_folder_may_have_any_name(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()

    assert set(written(folder / "catalog.sqlite", [make_record("a")]).states()) == {"a"}


def test_reading_leaves_no_file_behind_and_writes_nothing(path):
    catalog = written(path, [make_record()])
    before = path.read_bytes()

    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        catalog._connection.execute("DELETE FROM chunks")

    assert catalog.states()
    assert path.read_bytes() == before
    assert [other.name for other in path.parent.iterdir()] == [path.name]


def test_a_missing_catalogue_is_not_made(path):
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        Catalog(path)

    assert not path.exists()


def test_several_threads_read_at_once(path):
    catalog = written(path, [make_record(f"d{n}", 1 + 2 * n) for n in range(50)])

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda n: catalog.chunk_ids([f"d{n % 50}"]), range(400)))

    assert got == [[1 + 2 * (n % 50), 2 + 2 * (n % 50)] for n in range(400)]


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=40, deadline=None)
@given(id_=_TEXTS, title=_TEXTS, text=_TEXTS, metadata=st.dictionaries(_TEXTS, _JSON, max_size=4))
def test_any_document_comes_back(tmp_path_factory, id_, title, text, metadata):
    document = Document(id=id_, title=title, text=text, source=title, metadata=metadata)
    state = FileState(root=title, size=0, mtime_ns=0, content="")
    record = DocumentRecord(document, state, (make_chunk_record(document, 1, 0, len(text)),))

    catalog = written(tmp_path_factory.mktemp("catalog") / "catalog.sqlite", [record])

    assert list(catalog.records([id_])) == [record]
    assert catalog.text(id_) == text
