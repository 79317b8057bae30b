from indexing.sources import scan_sources
from tests.data.documents import zipped


def test_files_of_an_archive_are_documents_of_their_own(tmp_path):
    root = tmp_path / "kb"
    root.mkdir()
    raw = zipped({"in/a.md": "# A\n\ntext", "b.exe": "?", "../c.md": "out", "in/d.txt": "words"})
    (root / "old.zip").write_bytes(raw)
    (root / "note.md").write_text("note")

    scan = scan_sources([str(root)])

    documents = [item.load() for item in scan.items]
    assert [document.id for document in documents] == [
        "kb/note.md",
        "kb/old.zip/in/a.md",
        "kb/old.zip/in/d.txt",
    ]
    assert [document.text for document in documents] == ["note", "# A\n\ntext", "words"]
    assert documents[1].title == "A"
    assert documents[1].source == str(root / "old.zip" / "in" / "a.md")
    assert [failure.source for failure in scan.failures] == [str(root / "old.zip") + "/../c.md"]


def test_a_damaged_archive_is_a_failure_that_hides_what_was_in_it(tmp_path):
    (tmp_path / "old.zip").write_bytes(b"PK\x03\x04")

    scan = scan_sources([str(tmp_path / "old.zip")])

    assert scan.items == []
    assert scan.hidden == [str(tmp_path / "old.zip")]
    assert "damaged" in scan.failures[0].reason


def test_links_in_a_circle_are_one_failure_each_and_end(tmp_path):
    (tmp_path / "a.md").symlink_to(tmp_path / "b.md")
    (tmp_path / "b.md").symlink_to(tmp_path / "a.md")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "good.md").write_text("text")

    scan = scan_sources([str(tmp_path)])

    assert [item.id for item in scan.items] == [f"{tmp_path.name}/good.md"]
    assert [failure.source for failure in scan.failures] == [
        str(tmp_path / "a.md"),
        str(tmp_path / "b.md"),
    ]
    assert all("Too many levels" in failure.reason for failure in scan.failures)


def test_pictures_are_documents_only_where_their_text_can_be_read(tmp_path, monkeypatch):
    import indexing.sources

    (tmp_path / "photo.png").write_bytes(b"")
    monkeypatch.setattr(indexing.sources, "_reads_pictures", lambda: False)
    assert scan_sources([str(tmp_path)]).items == []
    monkeypatch.setattr(indexing.sources, "_reads_pictures", lambda: True)
    assert len(scan_sources([str(tmp_path)]).items) == 1


def test_an_archive_in_which_nothing_is_read_says_so(tmp_path):
    (tmp_path / "a.zip").write_bytes(zipped({"old.doc": "x"}))

    scan = scan_sources([str(tmp_path / "a.zip")])

    assert [failure.reason for failure in scan.failures] == [
        "The archive holds no file that is read (old.doc, ...)."
    ]
