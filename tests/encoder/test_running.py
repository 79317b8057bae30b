"""Equal texts once, a full memory, values that are not finite, and what the report says of them."""

import json
import logging
import threading
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from encoder import Encoder, EncodeReport, load_encoder
from encoder.running import Item, Runner
from encoder.texts import PART_TEXTS
from encoder.tokenizer import Tokens

QUICK = settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


class Engine:
    """The real engine, seen through: counts what it is given, and may have little memory."""

    def __init__(self, backend, memory=None, error=None):
        self._backend = backend
        self.device, self.engine = backend.device, backend.engine
        self.token_budget = 256
        self.memory = memory
        """Most tokens that it holds."""
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        self.batches = []
        self.threads = set()

    def embed(self, ids):
        self._take(ids)
        return self._backend.embed(ids)

    def embed_tokens(self, ids):
        self._take(ids)
        return self._backend.embed_tokens(ids)

    def _take(self, ids):
        self.threads.add(threading.current_thread().name)
        padded = len(ids) * max(map(len, ids))
        if self.memory is not None and padded > self.memory:
            raise self.error
        self.batches.append([len(row) for row in ids])


@pytest.fixture
def watched(small_encoder):
    """A function to an encoder and its engine, which is watched."""

    def make(kind="bert-mean", **options):
        encoder = small_encoder(kind)
        engine = Engine(encoder._backend, **options)
        return Encoder(encoder.spec, encoder._tokenizer, engine), engine

    return make


def assert_close(got, want):
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)


# --- equal texts, order, the report ---


@QUICK
@given(positions=st.lists(st.integers(0, 9), max_size=40))
def test_equal_texts_are_encoded_once_and_every_row_is_its_text_s(
    watched, small_encoder, texts, positions
):
    encoder, engine = watched()
    want = small_encoder("bert-mean").encode_documents(texts)
    chosen = [texts[position] for position in positions]
    report = EncodeReport()

    got = encoder.encode_documents(chosen, report=report)

    assert_close(got, want[positions])
    assert sum(map(len, engine.batches)) == len(set(chosen))
    assert report.texts == len(chosen)
    assert report.duplicates == len(chosen) - len(set(chosen))


def test_more_texts_than_are_tokenised_at_a_time_keep_their_order(watched, small_encoder):
    texts = [f"number {n} " + "and more " * (n % 7) for n in range(2 * PART_TEXTS + 50)]
    encoder, engine = watched()
    few = [0, 1, PART_TEXTS, 2 * PART_TEXTS + 49]

    got = encoder.encode_queries(texts)

    assert_close(got[few], small_encoder("bert-mean").encode_queries([texts[n] for n in few]))
    assert len(np.unique(got.round(5), axis=0)) == len(texts)
    padded = sum(len(batch) * max(batch) for batch in engine.batches)
    assert padded < 1.05 * sum(map(sum, engine.batches)), "neighbours in a batch are alike"
    full = [len(batch) * max(batch) for batch in engine.batches[:-1]]
    assert min(full) > 0.8 * engine.token_budget, "only the last batch is small"


@pytest.mark.parametrize("workers", [1, 3])
def test_one_batch_stays_in_the_caller_s_thread(watched, workers):
    encoder, engine = watched()
    engine.workers = workers

    encoder.encode_queries(["how do I reset my password"])
    assert engine.threads == {threading.current_thread().name}

    engine.threads.clear()
    encoder.encode_documents([f"number {n} " * 9 for n in range(60)])
    assert len(engine.threads) <= workers
    assert (threading.current_thread().name in engine.threads) == (workers == 1)


@pytest.mark.parametrize("workers", [2, 5])
def test_batches_that_run_at_a_time_keep_their_rows(watched, small_encoder, texts, workers):
    encoder, engine = watched(memory=120)
    engine.workers = workers
    many = [f"number {n} {texts[n % 10]}" for n in range(150)]

    got = encoder.encode_documents(many)

    assert_close(got, small_encoder("bert-mean").encode_documents(many))


