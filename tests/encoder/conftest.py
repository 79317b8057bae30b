"""Small random models, saved by sentence-transformers as their authors would; no download."""

from functools import cache

import pytest

from encoder import load_encoder
from encoder.tokenizer import Tokenizer

TEXTS = [
    "reset my password",
    "",
    "How do I reset the password of a locked account, and who may do so?",
    "怎么重置密码？",
    "🦩 flamingo 🚀🚀 \t tabs,  two blanks ",
    "a",
    "{text} and {0} are braces, not places",
    "the quick brown fox jumps over the lazy dog " * 12,
    "这是一段很长的中文，用来超过模型的最大长度。" * 9,
    "Déjà vu — naïve café\nsecond line",
]
PROMPTS = {"query": "query: ", "document": "passage: "}
MAX_TOKENS = 48
POOLINGS = {
    "bert-mean": "mean",
    "bert-cls": "cls",
    "distilbert-mean": "mean",
    "mpnet-mean": "mean",
    "roberta-mean": "mean",
    "xlm-roberta-cls": "cls",
    "qwen-last": "lasttoken",
    "mistral-last": "lasttoken",
    "bert-max": "max",
    "bert-joined": ["cls", "weightedmean", "mean_sqrt_len_tokens"],
    "bert-dense": "mean",
    "bert-projected": "cls",
    "qwen3-last": "lasttoken",
    "modernbert-cls": "cls",
    "modernbert-mean": "mean",
    "ernie-mean": "mean",
    "xlm-roberta-mean": "mean",
}


@pytest.fixture(scope="package", autouse=True)
def _one_thread():
    """Small models lose more to threads that wait for each other than they gain."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session", params=POOLINGS)
def kind(request) -> str:
    """Each kind of model in turn."""
    return request.param


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory):
    """A function from a kind of model to its folder, which is made when first asked for."""

    @cache
    def make(kind: str):
        folder = tmp_path_factory.mktemp("models") / kind
        _save(kind, folder)
        return folder

    return make


@pytest.fixture(scope="session")
def small_encoder(model_folder):
    return cache(lambda kind: load_encoder(str(model_folder(kind)), device="cpu", backend="torch"))


@pytest.fixture(scope="session")
def small_tokenizer(model_folder):
    return cache(lambda kind: Tokenizer.load(model_folder(kind)))


@pytest.fixture(scope="session")
def reference():
    """A function from a folder to sentence-transformers' own reading of it."""

    @cache
    def load(folder):
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(
            str(folder), device="cpu", backend="torch", local_files_only=True
        )

    return load


@pytest.fixture
def save_random_model():
    """Writes weights, configuration and tokenizer of a kind, and nothing about pooling."""
    return _save_plain


def _save(kind, folder):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    plain = folder.with_name("plain")
    config = _save_plain(kind, plain)
    modules = [Transformer(str(plain)), Pooling(config.hidden_size, POOLINGS[kind])]
    modules += _head(kind)
    model = SentenceTransformer(modules=modules, prompts=PROMPTS, device="cpu", backend="torch")
    model.max_seq_length = MAX_TOKENS
    model.save(str(folder), create_model_card=False)


def _head(kind):
    """As LaBSE's or distiluse's one layer, or embeddinggemma's two and a few more."""
    from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Normalize
    from torch import nn

    if kind == "bert-dense":
        return [Dense(16, 12)]
    if kind != "bert-projected":
        return []
    # Scaled up, so that the layer norm's weights and the unit length in between both matter.
    norm = LayerNorm(24)
    nn.init.uniform_(norm.norm.weight, 0.5, 2)
    nn.init.uniform_(norm.norm.bias)
    first = Dense(16, 24, bias=False, activation_function=nn.Identity())
    last = Dense(24, 20, activation_function=nn.GELU())
    return [first, norm, Normalize(), last, Normalize()]


def _save_plain(kind, folder):
    import torch
    from transformers import AutoModel

    tokenizer = _tokenizer(kind)
    config = _config(kind, tokenizer)
    torch.manual_seed(7)
    AutoModel.from_config(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return config


def _config(kind, tokenizer):
    import transformers

    name = kind.rpartition("-")[0]
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if name == "distilbert":
        shape = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    if name in {"qwen", "qwen3", "mistral"}:
        shape["num_key_value_heads"] = 1
    if name == "qwen3":
        shape["head_dim"] = 8
    classes = {
        "bert": transformers.BertConfig,
        "distilbert": transformers.DistilBertConfig,
        "mpnet": transformers.MPNetConfig,
        "roberta": transformers.RobertaConfig,
        "xlm-roberta": transformers.XLMRobertaConfig,
        "qwen": transformers.Qwen2Config,
        "mistral": transformers.MistralConfig,
        "qwen3": transformers.Qwen3Config,
        "modernbert": transformers.ModernBertConfig,
        "ernie": transformers.ErnieConfig,
    }
    return classes[name](
        vocab_size=len(tokenizer),
        intermediate_size=32,
        max_position_embeddings=64,
        initializer_range=0.3,  # the usual 0.02 makes all texts alike
        pad_token_id=tokenizer.pad_token_id,
        **shape,
    )


@cache
def _tokenizer(kind):
    if kind.startswith(("bert", "distilbert", "ernie")):
        return _wordpiece()
    return _unigram() if kind.startswith("xlm") else _byte_level(is_decoder=kind.endswith("last"))


def _wordpiece():
    from transformers import AutoTokenizer

    from encoder.model_folder import find_model_folder

    return AutoTokenizer.from_pretrained(find_model_folder(None))


def _byte_level(*, is_decoder):
    """As RoBERTa's, with marks on both ends, or as Qwen3-Embedding's, with an end mark alone."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _with_marks(tokenizer, "$A </s>" if is_decoder else "<s> $A </s>", left=is_decoder)


def _unigram():
    """As XLM-RoBERTa's."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=200,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    return _with_marks(tokenizer, "<s> $A </s>")


def _with_marks(tokenizer, pattern, *, left=False):
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    tokenizer.post_processor = TemplateProcessing(
        single=pattern, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        padding_side="left" if left else "right",
    )
