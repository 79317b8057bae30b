"""An exported encoder's body for another engine gives what torch gives, and is what others load."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.tiny_models import save_tiny_model
from encoder import load_encoder
from encoder.own_row import write_own_row
from finetune import runtime_export
from finetune.exporting import TEXTS
from finetune.runtime_export import add_onnx, add_openvino

ADD = {"openvino": add_openvino, "onnx": add_onnx}
FILES = {"openvino": "openvino/openvino_model.xml", "onnx": "onnx/model.onnx"}


@pytest.fixture
def exported(word_model, tmp_path):
    return Path(shutil.copytree(word_model, tmp_path / "model"))


def opened(engine, path):
    """Names of a model's inputs and outputs, as its own engine reads them."""
    if engine == "openvino":
        import openvino

        graph = openvino.Core().read_model(path)
        names = [
            {name for place in side for name in place.get_names()}
            for side in (graph.inputs, graph.outputs)
        ]
    else:
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        names = [
            {one.name for one in side} for side in (session.get_inputs(), session.get_outputs())
        ]
    return names


@pytest.mark.parametrize("engine", ADD)
def test_a_model_beside_an_export_is_what_optimum_loads(engine, exported, word_model):
    path = ADD[engine](exported)

    assert path == exported / FILES[engine]
    assert opened(engine, path) == [
        {"input_ids", "attention_mask", "token_type_ids"},
        {"last_hidden_state"},
    ]
    # The folder is the same encoder for everyone else.
    same = load_encoder(str(exported)).spec
    assert same.fingerprint == load_encoder(word_model).spec.fingerprint


@pytest.mark.parametrize("kind", ["bert", "modernbert", "qwen2"])
def test_onnx_runtime_gives_what_torch_gives_whatever_the_padding(kind, tmp_path):
    import onnxruntime

    folder = tmp_path / kind
    save_tiny_model(kind, folder)
    path = add_onnx(folder)

    session = onnxruntime.InferenceSession(path)
    ids = np.random.default_rng(3).integers(5, 60, (3, 21))
    mask = np.ones_like(ids)
    mask[1, 13:], mask[2, 4:] = 0, 0
    names = [one.name for one in session.get_inputs()]
    given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    found = session.run(None, {name: given[name] for name in names})[0]

    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        wanted = model(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask))[0].numpy()
    np.testing.assert_allclose(found[mask == 1], wanted[mask == 1], atol=1e-4)


@pytest.mark.parametrize("engine", ADD)
def test_a_mask_that_was_lost_is_noticed(engine, exported, monkeypatch):
    class Deaf(runtime_export._Body):
        def forward(self, input_ids, attention_mask, token_type_ids=None):
            whole = torch.ones_like(attention_mask) + attention_mask * 0
            return super().forward(input_ids, whole, token_type_ids)

    monkeypatch.setattr(runtime_export, "_Body", Deaf)

    with pytest.raises(ValueError, match=r"embeds otherwise than the trained one: values differ"):
        ADD[engine](exported)


@pytest.mark.parametrize("engine", ADD)
def test_an_encoder_of_several_layers_is_refused(engine, word_model, tmp_path):
    folder = Path(shutil.copytree(word_model, tmp_path / "several"))
    (folder / "modules.json").unlink()  # which would say mean
    spec = replace(load_encoder(word_model).spec, pooling="first_last_avg")
    write_own_row(folder, spec, architecture="bert", languages=())

    with pytest.raises(ValueError, match=r"reads several layers or both ways"):
        ADD[engine](folder)
    assert not (folder / FILES[engine]).exists()


def test_the_sixteen_texts_are_of_different_lengths():
    assert len({len(text) for text in TEXTS[:4]}) > 2  # so that a batch is padded
