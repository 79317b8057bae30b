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
