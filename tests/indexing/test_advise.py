"""Advice on index types: what is measured, what is chosen, and what is said."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from indexing import BuildConfig, UsageError, advise, build_index
from indexing.advising import TypeReport, choose, time_searches
from indexing.advising import advise as advise_on
from indexing.generation import current_folder, open_current
from indexing.stores import make_store

COUNT = 1_300


@pytest.fixture(scope="module")
def kb(tmp_path_factory, make_word_encoder):
    chance = np.random.default_rng(0)
    lines = [
        json.dumps({"id": f"d{n}", "text": " ".join(f"w{w}" for w in chance.integers(0, 200, 5))})
        for n in range(COUNT)
    ]
    folder = tmp_path_factory.mktemp("index") / "kb"
    build_index(["-"], folder, BuildConfig(), encoder=make_word_encoder(), lines=lines)
    return folder


def test_each_type_is_measured_and_the_index_is_left_alone(kb):
    open_current(kb)  # notes that it has verified the files
    before = {path: path.stat().st_mtime_ns for path in kb.rglob("*")}
    shown = []

    found = advise_on(
        kb, types=["ivf_flat", "ivf_pq", "HNSW16"], progress=lambda *step: shown.append(step)
    )

    assert {path: path.stat().st_mtime_ns for path in kb.rglob("*")} == before
    assert [one.index_type for one in found.types] == ["flat", "ivf_flat", "HNSW16"]
    assert (found.chunks, found.dim, found.now, found.target) == (COUNT, 32, "auto", 0.95)
    assert found.left_out == {"ivf_pq": "It needs at least 9,984 chunks to be of use."}
    flat, cells, _ = found.types
    assert flat.recall == 1.0
    assert flat.memory_mib == pytest.approx(COUNT * (4 * 32 + 8) / 2**20, abs=0.1)
    assert cells.recall >= 0.93
    assert 0 < cells.p50_ms <= cells.p95_ms <= cells.p99_ms
    assert cells.setting["nprobe"] >= 1
    assert shown[0] == (0, 4, "flat")
    assert shown[-1] == (4, 4, "")


def test_a_small_index_is_advised_to_stay_exact(kb):
    found = advise_on(kb, types=["ivf_flat"])

    assert found.advised == "flat"
    assert found.recommendation.startswith("Keep to exact search (flat): it finds everything, in ")
    assert "\n" not in found.recommendation


def report(name, p95_ms, memory_mib, recall=0.96):
    return TypeReport(
        index_type=name,
        factory="",
        setting={},
        memory_mib=memory_mib,
        build_s=1.0,
        p50_ms=p95_ms / 2,
        p95_ms=p95_ms,
        p99_ms=p95_ms,
        queries_per_s=1.0,
        batched_per_s=1.0,
        recall=recall,
    )


FLAT = report("flat", 90.0, 1500.0, 1.0)


def test_the_smallest_of_the_quickest_types_that_find_enough_is_chosen():
    reports = [
        FLAT,
        report("large", 1.0, 1500.0),
        report("small", 1.2, 400.0),
        report("smaller but slow", 2.0, 90.0),
        report("blind", 0.1, 10.0, recall=0.5),
    ]

    assert choose(reports, 0.95).index_type == "small"
    assert choose([FLAT, report("blind", 0.1, 10.0, recall=0.5)], 0.95) is FLAT
    assert choose([replace(FLAT, p95_ms=19.0), *reports[1:]], 0.95).index_type == "flat"


def test_the_recommendation_of_another_type_names_the_command(kb, monkeypatch):
    monkeypatch.setattr("indexing.advising.QUICK_MS", 0.0)
    monkeypatch.setattr("indexing.advising._LIKE_QUICK", float("inf"))

    found = advise_on(kb, types=["rabitq"])

    assert found.advised == "rabitq"
    assert found.recommendation.endswith(
        f"python -m indexing.manage index-type rabitq --index {kb}"
    )
    assert "where exact search takes" in found.recommendation


def test_every_query_is_timed():
    store = make_store("exact", 4)
    store.add(np.arange(3), np.eye(3, 4, dtype=np.float32))

    times, batched = time_searches(store, np.ones((17, 4), np.float32))

    assert times.shape == (17,)
    assert (times > 0).all()
    assert batched > 0


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["advise", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            advise.main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return call


def test_the_command_prints_one_object(kb, call):
    code, out, _ = call("--index", kb, "--types", "ivf_sq8", "--recall", "0.9", "--json")

    found = json.loads(out)
    assert code == 0
    assert list(found) == [
        "index", "chunks", "dim", "target", "now", "types", "left_out", "advised", "recommendation",
    ]  # fmt: skip
    assert found["target"] == 0.9


def test_the_command_prints_a_table_for_people(kb, call):
    code, out, _ = call("--index", kb, "--types", "ivf_sq8", "ivf_pq")

    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith(f"{kb}: 1,300 chunks of 32 dimensions, index type auto.")
    assert [line.split()[0] for line in lines[2:5]] == ["flat", "ivf_sq8", "ivf_pq"]
    assert lines[-1].startswith("Keep to exact search")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--recall", "2"], 2, "--recall must lie between 0 and 1, got 2.0."),
        (["--types", "hsnw"], 2, "FAISS makes no index 'hsnw'"),
    ],
)
def test_a_wrong_call_is_one_sentence(kb, call, arguments, code, said):
    got, out, err = call("--index", kb, *arguments)

    assert (got, out) == (code, "")
    assert said in err
    assert len(err.strip().splitlines()) == 1


def test_a_folder_without_an_index_is_refused(tmp_path, call):
    code, _, err = call("--index", tmp_path)

    assert code == 1
    assert "No index in" in err


def test_an_index_of_one_chunk_has_nothing_to_choose(tmp_path, word_encoder):
    build_index(["-"], tmp_path / "kb", encoder=word_encoder, lines=['{"id":"a","text":"one"}'])

    with pytest.raises(UsageError, match="holds 1 chunks; there is nothing to choose for"):
        advise_on(tmp_path / "kb")


def test_advice_needs_only_the_embeddings(kb, tmp_path):
    copy = shutil.copytree(kb, tmp_path / "kb")
    assert (current_folder(copy) / "base" / "embeddings.npy").is_file()

    assert advise_on(copy, types=["fp16"]).types[1].recall >= 0.99
