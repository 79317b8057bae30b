"""Rollback, verify, keep, backup, restore, purge, and what LangChain saved."""

import contextlib
import io
import json
import os
import pickle
import shutil
import zipfile

import pytest

import indexing.manage
from encoder.embedding_cache import EmbeddingCache
from indexing import (
    BuildConfig,
    CorruptIndexError,
    IndexLockedError,
    UsageError,
    build_index,
    managing,
    open_index,
)
from indexing.backup import backup_index
from indexing.errors import BackupError
from indexing.generation import current_folder, finished_generations
from indexing.langchain_folder import langchain_records
from indexing.manifest import NAME, Manifest
from indexing.publishing import writer_lock

OLD = 1_000_000_000


def write(path, text, mtime=OLD):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    os.utime(path, (mtime, mtime))


def quiet(*_):
    """A progress that nobody watches."""


@pytest.fixture
def docs(tmp_path):
    folder = tmp_path / "docs"
    for number in range(4):
        write(folder / f"{number}.md", f"# Page {number}\n\nword{number} of page {number}.\n")
    return folder


@pytest.fixture
def kb(docs, tmp_path, word_encoder):
    """Three changes of page 0; the last two generations are kept."""
    folder = tmp_path / "kb"
    for number in range(3):
        write(docs / "0.md", f"# Page 0\n\nround{number} of page 0.\n", OLD + number)
        build_index([str(docs)], folder, encoder=word_encoder)
    return folder


def texts(kb, encoder):
    return {hit.text for hit in open_index(kb, encoder=encoder).search("page", 99, mode="lexical")}


OTHERS = {f"word{number} of page {number}." for number in (1, 2, 3)}


def at(number):
    return OTHERS | {f"round{number} of page 0."}


def test_rollback_goes_back_and_forth(kb, word_encoder):
    assert texts(kb, word_encoder) == at(2)

    found = managing.roll_back(kb, None)

    assert (found["from"], found["to"]) == ("gen-000003", "gen-000002")
    assert texts(kb, word_encoder) == at(1)
    managing.roll_back(kb, 3)
    assert texts(kb, word_encoder) == at(2)
    with pytest.raises(UsageError, match=r"keeps no generation 1\. Kept: 2, 3"):
        managing.roll_back(kb, 1)


def test_after_a_rollback_ids_are_not_given_twice(docs, kb, word_encoder):
    used = set(open_index(kb, encoder=word_encoder).generation.chunk_ids().tolist())
    managing.roll_back(kb, None)
    write(docs / "0.md", "# Page 0\n\nquite new.\n", OLD + 9)

    report = build_index([str(docs)], kb, encoder=word_encoder)

    generation = open_index(kb, encoder=word_encoder).generation
    (fresh,) = [c.id for c in generation.chunks(generation.chunk_ids().tolist()).values()
                if c.text == "quite new."]  # fmt: skip
    assert fresh not in used
    assert report.generation == 4
    assert {folder.name for folder in finished_generations(kb)} == {"gen-000002", "gen-000004"}


def test_there_is_nothing_to_roll_back_to_in_a_new_index(docs, tmp_path, word_encoder):
    build_index([str(docs)], tmp_path / "new", encoder=word_encoder)

    with pytest.raises(UsageError, match="keeps no earlier generation"):
        managing.roll_back(tmp_path / "new", None)


def test_a_damaged_generation_is_not_returned_to(kb, word_encoder):
    path = kb / "gen-000002" / "delta" / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")

    with pytest.raises(CorruptIndexError, match="embeddings"):
        managing.roll_back(kb, None)
    assert texts(kb, word_encoder) == at(2)


def test_verify_names_every_damaged_file(kb):
    assert managing.verify(kb)["damaged"] == []
    for name in ("delta/ids.npy", "deleted.npy"):
        path = kb / "gen-000003" / name
        path.write_bytes(path.read_bytes()[:-1] + b"!")

    found = managing.verify(kb)

    assert found["whole"] == ["gen-000002"]
    assert found["damaged"] == [
        f"{kb}/gen-000003/deleted.npy was changed after it was written",
        f"{kb}/gen-000003/delta/ids.npy was changed after it was written",
    ]


