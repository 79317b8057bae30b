"""A small random model whose tokens are words, and pairs that it can learn something from."""

import json
import random
import shutil

import pytest

from data.pairs import PairRecord

WORDS = [f"w{number}" for number in range(80)]


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small models lose more to threads that wait for each other than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def word_model(tmp_path_factory) -> str:
    """A folder with a BERT of two layers, mean pooling, and `query: ` before its queries."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("words")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "query", ":"]
    vocabulary = {word: place for place, word in enumerate([*special, *WORDS])}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    tokens.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    names = dict(zip(("pad", "unk", "cls", "sep"), special, strict=False))
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=tokens, **{f"{name}_token": text for name, text in names.items()}
    )
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    BertModel(config).save_pretrained(folder / "plain")
    tokenizer.save_pretrained(folder / "plain")
    whole = SentenceTransformer(
        modules=[Transformer(str(folder / "plain")), Pooling(32, "mean")],
        prompts={"query": "query: "},
        device="cpu",
    )
    whole.max_seq_length = 48
    whole.save(str(folder / "model"), create_model_card=False)
    return str(folder / "model")


@pytest.fixture
def config(word_model):
    """Makes choices for a training of the small model; what is given goes over these."""
    from finetune.config import TrainConfig

    def make(**changes):
        facts = {
            "model": word_model,
            "device": "cpu",
            "precision": "float32",
            "learning_rate": 3e-3,
            "batch_size": 16,
        }
        return TrainConfig(**(facts | changes))

    return make


@pytest.fixture(scope="session")
def records() -> list[PairRecord]:
    """Queries of three words; their documents hold these among words that mean nothing."""
    drawn = random.Random(1)
    found = []
    for _ in range(400):
        words = drawn.sample(WORDS[:40], 3)
        noise = [drawn.choice(WORDS[40:]) for _ in range(9)]
        document = words + noise
        drawn.shuffle(document)
        found.append(PairRecord(queries=(" ".join(words),), positives=(" ".join(document),)))
    return found


@pytest.fixture(scope="session")
def scored_records() -> list[PairRecord]:
    """Two texts, and how many words they share of those that mean something, from 0 to 3."""
    drawn = random.Random(2)
    found = []
    for _ in range(300):
        shared = drawn.randrange(4)
        words, noise = drawn.sample(WORDS[:40], 6), drawn.sample(WORDS[40:], 8)
        first = words[:3] + noise[:4]
        # The less they share of what counts, the more of what does not.
        second = words[:shared] + words[3 : 6 - shared] + noise[shared : shared + 4]
        found.append(
            PairRecord(
                queries=(" ".join(first),), positives=(" ".join(second),), label=float(shared)
            )
        )
    return found


@pytest.fixture(scope="session")
def pair_model(tmp_path_factory, word_model):
    """The folder of an encoder whose tokenizer joins pairs as BERT's does."""
    from tokenizers import Tokenizer
    from tokenizers.processors import TemplateProcessing

    folder = tmp_path_factory.mktemp("pairs") / "model"
    shutil.copytree(word_model, folder)
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokens.save(str(folder / "tokenizer.json"))
    return str(folder)


@pytest.fixture(scope="session")
def mask_model(word_model, tmp_path_factory):
    """The small model with a mask token."""
    from tokenizers import Tokenizer

    folder = tmp_path_factory.mktemp("masked") / "model"
    shutil.copytree(word_model, folder)
    tokens = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokens.add_special_tokens(["[UNK]"])
    path = folder / "tokenizer_config.json"
    values = json.loads(path.read_text())
    values["mask_token"] = "w79"
    path.write_text(json.dumps(values))
    return str(folder)
