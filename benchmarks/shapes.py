"""BERT models of common sizes with random weights, in files that others read too."""

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
MAX_TOKENS = 256
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json")


def save_shape(name: str, folder: Path) -> Path:
    """Write a model with random weights, cls pooling and the default model's tokenizer.

    Returns:
        The folder.
    """
    import torch
    from transformers import BertConfig, BertModel

    from encoder import describe_encoder

    width, layers, heads = SHAPES[name]
    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * width,
    )
    torch.manual_seed(7)
    BertModel(config).save_pretrained(folder)
    for file in _TOKENIZER:
        shutil.copyfile(describe_encoder().folder / file, folder / file)
    kinds = (("Transformer", ""), ("Pooling", "1_Pooling"))
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds)
    ]
    pooling = {"word_embedding_dimension": width, "pooling_mode_cls_token": True}
    _write(folder / "modules.json", modules)
    _write(folder / "1_Pooling" / "config.json", pooling | {"pooling_mode_mean_tokens": False})
    _write(folder / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS})
    return folder


def _write(path: Path, value: Any) -> None:  # noqa: ANN401
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value), "utf-8")
