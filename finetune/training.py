"""Pairs in, a better encoder out, or none: trains, measures base against tuned, and judges."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data.pair_reading import PairOptions, ReadingReport, load_pairs
from data.pairs import PairRecord
from encoder.errors import MissingExtraError
from encoder.files import digest_of_json
from encoder.model_folder import describe_encoder, find_model_folder
from finetune.averaging import Weights, average
from finetune.batches import DOCUMENT, Schedule, TrainingSet
from finetune.config import TrainConfig, write_config
from finetune.errors import NotBetterError, UsageError
from finetune.grouping import by_document
from finetune.holdout import Split, constant_label, split
from finetune.measures import Measure
from finetune.proving import BETTER, UNPROVEN, compare, judge
from finetune.run_folder import (
    CHECKPOINTS,
    MANIFEST,
    TUNED,
    is_main_process,
    opened_run,
    write_json,
)

if TYPE_CHECKING:
    from finetune.trainable import TrainableEncoder
    from finetune.trainer import Steps

Progress = Callable[[int, int | None, str], None]
MODEL, REJECTED = "model", "rejected"


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a training is made from."""

    sets: Sequence[TrainingSet]
    probes: Sequence[Measure] = ()
    """General material on which the tuned model must not fall."""
    choice: Sequence[Measure] = ()
    """For the choices, in place of a part of the sets."""
    proof: Sequence[Measure] = ()
    """For the verdict, in place of a part of the sets."""
    kept: Sequence[str] = ()
    """General texts on which the encoder is asked to stay what its base is."""


def read_sets(
    sources: Sequence[str], config: TrainConfig, options: PairOptions | None = None
) -> tuple[list[TrainingSet], list[ReadingReport]]:
    """Read training pairs of any format; one set for each source.

    Raises:
        UsageError: If the number of set-weights is not that of the sources.
        FileNotFoundError, ValueError: As `data.pair_reading.read_pairs`.
    """
    if config.set_weights and len(config.set_weights) != len(sources):
        raise UsageError(
            f"set-weights needs one number for each of the {len(sources)} sources, "
            f"got {len(config.set_weights)}."
        )
    weights = config.set_weights or (1.0,) * len(sources)
    sets, reports = [], []
    for source, weight in zip(sources, weights, strict=True):
        report = ReadingReport()
        records = load_pairs(source, options, report=report)
        sets.append(TrainingSet(Path(source).name, records, weight))
        reports.append(report)
    return sets, reports


