"""Another library's trainer: `python benchmarks/train_peer.py KIND WORK`, imports nothing of ours.

WORK holds call.json; the trained model goes to WORK/model and what it took to WORK/facts.json.
"""

import json
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any


def main() -> None:
    """Train as the library's own example does."""
    kind, work = sys.argv[1], Path(sys.argv[2])
    call = json.loads((work / "call.json").read_text("utf-8"))
    trained = _angle(call, work) if kind == "angle" else _st(kind, call, work)
    (work / "facts.json").write_text(json.dumps(trained), "utf-8")


def _st(kind: str, call: dict[str, Any], work: Path) -> dict[str, Any]:
    from datasets import Dataset
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sampler import DefaultBatchSampler
    from sentence_transformers.sentence_transformer.losses import AnglELoss, CoSENTLoss
    from torch.utils.data import SequentialSampler

    model = SentenceTransformer(call["model"], device="cpu", backend="torch")
    model.max_seq_length = 128
    columns = list(zip(*call["pairs"], strict=True))
    highest = max(columns[2])
    data = Dataset.from_dict(
        {
            "sentence1": list(columns[0]),
            "sentence2": list(columns[1]),
            "score": [label / highest for label in columns[2]],
        }
    )
    loss = AnglELoss(model) if kind == "st-angle" else CoSENTLoss(model)
    options = SentenceTransformerTrainingArguments(
        output_dir=str(work / "run"),
        max_steps=call["steps"],
        per_device_train_batch_size=call["batch"],
        learning_rate=call["rate"],
        seed=call["seed"],
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = SentenceTransformerTrainer(model, options, train_dataset=data, loss=loss)
    trainer.get_batch_sampler = lambda dataset, **_: DefaultBatchSampler(  # type: ignore[method-assign]
        SequentialSampler(dataset), batch_size=call["batch"], drop_last=False
    )
    started, used = time.perf_counter(), time.process_time()
    trainer.train()
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    model.save(str(work / "model"))
    name = version("sentence-transformers")
    steps = trainer.state.global_step
    return {"seconds": seconds, "processor": processor, "steps": steps, "version": name}


def _angle(call: dict[str, Any], work: Path) -> dict[str, Any]:
    import torch
    from angle_emb import AnglE
    from datasets import Dataset
    from torch.utils.data import SequentialSampler
    from transformers import Trainer

    torch.compile = lambda model, **_: model  # type: ignore[assignment] # it waits for a compiler
    setattr(  # noqa: B010 - its type is another
        Trainer, "_get_train_sampler", lambda self, *_: SequentialSampler(self.train_dataset)
    )
    angle = AnglE.from_pretrained(call["model"], pooling_strategy="avg", max_length=128)
    columns = list(zip(*call["pairs"], strict=True))
    names = ("text1", "text2", "label")
    data = Dataset.from_dict(
        {name: list(column) for name, column in zip(names, columns, strict=True)}
    )
    started, used = time.perf_counter(), time.process_time()
    angle.fit(
        train_ds=data,
        batch_size=call["batch"],
        output_dir=str(work / "model"),
        learning_rate=call["rate"],
        warmup_steps=0,
        save_strategy="no",
        loss_kwargs={
            "cosine_w": 1.0,
            "ibn_w": 1.0,
            "angle_w": 1.0,
            "cosine_tau": 20,
            "ibn_tau": 20,
            "angle_tau": 20,
        },
        argument_kwargs={
            "use_cpu": True,
            "max_steps": call["steps"],
            "report_to": "none",
            "seed": call["seed"],
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
        },
    )
    seconds, processor = time.perf_counter() - started, time.process_time() - used
    name = version("angle-emb")
    return {"seconds": seconds, "processor": processor, "steps": call["steps"], "version": name}


if __name__ == "__main__":
    main()