@pytest.mark.parametrize(
    ("lengths", "batches"),
    [
        ([100, 100], [2]),  # too little to share
        ([100] * 8, [2, 2, 2, 2]),
        ([200] * 2, [1, 1]),
        ([100] * 48, [10] + [4] * 9 + [2]),  # whole ones first, then the last rounds
    ],
)
def test_workers_end_together_since_the_last_batches_are_small(watched, lengths, batches):
    _, engine = watched()
    engine.workers, engine.token_budget = 2, 1000
    items = [Item([n], Tokens([7] * length, 0)) for n, length in enumerate(lengths)]

    got = [len(batch) for batch in Runner(engine)._batches([items])]

    assert got == batches
    engine.workers = 1
    assert next(len(batch) for batch in Runner(engine)._batches([items])) == min(10, len(items))


def test_an_error_among_batches_that_run_at_a_time_ends_the_call(watched):
    encoder, engine = watched(memory=20)
    engine.workers = 2

    with pytest.raises(MemoryError, match=r"^texts\[\d+\] with its 2\d tokens does not fit"):
        encoder.encode_documents([f"number {n} " * 9 for n in range(60)])


def test_a_report_counts_tokens_and_names_the_texts_that_were_cut(small_encoder):
    encoder = small_encoder("bert-mean")
    long, short = "a " * 60, "a b"
    report = EncodeReport()

    encoder.encode_documents([short, long, short, long, long + "b"], report=report)

    assert report.texts == 5
    assert report.tokens == 6 + 2 * encoder.spec.max_tokens  # [CLS] passage : a b [SEP]
    assert report.duplicates == 2
    assert (report.truncated.count, report.truncated.first) == (3, [1, 3, 4])
    assert report.as_dict()["truncated"] == {"texts": 3, "first": [1, 3, 4]}


def test_calls_with_one_report_add_up_and_name_at_most_ten(small_encoder):
    encoder = small_encoder("bert-mean")
    report = EncodeReport()

    for _ in range(2):
        encoder.encode_queries([f"{n} " * 60 for n in range(9)], report=report)

    assert (report.texts, report.truncated.count) == (18, 18)
    assert report.truncated.first == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert str(report.truncated).endswith("texts[4], texts[4], …")


# --- a full memory ---


@pytest.mark.parametrize(
    "error",
    [
        None,
        MemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: not enough memory"),
    ],
    ids=["cuda", "python", "mps", "windows"],
)
def test_a_full_memory_halves_the_budget_for_good(watched, small_encoder, texts, caplog, error):
    encoder, engine = watched(memory=70, error=error)
    want = small_encoder("bert-mean").encode_documents(texts)

    with caplog.at_level(logging.WARNING, logger="encoder"):
        got = encoder.encode_documents(texts)
        halved = engine.token_budget
        assert_close(encoder.encode_documents(texts), want)

    assert_close(got, want)
    assert halved == engine.token_budget <= 70
    assert max(len(batch) * max(batch) for batch in engine.batches) <= 70
    told = [record.message for record in caplog.records]
    assert told, "nobody was told"
    assert all("ran out of memory with" in sentence for sentence in told)
    assert told[-1].endswith(f"from now on at most {halved}.")


def test_the_complaint_of_torch_s_own_allocator_is_understood(watched, small_encoder, texts):
    with pytest.raises(RuntimeError) as complaint:
        torch.empty(1 << 60, dtype=torch.uint8)
    encoder, _ = watched(memory=70, error=complaint.value)

    got = encoder.encode_documents(texts)

    assert_close(got, small_encoder("bert-mean").encode_documents(texts))


def test_token_vectors_survive_a_full_memory(watched, small_encoder, texts):
    encoder, _ = watched(memory=70)

    got = encoder.encode_tokens(texts)

    for rows, want in zip(got, small_encoder("bert-mean").encode_tokens(texts), strict=True):
        assert_close(rows, want)


