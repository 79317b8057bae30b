"""Texts of a domain in, an encoder out that has read them: RetroMAE from data to folder."""

import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from encoder.batching import plan_batches
from encoder.errors import UsageError
from encoder.files import digest_of_json
from encoder.model_folder import describe_encoder
from finetune.config import TrainConfig
from finetune.retromae import (
    NOT_ASKED,
    MaskedText,
    Pretraining,
    load_pretraining,
    visible_places,
)
from finetune.run_folder import CHECKPOINTS, MANIFEST, is_main_process, opened_run, write_json
from finetune.trainer import Progress, StepTrainer

_HELD_OUT, _MOST_HELD_OUT = 0.05, 200
"""Share and number of texts that are kept out, to see whether the encoder learns."""


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """Choices of a pre-training."""

    model: str | None = None
    """Folder or hub id of the encoder to begin with; None for the embedded default."""
    mask_share: float = 0.3
    """Of the tokens that the encoder must guess."""
    hidden_share: float = 0.5
    """Of the other tokens that the decoder does not see while it writes one."""
    epochs: int = 1
    batch_size: int = 32
    effective_batch: int | None = None
    learning_rate: float = 2e-5
    """BGE's (https://arxiv.org/abs/2309.07597, appendix B)."""
    max_tokens: int | None = None
    """Texts are cut to so many; None for as many as the encoder reads."""
    max_steps: int | None = None
    save_every: int | None = None
    precision: str = "auto"
    device: str = "auto"
    seed: int = 42

    def __post_init__(self) -> None:
        for name in ("mask_share", "hidden_share"):
            if not 0 < getattr(self, name) < 1:
                raise UsageError(
                    f"{name.replace('_', '-')} must lie between 0 and 1, got {getattr(self, name)}."
                )
        if self.max_tokens is not None and self.max_tokens < 4:
            raise UsageError(f"max-tokens must be at least 4, got {self.max_tokens}.")
        self.as_training()

    def as_training(self) -> TrainConfig:
        """The choices that every training has."""
        return TrainConfig(
            model=self.model,
            epochs=self.epochs,
            batch_size=self.batch_size,
            effective_batch=self.effective_batch,
            learning_rate=self.learning_rate,
            max_document_tokens=self.max_tokens,
            max_steps=self.max_steps,
            save_every=self.save_every,
            precision=self.precision,
            device=self.device,
            seed=self.seed,
        )


class TextBatch(NamedTuple):
    """The texts of one step."""

    texts: tuple[str, ...]
    step: int