def test_so_many_generations_are_kept_as_was_asked(docs, kb, word_encoder):
    managing.keep(kb, 4)
    for number in range(4):
        write(docs / "0.md", f"# Page 0\n\nagain{number}.\n", OLD + 10 + number)
        build_index([str(docs)], kb, encoder=word_encoder)

    assert len(finished_generations(kb)) == 4
    assert managing.keep(kb, 1)["kept"] == ["gen-000007"]
    with pytest.raises(UsageError, match="at least 1, got 0"):
        managing.keep(kb, 0)


def test_a_backup_restores_to_the_same_index(docs, kb, tmp_path, word_encoder):
    file, other = tmp_path / "kb.zip", tmp_path / "other"
    managing.back_up(kb, file, quiet)
    shutil.rmtree(kb)

    found = managing.restore(other, file, quiet)

    assert (found["documents"], found["chunks"], found["generation"]) == (4, 4, 1)
    assert texts(other, word_encoder) == at(2)
    assert managing.verify(other)["damaged"] == []
    report = build_index([str(docs)], other, encoder=word_encoder)
    assert (report.skipped, report.generation) == (4, 1)


def test_a_backup_restored_into_an_index_can_be_rolled_back(docs, kb, tmp_path, word_encoder):
    managing.back_up(kb, tmp_path / "kb.zip", quiet)
    write(docs / "0.md", "# Page 0\n\nlater.\n", OLD + 9)
    build_index([str(docs)], kb, encoder=word_encoder)

    managing.restore(kb, tmp_path / "kb.zip", quiet)

    assert texts(kb, word_encoder) == at(2)
    managing.roll_back(kb, None)
    assert texts(kb, word_encoder) == OTHERS | {"later."}


def test_a_backup_holds_no_pickle_and_is_not_written_over(kb, tmp_path):
    managing.back_up(kb, tmp_path / "kb.zip", quiet)

    names = zipfile.ZipFile(tmp_path / "kb.zip").namelist()
    assert set(names) == {NAME, *Manifest.read(current_folder(kb)).files}
    with pytest.raises(UsageError, match="is there already"):
        managing.back_up(kb, tmp_path / "kb.zip", quiet)


def test_a_damaged_index_is_not_backed_up(kb, tmp_path):
    path = current_folder(kb) / "base" / "embeddings.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")

    with pytest.raises(CorruptIndexError, match="embeddings"):
        backup_index(kb, tmp_path / "kb.zip")
    assert not list(tmp_path.glob("kb.zip*"))


