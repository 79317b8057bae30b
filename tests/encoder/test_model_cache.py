"""What is made from a model is kept: found again, mended, bounded, and never in the way."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from encoder import load_encoder, model_cache
from encoder.model_cache import clear_cache, find_entry, keep_entry, models_folder, used_bytes

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ANGLER_CACHE", str(tmp_path / "cache"))


def writer(content: bytes, name: str = "graph.bin"):
    return lambda folder: (folder / name).write_bytes(content)


def test_what_is_kept_is_found():
    assert find_entry("a") is None

    entry = keep_entry("a", writer(b"weights"))

    assert entry == find_entry("a")
    assert (entry / "graph.bin").read_bytes() == b"weights"
    assert [path.name for path in models_folder().iterdir()] == ["a"]


@pytest.mark.parametrize("damage", ["changed", "cut", "gone", "unlisted", "no list"])
def test_a_damaged_entry_is_made_anew(damage, caplog):
    entry = keep_entry("a", writer(b"weights"))
    file, contents = entry / "graph.bin", entry / "contents.json"
    if damage == "changed":
        file.write_bytes(b"weighty")
    elif damage == "cut":
        file.write_bytes(b"")
    elif damage == "gone":
        file.unlink()
    elif damage == "unlisted":
        contents.write_text("{}")
    else:
        contents.unlink()

    assert find_entry("a") is None
    assert "is damaged; it is made anew" in caplog.text
    entry = keep_entry("a", writer(b"weights"))

    assert (entry / "graph.bin").read_bytes() == b"weights"


def test_the_first_of_several_writers_wins_and_nothing_is_left_over():
    def write(folder):
        (folder / "graph.bin").write_bytes(os.urandom(8))
        time.sleep(0.05)

    with ThreadPoolExecutor(8) as pool:
        entries = list(pool.map(lambda _: keep_entry("a", write), range(8)))

    assert set(entries) == {models_folder() / "a"}
    assert [path.name for path in models_folder().iterdir()] == ["a"]


def test_a_writer_that_fails_leaves_nothing():
    def write(folder):
        (folder / "half").write_bytes(b"x")
        raise ValueError("the model is wrong")

    with pytest.raises(ValueError, match="the model is wrong"):
        keep_entry("a", write)

    assert list(models_folder().iterdir()) == []


def test_the_entry_not_used_for_longest_makes_room(monkeypatch):
    for age, key in enumerate(("new", "old", "oldest")):
        entry = keep_entry(key, writer(bytes(1000)))
        os.utime(entry, (time.time() - 1000 * (age + 1),) * 2)
    find_entry("oldest")  # now it is the one that was used last
    monkeypatch.setattr(model_cache, "SIZE_GIB", 4000 / 2**30)

    keep_entry("newest", writer(bytes(1000)))

    assert {path.name for path in models_folder().iterdir()} == {"newest", "oldest", "new"}


def test_one_entry_is_kept_even_if_it_is_larger_than_the_cache(monkeypatch):
    monkeypatch.setattr(model_cache, "SIZE_GIB", 0)

    assert keep_entry("a", writer(b"weights")) is not None


def test_what_a_dead_process_left_is_deleted_in_time():
    fresh, abandoned = models_folder() / ".unfinished-1", models_folder() / ".unfinished-2"
    for folder in (fresh, abandoned):
        folder.mkdir(parents=True)
        writer(b"half")(folder)
    os.utime(abandoned, (time.time() - 25 * 3600,) * 2)

    keep_entry("a", writer(b"weights"))

    assert {path.name for path in models_folder().iterdir()} == {"a", ".unfinished-1"}


def test_clearing_gives_the_space_back():
    keep_entry("a", writer(bytes(1000)))
    keep_entry("b", writer(bytes(500)))
    used = used_bytes()

    assert used > 1500
    assert clear_cache() == used
    assert used_bytes() == 0
    assert find_entry("a") is None
    assert clear_cache() == 0


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    tmp_path, monkeypatch, caplog, small_encoder, model_folder, texts
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("ANGLER_CACHE", str(tmp_path / "file"))

    encoder = load_encoder(str(model_folder("bert-mean")), backend="openvino", dtype="float32")

    want = small_encoder("bert-mean").encode_documents(texts)
    np.testing.assert_allclose(encoder.encode_documents(texts), want, atol=1e-5)
    assert "cannot be kept" in caplog.text


def test_a_second_load_needs_neither_torch_nor_transformers(model_folder, small_encoder, tmp_path):
    folder = str(model_folder("bert-mean"))
    code = f"""
import sys
import numpy as np
from encoder import load_encoder
encoder = load_encoder({folder!r}, dtype="float32")
np.save({str(tmp_path / "rows.npy")!r}, encoder.encode_queries(["reset my password"]))
print(encoder.engine, {{"torch", "transformers"}} & set(sys.modules) or "light")
"""

    def run():
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        )
        return done.stdout.strip(), np.load(tmp_path / "rows.npy")

    first, want = run()
    second, got = run()

    assert "light" not in first
    assert second == "openvino float32 on cpu light"
    np.testing.assert_array_equal(got, want)
    torchs = small_encoder("bert-mean").encode_queries(["reset my password"])
    np.testing.assert_allclose(got, torchs, atol=1e-5)


def test_a_damaged_model_is_converted_again(model_folder, texts):
    folder = str(model_folder("bert-mean"))
    want = load_encoder(folder, backend="openvino", dtype="float32").encode_documents(texts)
    for weights in models_folder().glob("*/graph.bin"):
        content = bytearray(weights.read_bytes())
        content[len(content) // 2] ^= 0xFF
        weights.unlink()  # the loaded encoder goes on reading the file that it has
        weights.write_bytes(content)

    got = load_encoder(folder, backend="openvino", dtype="float32").encode_documents(texts)

    np.testing.assert_array_equal(got, want)


def test_another_pooling_is_another_graph_and_another_maximum_is_not(model_folder):
    from dataclasses import replace

    from encoder import describe_encoder, load_described

    found = describe_encoder(str(model_folder("bert-mean")))
    load_described(found, backend="openvino")
    kept = len(list(models_folder().iterdir()))

    load_described(replace(found, spec=replace(found.spec, max_tokens=9)), backend="openvino")
    assert len(list(models_folder().iterdir())) == kept
    load_described(replace(found, spec=replace(found.spec, pooling="cls")), backend="openvino")
    assert len(list(models_folder().iterdir())) == kept + 1
