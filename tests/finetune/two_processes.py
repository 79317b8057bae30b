"""One of several processes of a small training; `torchrun` or a test starts it."""

import sys
from pathlib import Path

from safetensors.torch import save_file

from data.pairs import PairRecord
from finetune.batches import Schedule, TrainingSet
from finetune.config import TrainConfig
from finetune.trainable import load_trainable
from finetune.trainer import StepTrainer

WORDS = [f"w{number}" for number in range(60)]


def main(model: str, out: str) -> None:
    """Train three steps of 24 records, at once and in pieces, and write the weights."""
    for batch_size in (24, 6):
        _train(model, Path(out) / str(batch_size), batch_size)


def _train(model: str, out: Path, batch_size: int) -> None:
    records = [
        PairRecord(queries=(WORDS[i],), positives=(" ".join(WORDS[i : i + 1 + i % 7]),))
        for i in range(50)
    ]
    config = TrainConfig(
        model=model,
        device="cpu",
        precision="float32",
        dropout=0.0,
        learning_rate=1e-3,
        batch_size=batch_size,
        effective_batch=24,
        max_steps=3,
        epochs=9,
    )
    encoder = load_trainable(config)
    plan = Schedule(
        [TrainingSet("p", records)], batch_size=24, epochs=9, negatives=1, seed=1, max_steps=3
    )
    trainer = StepTrainer(encoder, plan, config, out)
    trainer.train()
    if trainer.is_world_process_zero():
        save_file(dict(encoder.trained()), out / "end.safetensors")


if __name__ == "__main__":
    main(*sys.argv[1:])
