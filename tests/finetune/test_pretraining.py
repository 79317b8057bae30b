"""RetroMAE: what is hidden, what the decoder sees, and that reading a domain's texts teaches."""

import json
import random
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoder import load_encoder
from encoder.errors import UsageError
from finetune import pretrain as command
from finetune.pretraining import PretrainConfig, asked_for, loss_of, pretrain
from finetune.retromae import NOT_ASKED, EnhancedDecoder, Mask, load_pretraining, visible_places

MASK = Mask(mask_id=99, special=frozenset({0, 2, 3, 99}), vocabulary=50, share=0.3)


@pytest.fixture(scope="module")
def texts():
    """Sentences in which the word before says the next one."""
    drawn = random.Random(4)
    found = []
    for _ in range(300):
        start = drawn.randrange(70)
        found.append(" ".join(f"w{(start + step) % 70}" for step in range(drawn.randrange(4, 12))))
    return found


@given(
    words=st.lists(st.integers(1, 3), min_size=1, max_size=20),
    seed=st.integers(0, 1000),
    share=st.floats(0.05, 0.9),
)
def test_whole_words_are_hidden_up_to_the_share_and_one_at_least(words, seed, share):
    ids, numbers = [2], [None]
    for number, length in enumerate(words):
        ids += range(10 + number, 10 + number + length)
        numbers += [number] * length
    ids, numbers = [*ids, 3], [*numbers, None]
    mask = Mask(mask_id=99, special=MASK.special, vocabulary=50, share=share)

    found = mask.applied(ids, numbers, random.Random(seed))

    hidden = [place for place, label in enumerate(found.labels) if label != NOT_ASKED]
    assert found.original == ids
    assert all(found.labels[place] == ids[place] for place in hidden)
    assert all(found.ids[place] == ids[place] for place in set(range(len(ids))) - set(hidden))
    assert hidden
    assert {0, len(ids) - 1}.isdisjoint(hidden)
    by_word = {numbers[place] for place in hidden}
    assert hidden == [place for place, number in enumerate(numbers) if number in by_word]
    assert len(by_word) == 1 or len(hidden) <= share * (len(ids) - 2) + 1e-9


def test_of_the_hidden_tokens_eight_in_ten_become_the_mask():
    drawn = random.Random(0)
    ids = [2, *([10] * 1000), 3]
    words = [None, *range(1000), None]

    found = MASK.applied(ids, words, drawn)

    hidden = [place for place, label in enumerate(found.labels) if label != NOT_ASKED]
    assert len(hidden) == 300
    shares = [found.ids[place] for place in hidden]
    assert 0.74 < shares.count(99) / 300 < 0.86
    assert 0.05 < shares.count(10) / 300 < 0.16


def test_the_decoder_sees_the_embedding_never_its_own_token_and_no_padding():
    mask = torch.tensor([[1, 1, 1, 1, 1, 0], [1, 1, 1, 0, 0, 0]])

    seen = visible_places(mask, 0.5, [1, 2])

    assert seen.shape == (2, 6, 6)
    assert bool(seen[:, :, 0].all())
    assert not bool(seen[:, range(1, 6), range(1, 6)].any())
    assert not bool(seen[0, :, 5].any())
    assert not bool(seen[1, :, 3:].any())
    many = visible_places(torch.ones(1, 200, dtype=torch.long), 0.7, [3])
    assert abs(float(many[0, :, 1:].float().mean()) - 0.3) < 0.01


def test_a_hidden_place_has_no_influence_on_what_is_written():
    torch.manual_seed(0)
    decoder = EnhancedDecoder(16, 2, 32, 0.0).eval()
    queries, context = torch.randn(1, 5, 16), torch.randn(1, 5, 16)
    visible = visible_places(torch.ones(1, 5, dtype=torch.long), 0.5, [4])
    before = decoder(queries, context, visible)

    for place in range(5):
        changed = context.clone()
        changed[0, place] += 1.0
        moved = (decoder(queries, changed, visible) - before).abs().amax(dim=2)[0] > 1e-6
        assert torch.equal(moved, visible[0, :, place])


