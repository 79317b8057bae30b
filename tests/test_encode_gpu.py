"""What the benchmark of a GPU counts and writes, checked without one."""

import json

import pytest
import torch
from transformers import AutoModel

from benchmarks import shapes
from benchmarks.encode_gpu import gflops
from benchmarks.matmul import gflops_of_bert
from benchmarks.shapes import DECODER, save_shape

LENGTHS = [3, 40, 17]


@pytest.mark.parametrize(
    ("config", "causal"), [(shapes._bert("bge-small"), False), (shapes._decoder(), True)]
)
def test_the_count_is_two_for_each_weight_and_token_and_the_attentions_own(config, causal):
    config._attn_implementation = "sdpa"
    with torch.device("meta"):
        model = AutoModel.from_config(config)
    layers = model.layers if causal else model.encoder.layer
    linear = [part for part in layers.modules() if isinstance(part, torch.nn.Linear)]
    weights = sum(part.weight.numel() for part in linear)
    inside = next(p for p in linear).out_features  # the queries' heads together
    # Queries by keys, then weights by values; of a decoder's, half is seen.
    seen = sum(n * n for n in LENGTHS) / (2 if causal else 1)
    want = 2 * weights * sum(LENGTHS) + config.num_hidden_layers * 2 * 2 * inside * seen

    assert gflops(config, LENGTHS, causal=causal) == pytest.approx(want / 1e9)


def test_a_bert_counts_as_in_the_benchmark_of_the_cpu(tmp_path):
    config = shapes._bert("bge-base")
    (tmp_path / "config.json").write_text(json.dumps(config.to_dict()))

    assert gflops(config, LENGTHS, causal=False) == pytest.approx(gflops_of_bert(tmp_path, LENGTHS))


def test_the_decoders_shape_is_pooled_by_its_last_token(tmp_path, monkeypatch):
    from encoder import load_encoder

    small = shapes._decoder()
    small.num_hidden_layers, small.hidden_size, small.intermediate_size = 1, 16, 16
    small.layer_types = small.layer_types[:1]
    monkeypatch.setattr(shapes, "_decoder", lambda: small)

    encoder = load_encoder(str(save_shape(DECODER, tmp_path)), device="cpu", backend="torch")

    assert encoder.spec.pooling == "last"
    assert encoder.encode_documents(["a", "a b"]).shape == (2, 16)
