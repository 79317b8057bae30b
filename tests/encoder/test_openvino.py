"""The OpenVINO backend gives torch's vectors, from any thread, or says why it cannot."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier, Event, Thread

import numpy as np
import pytest

from encoder import describe_encoder, load_described, load_encoder
from encoder.backends import openvino as openvino_module
from encoder.backends.openvino import CompiledOutput
from encoder.model_cache import clear_cache

KINDS = (
    "bert-mean",
    "bert-cls",
    "bert-dense",
    "distilbert-mean",
    "mpnet-mean",
    "roberta-mean",
    "xlm-roberta-cls",
    "modernbert-cls",
    "qwen-last",
    "mistral-last",
)


@pytest.fixture(scope="module")
def openvino_default():
    return load_encoder(device="cpu", backend="openvino", dtype="float32")


@pytest.fixture(scope="module")
def openvino_16_bit():
    return load_encoder(device="cpu", backend="openvino", dtype="bfloat16")


POOLINGS = (
    "cls",
    "last",
    "max",
    "cls_max",
    "mean_sqrt_len",
    "weighted_mean",
    "first_last_avg",
    "avg_top2",
    "embedding_last_mean",
    "cls+mean",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_gives_torchs_vectors(model_folder, small_encoder, texts, kind):
    folder = str(model_folder(kind))
    encoder = load_encoder(folder, device="cpu", backend="openvino", dtype="float32")

    want = small_encoder(kind).encode_documents(texts)
    np.testing.assert_allclose(encoder.encode_documents(texts), want, atol=1e-5)
    assert encoder.engine == "openvino float32 on cpu"
    assert encoder.spec.fingerprint == small_encoder(kind).spec.fingerprint


def test_the_default_model_gives_torchs_vectors(default_encoder, openvino_default, texts):
    want = default_encoder.encode_documents(texts)

    np.testing.assert_allclose(openvino_default.encode_documents(texts), want, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_gives_torchs_vectors(model_folder, texts, pooling):
    found = describe_encoder(str(model_folder("bert-mean")))
    dim = found.spec.dim * (1 + pooling.count("+"))
    found = replace(found, spec=replace(found.spec, pooling=pooling, dim=dim))

    got = load_described(found, device="cpu", backend="openvino", dtype="float32")

    want = load_described(found, device="cpu", backend="torch").encode_documents(texts)
    np.testing.assert_allclose(got.encode_documents(texts), want, atol=1e-5)


def test_tokens_are_counted_beyond_8_bits():
    found = describe_encoder()
    changed = replace(found.spec, pooling="weighted_mean+mean_sqrt_len", max_tokens=400, dim=768)
    found = replace(found, spec=changed)
    texts = ["reset my password", "the quick brown fox jumps over the lazy dog " * 40]

    got = load_described(found, device="cpu", backend="openvino", dtype="float32")

    want = load_described(found, device="cpu", backend="torch").encode_documents(texts)
    np.testing.assert_allclose(got.encode_documents(texts), want, atol=1e-5)


def test_a_layer_in_the_middle_gives_torchs_token_vectors(model_folder, texts):
    found = describe_encoder(str(model_folder("bert-mean")))
    found = replace(found, spec=replace(found.spec, layer=1))

    got = load_described(found, device="cpu", backend="openvino", dtype="float32")

    want = load_described(found, device="cpu", backend="torch")
    np.testing.assert_allclose(got.encode_documents(texts), want.encode_documents(texts), atol=1e-5)
    for mine, theirs in zip(got.encode_tokens(texts), want.encode_tokens(texts), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_16_bit_stays_near_float32(default_encoder, openvino_16_bit, texts):
    want = default_encoder.encode_documents(texts)

    got = openvino_16_bit.encode_documents(texts)

    assert (got * want).sum(axis=1).min() > 0.999
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-5)


def test_a_vector_does_not_depend_on_its_batch(openvino_default, openvino_16_bit, texts):
    together = openvino_default.encode_documents(texts)
    alone = np.concatenate([openvino_default.encode_documents([text]) for text in texts])
    np.testing.assert_allclose(alone, together, atol=1e-5)

    together = openvino_16_bit.encode_documents(texts)
    alone = np.concatenate([openvino_16_bit.encode_documents([text]) for text in texts])
    assert (alone * together).sum(axis=1).min() > 0.9999


def test_threads_do_not_share_a_buffer(openvino_default, texts):
    want = [openvino_default.encode_queries([text]) for text in texts]

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda text: openvino_default.encode_queries([text]), texts * 5))

    for position, rows in enumerate(got):
        np.testing.assert_allclose(rows, want[position % len(texts)], atol=1e-6)


def test_the_first_run_of_a_process_goes_alone(openvino_default, monkeypatch):
    """Two of them could wait for each other for ever, as in pybind11's look-up of numpy."""
    backend, run = openvino_default._backend, CompiledOutput._run
    running, most = [], []

    def watched(self, inputs):
        running.append(None)
        most.append(len(running))
        time.sleep(0.05)
        try:
            return run(self, inputs)
        finally:
            running.pop()

    def overlapping():
        start, found = Barrier(4), []
        most.clear()

        def embed():
            start.wait()
            found.append(backend.embed([[101, 2000, 102]]))

        threads = [Thread(target=embed) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        return max(most)

    monkeypatch.setattr(CompiledOutput, "_run", watched)
    monkeypatch.setattr(openvino_module, "_HAS_RUN", Event())

    assert overlapping() == 1
    assert overlapping() > 1


def test_auto_takes_openvino_on_the_cpu():
    assert load_encoder(device="cpu").engine.startswith("openvino ")
    assert load_encoder(device="cpu", dtype="float32").engine == "openvino float32 on cpu"


def test_auto_takes_torch_where_openvino_cannot_serve(model_folder):
    half = load_encoder(str(model_folder("bert-mean")), device="cpu", dtype="float16")

    assert half.engine == "torch float16 on cpu"


def test_openvino_refuses_what_it_cannot_run(model_folder):
    folder = str(model_folder("bert-mean"))

    with pytest.raises(ValueError, match="runs float32, bfloat16 and int8, not float16"):
        load_encoder(folder, device="cpu", backend="openvino", dtype="float16")


def test_a_failed_conversion_is_one_sentence_and_auto_goes_on_with_torch(model_folder, monkeypatch):
    import encoder.backends.openvino as backend

    def fail(*_, **__):
        raise RuntimeError("no such\noperation")

    monkeypatch.setattr(backend.openvino, "convert_model", fail)
    folder = str(model_folder("bert-cls"))
    clear_cache()

    with pytest.raises(ValueError, match=r"cannot run this model \(no such operation\)"):
        load_encoder(folder, device="cpu", backend="openvino")
    assert load_encoder(folder, device="cpu").engine == "torch float32 on cpu"


def test_without_the_package_auto_is_torch_and_openvino_names_the_extra(model_folder):
    folder = str(model_folder("bert-mean"))
    code = f"""
import sys
sys.modules["openvino"] = None
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name == "openvino" else found(name, *a)
from encoder import MissingExtraError, load_encoder
print(load_encoder({folder!r}, device="cpu").engine)
try:
    load_encoder({folder!r}, device="cpu", backend="openvino")
except MissingExtraError as error:
    print(error)
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines() == [
        "torch float32 on cpu",
        "The OpenVINO backend needs an extra: pip install -e '.[openvino]'",
    ]


def test_nothing_is_reported_to_anybody(openvino_default):
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"
