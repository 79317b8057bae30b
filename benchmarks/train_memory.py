"""`python -m benchmarks.train_memory`: one step of 4,096 pairs in the memory of 32.

Prints the peak memory above that of the loaded model, and by how much the gradients of 256 pairs in
pieces differ from those of the same 256 at once, in float32 and without dropout.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import torch

from benchmarks.machine import judged_sets, write_result
from data.pair_files import load_labelled_pairs
from data.pairs import PairRecord
from finetune.batches import Schedule, TrainingSet
from finetune.config import TrainConfig
from finetune.trainable import TrainableEncoder, load_trainable
from finetune.trainer import StepTrainer

LIMIT_MIB = 2048
COMPARED = 256


def main() -> None:
    """Take a step, compare gradients, and print what came out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_memory", description=__doc__)
    parser.add_argument("--effective-batch", type=int, default=4096)
    parser.add_argument(
        "--write", action="store_true", help="write benchmarks/results/train_memory.md"
    )
    arguments = parser.parse_args()
    pairs = load_labelled_pairs(judged_sets() / "stsb_en" / "train.jsonl.gz")
    records = [PairRecord(queries=(p.text1,), positives=(p.text2,)) for p in pairs]
    # In this order: the peak is that of the whole process, and the comparison needs more.
    text = f"{_measured(records, arguments.effective_batch)}\n\n{_compared(records)}"
    print(text)
    if arguments.write:
        command = "python -m benchmarks.train_memory --write"
        write_result("train_memory.md", "Large batches in little memory", command, text)


def _measured(records: list[PairRecord], effective_batch: int) -> str:
    config = TrainConfig(batch_size=32, effective_batch=effective_batch, device="cpu", max_steps=1)
    with tempfile.TemporaryDirectory() as place:
        encoder, trainer, _ = _trainer(config, records, place)
        weights_mib = 4 * sum(w.numel() for w in encoder.module.parameters()) / 2**20
        before, used = _peak_mib(), time.process_time()
        trainer.train()
        seconds, above = time.process_time() - used, _peak_mib() - before
    # Gradients and AdamW's two moments are as large as the weights, whatever the batch.
    return (
        f"{config.step_size} pairs in one step, {config.batch_size} in memory, "
        f"{encoder.precision}: peak {above:.0f} MiB above the loaded model, of which "
        f"{3 * weights_mib:.0f} MiB are gradients and the optimiser's moments (the model has "
        f"{weights_mib:.0f} MiB); {'within' if above <= LIMIT_MIB else 'MORE THAN'} {LIMIT_MIB} "
        f"MiB; {seconds:.0f} s of the processor."
    )


def _compared(records: list[PairRecord]) -> str:
    found = []
    for batch_size in (COMPARED, 32):
        config = TrainConfig(
            batch_size=batch_size,
            effective_batch=COMPARED,
            device="cpu",
            precision="float32",
            dropout=0.0,
            max_steps=1,
        )
        with tempfile.TemporaryDirectory() as place:
            encoder, trainer, plan = _trainer(config, records, place)
            trainer.create_optimizer()
            loss = trainer.training_step(encoder.module, plan.batch(0))
        gradients = [w.grad.flatten() for w in encoder.trained().values() if w.grad is not None]
        found.append((loss.item(), torch.cat(gradients)))
    (whole_loss, whole), (parts_loss, pieces) = found
    return (
        f"{COMPARED} pairs at once and in pieces of 32: losses {whole_loss:.7f} and "
        f"{parts_loss:.7f}; the gradients of {len(whole):,} weights differ by at most "
        f"{(whole - pieces).abs().max().item():.1e}, the largest is {whole.abs().max().item():.1e}."
    )


def _trainer(
    config: TrainConfig, records: list[PairRecord], place: str
) -> tuple[TrainableEncoder, StepTrainer, Schedule]:
    encoder = load_trainable(config)
    plan = Schedule(
        [TrainingSet("stsb", records)],
        batch_size=config.step_size,
        epochs=1,
        negatives=1,
        seed=1,
        max_steps=1,
    )
    return encoder, StepTrainer(encoder, plan, config, Path(place)), plan


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
