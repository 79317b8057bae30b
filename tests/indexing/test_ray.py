"""Builds on a real Ray cluster of three nodes: what is killed costs a retry and nothing else."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from indexing import BuildConfig, BuildFailedError, UsageError, build_index, open_index
from indexing.duplicates import read_duplicates
from indexing.generation import open_current
from indexing.work import jobs

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.engines
WORDS = [line.split()[0] for line in (ROOT / "indexing/common_words.txt").read_text().splitlines()]
NODE = {"num_cpus": 1, "num_gpus": 0, "object_store_memory": 80_000_000}


class Nodes:
    """A cluster of three nodes on this machine, each with room for one worker."""

    def __init__(self):
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(
            initialize_head=True, head_node_args=NODE | {"include_dashboard": False}
        )
        self.others = [self.cluster.add_node(**NODE) for _ in range(2)]
        self.cluster.wait_for_nodes()
        self.address = self.cluster.address

    def kill_a_busy_one(self, shards):
        """A node goes as when its machine loses the power, in the middle of a shard."""
        for process in running(shards):
            node = next((one for one in self.others if raylet(one) == parent(process)), None)
            if node is None:
                continue
            os.kill(process, signal.SIGSTOP)  # or it may have ended before its node goes
            if process in running(shards):
                self.others.remove(node)
                self.cluster.remove_node(node, allow_graceful=False)
                os.kill(process, signal.SIGKILL)
                return True
            os.kill(process, signal.SIGCONT)
        return False

    def mend(self):
        while len(self.others) < 2:
            self.others.append(self.cluster.add_node(**NODE))
        self.cluster.wait_for_nodes()


def running(shards):
    """The processes that are building shards."""
    last = [jobs(folder)[:1] for folder in shards.iterdir()]
    return [job.process for some in last for job in some if job.ended is None]


def raylet(node):
    """The process that keeps a node, which started its workers."""
    return node.all_processes["raylet"][0].process.pid


def parent(process):
    """The process that started this one; 0 if it has ended."""
    if not Path(f"/proc/{process}/stat").exists():
        return 0
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


@pytest.fixture(scope="module")
def nodes():
    import ray

    made = Nodes()
    yield made
    ray.shutdown()
    made.cluster.shutdown()


@pytest.fixture(scope="module")
def docs(tmp_path_factory):
    """Some hundred documents that take a few seconds to encode; one stands there twice."""
    folder = tmp_path_factory.mktemp("ray") / "docs"
    folder.mkdir()
    chance = random.Random(3)
    for number in range(270):
        text = " ".join(chance.choices(WORDS, k=120))
        (folder / f"{number:03}.md").write_text(f"# Page {number}\n\n{text}.\n", "utf-8")
    (folder / "again.md").write_bytes((folder / "007.md").read_bytes())
    for path in folder.iterdir():
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return folder


@pytest.fixture(scope="module")
def one(docs):
    """The index that one process builds, and the seconds that it took."""
    started = time.monotonic()
    report = build_index([str(docs)], docs.parent / "one")
    assert report.documents == 270
    return docs.parent / "one", time.monotonic() - started


def assert_same(index, other):
    """Both hold the same under the same ids; vectors agree as far as batches leave them alike."""
    mine, want = (open_current(folder, with_stores=False) for folder in (index, other))
    assert mine.states() == want.states()
    assert read_duplicates(mine.folder) == read_duplicates(want.folder)
    ids = want.chunk_ids().tolist()
    assert mine.chunk_ids().tolist() == ids
    assert mine.chunks(ids) == want.chunks(ids)
    np.testing.assert_allclose(mine.embeddings(ids), want.embeddings(ids), atol=2e-5)


def until_done(do):
    """A progress that tries something after each shard, for a second, until it is done."""
    done_it = []

    def progress(done, *_):
        deadline = time.monotonic() + (1 if done else 0)
        while not done_it and time.monotonic() < deadline:
            if do():
                done_it.append(True)

    return progress


def once(at, do):
    """A progress that does something when so many shards are done."""
    done_it = []

    def progress(done, total, _):
        if done >= at and not done_it:
            done_it.append(total)
            do()

    return progress


def test_a_build_on_three_nodes_loses_nothing_with_one_of_them(nodes, docs, one, tmp_path, capsys):
    from indexing.ray_driver import build_with_ray

    report = build_with_ray(
        [str(docs)],
        tmp_path / "kb",
        shards=9,
        address=nodes.address,
        progress=until_done(lambda: nodes.kill_a_busy_one(tmp_path / "kb.shards")),
    )
    nodes.mend()

    index, seconds = one
    assert (report.documents, report.duplicates, report.failed) == (270, 1, [])
    assert (report.ray.workers, report.ray.shards, report.ray.retries) == (3, 9, 1)
    assert_same(tmp_path / "kb", index)
    for query in ("which page is it", "people and time"):
        hits = [open_index(folder).search(query, 5) for folder in (tmp_path / "kb", index)]
        assert [hit.chunk for hit in hits[0]] == [hit.chunk for hit in hits[1]]
    facts = report.ray
    with capsys.disabled():
        sys.stdout.write(
            f"\none process {seconds:.1f} s; three nodes on {os.cpu_count()} cores, one of them "
            f"killed: {facts.build_s:.1f} s to build ({facts.work_s:.1f} s of work, overhead "
            f"{facts.overhead:.0%}), {facts.merge_s:.1f} s to merge, {facts.retries} begun again\n"
        )


def test_a_worker_that_is_killed_costs_a_retry_and_an_update_encodes_only_what_is_new(
    nodes, docs, tmp_path
):
    from indexing.ray_driver import build_with_ray

    index = tmp_path / "kb"
    shards = tmp_path / "kb.shards"

    def kill_worker():
        found = []
        while not found:  # those that have just been given one begin with it soon
            found = running(shards)
        os.kill(found[0], signal.SIGKILL)

    first = build_with_ray(
        [str(docs)], index, shards=6, address=nodes.address, progress=once(1, kill_worker)
    )
    (docs / "new.md").write_text("# New\n\nA page that was not there before.\n", "utf-8")
    again = build_with_ray([str(docs)], index, address=nodes.address)
    (docs / "new.md").unlink()

    assert (first.documents, first.ray.retries) == (270, 1)
    assert (again.added, again.skipped, again.ray.shards, again.ray.retries) == (1, 270, 6, 0)
    assert 0 < again.tokens < 50
    with pytest.raises(UsageError, match=r"holds 6 shards, got --shards 5\. Leave --shards out"):
        build_with_ray([str(docs)], index, shards=5, address=nodes.address)


def test_a_node_with_a_gpu_is_given_one_worker_for_it(nodes, docs, tmp_path):
    from indexing.ray_driver import build_with_ray

    # Ray counts a GPU that it is told of; torch sees none, so the worker encodes on the CPU.
    node = nodes.cluster.add_node(**(NODE | {"num_cpus": 2, "num_gpus": 1}))
    nodes.cluster.wait_for_nodes()

    report = build_with_ray([str(docs / "007.md")], tmp_path / "kb", address=nodes.address)
    nodes.cluster.remove_node(node)

    # Four shards for each worker; with cores counted there would be five workers.
    assert (report.documents, report.ray.shards, report.ray.workers) == (1, 4, 1)


def test_a_shard_that_cannot_be_built_stops_the_build_with_its_reason(nodes, docs, tmp_path):
    from indexing.ray_driver import build_with_ray

    with pytest.raises(UsageError, match=r"Shard .: .*no/such/model"):
        build_with_ray(
            [str(docs)],
            tmp_path / "kb",
            BuildConfig(encoder="no/such/model"),
            shards=2,
            address=nodes.address,
        )
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "x.pdf").write_bytes(b"no pdf")
    with pytest.raises(
        BuildFailedError, match=r"Shard 1 failed: .*--strict.*the same call goes on"
    ):
        build_with_ray(
            [str(broken)],
            tmp_path / "kb2",
            BuildConfig(strict=True),
            shards=1,
            address=nodes.address,
        )
    assert not (tmp_path / "kb").exists()
    assert not (tmp_path / "kb2").exists()


def test_the_command_builds_on_the_cluster_and_prints_what_it_cost(nodes, docs, tmp_path):
    command = [sys.executable, "-m", "indexing.build", str(docs / "007.md"), "--index"]
    command += [
        str(tmp_path / "kb"),
        "--engine",
        "ray",
        "--address",
        nodes.address,
        "--shards",
        "2",
    ]

    done = subprocess.run(
        [*command, "--json"], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["documents"], report["shards"], report["ray"]["workers"]) == (1, 2, 2)
    assert report["ray"]["folder"] == str(tmp_path / "kb.shards")


def test_a_wrong_address_is_one_clear_sentence(docs, tmp_path):
    command = [sys.executable, "-m", "indexing.build", str(docs), "--index", str(tmp_path / "kb")]

    done = subprocess.run(
        [*command, "--engine", "ray", "--address", "127.0.0.1:9"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "No Ray cluster answers at 127.0.0.1:9" in done.stderr
