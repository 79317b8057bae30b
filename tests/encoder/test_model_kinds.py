"""Kinds of models and ways to run them, each beside a direct computation of one text at a time."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from benchmarks.tiny_models import DECODERS, KINDS, WIDTH, add_modules, fill, save_tiny_model
from encoder import MissingExtraError, ModelNotFoundError, describe_encoder, load_encoder
from encoder.encoder import load_described

TEXTS = [
    "reset",
    "How do I reset my password?",
    "怎么重置密码？",
    "a",
    "Déjà vu — naïve café, twice",
]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """A function from a kind to a folder of such a model, made when first asked for."""
    made = {}

    def make(kind):
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("tiny") / kind
            save_tiny_model(kind, made[kind])
        return made[kind]

    return make


@pytest.fixture
def copy(tiny, tmp_path):
    def make(kind, name="model"):
        import shutil

        return shutil.copytree(tiny(kind), tmp_path / name)

    return make


def load(folder, **changes):
    found = describe_encoder(str(folder))
    spec = dataclasses.replace(found.spec, **changes)
    return load_described(
        dataclasses.replace(found, spec=spec), device="cpu", backend="torch", dtype="float32"
    )


def hidden(folder, text, *, mask=None, adapt=None):
    """The last hidden state of one text, straight from transformers."""
    from transformers import AutoModel, AutoTokenizer, T5EncoderModel

    tokenizer = AutoTokenizer.from_pretrained(folder)
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    model = (T5EncoderModel if kind == "t5" else AutoModel).from_pretrained(folder).eval()
    if adapt is not None:
        adapt(model)
    inputs = tokenizer([text], return_tensors="pt")
    if mask is not None:
        inputs["attention_mask"] = mask(inputs["input_ids"].shape[1])
    with torch.inference_mode():
        return model(**inputs).last_hidden_state[0].numpy()


def unit(rows):
    rows = np.array(rows)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def close(got, want, tolerance=1e-5):
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pooling", ["cls", "mean", "last"])
def test_every_kind_gives_among_others_what_transformers_gives_alone(tiny, kind, pooling):
    pick = {"cls": lambda h: h[0], "mean": lambda h: h.mean(0), "last": lambda h: h[-1]}[pooling]
    want = unit([pick(hidden(tiny(kind), text)) for text in TEXTS])

    close(load(tiny(kind), pooling=pooling).encode_documents(TEXTS), want)


def test_a_small_opt_is_as_wide_as_its_last_layer(tmp_path):
    from transformers import OPTConfig, OPTModel

    save_tiny_model("opt", tmp_path)
    config = OPTConfig.from_pretrained(tmp_path)
    config.word_embed_proj_dim = 8
    model = OPTModel(config)
    fill(model)
    model.save_pretrained(tmp_path)

    encoder = load(tmp_path, pooling="last")

    assert encoder.encode_documents(["a"]).shape == (1, 8)


# --- T5: the encoder alone, its dense layer without bias ---


def test_a_t5_folder_of_sentence_transformers_with_its_dense_layer(copy, reference):
    folder = copy("t5")
    add_modules(folder, "mean")
    modules = json.loads((folder / "modules.json").read_text())
    modules[2] = modules[2] | {"path": "2_Dense", "type": "sentence_transformers.models.Dense"}
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "2_Dense").mkdir()
    activation = "torch.nn.modules.linear.Identity"
    facts = {"in_features": WIDTH, "out_features": 8, "bias": False}
    config = facts | {"activation_function": activation}
    (folder / "2_Dense" / "config.json").write_text(json.dumps(config))
    head = torch.nn.Linear(WIDTH, 8, bias=False)
    fill(head)
    save_file({"linear.weight": head.weight.detach()}, folder / "2_Dense" / "model.safetensors")

    got = load(folder).encode_documents(TEXTS)

    close(got, unit(reference(folder).encode(TEXTS)))


def test_a_whole_t5_model_gives_what_its_encoder_gives(copy, tiny):
    from transformers import T5Config, T5EncoderModel, T5Model

    folder = copy("t5")
    whole = T5Model(T5Config.from_pretrained(folder))
    whole.encoder.load_state_dict(T5EncoderModel.from_pretrained(folder).encoder.state_dict())
    whole.save_pretrained(folder)

    close(
        load(folder, pooling="mean").encode_documents(TEXTS),
        load(tiny("t5"), pooling="mean").encode_documents(TEXTS),
    )


# --- pooling without the instruction ---


@pytest.mark.parametrize("kind", ["t5", "mistral", "bert"])
def test_the_instruction_may_stay_out_of_the_pooling(tiny, kind):
    words = "Represent the text:"
    encoder = load(
        tiny(kind), pooling="mean", skip_instruction=True, templates={"query": words + "{text}"}
    )
    # One token is one byte here; BERT's first mark is left out with the words, its last is not.
    skipped = len(words) + (kind == "bert")
    want = [hidden(tiny(kind), words + text)[skipped:].mean(0) for text in TEXTS]

    close(encoder.encode_queries(TEXTS), unit(want))
    close(
        encoder.encode_documents(TEXTS),
        unit([hidden(tiny(kind), text).mean(0) for text in TEXTS]),
    )


def test_an_empty_text_pools_what_stands_behind_the_instruction(tiny):
    encoder = load(
        tiny("t5"), pooling="mean", skip_instruction=True, templates={"query": "Q:{text}"}
    )

    close(encoder.encode_queries([""]), unit([hidden(tiny("t5"), "Q:")[-1]]))


def test_a_folder_asks_for_it_as_sentence_transformers_does(copy, reference):
    folder = copy("bert")
    add_modules(folder, "mean", include_prompt=False)
    prompts = {"prompts": {"query": "query:", "document": ""}}
    (folder / "config_sentence_transformers.json").write_text(json.dumps(prompts))

    found = describe_encoder(str(folder))
    got = load(folder).encode_queries(TEXTS)

    assert found.spec.skip_instruction
    assert found.sources["skip_instruction"] == "1_Pooling/config.json"
    close(got, reference(folder).encode(TEXTS, prompt_name="query"))


def test_the_registry_asks_for_it_where_the_folder_says_nothing(copy):
    spec = describe_encoder(str(copy("t5", "instructor-base"))).spec

    assert spec.skip_instruction
    assert spec.templates["document"] == "Represent the document for retrieval: {text}"


# --- decoders that read both ways ---


def seen_by_all(tokens):
    return torch.zeros(1, 1, tokens, tokens)


@pytest.mark.parametrize("kind", DECODERS)
def test_a_decoder_that_reads_both_ways_attends_to_everything(tiny, kind):
    plain = load(tiny(kind), pooling="mean")
    both = load(tiny(kind), pooling="mean", both_ways_from=0)
    if kind == "opt":  # its positions come from a mask of two dimensions
        rows = [opt_both_ways(tiny("opt"), text) for text in TEXTS]
    else:
        rows = [hidden(tiny(kind), text, mask=seen_by_all) for text in TEXTS]
    want = unit([row.mean(0) for row in rows])

    close(both.encode_documents(TEXTS), want)
    assert np.abs(plain.encode_documents(TEXTS) - want).max() > 0.01
    assert both.spec.fingerprint != plain.spec.fingerprint


def opt_both_ways(folder, text):
    def adapt(model):
        for layer in model.decoder.layers:
            layer.self_attn.is_causal = False

    return hidden(folder, text, mask=lambda tokens: torch.ones(1, tokens), adapt=adapt)


def test_bellm_s_last_layer_alone_reads_both_ways(tiny):
    def adapt(model):
        def see_all(_, inputs, options):
            return inputs, options | {"attention_mask": torch.zeros(1, 1, 1, 1)}

        model.layers[-1].register_forward_pre_hook(see_all, with_kwargs=True)

    want = unit([hidden(tiny("llama"), text, adapt=adapt)[-1] for text in TEXTS])

    close(load(tiny("llama"), pooling="last", both_ways_from=1).encode_documents(TEXTS), want)


def test_threads_do_not_mix_their_masks(tiny):
    from concurrent.futures import ThreadPoolExecutor

    encoder = load(tiny("qwen2"), pooling="mean", both_ways_from=0)
    want = [encoder.encode_documents([text]) for text in TEXTS * 8]

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda text: encoder.encode_documents([text]), TEXTS * 8))

    close(np.array(got), np.array(want))


@pytest.mark.parametrize(
    ("kind", "first", "message"),
    [
        ("llama", 2, "both_ways_from must be between 0 and 1, the layers of the model; got 2."),
        ("bert", 0, "Angler cannot make a BertModel read both ways"),
    ],
)
def test_what_cannot_read_both_ways_is_a_sentence(tiny, kind, first, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        load(tiny(kind), pooling="mean", both_ways_from=first)


def test_the_rows_of_gritlm_and_bellm_ask_for_it(copy):
    assert describe_encoder(str(copy("mistral", "GritLM-7B"))).spec.both_ways_from == 0
    assert describe_encoder(str(copy("llama", "bellm-llama-7b-nli"))).spec.both_ways_from == 31


# --- LoRA adapters ---

LORA = {"peft_type": "LORA", "r": 2, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"]}


def low_rank(weight, seed):
    generator = torch.Generator().manual_seed(seed)
    down = torch.randn((2, weight.shape[1]), generator=generator)
    return down, torch.randn((weight.shape[0], 2), generator=generator)


@pytest.fixture
def adapter(tiny, tmp_path):
    """An adapter over the small Llama, as PEFT saves it, and the same merged by hand."""

    def make(prefix="base_model.model.model.", scale=3.0, **config):
        base = tiny("llama")
        folder, merged = tmp_path / "adapter", tmp_path / "merged"
        save_tiny_model("llama", merged)
        weights = load_file(merged / "model.safetensors")
        tensors = {}
        for seed, name in enumerate(sorted(weights)):
            if "q_proj" in name or "v_proj" in name:
                down, up = low_rank(weights[name], seed)
                weights[name] = weights[name] + scale * (up @ down)
                stem = prefix + name.removesuffix(".weight")
                tensors |= {f"{stem}.lora_A.weight": down, f"{stem}.lora_B.weight": up}
        save_file(weights, merged / "model.safetensors", {"format": "pt"})
        folder.mkdir()
        save_file(tensors, folder / "adapter_model.safetensors")
        facts = LORA | {"base_model_name_or_path": str(base)} | config
        (folder / "adapter_config.json").write_text(json.dumps(facts))
        return folder, merged

    return make


@pytest.mark.parametrize(
    ("prefix", "scale", "config"),
    [
        ("base_model.model.model.", 3, {}),
        ("base_model.model.", 3, {}),
        ("base_model.model.model.", 6 / 2**0.5, {"use_rslora": True}),
        ("base_model.model.model.", 4, {"alpha_pattern": {"q_proj": 8, "layers.*v_proj": 8}}),
    ],
)
def test_an_adapter_gives_what_its_merged_weights_give(adapter, prefix, scale, config):
    folder, merged = adapter(prefix, scale, **config)

    encoder = load(folder, pooling="last")

    close(encoder.encode_documents(TEXTS), load(merged, pooling="last").encode_documents(TEXTS))


def test_an_adapter_changes_the_identity_and_its_base_is_named(adapter, tiny):
    folder, _ = adapter()
    base = describe_encoder(str(tiny("llama"))).spec

    found = describe_encoder(str(folder))

    assert found.base == tiny("llama")
    assert found.tokenizer_folder == tiny("llama")
    assert (found.spec.weights, found.spec.config) == (base.weights, base.config)
    assert found.spec.adapter
    assert found.spec.fingerprint != base.fingerprint


def test_a_base_is_found_beside_its_adapter(adapter, tiny, tmp_path):
    import shutil

    folder, merged = adapter(base_model_name_or_path="someone/my-llama")
    shutil.copytree(tiny("llama"), tmp_path / "my-llama")

    got = load(folder, pooling="last").encode_documents(TEXTS)

    close(got, load(merged, pooling="last").encode_documents(TEXTS))


def test_an_adapter_over_quantised_weights_adds_to_what_its_layer_gives(adapter, tiny):
    """As with int8 weights, which nothing can be merged into."""
    from encoder.adapter_files import read_adapter
    from encoder.backends import adapter as module

    folder, merged = adapter()
    plain = load(tiny("llama"), pooling="last")
    tensors = module._read(read_adapter(folder))
    modules = dict(plain._backend._model.named_modules())
    for name in sorted({key.rpartition(".lora_")[0] for key in tensors}):
        down, up = module._pair(name, tensors)
        module._add_to_output(module._target(name, modules), down, up, 3.0)

    close(plain.encode_documents(TEXTS), load(merged, pooling="last").encode_documents(TEXTS))


def test_an_adapter_for_another_base_is_one_sentence(adapter, tiny):
    folder, _ = adapter(base_model_name_or_path=str(tiny("opt")))

    with pytest.raises(ValueError, match=r"is for another base than .*opt: 4 of its parts do not"):
        load(folder, pooling="last")


def test_an_adapter_whose_base_is_nowhere_says_where_to_put_it(adapter, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder, _ = adapter(base_model_name_or_path="someone/no-such-base")

    with pytest.raises(ModelNotFoundError, match=r"adapter for someone/no-such-base, which is not"):
        describe_encoder(str(folder), local_files_only=True)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "PROMPT_TUNING"}, "a PROMPT_TUNING adapter, which Angler does not run"),
        ({"use_dora": True}, "a LORA adapter with use_dora, which"),
        ({"bias": "all"}, "a LORA adapter, which"),
        ({"base_model_name_or_path": None}, r"names no rank \(r\) or no base_model"),
    ],
)
def test_other_adapters_are_refused(adapter, config, message):
    folder, _ = adapter(**config)

    with pytest.raises(ValueError, match=message):
        describe_encoder(str(folder))


def test_an_adapter_without_weights_is_a_sentence(adapter):
    folder, _ = adapter()
    (folder / "adapter_model.safetensors").unlink()

    with pytest.raises(ValueError, match=r"holds no weights \(adapter_model.safetensors\)"):
        describe_encoder(str(folder))


def test_damaged_weights_of_an_adapter_are_a_sentence(adapter):
    folder, _ = adapter()
    (folder / "adapter_model.safetensors").write_bytes(b"nothing")

    with pytest.raises(ValueError, match=r"adapter_model.safetensors cannot be loaded: "):
        load(folder, pooling="last")


def test_angle_s_own_files_say_pooling_maximum_and_direction(adapter):
    folder, _ = adapter()
    saved = {"pooling_strategy": "cls_avg", "max_length": 77, "apply_billm": True}
    (folder / "angle_config.json").write_text(json.dumps(saved))

    spec = describe_encoder(str(folder)).spec

    assert (spec.pooling, spec.max_tokens, spec.both_ways_from) == ("cls_avg", 77, 0)


# --- weights of eight or four bits ---


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_quantised_weights_need_a_gpu(tiny, dtype):
    with pytest.raises(ValueError, match=rf"^The dtype {dtype} runs on a GPU, not on cpu; on the"):
        load_encoder(str(tiny("llama")), dtype=dtype, device="cpu", backend="torch")


@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_quantised_weights_need_their_package(monkeypatch, dtype):
    from encoder.backends import loading

    monkeypatch.setattr(loading, "find_spec", lambda _: None)

    with pytest.raises(MissingExtraError, match=r"pip install -e '\.\[quantized\]'"):
        loading._quantisation(dtype, torch.device("cuda"))


# --- architectures whose vectors change with the padding ---


def unpadded_model(kind, folder):
    import transformers

    save_tiny_model("bert", folder)
    config = json.loads((folder / "config.json").read_text())
    shape = {key: config[key] for key in ("vocab_size", "hidden_size", "num_hidden_layers")}
    shape |= {"num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 160}
    if kind == "MobileBert":
        shape |= {"embedding_size": 16, "intra_bottleneck_size": 16}
    model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**shape))
    fill(model)
    model.save_pretrained(folder)


@pytest.mark.parametrize("kind", ["ConvBert", "FNet", "MobileBert"])
def test_what_padding_would_change_is_run_without_padding(tmp_path, kind):
    unpadded_model(kind, tmp_path)
    encoder = load(tmp_path, pooling="mean")
    want = unit([hidden(tmp_path, text).mean(0) for text in TEXTS])

    close(encoder.encode_documents(TEXTS), want)
    for text, rows in zip(TEXTS, encoder.encode_tokens(TEXTS), strict=True):
        close(rows, hidden(tmp_path, text), 1e-4)


@pytest.mark.parametrize("kind", ["nystromformer", "reformer"])
def test_what_depends_on_its_batch_even_so_is_refused(copy, kind):
    folder = copy("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": kind}))

    with pytest.raises(ValueError, match=f"holds a {kind}, which Angler does not run: its"):
        describe_encoder(str(folder))


# --- what a folder's other files ask for ---


def test_a_folder_may_ask_for_lower_case(copy, reference):
    folder = copy("roberta")
    add_modules(folder, "mean")
    plain = describe_encoder(str(folder)).spec
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 128, "do_lower_case": True})
    )

    encoder = load(folder)

    close(encoder.encode_documents(["ÉCOLE a"]), encoder.encode_documents(["école A"]))
    close(encoder.encode_documents(TEXTS), reference(folder).encode(TEXTS))
    assert encoder.spec.tokenizer != plain.tokenizer


def test_a_model_that_reads_messages_is_refused(copy):
    folder = copy("llama")
    saved = {"modality_config": {"message": {"method": "forward"}}}
    (folder / "sentence_bert_config.json").write_text(json.dumps(saved))

    with pytest.raises(ValueError, match="wants texts as messages of a chat, which Angler does"):
        describe_encoder(str(folder))


@pytest.mark.parametrize("dim", [None, 8, 12])
def test_a_dense_layer_is_chosen_by_its_length(copy, reference, dim):
    folder = copy("bert")
    add_modules(folder, "mean")
    modules = json.loads((folder / "modules.json").read_text())
    modules[2] = modules[2] | {"path": "2_Dense_12", "type": "sentence_transformers.models.Dense"}
    for length in (8, 12):
        head = torch.nn.Linear(WIDTH, length)
        fill(head)
        layer = folder / f"2_Dense_{length}"
        layer.mkdir()
        config = {"in_features": WIDTH, "out_features": length, "bias": True}
        config["activation_function"] = "torch.nn.modules.linear.Identity"
        (layer / "config.json").write_text(json.dumps(config))
        state = {f"linear.{key}": value for key, value in head.state_dict().items()}
        save_file(state, layer / "model.safetensors")
    (folder / "modules.json").write_text(json.dumps(modules))

    got = load_encoder(str(folder), dim=dim, device="cpu", backend="torch").encode_documents(TEXTS)

    modules[2]["path"] = f"2_Dense_{dim or 12}"
    (folder / "modules.json").write_text(json.dumps(modules))
    close(got, unit(reference(folder).encode(TEXTS)))
    with pytest.raises(ValueError, match=r"has layers for a dim of 8, 12; got 10\.$"):
        describe_encoder(str(folder), dim=10)


@pytest.mark.parametrize("key", ["uniem_pooling_strategy", "uniem_embedding_strategy"])
def test_uniem_s_first_layer_is_what_goes_into_the_first(copy, key):
    folder = copy("bert")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {key: "first_last_mean"}))

    assert describe_encoder(str(folder)).spec.pooling == "input_last_mean"
