"""Small random models of every kind, the same on any machine and with any version of transformers.

Every weight is drawn from its own name, so that nothing depends on how a library fills a model.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

WIDTH = 16
KINDS = (
    "bert",
    "roberta",
    "xlm-roberta",
    "modernbert",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "opt",
    "gemma",
    "t5",
)
DECODERS = ("llama", "mistral", "qwen2", "qwen3", "opt", "gemma")
_CLASSES = {
    "bert": "Bert",
    "roberta": "Roberta",
    "xlm-roberta": "XLMRoberta",
    "modernbert": "ModernBert",
    "llama": "Llama",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "opt": "OPT",
    "gemma": "Gemma",
    "t5": "T5",
}
_SPECIAL = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
_POOLINGS = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "last": "pooling_mode_lasttoken",
}


def save_tiny_model(kind: str, folder: Path, *, left: bool = False) -> None:
    """Write configuration, weights and tokenizer of a model, and nothing about pooling.

    Args:
        kind: One of `KINDS`.
        folder: Where to; it is made.
        left: Whether the tokenizer shall pad on the left.
    """
    import transformers

    name = _CLASSES[kind]
    config = getattr(transformers, f"{name}Config")(**_shape(kind))
    body = "T5EncoderModel" if kind == "t5" else f"{name}Model"
    model = getattr(transformers, body)(config)
    fill(model)
    model.save_pretrained(folder)
    _tokenizer(kind, left=left).save_pretrained(folder)


def fill(model: Any) -> None:  # noqa: ANN401 - a torch module
    """Give every weight a value that depends on its name and shape alone."""
    import torch

    with torch.no_grad():
        for name, weight in model.named_parameters():
            seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])
            values = np.random.default_rng(seed).normal(size=tuple(weight.shape)) * 0.3
            # Norms stay near one, or the layers behind them would see almost nothing.
            weight.copy_(torch.from_numpy(values + (1 if "norm" in name.lower() else 0)))


def add_modules(folder: Path, pooling: str, *, include_prompt: bool = True) -> None:
    """Put sentence-transformers' files beside a model: one of three poolings, then unit length."""
    types = ("Transformer", "Pooling", "Normalize")
    paths = ("", "1_Pooling", "2_Normalize")
    _write(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (kind, path) in enumerate(zip(types, paths, strict=True))
        ],
    )
    flags = {flag: flag == _POOLINGS[pooling] for flag in _POOLINGS.values()}
    facts = {"word_embedding_dimension": WIDTH, "include_prompt": include_prompt}
    _write(folder / "1_Pooling" / "config.json", flags | facts)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": 128, "do_lower_case": False})
    (folder / "2_Normalize").mkdir(exist_ok=True)


def add_m3_heads(folder: Path) -> None:
    """Put bge-m3's two further heads beside a model."""
    import torch

    for name, width in (("sparse_linear", 1), ("colbert_linear", WIDTH)):
        head = torch.nn.Linear(WIDTH, width)
        fill(head)
        torch.save(head.state_dict(), folder / f"{name}.pt")


def weights_digest(folder: Path) -> str:
    """SHA-256 over the names and values of a folder's weights, whatever the file's layout."""
    from safetensors.numpy import load_file

    digest = hashlib.sha256()
    for name, values in sorted(load_file(folder / "model.safetensors").items()):
        digest.update(name.encode())
        digest.update(values.astype(np.float32).tobytes())
    return digest.hexdigest()


def _shape(kind: str) -> dict[str, Any]:
    shared: dict[str, Any] = {
        "vocab_size": len(_SPECIAL) + 256,
        "bos_token_id": 0,
        "pad_token_id": 1,
        "eos_token_id": 2,
    }
    if kind == "t5":
        return shared | {"d_model": WIDTH, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    shape = shared | {
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 160,
    }
    if kind == "opt":
        return shape | {"ffn_dim": 32, "word_embed_proj_dim": WIDTH}
    shape["intermediate_size"] = 32
    if kind in DECODERS:
        shape |= {"num_key_value_heads": 1, "head_dim": 8}
    return shape


def _tokenizer(kind: str, *, left: bool) -> Any:  # noqa: ANN401 - a tokenizer of transformers
    """One token for each byte, between the marks that such models have."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = _SPECIAL | {letter: len(_SPECIAL) + i for i, letter in enumerate(letters)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    pattern = "$A </s>" if kind == "t5" or kind in DECODERS else "<s> $A </s>"
    tokenizer.post_processor = TemplateProcessing(
        single=pattern, special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        sep_token="</s>",
        unk_token="<unk>",
        model_max_length=128,
        padding_side="left" if left else "right",
    )


def _write(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")