def test_what_the_decoder_sees_does_not_hang_on_the_batch(mask_model, texts):
    found = load_pretraining(PretrainConfig(model=mask_model, device="cpu").as_training(), 0.3)
    found.module.eval()
    masked = found.masked(texts[:6], random.Random(1))
    asked = asked_for(masked)

    whole = loss_of(found.module, masked, asked, 0.5)

    parts = [loss_of(found.module, [text], asked, 0.5) for text in masked]
    torch.testing.assert_close(torch.stack(parts).sum(), whole, atol=1e-5, rtol=0)
    assert len({text.seed for text in masked}) == 6


def test_the_loss_is_the_mean_of_guessed_tokens_and_of_written_ones(mask_model, texts):
    found = load_pretraining(PretrainConfig(model=mask_model, device="cpu").as_training(), 0.3)
    found.module.eval()
    masked = found.masked(texts[:6], random.Random(1))
    asked = asked_for(masked)

    whole = loss_of(found.module, masked, asked, 0.5)

    guessed = 0.0
    model, head = found.module.model, found.module.head
    for text in masked:
        ids = torch.tensor([text.ids])
        logits = head(model(ids, torch.ones_like(ids)).last_hidden_state)[0].detach().log_softmax(1)
        guessed -= sum(
            float(logits[at, label]) for at, label in enumerate(text.labels) if label != NOT_ASKED
        )
    assert asked == (
        sum(label != NOT_ASKED for text in masked for label in text.labels),
        sum(len(text.ids) - 2 for text in masked),
    )
    # What is left is the decoder's part: about the loss of guessing among all words.
    written = float(whole.detach()) - guessed / asked[0]
    assert 3.0 < written < 6.5
    assert head.predictions.decoder.weight is model.get_input_embeddings().weight


def test_reading_texts_teaches_and_gives_an_encoder_for_everyone(mask_model, texts, tmp_path):
    config = PretrainConfig(
        model=mask_model, device="cpu", precision="float32", epochs=8, learning_rate=3e-3
    )

    found = pretrain(texts, tmp_path / "run", config)

    assert found["loss_after"] < found["loss_before"] - 1.0
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["steps"] == found["steps"]
    encoder = load_encoder(found["model"], device="cpu", backend="torch")
    before = load_encoder(mask_model, device="cpu", backend="torch")
    assert encoder.spec.templates == before.spec.templates
    assert np.abs(encoder.encode_queries(["w1"]) - before.encode_queries(["w1"])).max() > 1e-3


def test_a_reading_that_goes_on_ends_as_one_that_never_stopped(mask_model, texts, tmp_path):
    config = PretrainConfig(
        model=mask_model, device="cpu", precision="float32", max_steps=6, save_every=2
    )
    whole = pretrain(texts, tmp_path / "whole", config)

    def stop(step, *_):
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(texts, tmp_path / "cut", config, progress=stop)
    again = pretrain(texts, tmp_path / "cut", config, resume=True)

    assert again["losses"] == whole["losses"]
    assert again["loss_after"] == whole["loss_after"]


def test_a_model_without_a_mask_token_is_refused(word_model):
    with pytest.raises(UsageError, match=r"has no mask token; RetroMAE hides tokens"):
        load_pretraining(PretrainConfig(model=word_model, device="cpu").as_training(), 0.3)


def test_the_command_reads_files_and_says_what_it_lacks(
    mask_model, texts, tmp_path, monkeypatch, capsys
):
    def call(*words):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            command.main()
        return ended.value.code, capsys.readouterr()

    path = tmp_path / "texts.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    options = ("--model", mask_model, "--device", "cpu", "--max-steps", 2)
    code, said = call(path, "--out", tmp_path / "run", *options, "--json")
    assert code == 0
    assert json.loads(said.out)["steps"] == 2

    code, said = call("--out", tmp_path / "other")
    assert (code, said.err.count("error:")) == (2, 1)
    code, said = call(path, "--out", tmp_path / "other", *options, "--mask-share", 1)
    assert code == 2
    assert "mask-share must lie between 0 and 1" in said.err
    path.write_text('{"text": "w1"}\n')
    code, said = call(path, "--out", tmp_path / "other", *options)
    assert code == 1
    assert "There are 1 different texts" in said.err
    assert not (tmp_path / "other").exists()