def test_a_backup_with_any_flipped_byte_is_refused_or_restores_the_same(kb, tmp_path, word_encoder):
    file = tmp_path / "kb.zip"
    managing.back_up(kb, file, quiet)
    good = file.read_bytes()
    refused = 0
    for place in range(0, len(good), len(good) // 40):
        bad = bytearray(good)
        bad[place] ^= 4
        file.write_bytes(bad)
        target = tmp_path / f"restored{place}"
        with contextlib.suppress(BackupError):
            managing.restore(target, file, quiet)
        if finished_generations(target):  # a byte that says nothing, such as a time
            assert texts(target, word_encoder) == at(2)
        else:
            refused += 1
    assert refused >= 20
    file.write_bytes(good[: len(good) // 2])
    with pytest.raises(BackupError, match="cannot be read"):
        managing.restore(tmp_path / "cut", file, quiet)


def test_a_backup_whose_table_of_contents_points_before_its_beginning_is_refused(kb, tmp_path):
    file = tmp_path / "kb.zip"
    managing.back_up(kb, file, quiet)
    bad = bytearray(file.read_bytes())
    place = len(bad) - 22 + 16  # the table's offset, in the record that ends a ZIP file
    bad[place : place + 4] = (int.from_bytes(bad[place : place + 4], "little") + 64).to_bytes(
        4, "little"
    )
    file.write_bytes(bad)

    with pytest.raises(BackupError, match=r"damaged table of contents|cannot be read"):
        managing.restore(tmp_path / "restored", file, quiet)


@pytest.mark.parametrize(
    "name", ["../evil", "/tmp/evil", "base/../../evil", "c:\\evil", "..\\evil", "base//x", "./x"]
)
def test_a_backup_cannot_write_outside_of_the_index(kb, tmp_path, name):
    manifest = Manifest.read(current_folder(kb))
    fact = next(iter(manifest.files.values()))
    folder = tmp_path / "made"
    folder.mkdir()
    body = manifest.__class__(**{**vars(manifest), "files": {name: fact}})
    body.write(folder)
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.write(folder / NAME, NAME)
        archive.writestr(name, b"evil")

    with pytest.raises(BackupError, match=r"which no index has|does not hold what"):
        managing.restore(tmp_path / "target" / "kb", tmp_path / "evil.zip", quiet)
    assert not list(tmp_path.rglob("*evil"))


def test_a_backup_that_unpacks_to_more_than_it_says_is_refused(kb, tmp_path):
    managing.back_up(kb, tmp_path / "kb.zip", quiet)
    with zipfile.ZipFile(tmp_path / "kb.zip") as source:
        content = {name: source.read(name) for name in source.namelist()}
    content["deleted.npy"] += b"\0" * (8 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in content.items():
            target.writestr(name, data)

    with pytest.raises(BackupError, match=r"holds a damaged deleted\.npy"):
        managing.restore(tmp_path / "kb2", tmp_path / "bomb.zip", quiet)


def every_byte(*folders):
    return b"".join(
        path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()
    )


def test_a_purge_leaves_no_byte_of_a_removed_document(docs, tmp_path, word_encoder):
    kb, cache = tmp_path / "kb", tmp_path / "own-cache"
    write(docs / "secret.md", "# Zanzibar\n\nquokkaword lives on rottnest.\n")
    build_index([str(docs)], kb, encoder=word_encoder)
    generation = open_index(kb, encoder=word_encoder).generation
    (chunk,) = [
        c for c in generation.chunks(generation.chunk_ids().tolist()).values()
        if "quokkaword" in c.text
    ]  # fmt: skip
    vector = generation.embeddings([chunk.id])[0].tobytes()
    del generation
    assert b"quokkaword" in every_byte(kb)
    assert vector in every_byte(kb)
    assert vector in every_byte(cache)
    (docs / "secret.md").unlink()
    build_index([str(docs)], kb, encoder=word_encoder)
    assert b"quokkaword" in every_byte(kb)

    report = managing.purge(kb)

    EmbeddingCache().close()
    left = every_byte(kb, cache)
    for trace in (b"quokkaword", b"Zanzibar", b"rottnest", b"zanzibar", b"secret.md", vector):
        assert trace not in left
    assert (report["removed_generations"], report["removed_chunks"]) == (2, 1)
    assert report["removed_cached"] == 1
    assert texts(kb, word_encoder) == {f"word{n} of page {n}." for n in range(4)}
    assert managing.verify(kb)["damaged"] == []


def test_a_build_with_purge_removes_and_purges_in_one(docs, tmp_path, word_encoder):
    kb = tmp_path / "kb"
    write(docs / "secret.md", "# Zanzibar\n\nquokkaword lives on rottnest.\n")
    build_index([str(docs)], kb, encoder=word_encoder)
    (docs / "secret.md").unlink()

    report = build_index([str(docs)], kb, BuildConfig(purge=True), encoder=word_encoder)

    assert b"quokkaword" not in every_byte(kb, tmp_path / "own-cache")
    assert (report.deleted, report.generation) == (1, 3)


def test_status_tells_what_there_is(kb):
    found = managing.status(kb)

    assert found["live"] == 3
    assert [one["generation"] for one in found["generations"]] == [2, 3]
    assert found["last run"]["outcome"] == "done"
    assert found["files"] == {"published": 1, "unchanged": 3}
    assert [row["state"] for row in managing.files(kb, "published")["files"]] == ["published"]
    with pytest.raises(UsageError, match=r"Unknown state 'odd'\. Known: queued"):
        managing.files(kb, "odd")


def test_near_duplicates_are_reported(docs, tmp_path, word_encoder):
    text = " ".join(f"term{number}" for number in range(200))
    write(docs / "long.md", text)
    write(docs / "nearly.md", text.replace("term150", "changed"))
    write(docs / "same.md", text)
    build_index([str(docs)], tmp_path / "kb", encoder=word_encoder)

    found = managing.near_duplicates(tmp_path / "kb", 0.8)

    (pair,) = found["nearly the same"]
    assert (pair["first"], pair["second"]) == ("docs/long.md", "docs/nearly.md")
    assert pair["similarity"] == pytest.approx(193 / 201, abs=1e-3)  # 4 of 197 runs differ
    assert found["the same"] == [{"file": str(docs / "same.md"), "of": "docs/long.md"}]


def test_commands_that_write_respect_the_lock(kb):
    with writer_lock(kb):
        for command in (lambda: managing.roll_back(kb, None), lambda: managing.keep(kb, 2),
                        lambda: managing.purge(kb)):  # fmt: skip
            with pytest.raises(IndexLockedError):
                command()


@pytest.mark.parametrize(
    "arguments",
    [["rollback"], ["status"], ["verify"], ["keep", "2"], ["purge"], ["near-duplicates"],
     ["backup", "x.zip"]],
)  # fmt: skip
def test_a_folder_without_an_index_is_named(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.setattr("sys.argv", ["manage", *arguments, "--index", str(tmp_path / "none")])

    with pytest.raises(SystemExit) as caught:
        indexing.manage.main()

    assert caught.value.code == 1
    assert "No index in" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_command_prints_for_people_and_json(kb, monkeypatch, capsys):
    for extra, check in (([], str), (["--json"], json.loads)):
        monkeypatch.setattr("sys.argv", ["manage", "status", "--index", str(kb), *extra])
        with pytest.raises(SystemExit) as caught:
            indexing.manage.main()
        assert caught.value.code == 0
        assert check(capsys.readouterr().out)


# LangChain's folders


def langchain_folder(tmp_path, value):
    folder = tmp_path / "langchain"
    folder.mkdir()
    (folder / "index.faiss").write_bytes(b"not read")
    (folder / "index.pkl").write_bytes(value)
    return folder


def test_texts_that_langchain_saved_are_indexed(tmp_path, word_encoder, monkeypatch):
    core = pytest.importorskip("langchain_core.documents")
    module = type(os)("langchain_community.docstore.in_memory")

    class InMemoryDocstore:
        def __init__(self, documents):
            self._dict = documents

    InMemoryDocstore.__module__ = module.__name__
    InMemoryDocstore.__qualname__ = "InMemoryDocstore"
    module.InMemoryDocstore = InMemoryDocstore
    for name in ("langchain_community", "langchain_community.docstore", module.__name__):
        monkeypatch.setitem(__import__("sys").modules, name, module)
    store = InMemoryDocstore(
        {
            "a": core.Document(page_content="red fox", metadata={"source": "x.pdf", "page": 3}),
            "b": core.Document(page_content="蓝鲸", metadata={"title": "鲸"}),
        }
    )
    folder = langchain_folder(tmp_path, pickle.dumps((store, {0: "a", 1: "b"})))
    monkeypatch.setattr("indexing.managing.build_index", lambda *a, **k: build_index(
        *a, **k, encoder=word_encoder))  # fmt: skip

    found = managing.migrate(tmp_path / "kb", folder, None, quiet)

    assert found["documents"] == 2
    hit = open_index(tmp_path / "kb", encoder=word_encoder).search("red fox", 1)[0]
    assert (hit.document, hit.text, dict(hit.metadata)) == (
        "a", "red fox", {"source": "x.pdf", "page": 3},
    )  # fmt: skip


class Evil:
    def __reduce__(self):
        return os.system, ("touch /tmp/evil-was-run",)


@pytest.mark.parametrize(
    "value",
    [
        pickle.dumps(Evil()),
        pickle.dumps(({"a": Evil()}, {})),
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cposix\nsystem\n(S'touch /tmp/evil-was-run'\ntR.",
        b"not a pickle",
        b"",
        pickle.dumps((1, 2)),
        pickle.dumps(io.BytesIO),
    ],
)
def test_a_pickle_that_asks_for_more_is_refused_and_nothing_is_run(tmp_path, value):
    with pytest.raises(UsageError, match=r"python -m indexing\.build - --index DIR"):
        langchain_records(langchain_folder(tmp_path, value))
    assert not os.path.exists("/tmp/evil-was-run")  # noqa: PTH110


def test_a_folder_that_is_not_of_langchain_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"holds 0 \.pkl files"):
        langchain_records(tmp_path)
