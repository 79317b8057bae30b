"""One of several processes of a small training of any kind; `torchrun` or a test starts it."""

import random
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from transformers import set_seed

from data.pairs import PairRecord
from finetune.batches import Schedule, TrainingSet
from finetune.config import TrainConfig
from finetune.pair_model import load_trainable_reranker
from finetune.pair_trainer import PairTrainer
from finetune.pretraining import PretrainTrainer, TextSchedule
from finetune.retromae import load_pretraining
from finetune.trainable import load_trainable
from finetune.trainer import StepTrainer

WORDS = [f"w{number}" for number in range(60)]
STEP = 24


def main(kind: str, model: str, out: str) -> None:
    """Train three steps of 24 records, at once and in pieces, and write the weights."""
    for batch_size in (STEP, 6):
        set_seed(1)
        trainer = TRAINERS[kind](model, Path(out) / str(batch_size), batch_size)
        trainer.train()
        if trainer.is_world_process_zero():
            save_file(dict(trainer._encoder.trained()), trainer.args.output_dir + ".safetensors")


def _config(model: str, batch_size: int, **choices: Any) -> TrainConfig:
    return TrainConfig(
        model=model,
        device="cpu",
        precision="float32",
        dropout=0.0,
        learning_rate=1e-3,
        batch_size=batch_size,
        effective_batch=STEP,
        max_steps=3,
        epochs=9,
        **choices,
    )


def _schedule(negatives: int) -> Schedule:
    records = [
        PairRecord(
            queries=(WORDS[i],),
            positives=(" ".join(WORDS[i : i + 1 + i % 7]),),
            negatives=tuple(WORDS[i + 5 : i + 5 + negatives]),
        )
        for i in range(50)
    ]
    return Schedule(
        [TrainingSet("p", records)],
        batch_size=STEP,
        epochs=9,
        negatives=max(1, negatives),
        seed=1,
        max_steps=3,
    )


def _encoder(model: str, out: Path, batch_size: int) -> StepTrainer:
    config = _config(model, batch_size)
    return StepTrainer(load_trainable(config), _schedule(0), config, out)


def _reranker(model: str, out: Path, batch_size: int) -> StepTrainer:
    # Of listwise, all scores may move together, and Adam makes a step of what rounding leaves.
    config = _config(model, batch_size, task="reranker", loss="binary")
    return PairTrainer(load_trainable_reranker(config), _schedule(3), config, out)


def _texts(model: str, out: Path, batch_size: int) -> StepTrainer:
    config = _config(model, batch_size)
    drawn = random.Random(2)
    texts = [" ".join(drawn.choices(WORDS, k=drawn.randrange(3, 12))) for _ in range(60)]
    return PretrainTrainer(
        load_pretraining(config, 0.3), TextSchedule(texts, config), config, out, hidden_share=0.5
    )


TRAINERS = {"encoder": _encoder, "reranker": _reranker, "texts": _texts}

if __name__ == "__main__":
    main(*sys.argv[1:])
