"""Runs the steps of a training on transformers' Trainer: exact large batches, whole checkpoints."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from transformers import (
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from encoder.tokenizer import Tokens
from finetune.batches import Batch
from finetune.config import TrainConfig
from finetune.errors import TrainingStoppedError
from finetune.gradient_cache import backward_in_parts
from finetune.objective import objective
from finetune.trainable import TrainableEncoder, in_groups, put_weights

WEIGHTS = "trained.safetensors"
"""The weights that training changes, in a checkpoint."""
WHOLE = "whole.json"
"""Written into a checkpoint last: one without it was cut off."""
_PREFIX = "checkpoint-"

Score = Callable[[], float]
"""Measures the encoder as it is now; higher is better."""
Progress = Callable[[int, int | None, str], None]
Part = TypeVar("Part")


class Steps(Protocol):
    """What makes up which step of a training: a `Schedule`, or another of its kind."""

    def __len__(self) -> int:
        """How many steps."""

    def batch(self, step: int) -> Any:  # noqa: ANN401 - what the trainer's `training_step` takes
        """What step `step` is made of, counted from 0."""


class Trainable(Protocol):
    """A model with what of it is trained: an encoder or a reranker."""

    precision: str

    @property
    def module(self) -> torch.nn.Module:
        """What the trainer wraps."""

    @property
    def device(self) -> torch.device:
        """Where it is."""

    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The weights that training changes, by name."""


