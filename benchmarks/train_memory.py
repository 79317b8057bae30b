"""`python -m benchmarks.train_memory`: peak memory of one step of 4,096 pairs above the model's."""

import argparse
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.machine import judged_sets
from data.pair_files import load_labelled_pairs
from data.pairs import PairRecord
from finetune.batches import Schedule, TrainingSet
from finetune.config import TrainConfig
from finetune.trainable import load_trainable
from finetune.trainer import StepTrainer


def main() -> None:
    """Take two steps and print what they needed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_memory", description=__doc__)
    parser.add_argument("--effective-batch", type=int, default=4096)
    arguments = parser.parse_args()
    pairs = load_labelled_pairs(judged_sets() / "stsb_en" / "train.jsonl.gz")
    records = [PairRecord(queries=(p.text1,), positives=(p.text2,)) for p in pairs]
    config = TrainConfig(
        batch_size=32, effective_batch=arguments.effective_batch, device="cpu", max_steps=1
    )
    encoder = load_trainable(config)
    plan = Schedule(
        [TrainingSet("stsb", records)],
        batch_size=config.step_size,
        epochs=1,
        negatives=1,
        seed=1,
        max_steps=1,
    )
    with tempfile.TemporaryDirectory() as place:
        trainer = StepTrainer(encoder, plan, config, Path(place))
        # The first gradients and AdamW's moments are as large as the model, whatever the batch.
        model_mib = 4 * sum(w.numel() for w in encoder.module.parameters()) / 2**20
        before = _peak_mib()
        started = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - started
    print(
        f"{config.step_size} pairs in one step: {seconds:.0f} s, peak {_peak_mib():.0f} MiB, "
        f"{_peak_mib() - before:.0f} MiB above the loaded model of {model_mib:.0f} MiB."
    )


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