def train(
    material: Material,
    out: str | Path,
    config: TrainConfig,
    *,
    resume: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Train an encoder, and hand it out if it is better than its base by more than chance.

    Args:
        material: What to train on and to measure with.
        out: A new folder; the tuned encoder will lie in `out/model`.
        config: How to train.
        resume: Go on with what is in `out`.
        progress: Called with (steps done, steps in all, what is done now).

    Returns:
        The manifest, which is written beside the model together with a report.

    Raises:
        UsageError: If the call is wrong: config, folder or data that do not fit.
        ValueError: If the data cannot be trained on.
        TrainingStoppedError: If training broke off; go on with `resume`.
        NotBetterError: If the tuned model is not better; it lies in `out/rejected`.
    """
    for package in ("accelerate", "peft", "PIL"):
        if find_spec(package) is None:
            raise MissingExtraError("Training", "finetune")
    sets = [_checked(found, config) for found in material.sets]
    identity = {
        "config": config.as_dict(),
        "data": {found.name: _digest(found.records) for found in sets},
        "model": config.model,
    }
    if material.kept:
        identity["texts to keep"] = digest_of_json(list(material.kept))
        _check_kept(config)
    # A wrong name shall leave no folder behind.
    (describe_encoder if config.task == "encoder" else find_model_folder)(config.model)
    if config.guide is not None:
        describe_encoder(config.guide)
    parts = _split(replace(material, sets=sets), config)
    with opened_run(Path(out), identity, resume=resume) as folder:
        if is_main_process():
            write_config(folder, config)
        if config.task == "reranker":
            from finetune.reranker_run import RerankerRun

            return RerankerRun(folder, config, parts, material.probes, progress).finish()
        return _Run(folder, config, parts, material, progress).finish()


def _split(material: Material, config: TrainConfig) -> Split:
    if material.choice:
        return Split(
            train=list(material.sets),
            choice=list(material.choice),
            proof=list(material.proof or material.choice),
            held_out=0,
            by_document=True,
        )
    return split(material.sets, config.holdout, config.seed)


def _schedule(sets: Sequence[TrainingSet], config: TrainConfig) -> "Steps":
    schedule = Schedule(
        _grouped(sets, config),
        batch_size=config.step_size,
        epochs=config.epochs,
        negatives=config.negatives,
        queries=config.queries_per_record,
        seed=config.seed,
        max_steps=config.max_steps,
        same_set=config.same_set_batches,
    )
    if config.guide is None:
        return schedule
    if all(found.is_scored for found in sets):
        raise UsageError(
            "A guide takes texts out of in-batch negatives, and scored pairs have none; leave "
            "guide out, or give pairs without a score."
        )
    from encoder.embedding_cache import EmbeddingCache
    from encoder.encoder import load_encoder
    from finetune.guide import GuidedSchedule

    guide = load_encoder(config.guide, device=config.device)
    return GuidedSchedule(schedule, guide, margin=config.guide_margin, cache=EmbeddingCache())


def _keeping(
    schedule: "Steps",
    texts: Sequence[str],
    encoder: "TrainableEncoder",
    config: TrainConfig,
    progress: Progress,
) -> "Steps":
    """With texts on which the encoder, which has not been trained yet, shall stay what it is."""
    if not texts:
        return schedule
    from finetune.keeping import KeepingSchedule

    return KeepingSchedule(
        schedule,
        texts,
        lambda some: encoder.encode_cut([(DOCUMENT, text, None) for text in some]),
        each=config.keep_texts,
        seed=config.seed,
        shown=lambda done, total: progress(done, total, "texts to keep"),
    )


class _Run:
    """One training from its split to its verdict."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        parts: Split,
        material: Material,
        progress: Progress | None,
    ) -> None:
        from transformers import set_seed

        from finetune.trainable import load_trainable

        self._folder, self._config, self._parts, self._probes = (
            folder,
            config,
            parts,
            material.probes,
        )
        self._progress = progress or (lambda *_: None)
        self._started = time.monotonic()
        set_seed(config.seed)
        self._encoder = load_trainable(config)
        _check_tokens(self._encoder, parts.train)
        schedule, kept = _schedule(parts.train, config), material.kept
        self._schedule = _keeping(schedule, kept, self._encoder, config, self._progress)

    def finish(self) -> dict[str, Any]:
        """Train, choose, prove, write."""
        base = {name: weight.detach().clone() for name, weight in self._encoder.trained().items()}
        before = self._score()
        trainer = self._trained()
        losses = trainer.losses
        scores = [(0, before), *trainer.scores] if self._parts.choice else []
        trained_s = time.monotonic() - self._started
        tuned = {name: weight.detach().clone() for name, weight in self._encoder.trained().items()}
        averages, measured, sentence, verdict = self._chosen(base, tuned)
        facts = {
            "verdict": verdict,
            "sentence": sentence,
            "base_model": self._encoder.spec.name,
            "share": averages[0][0] if averages else 1.0,
            "metric": self._parts.choice[0].metric if self._parts.choice else "",
            "averages": sorted(averages),
            "measured": measured,
            "losses": losses,
            "scores": scores,
            "steps": trainer.state.global_step,
            "records": sum(len(found.records) for found in self._parts.train),
            "held_out": self._parts.held_out,
            "held_out_by_document": self._parts.by_document,
            "trained_weights": sum(weight.numel() for weight in tuned.values()),
            "training_s": round(trained_s, 1),
            "seconds": round(time.monotonic() - self._started, 1),
            "config": self._config.as_dict(),
        }
        if is_main_process():
            self._write(facts, tuned)
        if verdict not in {BETTER, UNPROVEN}:
            raise NotBetterError(sentence)
        return facts

    def _trained(self) -> Any:  # noqa: ANN401 - transformers is loaded late
        from finetune.trainer import StepTrainer

        trainer = StepTrainer(
            self._encoder,
            self._schedule,
            self._config,
            self._folder / CHECKPOINTS,
            score=self._score if self._parts.choice else None,
            progress=self._progress,
        )
        trainer.finish()
        return trainer

    def _score(self) -> float:
        """The mean figure of the encoder as it is now on what choices are made by."""
        figures = [
            measure.measured(self._encoder.encode_quickly).figure for measure in self._parts.choice
        ]
        return sum(figures) / len(figures) if figures else 0.0

    def _chosen(
        self,
        base: Weights,
        tuned: Weights,
    ) -> tuple[list[tuple[float, float]], list[dict[str, Any]], str, str]:
        """Average with the base, best on the choices first, until a probe does not fall too far."""
        from finetune.trainable import put_weights

        averages = []
        # New words stand before every text: half of them is no way back to the base.
        tried = (1.0,) if self._config.method == "prefix" else self._config.averages
        if self._parts.choice:
            for share in tried:
                self._progress(0, None, f"averaging {share:g}")
                put_weights(self._encoder, average(base, tuned, share))
                averages.append((share, self._score()))
            averages.sort(key=lambda item: (-item[1], item[0]))
        shares = [share for share, _ in averages] or [tried[0]]
        encode, proof = self._encoder.encode_quickly, self._parts.proof
        put_weights(self._encoder, average(base, tuned, 0.0))
        proof_before, probes_before = self._before(proof), self._before(self._probes)
        for share in shares:
            put_weights(self._encoder, average(base, tuned, share))
            probes = compare(self._probes, probes_before, encode, proofs=0)
            if not any(self._fell(row) for row in probes):
                break
        averages.sort(key=lambda item: item[0] != share)
        rows = [*compare(proof, proof_before, encode, proofs=len(proof)), *probes]
        sentence, verdict = judge(rows, allowed_fall=self._config.allowed_fall)
        return averages, rows, sentence, verdict

    def _before(self, measures: Sequence[Measure]) -> list[Any]:
        """What the base reaches."""
        if not self._config.is_respecified:
            return [measure.measured(self._encoder.encode_quickly) for measure in measures]
        # Untrained new words or an instruction that it never saw are not how the base is used.
        from encoder.encoder import load_encoder
        from finetune.measures import encode_by

        with load_encoder(self._config.model, device=self._config.device) as encoder:
            return [measure.measured(encode_by(encoder)) for measure in measures]

    def _fell(self, row: dict[str, Any]) -> bool:
        return float(row["difference"]) < -self._config.allowed_fall

    def _write(self, facts: dict[str, Any], tuned: Weights) -> None:
        from safetensors.torch import save_file

        from finetune.exporting import export_encoder
        from finetune.report import write_report

        is_accepted = facts["verdict"] in {BETTER, UNPROVEN}
        target = self._folder / (MODEL if is_accepted else REJECTED)
        facts["model"] = str(target)
        facts["notes"] = export_encoder(self._encoder, target)
        save_file({name: tuned[name].cpu().contiguous() for name in tuned}, self._folder / TUNED)
        write_report(self._folder, facts)
        write_json(self._folder / MANIFEST, facts)
        shutil.rmtree(self._folder / CHECKPOINTS)


