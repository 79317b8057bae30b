"""Models of common sizes with random weights, in files that others read too."""

import json
import shutil
from pathlib import Path
from typing import Any

SHAPES = {
    "bge-small": (384, 12, 12),
    "bge-base": (768, 12, 12),
    "bge-large": (1024, 24, 16),
}
"""Width, layers and heads of BAAI/bge-*-en-v1.5; feed-forward layers are four times as wide."""
DECODER = "qwen3-0.6b"
"""Qwen/Qwen3-Embedding-0.6B's shape."""
MAX_TOKENS = 256
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


def save_shape(name: str, folder: Path) -> Path:
    """Write a model with random weights and the default model's tokenizer.

    Args:
        name: One of `SHAPES`, pooled by its first token, or `DECODER`, pooled by its last one.
        folder: Where to.

    Returns:
        The folder.
    """
    import torch
    from transformers import AutoModel

    from encoder import describe_encoder

    config = _decoder() if name == DECODER else _bert(name)
    torch.manual_seed(7)
    AutoModel.from_config(config).save_pretrained(folder)
    for file in _TOKENIZER:
        shutil.copyfile(describe_encoder().folder / file, folder / file)
    kinds = (("Transformer", ""), ("Pooling", "1_Pooling"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ]
    modes = ("cls_token", "mean_tokens", "lasttoken")
    wanted = "lasttoken" if name == DECODER else "cls_token"
    pooling = {f"pooling_mode_{mode}": mode == wanted for mode in modes}
    _write(folder / "modules.json", modules)
    width = {"word_embedding_dimension": config.hidden_size}
    _write(folder / "1_Pooling" / "config.json", width | pooling)
    _write(folder / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS})
    return folder


def _bert(name: str) -> Any:  # noqa: ANN401 - a configuration of transformers
    from transformers import BertConfig

    width, layers, heads = SHAPES[name]
    return BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )


def _decoder() -> Any:  # noqa: ANN401
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=30522,  # the tokenizer's; looking up a row is no matrix product
        hidden_size=1024,
        num_hidden_layers=28,
        num_attention_heads=16,
        num_key_value_heads=8,
        head_dim=128,
        intermediate_size=3072,
        max_position_embeddings=32768,
    )


def _write(path: Path, value: Any) -> None:  # noqa: ANN401
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")