def test_a_text_that_does_not_fit_alone_is_named(watched):
    encoder, _ = watched(memory=20)

    with pytest.raises(
        MemoryError,
        match=r"^texts\[2\] with its 48 tokens does not fit into the free memory of cpu; ",
    ):
        encoder.encode_documents(["a", "b", "long " * 60, "c"])


def test_another_error_of_the_engine_is_passed_on(watched):
    encoder, engine = watched(memory=20, error=RuntimeError("shapes do not fit"))

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        encoder.encode_documents(["long " * 60])

    assert engine.token_budget == 256


# --- values that are not finite ---


@pytest.fixture
def overflowing(model_folder, tmp_path):
    """A function from the weights' change to a copy of a model."""
    from safetensors.torch import load_file, save_file

    def make(change):
        source, folder = model_folder("bert-mean"), tmp_path / "model"
        for path in source.rglob("*"):
            if path.is_file():
                place = folder / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes())
        weights = load_file(folder / "model.safetensors")
        change(weights["embeddings.word_embeddings.weight"], word_id(folder, "password"))
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


def word_id(folder, word):
    return json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]["vocab"][word]


def beyond_sixteen_bits(words, row):
    words[row] *= 1e6


def nothing_finite(words, row):
    words[row] = float("nan")


def test_rows_that_overflow_are_encoded_again_in_float32_and_named(overflowing, texts, caplog):
    folder = str(overflowing(beyond_sixteen_bits))
    want = load_encoder(folder, device="cpu", backend="torch").encode_documents(texts)
    encoder = load_encoder(folder, device="cpu", backend="torch", dtype="float16")
    report = EncodeReport()

    with caplog.at_level(logging.WARNING, logger="encoder"):
        got = encoder.encode_documents([*texts, texts[0]], report=report)

    assert_close(got[[0, 2, 10]], want[[0, 2, 0]])
    assert np.isfinite(got).all()
    assert (got[:10] * want).sum(axis=1).min() > 0.999
    assert (report.retried.count, report.retried.first) == (3, [0, 2, 10])
    assert [record.message for record in caplog.records] == [
        "3 texts gave values that are not finite in torch float16 on cpu and were encoded again in "
        "float32: texts[0], texts[2], texts[10]."
    ]


def test_token_vectors_that_overflow_come_in_float32(overflowing):
    folder = str(overflowing(beyond_sixteen_bits))
    precise = load_encoder(folder, device="cpu", backend="torch")
    encoder = load_encoder(folder, device="cpu", backend="torch", dtype="float16")

    _, got = encoder.encode_tokens(["alone", "my password"])

    assert_close(got, precise.encode_tokens(["my password"])[0])


@pytest.mark.parametrize(
    ("dtype", "where"),
    [("float16", "in float32 too"), ("float32", "in torch float32 on cpu")],
)
@pytest.mark.parametrize("call", ["encode_queries", "encode_documents", "encode_tokens"])
def test_values_that_stay_not_finite_are_an_error_with_the_position(
    overflowing, dtype, where, call
):
    folder = str(overflowing(nothing_finite))
    encoder = load_encoder(folder, device="cpu", backend="torch", dtype=dtype)

    with pytest.raises(
        ArithmeticError, match=rf"^texts\[1\] gives values that are not finite {where}; "
    ):
        getattr(encoder, call)(["a", "my password"])


def test_the_float32_engine_is_loaded_once(overflowing, monkeypatch):
    from encoder.backends import choice

    loaded = Counter()
    load = choice.load_backend

    def counting(*arguments, **options):
        loaded[options["dtype"]] += 1
        return load(*arguments, **options)

    monkeypatch.setattr(choice, "load_backend", counting)
    folder = str(overflowing(beyond_sixteen_bits))
    encoder = load_encoder(folder, device="cpu", backend="torch", dtype="float16")

    assert loaded == {"float16": 1}
    for _ in range(3):
        encoder.encode_documents(["password"])
    assert loaded == {"float16": 1, "float32": 1}
