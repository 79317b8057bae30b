from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data import Chunk, Document
from indexing.catalog import ChunkRecord, DocumentRecord, FileState
from indexing.segment import Segment, SegmentWriter
from indexing.stores import store_kinds

DIM = 5


@pytest.fixture(params=store_kinds())
def kind(request):
    return request.param


def make_records(ids, document="d"):
    """One document with a chunk for each id."""
    text = "".join(f"chunk {id_}\n" for id_ in ids)
    chunks = []
    for id_ in ids:
        start = text.index(f"chunk {id_}\n")
        end = start + len(f"chunk {id_}")
        chunk = Chunk(
            id=id_,
            document=document,
            start=start,
            end=end,
            page=None,
            heading=(),
            text=text[start:end],
        )
        chunks.append(ChunkRecord(chunk, chunk.text, id_.to_bytes(32, "big")))
    found = Document(id=document, title="", text=text, source="")
    return [
        DocumentRecord(found, FileState(root="", size=0, mtime_ns=0, content=""), tuple(chunks))
    ]


def make_rows(ids):
    """Unit rows that tell their id."""
    angles = np.array(ids, np.float64) / 1000
    rows = np.zeros((len(ids), DIM), np.float32)
    rows[:, 0], rows[:, 1] = np.cos(angles), np.sin(angles)
    return rows


def write(folder, kind, *batches):
    writer = SegmentWriter(folder, DIM, store=kind, index_type="flat")
    for number, ids in enumerate(batches):
        writer.add(make_records(ids, f"d{number}"), make_rows(ids))
    assert len(writer) == sum(map(len, batches))
    writer.close()
    return Segment(folder, store=kind)


def test_catalogue_embeddings_and_store_hold_the_same_chunks(tmp_path, kind):
    segment = write(tmp_path / "base", kind, [3, 4, 9], [12, 10])

    assert len(segment) == 5
    assert set(segment.catalog.chunks(range(20))) == {3, 4, 9, 10, 12}
    assert segment.catalog.chunk_ids(["d1"]) == [10, 12]
    assert segment.store.search(make_rows([9, 12]), 1).ids.tolist() == [[9], [12]]
    assert segment.embeddings([3, 4, 9, 12, 10]).tolist() == make_rows([3, 4, 9, 12, 10]).tolist()


@pytest.mark.parametrize("ids", [[4], [12, 3], [9, 10, 4, 12, 3], [4, 4, 9, 4], []])
def test_embeddings_come_by_id_in_any_order(tmp_path, kind, ids):
    segment = write(tmp_path / "base", kind, [12, 3, 9], [4, 10])

    got = segment.embeddings(ids)

    assert (got.dtype, got.shape) == (np.float32, (len(ids), DIM))
    assert got.tolist() == make_rows(ids).tolist()
    assert segment.embeddings(iter(ids)).tolist() == got.tolist()


@pytest.mark.parametrize("count", [0, 1, 2, 99, 1000, 12_345])
def test_the_embeddings_are_a_file_of_numpy(tmp_path, count):
    ids = list(range(1, count + 1))
    write(tmp_path / "base", "exact", *[ids[at : at + 5000] for at in range(0, count, 5000)])

    path = tmp_path / "base" / "embeddings.npy"
    got = np.load(path, allow_pickle=False)

    assert (got.shape, got.dtype) == ((count, DIM), np.float32)
    assert got.tolist() == make_rows(ids).tolist()
    assert path.stat().st_size == 128 + count * DIM * 4
    assert np.load(path, mmap_mode="r").shape == (count, DIM)


def test_an_empty_segment_can_be_read(tmp_path, kind):
    segment = write(tmp_path / "base", kind)

    assert len(segment) == 0
    assert segment.embeddings([]).shape == (0, DIM)
    assert segment.store.search(make_rows([1]), 2).ids.tolist() == [[-1, -1]]
    assert segment.catalog.states() == {}


def test_documents_without_chunks_are_kept(tmp_path, kind):
    segment = write(tmp_path / "base", kind, [1, 2], [])

    assert len(segment) == 2
    assert set(segment.catalog.states()) == {"d0", "d1"}
    assert segment.catalog.text("d1") == ""


def test_embeddings_that_are_no_single_precision_array_in_rows_are_written_as_one(tmp_path):
    ids = [1, 2, 3]
    writer = SegmentWriter(tmp_path / "base", DIM, store="exact", index_type="flat")

    writer.add(make_records(ids), np.asfortranarray(make_rows(ids).astype(np.float64)))
    writer.close()

    got = Segment(tmp_path / "base", store="exact").embeddings([3, 1])
    assert got.tolist() == make_rows([3, 1]).tolist()


def test_embeddings_of_a_wrong_shape_are_refused(tmp_path, kind):
    writer = SegmentWriter(tmp_path / "base", DIM, store=kind, index_type="flat")

    with pytest.raises(ValueError, match=r"must have shape \(2, 5\), got \(1, 5\)"):
        writer.add(make_records([1, 2]), make_rows([1]))


def test_a_segment_is_never_written_over(tmp_path):
    write(tmp_path / "base", "exact", [1])

    with pytest.raises(FileExistsError):
        SegmentWriter(tmp_path / "base", DIM, store="exact", index_type="flat")


def test_what_is_read_cannot_change_the_file(tmp_path):
    segment = write(tmp_path / "base", "exact", [1, 2])

    segment.embeddings([1, 2])[:] = 0

    assert segment.embeddings([2]).tolist() == make_rows([2]).tolist()


def test_several_threads_read_at_once(tmp_path, kind):
    ids = list(range(1, 501))
    segment = write(tmp_path / "base", kind, ids)

    def read(id_):
        found = segment.store.search(segment.embeddings([id_]), 1).ids[0, 0]
        return segment.catalog.chunks([int(found)])[id_].text

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, ids)) == [f"chunk {id_}" for id_ in ids]
