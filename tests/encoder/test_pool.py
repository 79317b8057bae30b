"""Several processes: the rows of one, and none left behind, whatever ends the work."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder import Encoder, EncodeReport, load_encoder
from encoder.backends import frames, pool

ROOT = Path(__file__).parent.parent.parent
IDS = st.lists(st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=9), min_size=1, max_size=5)
MANY = [f"number {n} " + "and more " * (n % 9) for n in range(300)]


@given(ids=IDS, has_starts=st.booleans())
def test_ids_survive_the_way_to_a_worker(ids, has_starts):
    starts = [len(row) - 1 for row in ids] if has_starts else []

    assert frames.unpack_ids(frames.pack_ids(ids, starts)) == (ids, starts)


def test_rows_survive_the_way_back():
    rows = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)[:, ::2]

    got = frames.unpack_rows(frames.pack_rows(rows), 3)

    assert got.tolist() == rows.tolist()
    assert got.flags.writeable


@pytest.mark.parametrize(
    ("devices", "shares"),
    [
        (["cpu", "cpu"], [[0, 2, 4], [1, 3]]),
        (["cuda:0", "cpu", "cuda:1"], [[], [0, 1, 2, 3, 4], []]),
        (["cpu"] * 6, [[]] * 6),
    ],
)
def test_processes_on_the_cpu_share_its_cores_out(monkeypatch, devices, shares):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {4, 1, 0, 2, 3})

    assert pool._shares_of_cores(devices) == shares


@pytest.fixture(scope="module")
def two(model_folder):
    """An encoder in two processes of one thread each."""
    with load_encoder(
        str(model_folder("bert-mean")), device="cpu,cpu", backend="torch", dtype="float32"
    ) as encoder:
        yield encoder


def pids(encoder):
    return [worker.process.pid for worker in encoder._backend._all]


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def test_two_processes_give_the_rows_of_one(two, small_encoder, texts, monkeypatch):
    monkeypatch.setattr(two._backend, "token_budget", 200)
    one = small_encoder("bert-mean")
    report = EncodeReport()

    got = two.encode_documents([*MANY, *texts, *texts], report=report)

    want = one.encode_documents([*MANY, *texts, *texts])
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    assert report.duplicates == len(texts)
    assert two.engine == "torch float32 on cpu, 2 processes"
    assert two.device == "cpu,cpu"
    np.testing.assert_allclose(
        two.encode_queries(["one"]), one.encode_queries(["one"]), rtol=0, atol=1e-5
    )


def test_both_processes_work_at_the_same_time(two, monkeypatch):
    busy, most = set(), 0
    for worker in two._backend._all:

        def watched(*arguments, worker=worker, embed=worker.embed):
            nonlocal most
            busy.add(worker)
            most = max(most, len(busy))
            try:
                return embed(*arguments)
            finally:
                busy.discard(worker)

        monkeypatch.setattr(worker, "embed", watched)
    monkeypatch.setattr(two._backend, "token_budget", 60)

    two.encode_documents(MANY)

    assert most == 2


def test_each_process_has_one_thread_s_share(two):
    shares = [os.sched_getaffinity(pid) for pid in pids(two)]

    if len(os.sched_getaffinity(0)) > 1:
        assert not shares[0] & shares[1]
    assert shares[0] | shares[1] == os.sched_getaffinity(0)


def test_a_worker_s_full_memory_halves_the_budget(two, small_encoder, monkeypatch):
    embed = pool._Worker.embed

    def with_little_memory(self, ids, starts):
        if len(ids) * max(map(len, ids)) > 100:
            raise MemoryError("out of memory")
        return embed(self, ids, starts)

    monkeypatch.setattr(pool._Worker, "embed", with_little_memory)
    monkeypatch.setattr(two._backend, "token_budget", 1000)

    got = two.encode_documents(MANY)

    want = small_encoder("bert-mean").encode_documents(MANY)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5)
    assert two._backend.token_budget <= 100


def test_token_vectors_are_refused(two):
    with pytest.raises(TypeError, match="no token vectors; load with backend='torch'"):
        two.encode_tokens(["a"])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_a_process_that_dies_is_named_and_takes_the_others_with_it(two):
    first, second = pids(two)
    os.kill(first, signal.SIGKILL)
    assert wait_until(lambda: not is_alive(first))

    with pytest.raises(ChildProcessError, match=r"process on cpu has ended \(signal 9\)") as caught:
        # One after the other, each short enough to stay in the buffer of the dead one's pipe.
        [two.encode_documents([text]) for text in MANY[:2]]

    assert "\n" not in str(caught.value)
    assert not is_alive(second)
    two.close()
    with pytest.raises(ChildProcessError, match=r"has ended \(signal 9\)"):
        two.encode_documents(["one more"])


# In processes of their own, which load no tokenizer: starting torch takes seconds.
STARTED = """
import json, sys
from itertools import repeat
from pathlib import Path
from encoder.backends.pool import WorkerPool
from encoder.report import EncodeReport
from encoder.running import Item, Runner
from encoder.spec import EncoderSpec
from encoder.tokenizer import Tokens
folder, spec, device = json.loads(sys.argv[1])
pool = WorkerPool(
    [device], Path(folder), EncoderSpec.from_dict(spec),
    pad_id=0, backend="torch", dtype="float32", trust_remote_code=False,
)
print(*(worker.process.pid for worker in pool._all), flush=True)
endless = repeat([Item([n], Tokens([2, 3, 4, 5], 0)) for n in range(100)])
for _ in Runner(pool).embed(endless, EncodeReport()):
    pass
"""


@pytest.fixture
def start(small_encoder):
    """Starts a process that never stops working."""
    spec = small_encoder("bert-mean").spec

    def start(device):
        options = json.dumps([spec.name, spec.as_dict(), device])
        return subprocess.Popen(
            [sys.executable, "-c", STARTED, options],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    return start


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_no_process_is_left_behind(start, end):
    with start("cpu") as started:
        workers = [int(pid) for pid in started.stdout.readline().split()]
        assert workers, started.stderr.read()
        assert all(map(is_alive, workers))

        started.send_signal(end)
        code = started.wait(30)

    assert code == -end
    assert wait_until(lambda: not any(map(is_alive, workers)))


def test_a_device_that_is_not_there_is_a_sentence(start):
    with start("cuda:99") as started:
        _, complaint = started.communicate(timeout=120)

    assert complaint.decode().splitlines()[-1] == (
        "ValueError: Device 'cuda:99' was asked for, but this machine has no such GPU."
    )


def test_an_encoder_in_this_process_may_be_closed_too(small_encoder):
    with small_encoder("bert-mean") as encoder:
        assert isinstance(encoder, Encoder)

    assert encoder.encode_queries(["still here"]).shape == (1, 16)