def _check_kept(config: TrainConfig) -> None:
    if config.task == "reranker":
        raise UsageError("A reranker gives no embeddings that could stay; leave keep out.")
    if config.is_respecified:
        raise UsageError(
            "An encoder that is to read texts with other words around them, or with another "
            "pooling, cannot stay what it is; leave keep out."
        )


def _checked(found: TrainingSet, config: TrainConfig) -> TrainingSet:
    """The set as the loss wants it: labels from 0 to 1."""
    if len(found.records) < 2:
        raise ValueError(
            f"{found.name} holds a single pair; a loss compares pairs with each other, so give "
            "some hundreds."
        )
    if not found.is_scored:
        return found
    label = constant_label(found.records)
    if label is not None:
        raise ValueError(
            f"All {len(found.records)} pairs of {found.name} have the label {label:g}, which "
            "teaches nothing; give pairs of different labels, or pairs without a label."
        )
    labels = [record.label or 0.0 for record in found.records]
    low, high = min(labels), max(labels)
    is_by_order = config.task == "encoder" and config.loss in {"auto", "cosent", "angle"}
    if is_by_order or (low >= 0 and high <= 1):
        return found
    rescaled = [
        replace(record, label=((record.label or 0.0) - low) / (high - low))
        for record in found.records
    ]
    return TrainingSet(found.name, rescaled, found.weight)


def _check_tokens(encoder: "TrainableEncoder", sets: Sequence[TrainingSet]) -> None:
    """Refuse texts that leave nothing to pool; most encoders add tokens of their own."""
    if encoder.tokenise([(DOCUMENT, "", None)])[0].ids:
        return
    for found in sets:
        for number, record in enumerate(found.records, start=1):
            for text in record.texts():
                if not encoder.tokenise([(DOCUMENT, text, None)])[0].ids:
                    raise ValueError(
                        f"{found.name}, {record.place or f'record {number}'}: {text!r} has no "
                        "tokens, and this encoder adds none; leave it out."
                    )


def _grouped(sets: Sequence[TrainingSet], config: TrainConfig) -> Sequence[TrainingSet]:
    if config.grouped_by == "queries":
        return sets
    return [replace(found, records=by_document(found.records)) for found in sets]


def _digest(records: Sequence[PairRecord]) -> str:
    return digest_of_json(
        [[record.queries, record.positives, record.negatives, record.label] for record in records]
    )
