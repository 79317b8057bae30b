"""Index types in a whole index: built, updated, changed, examined; what each name stands for."""

import json
import sys

import numpy as np
import pytest

from indexing import BuildConfig, UsageError, build_index, manage, open_index
from indexing.examining import Level, examine
from indexing.generation import current_folder, open_current
from indexing.retyping import retype_index
from indexing.stores import make_store
from indexing.stores.index_types import NAMED, cell_count, choose, recipe

WORDS = [f"word{n}" for n in range(300)]
COUNT = 1_200


def lines(numbers):
    chance = np.random.default_rng(0)
    picked = chance.integers(0, len(WORDS), (5_000, 6))
    return [
        json.dumps({"id": f"d{n}", "text": " ".join(WORDS[w] for w in picked[n])}) for n in numbers
    ]


@pytest.fixture(scope="module")
def built(tmp_path_factory, make_word_encoder):
    """An index of 1,200 documents, in cells."""
    encoder, folder = make_word_encoder(), tmp_path_factory.mktemp("index") / "kb"
    config = BuildConfig(index_type="ivf_flat", recall=0.9)
    build_index(["-"], folder, config, encoder=encoder, lines=lines(range(COUNT)))
    return folder


@pytest.fixture
def kb(built, tmp_path):
    import shutil

    return shutil.copytree(built, tmp_path / "kb", symlinks=True)


def found(kb, encoder, text, k=5):
    return open_index(kb, encoder=encoder).search(text, k, mode="dense")


def text_of(number):
    return json.loads(lines([number])[0])["text"]


def test_a_build_says_in_its_manifest_what_it_made_and_what_recall_it_measured(built):
    manifest = open_current(built, with_stores=False).manifest

    assert (manifest.index_type, manifest.recall) == ("ivf_flat", 0.9)
    made = manifest.made["made"]
    assert made["factory"] == f"IVF{cell_count(COUNT)},Flat"
    assert made["rows"] == COUNT
    assert 0.9 <= made["recall"] <= 1
    assert 1 <= made["setting"]["nprobe"] <= cell_count(COUNT)


def test_an_update_leaves_the_base_as_it_is_and_its_delta_is_flat(kb, word_encoder):
    before = current_folder(kb) / "base" / "store.faiss"
    inode = before.stat().st_ino
    config = BuildConfig(update="incremental")

    report = build_index(
        ["-"], kb, config, encoder=word_encoder, lines=lines(range(COUNT, COUNT + 40))
    )

    after = current_folder(kb)
    assert report.added == 40
    assert (after / "base" / "store.faiss").stat().st_ino == inode
    assert not (after / "delta" / "store.json").exists()
    assert found(kb, word_encoder, text_of(COUNT + 3))[0].document == f"d{COUNT + 3}"
    assert found(kb, word_encoder, text_of(5))[0].document == "d5"


def test_deleted_documents_are_not_found(kb, word_encoder):
    config = BuildConfig(update="full", allow_mass_delete=True)

    build_index(["-"], kb, config, encoder=word_encoder, lines=lines(range(100, COUNT)))

    hits = found(kb, word_encoder, text_of(5), 50)
    assert "d5" not in {hit.document for hit in hits}
    assert len(hits) == 50


@pytest.mark.parametrize("index_type", ["hnsw", "scann", "IVF8,SQ8"])
def test_the_index_type_is_changed_without_encoding_or_touching_the_rest(
    kb, word_encoder, index_type
):
    old = current_folder(kb)
    calls = len(word_encoder.encoded)

    report = retype_index(kb, index_type, 0.8)

    new = current_folder(kb)
    assert len(word_encoder.encoded) == calls
    assert (report.before, report.index_type, report.generation) == ("ivf_flat", index_type, 2)
    assert report.made["made"]["recall"] >= 0.8
    for name in ("base/embeddings.npy", "base/catalog.sqlite"):
        assert (old / name).stat().st_ino == (new / name).stat().st_ino
    assert found(kb, word_encoder, text_of(7))[0].document == "d7"
    assert not [one for one in examine(kb) if one.level is Level.PROBLEM]
    assert 'index-type = "' + index_type in (kb / "build.toml").read_text()


def test_back_to_flat_leaves_no_trace_of_the_other_type(kb, word_encoder):
    retype_index(kb, "flat")

    manifest = open_current(kb, with_stores=False).manifest
    assert (manifest.index_type, dict(manifest.made)) == ("flat", {})
    assert sorted(path.name for path in (current_folder(kb) / "base").glob("store*")) == [
        "store.faiss"
    ]
    assert found(kb, word_encoder, text_of(7))[0].document == "d7"


def test_manage_changes_the_type_from_the_command_line(kb, monkeypatch, capsys):
    command = ["manage", "index-type", "rabitq", "--index", str(kb), "--json"]
    monkeypatch.setattr(sys, "argv", command)

    with pytest.raises(SystemExit) as stopped:
        manage.main()

    said = json.loads(capsys.readouterr().out)
    assert not stopped.value.code
    assert (said["index_type"], said["chunks"]) == ("rabitq", COUNT)