def last_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint of a run, or None."""
    whole = [path for path in folder.glob(f"{_PREFIX}*") if (path / WHOLE).is_file()]
    return max(whole, key=lambda path: int(path.name.removeprefix(_PREFIX)), default=None)


def _drop_cut_off(folder: Path) -> None:
    """Remove checkpoints that a kill cut off."""
    for path in folder.glob(f"{_PREFIX}*"):
        if not (path / WHOLE).is_file():
            shutil.rmtree(path)


class StepTrainer(Trainer):
    """Trainer whose batches come from a schedule and whose loss sees all of a step's texts.

    Every process computes the loss of the whole step over all embeddings, of which only its own
    carry gradients. The sum of the processes' gradients is then that of one process alone.
    """

    def __init__(
        self,
        encoder: Trainable,
        schedule: Steps,
        config: TrainConfig,
        folder: Path,
        *,
        score: Score | None = None,
        progress: Progress | None = None,
    ) -> None:
        # A class that trains another kind of model has a step of its own.
        self._encoder = cast(TrainableEncoder, encoder)
        self._schedule, self._config = schedule, config
        self._score = score
        callbacks: list[TrainerCallback] = [_MarkWhole(), _ShowProgress(progress)]
        if score is not None and config.patience:
            callbacks.append(EarlyStoppingCallback(config.patience))
        super().__init__(
            model=encoder.module,
            args=_arguments(encoder, config, folder, len(schedule), has_score=score is not None),
            train_dataset=_Steps(schedule),
            # Asked for where there is an evaluation; ours measures what `score` knows.
            eval_dataset=_Steps(schedule) if score is not None else None,
            data_collator=_only,  # type: ignore[arg-type]
            callbacks=callbacks,
        )
        from transformers import PrinterCallback

        self.remove_callback(PrinterCallback)

    def finish(self) -> None:
        """Train to the end, from the last whole checkpoint on if there is one."""
        folder = Path(str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        if self.is_world_process_zero():
            _drop_cut_off(folder)
        last = last_checkpoint(folder)
        self.train(resume_from_checkpoint=str(last) if last else None)
        # Mixed precision wraps the module's forward; what is measured and saved is without.
        self.accelerator.unwrap_model(self.model_wrapped, keep_fp32_wrapper=False)

    @property
    def losses(self) -> list[tuple[int, float]]:
        """(step, mean loss since the one before) as logged."""
        return [(int(row["step"]), row["loss"]) for row in self.state.log_history if "loss" in row]

    @property
    def scores(self) -> list[tuple[int, float]]:
        """(step, figure on the hold-out)."""
        return [
            (int(row["step"]), row["eval_score"])
            for row in self.state.log_history
            if "eval_score" in row
        ]

    def get_train_dataloader(self) -> DataLoader[Batch]:
        """One batch a step; each process takes its share of the texts itself."""
        return DataLoader(self.train_dataset, batch_size=1, collate_fn=_only)  # type: ignore[arg-type]

    def get_batch_samples(
        self, epoch_iterator: Iterator[Batch], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], None]:
        """The step's batch; without a count of labels, which ours do not have."""
        return [next(epoch_iterator)], None

    def floating_point_ops(self, inputs: Any) -> int:  # noqa: ANN401 - a Batch
        """Not counted; the library would look for its own names in the batch."""
        return 0

    def training_step(
        self,
        model: torch.nn.Module,
        inputs: Any,  # noqa: ANN401 - a Batch, where the library has a dictionary
        num_items_in_batch: Tensor | int | None = None,
    ) -> Tensor:
        """Add the gradients of one step; gives its loss.

        Raises:
            TrainingStoppedError: If the loss is no finite number.
        """
        model.train()
        loss = self.add_gradients(model, inputs)
        if not bool(torch.isfinite(loss)):
            raise TrainingStoppedError(
                f"The loss of step {self.state.global_step + 1} is {loss.item()}; the checkpoints "
                "before it are whole. Try a lower learning-rate, or float32."
            )
        return loss

    def add_gradients(self, model: torch.nn.Module, inputs: Any) -> Tensor:  # noqa: ANN401 - as above
        """The work of a step."""
        batch: Batch = inputs
        tokens = self._encoder.tokenise(batch.texts)
        lengths = [len(item.ids) for item in tokens]
        # Dealt out by length, so that the processes have about the same to do.
        order = sorted(range(len(tokens)), key=lambda place: (-lengths[place], place))
        own = list(self.own_share(order, "texts"))
        records = self._config.batch_size * self.args.world_size
        at_once = records * self._config.queries_per_record
        step = self._in_pieces if len(batch.queries) > at_once else self._at_once
        return step(model, batch, [tokens[place] for place in own], own)

    def own_share(self, whole: Sequence[Part], called: str) -> Sequence[Part]:
        """What this process does of a step.

        Raises:
            TrainingStoppedError: If that is nothing.
        """
        own = whole[self.args.process_index :: self.args.world_size]
        if not own:
            raise TrainingStoppedError(
                f"A step has {len(whole)} {called}, fewer than the {self.args.world_size} "
                "processes."
            )
        return own

    def one_by_one(
        self, model: torch.nn.Module, portions: Sequence[Sequence[Part]]
    ) -> Iterator[Sequence[Part]]:
        """Portions of a step, as they come into memory.

        The processes add up their gradients in the last one, as the library wraps `model`.
        """
        for number, portion in enumerate(portions, 1):
            is_last = number == len(portions)
            with nullcontext() if is_last else self.accelerator.no_sync(model):
                yield portion

    def _at_once(
        self, model: torch.nn.Module, batch: Batch, tokens: Sequence[Tokens], own: list[int]
    ) -> Tensor:
        groups = list(in_groups(_lengths(tokens), self._encoder.token_budget(None)))
        parts = [model(*self._encoder.inputs([tokens[at] for at in group])) for group in groups]
        rows = torch.cat(parts)
        places = [own[at] for group in groups for at in group]
        loss = self._objective(self._gathered(rows, places, len(batch.texts)), batch)
        self.accelerator.backward(loss * self.args.world_size)
        return loss.detach()

    def _objective(self, rows: Tensor, batch: Batch) -> Tensor:
        layers, step = self._encoder.module.layers, self.state.global_step
        return objective(rows, batch, self._config, layers=layers, step=step)

    def _in_pieces(
        self, model: torch.nn.Module, batch: Batch, tokens: Sequence[Tokens], own: list[int]
    ) -> Tensor:
        """The same loss and gradients in the memory of `batch_size` records."""
        budget = self._encoder.token_budget(self._config.batch_size)
        groups = list(in_groups(_lengths(tokens), budget))
        places = [own[at] for group in groups for at in group]

        def encode(group: Sequence[int]) -> Tensor:
            found: Tensor = model(*self._encoder.inputs([tokens[at] for at in group]))
            return found

        def loss(rows: Tensor) -> Tensor:
            whole = self._gathered(rows, places, len(batch.texts))
            scaled: Tensor = self._objective(whole, batch) * self.args.world_size
            return scaled

        found = backward_in_parts(
            [groups],
            encode,
            loss,
            backward=self.accelerator.backward,
            unsynchronised=partial(self.accelerator.no_sync, model),
        )
        mean: Tensor = found / self.args.world_size
        return mean

    def _gathered(self, rows: Tensor, places: list[int], count: int) -> Tensor:
        """The embeddings of all texts in the batch's order; gradients flow into `rows` alone."""
        whole = rows.new_zeros(count, rows.shape[1])
        if self.args.world_size > 1:
            shares: list[Any] = [None] * self.args.world_size
            dist.all_gather_object(shares, (places, rows.detach().cpu()))
            for index, (theirs, found) in enumerate(shares):
                if index != self.args.process_index:
                    whole[theirs] = found.to(whole)
        return whole.index_copy(0, torch.tensor(places, device=rows.device), rows)

    def evaluate(self, *_: object, **__: object) -> dict[str, float]:
        """The figure on the hold-out, logged as `eval_score`."""
        metrics = {"eval_score": self._score()} if self._score else {}
        self.log(metrics)
        self.control = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    def _save_checkpoint(self, model: torch.nn.Module, trial: Any) -> None:  # noqa: ANN401
        folder = Path(str(self.args.output_dir)) / f"{_PREFIX}{self.state.global_step}"
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:
            if folder.is_dir() and self.is_world_process_zero():
                shutil.rmtree(folder, ignore_errors=True)
            reason = " ".join(str(error).split())[:200]
            raise TrainingStoppedError(
                f"The checkpoint of step {self.state.global_step} could not be written ({reason}); "
                "the ones before it are whole. Make room and go on with --resume."
            ) from error

    def _save(
        self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None
    ) -> None:
        if not self.args.should_save:
            return
        folder = Path(str(output_dir or self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        whole = self._encoder.trained() if state_dict is None else state_dict
        names = self._encoder.trained()
        save_file(
            {name: whole[name].detach().cpu().contiguous() for name in names}, folder / WEIGHTS
        )

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:  # noqa: ANN401
        load_weights(self._encoder, Path(resume_from_checkpoint) / WEIGHTS)

    def _load_best_model(self) -> None:
        load_weights(self._encoder, Path(str(self.state.best_model_checkpoint)) / WEIGHTS)


def load_weights(encoder: TrainableEncoder, path: Path) -> None:
    """Put a checkpoint's weights into the encoder.

    Raises:
        ValueError: If the file is damaged, or of another model.
    """
    try:
        put_weights(encoder, load_file(path))
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} cannot be loaded: {' '.join(str(error).split())}.") from error


def _arguments(
    encoder: Trainable, config: TrainConfig, folder: Path, steps: int, *, has_score: bool
) -> TrainingArguments:
    interval = config.save_every or max(1, -(-steps // 5))
    warmup = config.warmup if config.warmup_steps is None else config.warmup_steps
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        learning_rate=config.learning_rate,
        lr_scheduler_type=_schedule(config, warmup),
        warmup_steps=warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        seed=config.seed,
        bf16=encoder.precision == "bfloat16",
        fp16=encoder.precision == "float16",
        use_cpu=encoder.device.type == "cpu",
        eval_strategy="steps" if has_score else "no",
        eval_steps=interval,
        save_strategy="steps",
        save_steps=interval,
        save_total_limit=2,
        load_best_model_at_end=has_score,
        metric_for_best_model="score" if has_score else None,
        greater_is_better=True if has_score else None,
        logging_steps=max(1, steps // 50),
        logging_nan_inf_filter=False,
        disable_tqdm=True,
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        # Several forward passes go before one backward pass, and would each send the buffers round.
        ddp_broadcast_buffers=False,
        ddp_find_unused_parameters=False,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # one process a GPU; torchrun starts them
    return arguments


def _schedule(config: TrainConfig, warmup: float) -> str:
    return "constant_with_warmup" if config.schedule == "constant" and warmup else config.schedule


def _lengths(tokens: Sequence[Tokens]) -> list[int]:
    return [len(item.ids) for item in tokens]


def _only(items: Sequence[Batch]) -> Batch:
    return items[0]


class _Steps(Dataset[Any]):
    """A schedule as the loader wants it."""

    def __init__(self, schedule: Steps) -> None:
        self._schedule = schedule

    def __len__(self) -> int:
        return len(self._schedule)

    def __getitem__(self, step: int) -> Any:  # noqa: ANN401
        return self._schedule.batch(step)


class _MarkWhole(TrainerCallback):
    """Marks a checkpoint when all of it is on the disk."""

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Sync the files, then write the mark."""
        if not state.is_world_process_zero:
            return
        folder = Path(str(args.output_dir)) / f"{_PREFIX}{state.global_step}"
        for path in [*folder.iterdir(), folder]:
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        (folder / WHOLE).write_text(json.dumps({"step": state.global_step}), "utf-8")


class _ShowProgress(TrainerCallback):
    """Passes the step on to the caller."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Say how far it is."""
        if self._progress is not None and state.is_world_process_zero:
            self._progress(state.global_step, state.max_steps, "")
