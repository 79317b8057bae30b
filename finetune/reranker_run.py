"""A reranker's training from its split to its verdict: does it put a search's hits in order?"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder.embedding_cache import EmbeddingCache
from encoder.encoder import load_encoder
from finetune.batches import Schedule, TrainingSet
from finetune.candidates import CandidateSet, ScoredTexts, as_read
from finetune.config import TrainConfig
from finetune.errors import NotBetterError
from finetune.holdout import Split
from finetune.measures import Measure
from finetune.mining import MiningConfig, mine_negatives
from finetune.proving import BETTER, HOLDOUT, PROBE, UNPROVEN, judge, row_of
from finetune.run_folder import CHECKPOINTS, MANIFEST, TUNED, is_main_process, write_json
from finetune.trainer import Progress

if TYPE_CHECKING:
    from encoder import Encoder
    from finetune.pair_trainer import PairTrainer

CHOICE_QUERIES, PROOF_QUERIES = 100, 300
"""Most queries of one set whose hits are read for a choice, and for the verdict."""
MODEL, REJECTED = "model", "rejected"


class RerankerRun:
    """One training of a reranker."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        parts: Split,
        probes: Sequence[Measure],
        progress: Progress | None,
    ) -> None:
        from transformers import set_seed

        from finetune.pair_model import load_trainable_reranker

        self._folder, self._config, self._parts = folder, config, parts
        self._progress: Progress = progress or (lambda *_: None)
        self._started = time.monotonic()
        set_seed(config.seed)
        self._reranker = load_trainable_reranker(config)
        own = None if self._reranker.is_begun else config.model
        with load_encoder(own, device=config.device) as encoder:
            self._progress(0, None, "searching")
            self._choice = [as_read(found, encoder, CHOICE_QUERIES) for found in parts.choice]
            self._proof = [as_read(found, encoder, PROOF_QUERIES) for found in parts.proof]
            self._probes = [as_read(found, encoder, CHOICE_QUERIES) for found in probes]
            self._before = [self._without(found, encoder) for found in self._measures]
            sets = [self._mined(found, encoder) for found in parts.train]
        self._sets = sets
        self._schedule = Schedule(
            sets,
            batch_size=config.step_size,
            epochs=config.epochs,
            negatives=config.negatives,
            seed=config.seed,
            max_steps=config.max_steps,
            same_set=config.same_set_batches,
        )

    def finish(self) -> dict[str, Any]:
        """Train, choose how far the order before is followed, prove, write.

        Raises:
            NotBetterError: If the hits are not in a better order than before.
        """
        trainer = self._trained()
        trained_s = time.monotonic() - self._started
        priors = self._priors()
        prior = max(priors, key=lambda row: row[1])[0] if priors else self._config.priors[0]
        rows = self._compared(prior)
        sentence, verdict = judge(rows, allowed_fall=self._config.allowed_fall)
        facts = {
            "verdict": verdict,
            "sentence": sentence,
            "base_model": self._reranker.name,
            "share": 1.0,
            "prior": prior,
            "priors": priors,
            "metric": self._choice[0].metric if self._choice else "",
            "averages": [],
            "measured": rows,
            "losses": trainer.losses,
            "scores": trainer.scores,
            "steps": trainer.state.global_step,
            "records": sum(len(found.records) for found in self._sets),
            "held_out": self._parts.held_out,
            "held_out_by_document": self._parts.by_document,
            "trained_weights": sum(weight.numel() for weight in self._reranker.trained().values()),
            "training_s": round(trained_s, 1),
            "seconds": round(time.monotonic() - self._started, 1),
            "config": self._config.as_dict(),
        }
        if is_main_process():
            self._write(facts)
        if verdict not in {BETTER, UNPROVEN}:
            raise NotBetterError(sentence)
        return facts

    @property
    def _measures(self) -> list[Any]:
        """Of a reranker, which take what scores texts and not what embeds them."""
        return [*self._proof, *self._probes]

    def _trained(self) -> "PairTrainer":
        from finetune.pair_trainer import PairTrainer

        trainer = PairTrainer(
            self._reranker,
            self._schedule,
            self._config,
            self._folder / CHECKPOINTS,
            score=self._score if self._choice else None,
            progress=self._progress,
        )
        trainer.finish()
        return trainer

    def _score(self) -> float:
        """The mean figure with the prior that is best now."""
        return max(figure for _, figure in self._priors())

    def _priors(self) -> list[tuple[float, float]]:
        """Each prior and the mean figure of what choices are made by."""
        if not self._choice:
            return []
        totals = dict.fromkeys(self._config.priors, 0.0)
        for found in self._choice:
            if isinstance(found, ScoredTexts):
                figure = found.measured(self._reranker.score_quickly).figure
                totals = {prior: total + figure for prior, total in totals.items()}
                continue
            said = found.said(self._reranker.score_quickly)
            for prior in totals:
                totals[prior] += found.reordered(said, prior).figure
        return [(prior, total / len(self._choice)) for prior, total in totals.items()]

    def _without(self, measure: CandidateSet | ScoredTexts, encoder: "Encoder") -> Any:  # noqa: ANN401
        """What is reached before the training: by the order that the search gave."""
        if isinstance(measure, ScoredTexts):
            from finetune.measures import encode_by

            return measure.of_encoder(encode_by(encoder))
        return measure.as_found()

    def _compared(self, prior: float) -> list[dict[str, Any]]:
        rows = []
        for number, (measure, before) in enumerate(zip(self._measures, self._before, strict=True)):
            self._progress(0, None, f"reading hits of {measure.name}")
            if isinstance(measure, CandidateSet):
                measure.prior = prior
            kind = HOLDOUT if number < len(self._proof) else PROBE
            reached = measure.measured(self._reranker.score_quickly)
            rows.append(row_of(measure, kind, before, reached))
        return rows

    def _mined(self, found: TrainingSet, encoder: "Encoder") -> TrainingSet:
        """The set with hard negatives where its records have none."""
        if found.is_scored or all(record.negatives for record in found.records):
            return found
        bare = [record for record in found.records if not record.negatives]
        self._progress(0, None, f"mining negatives of {found.name}")
        documents = [
            text for record in found.records for text in (*record.positives, *record.negatives)
        ]
        mined = mine_negatives(
            bare,
            documents,
            encoder=encoder,
            config=MiningConfig(negatives=max(1, self._config.negatives), seed=self._config.seed),
            cache=EmbeddingCache(),
        )
        others = [record for record in found.records if record.negatives]
        kept = [record for record in (*others, *mined) if record.negatives]
        if not kept:
            raise ValueError(
                f"No wrong texts were found for {found.name}; a reranker learns from them, so give "
                "more pairs, or pairs with negatives."
            )
        return TrainingSet(found.name, kept, found.weight)

    def _write(self, facts: dict[str, Any]) -> None:
        from safetensors.torch import save_file

        from finetune.pair_export import export_reranker
        from finetune.report import write_report

        target = self._folder / (MODEL if facts["verdict"] in {BETTER, UNPROVEN} else REJECTED)
        facts["model"] = str(target)
        facts["notes"] = []
        weights = {
            name: weight.detach().cpu().contiguous().clone()
            for name, weight in self._reranker.trained().items()
        }
        save_file(weights, self._folder / TUNED)
        export_reranker(self._reranker, target, prior=facts["prior"])
        write_report(self._folder, facts)
        write_json(self._folder / MANIFEST, facts)
        shutil.rmtree(self._folder / CHECKPOINTS)
