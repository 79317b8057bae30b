"""A plan is the pilot's rates and sizes, scaled up; worked out by hand here."""

import json
import sys

import pytest

from indexing import BuildConfig, UsageError, build_index, plan
from indexing.merging import merge_shards
from indexing.planning import Rates, read_rates
from indexing.planning import plan as planned

RATES = Rates(
    chunks=1_000_000,
    build_per_s=2_000,
    merge_per_s=25_000,
    bytes_per_chunk={"embeddings": 1_544, "texts": 2_000, "words": 300, "store": 392},
    index_type="ivf_sq8",
)


def test_a_billion_chunks_by_hand():
    found = planned(RATES, 10**9, nodes=4, workers_per_node=8, price=20)

    # 1e9 / 2,000 per s = 500,000 s of work = 138.89 h, by 32 workers 4.34 h; 40,000 s to merge
    assert (found.workers, found.build_hours, found.merge_hours) == (32, 4.34, 11.11)
    assert found.hours == 15.45
    assert found.node_hours == pytest.approx(4 * 138.889 / 32 + 11.111, abs=0.01)
    assert found.price == pytest.approx(20 * found.node_hours, abs=0.2)
    # 3,844 bytes of a shard's chunk, 4,236 of the index's
    assert found.shards_gib == pytest.approx(3_844e9 / 2**30, abs=0.1)
    assert found.shard_gib == pytest.approx(found.shards_gib / 32, abs=0.1)
    assert found.index_gib == pytest.approx(4_236e9 / 2**30, abs=0.1)
    assert found.memory_gib == pytest.approx(392e9 / 2**30, abs=0.1)


def test_hours_ask_for_as_few_nodes_as_make_them():
    found = planned(RATES, 10**9, hours=13, workers_per_node=2)

    # 13 h less 11.11 h of merging leave 1.89 h: 138.89 / 2 / 1.89 = 36.8 nodes
    assert found.nodes == 37
    assert found.hours <= 13
    assert planned(RATES, 10**9, nodes=36, workers_per_node=2).hours > 13
    assert found.price is None


def test_twice_the_nodes_take_half_as_long_and_cost_the_same():
    one, two = (planned(RATES, 10**8, nodes=n, price=3) for n in (2, 4))

    assert one.build_hours == pytest.approx(2 * two.build_hours, abs=0.02)
    assert one.price == pytest.approx(two.price)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({}, "either --nodes or --hours"),
        ({"nodes": 1, "hours": 2}, "either --nodes or --hours"),
        ({"nodes": 0}, "--nodes must be more than 0, got 0"),
        ({"hours": -1}, "--hours must be more than 0, got -1"),
        ({"nodes": 1, "workers_per_node": 0}, "--workers-per-node must be more than 0"),
        ({"hours": 11}, r"The merge alone takes 11\.1 h, which is not within 11 h"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(numbers, message):
    with pytest.raises(UsageError, match=message):
        planned(RATES, 10**9, **numbers)
    with pytest.raises(UsageError, match="--chunks must be more than 0"):
        planned(RATES, 0, nodes=1)


@pytest.fixture
def pilot(tmp_path, word_encoder):
    """A pilot of two shards: the folder of its index, and the files of its reports."""
    docs = tmp_path / "docs"
    docs.mkdir()
    for number in range(20):
        (docs / f"{number}.md").write_text(f"# Page {number}\n\nText of page {number}.\n")
    for number in (1, 2):
        config = BuildConfig(shard=f"{number}/2")
        report = build_index([str(docs)], tmp_path / f"s{number}", config, encoder=word_encoder)
        (tmp_path / f"s{number}.json").write_text(json.dumps(report.as_dict()))
    merged = merge_shards([tmp_path / "s1", tmp_path / "s2"], tmp_path / "kb", encoder=word_encoder)
    (tmp_path / "merge.json").write_text(json.dumps(merged.as_dict()))
    return tmp_path


def test_rates_are_those_of_the_reports_and_sizes_those_of_the_files(pilot):
    builds = [pilot / "s1.json", pilot / "s2.json"]

    rates = read_rates(pilot / "kb", builds, pilot / "merge.json")

    seconds = sum(json.loads(path.read_text())["seconds"] for path in builds)
    assert rates.build_per_s == pytest.approx(20 / seconds)
    files = [path for path in (pilot / "kb").glob("gen-*/**/*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    assert sum(rates.bytes_per_chunk.values()) * 20 == pytest.approx(size, abs=1)
    stored = (pilot / "kb/gen-000001/base/store.faiss").stat().st_size
    assert rates.bytes_per_chunk["store"] * 20 == pytest.approx(stored, abs=1)
    assert rates.bytes_per_chunk["embeddings"] >= 32 * 4 + 8


def call(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["plan", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        plan.main()
    out, err = capsys.readouterr()
    return stopped.value.code or 0, out, err


def test_the_command_prints_the_plan_and_its_rates(pilot, monkeypatch, capsys):
    asked = ["--chunks", "1e9", "--index", pilot / "kb", "--build", pilot / "s1.json"]
    asked += ["--merge", pilot / "merge.json", "--nodes", 5, "--price", "2.5"]

    code, out, _ = call(monkeypatch, capsys, *asked)
    as_json = json.loads(call(monkeypatch, capsys, *asked, "--json")[1])

    assert code == 0
    assert "1,000,000,000 chunks: 5 nodes, 5 shards" in out
    assert as_json["price"] == pytest.approx(2.5 * as_json["node_hours"], rel=1e-3)


def test_reports_that_measure_nothing_are_refused(pilot, monkeypatch, capsys, word_encoder):
    update = pilot / "update.json"
    config = BuildConfig(shard="1/2")
    again = build_index([str(pilot / "docs")], pilot / "s1", config, encoder=word_encoder)
    update.write_text(json.dumps(again.as_dict()))
    nothing = pilot / "nothing.json"
    nothing.write_text(json.dumps(again.as_dict() | {"chunks": 0, "skipped": 0}))
    complaints = {
        update: "reports an update",
        nothing: "reports no chunks",
        pilot / "docs/1.md": "is not what indexing.build --json",
        pilot / "missing.json": "is not what indexing.build --json",
    }
    for path, complaint in complaints.items():
        asked = ["--chunks", "1e6", "--index", pilot / "kb", "--nodes", "1"]
        code, _, err = call(
            monkeypatch, capsys, *asked, "--build", path, "--merge", pilot / "merge.json"
        )

        assert code == 2
        assert complaint in err
        assert err.count("\n") == 1
    asked = ["--chunks", "many", "--index", "x", "--build", "y", "--merge", "z"]
    code, _, err = call(monkeypatch, capsys, *asked)
    assert code == 2
    assert "'many' is no whole number" in err