def test_the_doctor_tells_how_evenly_the_cells_are_filled(kb):
    lists = [one for one in examine(kb) if one.check == "lists"]

    assert len(lists) == 1
    assert lists[0].level is Level.GOOD
    assert lists[0].detail.startswith(f"base: {cell_count(COUNT)} lists, imbalance 1.")


def test_cells_that_are_unevenly_filled_are_noted(tmp_path, make_word_encoder):
    # 1,500 documents that say nearly the same lie in one cell, 60 others in the others.
    same = [
        json.dumps({"id": f"s{n}", "text": f"all the very same words {n}"}) for n in range(1500)
    ]
    kb = tmp_path / "kb"
    config = BuildConfig(index_type="IVF40,Flat")
    rows = same + lines(range(60))
    encoder = make_word_encoder()
    encoder._word = lambda word, own=encoder._word: 0 if word.isdigit() else own(word)

    build_index(["-"], kb, config, encoder=encoder, lines=rows)

    lists = next(one for one in examine(kb) if one.check == "lists")
    assert lists.level is Level.NOTE
    assert "python -m indexing.manage index-type" in lists.detail


def test_a_build_with_another_type_than_the_index_has_names_the_command_that_changes_it(
    kb, word_encoder
):
    config = BuildConfig(index_type="hnsw", update="incremental")

    with pytest.raises(UsageError, match=r"was built with --index-type ivf_flat, got hnsw") as e:
        build_index(["-"], kb, config, encoder=word_encoder, lines=lines([1]))

    assert f"python -m indexing.manage index-type hnsw --index {kb}" in str(e.value)


def test_a_wrong_type_is_refused_before_anything_is_read(tmp_path, word_encoder):
    with pytest.raises(UsageError, match="FAISS makes no index 'hsnw'"):
        build_index(
            ["-"],
            tmp_path / "kb",
            BuildConfig(index_type="hsnw"),
            encoder=word_encoder,
            lines=lines(range(3)),
        )

    assert not word_encoder.encoded


def test_a_wrong_type_changes_nothing(kb):
    before = current_folder(kb)

    with pytest.raises(UsageError, match="FAISS makes no index 'nope'"):
        retype_index(kb, "nope")

    assert current_folder(kb) == before


@pytest.mark.parametrize("recall", [0.0, 1.0, -1.0, 95.0])
def test_a_recall_that_is_no_share_is_refused(recall):
    with pytest.raises(UsageError, match=f"--recall must lie between 0 and 1, got {recall}"):
        BuildConfig(recall=recall)


def test_the_exact_store_has_one_type(tmp_path, word_encoder):
    with pytest.raises(UsageError, match="The exact store has no index type 'hnsw', only flat"):
        make_store("exact", 8, index_type="hnsw")
    build_index(
        ["-"], tmp_path / "kb", BuildConfig(store="exact"), encoder=word_encoder, lines=lines([1])
    )
    with pytest.raises(UsageError, match="only faiss has index types that can be changed"):
        retype_index(tmp_path / "kb", "hnsw")


# What the names stand for


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("flat", "Flat"),
        ("fp16", "SQfp16"),
        ("sq8", "SQ8"),
        ("ivf_flat", "IVF4000,Flat"),
        ("ivf_sq8", "IVF4000,SQ8"),
        ("ivf_pq", "OPQ48,IVF4000,PQ48np"),
        ("hnsw", "HNSW32,SQ8"),
        ("lsh", "LSH768r"),
        ("scann", "IVF4000,PQ192x4fs"),
        ("rabitq", "RR384,IVF4000,RaBitQfs"),
    ],
)
def test_each_name_is_an_index_of_faiss(name, want):
    assert recipe(name, 1_000_000, 384).factory == want
    assert name in NAMED


def test_many_cells_are_found_by_a_graph():
    assert recipe("ivf_sq8", 10**9, 96).factory == f"IVF{4 * 31622}_HNSW32,SQ8"


@pytest.mark.parametrize(
    ("count", "want"), [(0, 1), (1, 1), (100, 2), (10_000, 256), (10**6, 4000)]
)
def test_there_are_four_cells_for_each_root_and_enough_points_for_each(count, want):
    assert cell_count(count) == want


@pytest.mark.parametrize(
    ("count", "dim", "gib", "want"),
    [
        (100_000, 384, 16, "flat"),
        (50_000, 768, 16, "flat"),
        (110_000, 384, 16, "ivf_sq8"),
        (1_000_000, 384, 16, "ivf_sq8"),
        (20_000_000, 768, 16, "scann"),
        (1_000_000, 384, 1, "scann"),
    ],
)
def test_auto_chooses_by_count_dimension_and_memory(count, dim, gib, want):
    assert choose(count, dim, gib * 2**30) == want


def test_auto_is_exact_where_that_is_quick():
    store = make_store("faiss", 8, index_type="auto")

    store.add(np.arange(5), np.eye(5, 8, dtype=np.float32))

    assert store.search(np.eye(1, 8, dtype=np.float32), 2).ids.tolist() == [[0, 1]]
