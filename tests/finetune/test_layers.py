"""Training of several layers: 2D-Matryoshka, Espresso, and models cut to their first layers."""

import numpy as np
import pytest
import torch

from encoder import load_encoder
from encoder.errors import UsageError
from finetune import losses
from finetune.batches import Schedule, TrainingSet
from finetune.config import TrainConfig
from finetune.exporting import export_encoder, keep_layers
from finetune.objective import objective
from finetune.trainable import load_trainable
from finetune.trainer import StepTrainer

SOME = ["w1 w2 w3", "w4", "w5 w6 w41 w42 w43 w44 w45"]


def trainer_of(config, records, folder):
    encoder = load_trainable(config)
    plan = Schedule(
        [TrainingSet("pairs", records)],
        batch_size=config.step_size,
        epochs=config.epochs,
        negatives=1,
        seed=config.seed,
        max_steps=config.max_steps,
    )
    return encoder, StepTrainer(encoder, plan, config, folder)


def test_in_training_every_layer_gives_an_embedding_and_in_use_the_last(config, word_model):
    encoder = load_trainable(config(layers="adaptive", dropout=0.0))
    tokens = encoder.tokenise([("document", text, None) for text in SOME])

    encoder.module.train()
    found = encoder.module(*encoder.inputs(tokens)).split(32, dim=1)

    ids, mask, _ = encoder.inputs(tokens)
    hidden = encoder.module.model(ids, mask, output_hidden_states=True).hidden_states
    real = mask[:, :, None]
    means = [(rows * real).sum(1) / real.sum(1) for rows in hidden[1:]]
    assert len(found) == encoder.module.layers == 2
    for ours, theirs in zip(found, means, strict=True):
        torch.testing.assert_close(ours, theirs)
    use = load_encoder(word_model, device="cpu", backend="torch")
    np.testing.assert_allclose(
        encoder.encode(SOME, "document"), use.encode_documents(SOME), atol=1e-5
    )


def test_the_loss_of_several_layers_is_that_of_the_papers(config, records):
    plan = Schedule([TrainingSet("p", records)], batch_size=8, epochs=1, negatives=1, seed=1)
    batch = plan.batch(0)
    rows = torch.randn(len(batch.texts), 3 * 32, dtype=torch.float64)
    layers = [[part] for part in rows.split(32, dim=1)]

    def plain(part):
        return objective(part, batch, config())

    both = config(layers="adaptive", matryoshka_dims=(8,))
    seen = set()
    for step in range(8):
        found = objective(rows, batch, both, layers=3, step=step)
        wanted = [
            losses.adaptive_layer(
                lambda part: (plain(part[:, :8]) + plain(part)) / 2, layers, chosen=[at]
            )
            for at in (0, 1)
        ]
        near = [at for at in (0, 1) if torch.allclose(found, wanted[at])]
        assert len(near) == 1
        seen |= set(near)
    assert seen == {0, 1}

    found = objective(rows, batch, config(layers="espresso", espresso_size=8), layers=3)
    torch.testing.assert_close(found, losses.espresso(plain, layers, size=8))


def embedded_by_layer(layers, config, records, folder):
    """Embeddings by each of the two layers after a training, and the batch they are of."""
    plan = Schedule([TrainingSet("p", records[300:])], batch_size=64, epochs=1, negatives=1, seed=1)
    batch = plan.batch(0)
    chosen = config(layers=layers, epochs=5, espresso_size=16, dropout=0.0)
    encoder, trainer = trainer_of(chosen, records[:300], folder)
    trainer.train()
    encoder.module.layers = 2
    encoder.module.train()
    with torch.no_grad():
        rows = encoder.module(*encoder.inputs(encoder.tokenise(batch.texts)))
    return (*rows.chunk(2, dim=1), batch)


def test_training_earlier_layers_brings_them_near_the_last_one(config, records, tmp_path):
    apart = []
    for layers in ("last", "adaptive"):
        first, last, _ = embedded_by_layer(layers, config, records, tmp_path / layers)
        apart.append(1 - float(torch.cosine_similarity(first, last).mean()))

    assert apart[1] < 0.5 * apart[0]


def test_espresso_puts_what_matters_into_the_first_values_of_each_layer(config, records, tmp_path):
    figures = []
    for layers in ("last", "espresso"):
        *found, batch = embedded_by_layer(layers, config, records, tmp_path / layers)
        figures.append([float(objective(rows[:, :16], batch, config())) for rows in found])

    assert all(after < 0.5 * before for before, after in zip(*figures, strict=True))


def test_pieces_of_a_step_have_the_gradients_of_all_layers_at_once(config, records, tmp_path):
    def gradients(batch_size):
        chosen = config(
            layers="adaptive", batch_size=batch_size, effective_batch=64, max_steps=1, dropout=0.0
        )
        encoder, trainer = trainer_of(chosen, records, tmp_path / str(batch_size))
        trainer.create_optimizer()
        loss = trainer.training_step(encoder.module, trainer._schedule.batch(0))
        return loss, {name: weight.grad for name, weight in encoder.trained().items()}

    one_loss, one = gradients(64)
    other_loss, other = gradients(8)

    torch.testing.assert_close(one_loss, other_loss)
    for name, gradient in one.items():
        torch.testing.assert_close(gradient, other[name], atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_model_of_the_first_layers_is_exported_whole(method, config, tmp_path, word_model):
    encoder = load_trainable(config(method=method, lora_rank=2))
    with pytest.raises(UsageError, match=r"layers must be between 1 and 2"):
        keep_layers(encoder, 3)

    keep_layers(encoder, 1)
    export_encoder(encoder, tmp_path / "short")

    from sentence_transformers import SentenceTransformer

    short = load_encoder(str(tmp_path / "short"), device="cpu", backend="torch")
    found = short.encode_documents(SOME)
    theirs = SentenceTransformer(str(tmp_path / "short"), device="cpu", backend="torch")
    np.testing.assert_allclose(theirs.encode(SOME), found, atol=1e-5)
    whole = load_encoder(word_model, device="cpu", backend="torch")
    assert np.abs(whole.encode_documents(SOME) - found).max() > 1e-3


def test_layers_that_cannot_be_trained_are_refused():
    with pytest.raises(UsageError, match=r"Unknown layers 'first'. Known: last, adaptive"):
        TrainConfig(layers="first")
    with pytest.raises(UsageError, match=r"espresso has a short length of its own"):
        TrainConfig(layers="espresso", matryoshka_dims=(8,))
    with pytest.raises(UsageError, match=r"gives scores and no embeddings"):
        TrainConfig(task="reranker", layers="adaptive")
