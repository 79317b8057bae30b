"""Two processes on gloo end where one ends with the same global batch."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.finetune import two_processes

ROOT = Path(__file__).parent.parent.parent
MODELS = {"encoder": "word_model", "reranker": "pair_model", "texts": "mask_model"}


@pytest.mark.parametrize("kind", MODELS)
def test_two_processes_end_as_one_with_the_same_global_batch(kind, request, tmp_path):
    model = request.getfixturevalue(MODELS[kind])
    before = torch.random.get_rng_state()
    two_processes.main(kind, model, str(tmp_path / "one"))
    torch.random.set_rng_state(before)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    call = [sys.executable, "-m", "tests.finetune.two_processes", kind, model]
    call += [str(tmp_path / "two")]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2"}

    running = [
        subprocess.Popen(
            call,
            cwd=ROOT,
            env=os.environ | place | {"RANK": rank, "LOCAL_RANK": rank, "OMP_NUM_THREADS": "1"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors

    base = load_file(Path(model) / "model.safetensors")
    want = load_file(tmp_path / "one" / "24.safetensors")
    ends = {name.rpartition("encoder.")[2]: name for name in want}
    moved = [
        (want[ends[found]] - weight).abs().max()
        for name, weight in base.items()
        if (found := name.rpartition("encoder.")[2]) in ends
    ]
    assert max(moved) > 1e-4
    for end in ("one/6", "two/24", "two/6"):
        got = load_file(tmp_path / f"{end}.safetensors")
        for name, weight in want.items():
            torch.testing.assert_close(got[name], weight, atol=1e-5, rtol=0, msg=f"{end} {name}")
