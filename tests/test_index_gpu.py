"""What the benchmark of building and searching on a GPU prints where there is none."""

import sys

import pytest
import torch

from benchmarks import index_gpu
from benchmarks.index_gpu import bandwidth


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_its_columns_stay_empty_and_the_others_are_filled(monkeypatch, capsys):
    command = ["index_gpu", "--rows", "2500", "--dim", "16", "--queries", "40", "--batches", "8"]
    monkeypatch.setattr(sys, "argv", [*command, "--types", "ivf_flat", "scann"])

    index_gpu.main()

    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    built = {row[0]: row for row in rows if row[0] in {"ivf_flat", "scann"}}
    assert built["ivf_flat"][1] == "IVF64,Flat"
    assert [float(row[3]) > 0.5 for row in built.values()] == [True, True]
    assert [row[4:] for row in built.values()] == [[""] * 4] * 2
    searched = next(row for row in rows if row[0] == "8")
    assert float(searched[1]) > 0
    assert searched[2:] == [""] * 4


def test_the_bandwidth_is_that_of_reading_what_is_copied(monkeypatch):
    monkeypatch.setattr(index_gpu, "_COPIED", 1_000)
    monkeypatch.setattr(index_gpu, "_timed", lambda *_: 0.5)

    assert bandwidth("cpu") == 2_000
