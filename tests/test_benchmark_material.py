"""What benchmarks build with passes for the real thing."""

from benchmarks.material import StandIn, write_documents
from indexing import build_index, open_index


def test_the_stand_in_builds_and_updates_an_index(tmp_path):
    write_documents(tmp_path / "docs", 3, chunks_each=2)
    encoder = StandIn()

    first = build_index([str(tmp_path / "docs")], tmp_path / "kb", encoder=encoder.typed())
    again = build_index([str(tmp_path / "docs")], tmp_path / "kb", encoder=encoder.typed())

    assert (first.documents, first.chunks >= 6, again.skipped) == (3, True, 3)
    assert encoder.seconds > 0
    assert open_index(tmp_path / "kb", encoder=encoder.typed()).search("text", 1, mode="lexical")
