"""A training that is killed, at any step and in the middle of a checkpoint, loses one interval."""

import os
import signal
from pathlib import Path

import pytest

from finetune import trainer as module
from finetune.batches import TrainingSet
from finetune.config import TrainConfig
from finetune.run_folder import CHECKPOINTS
from finetune.trainer import last_checkpoint
from finetune.training import Material, train

STEPS, INTERVAL = 7, 2


@pytest.fixture(scope="module")
def config(word_model):
    return TrainConfig(
        model=word_model,
        device="cpu",
        precision="float32",
        learning_rate=5e-3,
        batch_size=8,
        effective_batch=16,
        holdout=0.0,
        max_steps=STEPS,
        save_every=INTERVAL,
    )


@pytest.fixture(scope="module")
def whole(config, records, tmp_path_factory):
    """The weights and losses of a training that nobody disturbed."""
    out = tmp_path_factory.mktemp("whole") / "run"
    return ended(train(material(records), out, config))


def material(records):
    return Material(sets=[TrainingSet("pairs", records)])


def ended(facts):
    return (Path(facts["model"]) / "model.safetensors").read_bytes(), facts["losses"]


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(work):
    """Run in a process of its own; gives the signal that ended it."""
    child = os.fork()
    if not child:
        try:
            work()
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_after_any_step_it_goes_on_to_the_same_bits(step, config, records, whole, tmp_path):
    def progress(done, total, what):
        if done == step:
            kill()

    out = tmp_path / "run"
    ended_by = in_a_child(lambda: train(material(records), out, config, progress=progress))

    assert ended_by == signal.SIGKILL
    last = last_checkpoint(out / CHECKPOINTS)
    saved = int(last.name.rpartition("-")[2]) if last else 0
    assert step - saved <= INTERVAL
    again = []
    resumed = train(
        material(records), out, config, resume=True, progress=lambda done, *_: again.append(done)
    )
    assert [done for done in again if done] == list(range(saved + 1, STEPS + 1))
    assert ended(resumed) == whole


@pytest.mark.parametrize("name", ["save_file", "_save_optimizer_and_scheduler", "_save_rng_state"])
def test_killed_in_the_middle_of_a_checkpoint_it_goes_on_from_the_one_before(
    name, config, records, whole, tmp_path, monkeypatch
):
    owner = module if name == "save_file" else module.StepTrainer
    original = getattr(owner, name)
    calls = []

    def cut_off(*arguments, **options):
        calls.append(name)
        if len(calls) == 2:
            kill()
        return original(*arguments, **options)

    monkeypatch.setattr(owner, name, cut_off)
    out = tmp_path / "run"
    ended_by = in_a_child(lambda: train(material(records), out, config))
    monkeypatch.undo()

    assert ended_by == signal.SIGKILL
    assert (out / CHECKPOINTS / "checkpoint-4").is_dir()
    assert last_checkpoint(out / CHECKPOINTS).name == "checkpoint-2"
    assert ended(train(material(records), out, config, resume=True)) == whole
