"""Eight bits on the CPU: near the floats, a precision of its own, made once."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from encoder import load_encoder
from encoder.backends import int8, openvino

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def folder(model_folder):
    return str(model_folder("bert-mean"))


@pytest.fixture(scope="module")
def quantised(folder):
    """A small model, quantised with a few texts."""
    with pytest.MonkeyPatch.context() as patch:
        some = int8.calibration_texts()[::20]
        patch.setattr(int8, "calibration_texts", lambda: some)
        return load_encoder(folder, device="cpu", dtype="int8")


def test_the_vectors_are_near_the_floats_and_not_equal_to_them(quantised, small_encoder, texts):
    got = quantised.encode_documents(texts)

    cosines = (got * small_encoder("bert-mean").encode_documents(texts)).sum(axis=1)
    assert 0.98 < cosines.min() < cosines.max() < 0.999999
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)
    assert quantised.engine == "openvino int8 on cpu"


def test_the_precision_is_part_of_the_fingerprint(quantised, small_encoder):
    floats = small_encoder("bert-mean").spec

    assert quantised.spec.differences(floats) == ['precision "int8-static" instead of "float"']
    assert quantised.spec.dtype == "int8"
    assert floats.dtype == "auto"


def test_a_vector_does_not_depend_on_its_batch(quantised, texts):
    alone = np.concatenate([quantised.encode_documents([text]) for text in texts])

    assert (alone * quantised.encode_documents(texts)).sum(axis=1).min() > 0.9999


def test_what_is_quantised_is_kept(quantised, folder, texts, monkeypatch):
    def fail(*_):
        raise AssertionError("quantised again")

    monkeypatch.setattr(openvino, "quantised", fail)

    again = load_encoder(folder, device="cpu", dtype="int8")

    want = quantised.encode_documents(texts)
    np.testing.assert_array_equal(again.encode_documents(texts), want)


def test_an_index_of_eight_bits_is_opened_and_updated_with_eight_bits(quantised, tmp_path):
    from indexing import BuildConfig, build_index, open_index

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Passwords\n\nHow to reset a password.", "utf-8")
    built = str(tmp_path / "kb")
    build_index([tmp_path / "docs"], built, BuildConfig(), encoder=quantised)
    (tmp_path / "docs" / "b.md").write_text("# Flamingos\n\nWhat flamingos eat.", "utf-8")

    build_index([tmp_path / "docs"], built, BuildConfig())

    index = open_index(built)
    assert index.encoder.engine == "openvino int8 on cpu"
    assert {hit.title for hit in index.search("password", mode="dense")} >= {"Passwords"}


def test_the_dtype_of_a_build_is_kept_in_the_index(quantised, folder, tmp_path):
    from indexing import BuildConfig, IndexMismatchError, UsageError, build_index, open_index
    from indexing.config import read_config

    docs, built = tmp_path / "docs", tmp_path / "kb"
    docs.mkdir()
    (docs / "a.md").write_text("# Passwords\n\nHow to reset a password.", "utf-8")

    build_index([docs], built, BuildConfig(encoder=folder, dtype="int8"))

    assert open_index(built).generation.manifest.encoder.precision == "int8-static"
    assert read_config(built / "build.toml")["dtype"] == "int8"
    (docs / "b.md").write_text("# Flamingos\n\nWhat flamingos eat.", "utf-8")
    for dtype in (None, "auto", "int8"):
        build_index([docs], built, BuildConfig(dtype=dtype))
    assert open_index(built, dtype="int8").search("password", mode="dense")
    sentence = f"in int8 of the CPU, and this is {folder} in floats.*out or set it to int8, or"
    with pytest.raises(IndexMismatchError, match=sentence):
        build_index([docs], built, BuildConfig(dtype="float32"))
    with pytest.raises(IndexMismatchError, match=sentence):
        open_index(built, encoder=load_encoder(folder, device="cpu", backend="torch"))
    with pytest.raises(IndexMismatchError, match=sentence):
        open_index(built, dtype="bfloat16").search("password", mode="dense")
    with pytest.raises(UsageError, match=r"Unknown dtype 'int7'\. Known: auto, float32"):
        BuildConfig(dtype="int7")


def test_an_index_moves_to_eight_bits_without_its_sources(
    quantised, folder, tmp_path, small_encoder
):
    from indexing import BuildConfig, IndexMismatchError, build_index, open_index
    from indexing.reencoding import reembed_index

    docs, built = tmp_path / "docs", tmp_path / "kb"
    docs.mkdir()
    (docs / "a.md").write_text("# Passwords\n\nHow to reset a password.", "utf-8")
    build_index([docs], built, encoder=small_encoder("bert-mean"))
    with pytest.raises(IndexMismatchError, match=r"in floats, and this is .* in int8 of the CPU"):
        build_index([docs], built, BuildConfig(dtype="int8"))

    reembed_index(built, quantised)

    assert open_index(built).encoder.engine == "openvino int8 on cpu"
    build_index([docs], built, BuildConfig(dtype="int8"))


def test_the_langchain_adapter_remembers_the_eight_bits(quantised):
    from encoder.langchain_adapter import EncoderEmbeddings

    assert EncoderEmbeddings(quantised).dtype == "int8"


def test_torch_has_no_eight_bits_on_the_cpu(folder):
    with pytest.raises(ValueError, match="runs on a GPU, not on cpu"):
        load_encoder(folder, device="cpu", backend="torch", dtype="int8")


def test_a_missing_package_is_named(model_folder):
    code = f"""
import sys
sys.modules["nncf"] = None
from encoder import MissingExtraError, load_encoder
try:
    load_encoder({str(model_folder("bert-cls"))!r}, device="cpu", dtype="int8")
except MissingExtraError as error:
    print(error)
"""

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert done.stdout == ("The dtype int8 on a CPU needs an extra: pip install -e '.[int8]'\n")


def test_the_calibration_holds_both_languages_and_all_lengths():
    texts = int8.calibration_texts()

    assert len(texts) == 300
    chinese = sum(any("一" <= character <= "鿿" for character in text) for text in texts)
    assert 50 < chinese < 250
    assert min(map(len, texts)) < 80
    assert max(map(len, texts)) > 1000