class TextSchedule:
    """Which texts make up which step; step n is known without the others."""

    def __init__(self, texts: Sequence[str], config: TrainConfig) -> None:
        self._texts, self._size, self._seed = texts, config.step_size, config.seed
        self.per_epoch = -(-len(texts) // self._size)
        whole = self.per_epoch * config.epochs
        self.steps = min(whole, config.max_steps) if config.max_steps else whole

    def __len__(self) -> int:
        return self.steps

    def batch(self, step: int) -> TextBatch:
        """The batch of a step, counted from 0."""
        epoch, place = divmod(step, self.per_epoch)
        order = list(range(len(self._texts)))
        random.Random(f"{self._seed}/{epoch}").shuffle(order)
        chosen = order[place * self._size : (place + 1) * self._size]
        return TextBatch(tuple(self._texts[at] for at in chosen), step)


class PretrainTrainer(StepTrainer):
    """A trainer of RetroMAE; the texts of a step are dealt out over the processes."""

    def __init__(
        self,
        pretraining: Pretraining,
        schedule: TextSchedule,
        config: TrainConfig,
        folder: Path,
        *,
        hidden_share: float,
        progress: Progress | None = None,
    ) -> None:
        super().__init__(pretraining, schedule, config, folder, progress=progress)
        self._pretraining, self._hidden_share = pretraining, hidden_share

    def add_gradients(self, model: torch.nn.Module, inputs: Any) -> Tensor:  # noqa: ANN401 - a TextBatch
        """The work of a step; gives its loss."""
        # Every process masks all texts, so that each knows what the whole step asks for.
        drawn = random.Random(f"{self._config.seed}/{inputs.step}")
        masked = self._pretraining.masked(inputs.texts, drawn)
        asked = asked_for(masked)
        total = torch.zeros((), device=self._pretraining.device)
        portions = _portions(self.own_share(masked, "texts"), self._config.batch_size)
        for portion in self.one_by_one(model, portions):
            part = loss_of(model, portion, asked, self._hidden_share)
            self.accelerator.backward(part * self.args.world_size)
            total += part.detach()
        mean: Tensor = total * self.args.world_size
        return mean


def asked_for(texts: Sequence[MaskedText]) -> tuple[int, int]:
    """How many tokens the encoder must guess, and the decoder write, at least 1 each."""
    guessed = sum(label != NOT_ASKED for text in texts for label in text.labels)
    return max(1, guessed), max(1, sum(len(text.ids) - 2 for text in texts))


def loss_of(
    model: torch.nn.Module,
    texts: Sequence[MaskedText],
    asked: tuple[int, int],
    hidden_share: float,
) -> Tensor:
    """What some texts add to the loss: mean cross-entropy of guessed and of written tokens.

    Args:
        model: A `RetroMae`, perhaps wrapped.
        texts: Texts of one portion.
        asked: Of the whole step, as `asked_for`.
        hidden_share: As `visible_places`.
    """
    device = next(model.parameters()).device
    width = max(len(text.ids) for text in texts)
    ids, labels, original, mask = (
        torch.full((len(texts), width), fill) for fill in (0, NOT_ASKED, NOT_ASKED, 0)
    )
    for row, text in enumerate(texts):
        length = len(text.ids)
        ids[row, :length] = torch.tensor(text.ids)
        labels[row, :length] = torch.tensor(text.labels)
        original[row, 1 : length - 1] = torch.tensor(text.original[1:-1])
        mask[row, :length] = 1
    visible = visible_places(mask, hidden_share, [text.seed for text in texts])
    tensors = (ids, labels, original, mask, visible)
    guessed, written = model(*(tensor.to(device) for tensor in tensors))
    found: Tensor = guessed / asked[0] + written / asked[1]
    return found


def _portions(texts: Sequence[MaskedText], size: int) -> list[list[MaskedText]]:
    # Of like length together, so that little of a portion is padding.
    lengths = [len(text.ids) for text in texts]
    longest = max(lengths)
    return [[texts[at] for at in group] for group in plan_batches(lengths, size * longest)]


def pretrain(
    texts: Sequence[str],
    out: str | Path,
    config: PretrainConfig,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Let an encoder read texts of a domain.

    Args:
        texts: At least twenty; each is cut to what the encoder reads.
        out: A new folder; the encoder will lie in `out/model`.
        config: How.
        resume: Go on with what is in `out`.
        progress: Called with (steps done, steps in all, what is done now).

    Returns:
        The manifest, which is written beside the model.

    Raises:
        UsageError: If the call is wrong.
        ValueError: If there is too little text.
        TrainingStoppedError: If training broke off; go on with `resume`.
    """
    from transformers import set_seed

    kept = list(dict.fromkeys(text for text in texts if text.strip()))
    if len(kept) < 20:
        raise ValueError(f"There are {len(kept)} different texts; pre-training needs thousands.")
    describe_encoder(config.model)  # a wrong name shall leave no folder behind
    identity = {"config": asdict(config), "data": digest_of_json(kept), "model": config.model}
    with opened_run(Path(out), identity, resume=resume) as folder:
        started = time.monotonic()
        training = config.as_training()
        set_seed(config.seed)
        pretraining = load_pretraining(training, config.mask_share)
        random.Random(f"held out/{config.seed}").shuffle(kept)
        count = max(1, min(_MOST_HELD_OUT, round(len(kept) * _HELD_OUT)))
        held_out, rest = kept[:count], kept[count:]
        before = measured(pretraining, held_out, config)
        trainer = PretrainTrainer(
            pretraining,
            TextSchedule(rest, training),
            training,
            folder / CHECKPOINTS,
            hidden_share=config.hidden_share,
            progress=progress,
        )
        trainer.finish()
        facts: dict[str, Any] = {
            "base_model": pretraining.encoder.spec.name,
            "texts": len(rest),
            "held_out": count,
            "loss_before": before,
            "loss_after": measured(pretraining, held_out, config),
            "losses": trainer.losses,
            "steps": trainer.state.global_step,
            "seconds": round(time.monotonic() - started, 1),
            "config": asdict(config),
        }
        if is_main_process():
            _write(folder, pretraining, facts)
        return facts


def measured(pretraining: Pretraining, texts: Sequence[str], config: PretrainConfig) -> float:
    """The loss on texts that are always masked in the same way."""
    masked = pretraining.masked(texts, random.Random("measured"))
    asked = asked_for(masked)
    pretraining.module.eval()
    total = 0.0
    with torch.no_grad():
        for portion in _portions(masked, config.batch_size):
            total += float(loss_of(pretraining.module, portion, asked, config.hidden_share))
    return round(total, 5)


def _write(folder: Path, pretraining: Pretraining, facts: dict[str, Any]) -> None:
    import shutil

    from finetune.exporting import export_encoder

    target = folder / "model"
    facts["model"] = str(target)
    facts["notes"] = export_encoder(pretraining.encoder, target)
    write_json(folder / MANIFEST, facts)
    shutil.rmtree(folder / CHECKPOINTS)
