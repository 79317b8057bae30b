import dataclasses
import json
import logging
import re
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import encoder as package
from encoder import Encoder, describe_encoder, load_described, load_encoder
from encoder.model_folder import find_model_folder

QUICK = settings(
    deadline=None,
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
ROLES = {"query": "encode_queries", "document": "encode_documents"}


def encode(encoder, role, texts):
    return getattr(encoder, ROLES[role])(texts)


def assert_close(got, want, tolerance=1e-5):
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance)


# --- the same values as the reference ---


def test_the_default_gives_the_values_of_sentence_transformers(default_encoder, reference, texts):
    want = reference(find_model_folder(None)).encode(texts, normalize_embeddings=True)

    for role in ROLES:
        got = encode(default_encoder, role, texts)

        assert (got.shape, got.dtype) == ((len(texts), 384), np.float32)
        assert_close(got, want)


@pytest.mark.parametrize("role", ROLES)
def test_every_kind_of_model_gives_the_values_of_sentence_transformers(
    model_folder, small_encoder, reference, kind, role, texts
):
    model = reference(model_folder(kind))
    want = model.encode(texts, prompt_name=role, normalize_embeddings=True)

    got = encode(small_encoder(kind), role, texts)

    assert_close(got, want)
    assert np.abs(want - want[0]).max(axis=1)[1:].min() > 0.01, "texts too alike to prove it"


def test_queries_and_documents_have_their_own_instruction(small_encoder, kind, texts):
    encoder = small_encoder(kind)

    queries, documents = encoder.encode_queries(texts), encoder.encode_documents(texts)

    assert np.abs(queries - documents).max(axis=1).min() > 1e-3


def test_embeddings_have_unit_length(small_encoder, kind, texts):
    lengths = np.linalg.norm(small_encoder(kind).encode_documents(texts), axis=1)

    assert_close(lengths, np.ones(len(texts)), 1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bits_agree_with_float32(default_encoder, dtype, texts):
    want = default_encoder.encode_documents(texts)
    encoder = load_encoder(device="cpu", backend="torch", dtype=dtype)

    got = encoder.encode_documents(texts)

    assert got.dtype == np.float32
    assert (got * want).sum(axis=1).min() >= 0.999
    assert np.abs(got - want).max() > 1e-6, "it ran in float32"
    assert encoder.spec == default_encoder.spec


@pytest.mark.parametrize("dim", [1, 5, 16])
def test_a_shorter_embedding_is_the_first_values_at_unit_length(
    model_folder, small_encoder, reference, dim, texts
):
    folder = model_folder("bert-mean")
    full = small_encoder("bert-mean").encode_documents(texts)[:, :dim]
    want = reference(folder).encode(
        texts, prompt_name="document", truncate_dim=dim, normalize_embeddings=True
    )

    encoder = load_encoder(str(folder), device="cpu", backend="torch", dim=dim)
    got = encoder.encode_documents(texts)

    assert (encoder.dim, got.shape) == (dim, (len(texts), dim))
    assert_close(got, full / np.linalg.norm(full, axis=1, keepdims=True))
    assert_close(got, want)


# --- layers behind the pooling ---


@pytest.mark.parametrize("dim", [1, 7, 20])
def test_a_projected_embedding_is_cut_before_it_gets_unit_length(
    model_folder, reference, dim, texts
):
    folder = model_folder("bert-projected")
    want = reference(folder).encode(texts, prompt_name="query", normalize_embeddings=False)[:, :dim]

    encoder = load_encoder(str(folder), device="cpu", backend="torch", dim=dim)
    got = encoder.encode_queries(texts)

    assert_close(got, want / np.linalg.norm(want, axis=1, keepdims=True))


def test_weights_of_a_head_in_the_old_format_are_read(model_folder, small_encoder, tmp_path, texts):
    import torch
    from safetensors.torch import load_file

    folder = copied(model_folder("bert-dense"), tmp_path)
    (weights,) = folder.glob("2_*/model.safetensors")
    torch.save(load_file(weights), weights.with_name("pytorch_model.bin"))
    weights.unlink()

    got = load_encoder(str(folder), device="cpu", backend="torch").encode_documents(texts)

    assert_close(got, small_encoder("bert-dense").encode_documents(texts), 1e-6)


@pytest.mark.parametrize("change", [{"out_features": 13}, {"bias": False}])
def test_weights_of_a_head_that_are_not_its_own_are_a_sentence(model_folder, tmp_path, change):
    folder = copied(model_folder("bert-dense"), tmp_path)
    (config,) = folder.glob("2_*/config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | change))

    with pytest.raises(ValueError, match=r"2_.*safetensors cannot be loaded: .* state_dict"):
        load_encoder(str(folder), device="cpu", backend="torch")


def test_a_damaged_head_is_a_sentence(model_folder, tmp_path):
    folder = copied(model_folder("bert-dense"), tmp_path)
    (weights,) = folder.glob("2_*/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:-8])

    with pytest.raises(ValueError, match=r"2_.*safetensors cannot be loaded"):
        load_encoder(str(folder), device="cpu", backend="torch")


def test_a_layer_norm_comes_before_the_cut(model_folder, tmp_path, by_hand, texts):
    vectors = np.array([by_hand(text)[0][-1].mean(0) for text in texts], dtype=np.float64)
    centred = vectors - vectors.mean(axis=1, keepdims=True)
    want = (centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + 1e-5))[:, :6]

    encoder = reloaded(model_folder("bert-mean"), tmp_path, "mean", layer_norm=True, dim=6)

    assert_close(
        encoder.encode_documents(texts), want / np.linalg.norm(want, axis=1, keepdims=True)
    )


# --- poolings that no other library's folders name, and single tokens ---


@pytest.fixture(scope="session")
def by_hand(model_folder):
    """The hidden states of one text, and its bare word vectors, straight from transformers."""
    from transformers import AutoModel, AutoTokenizer

    folder = model_folder("bert-mean")
    model = AutoModel.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)

    def run(text):
        import torch

        inputs = tokenizer([text], truncation=True, max_length=48, return_tensors="pt")
        with torch.inference_mode():
            states = model(**inputs, output_hidden_states=True).hidden_states
            words = model.embeddings.word_embeddings(inputs["input_ids"])
        return [state[0].numpy() for state in states], words[0].numpy()

    return run


def reloaded(folder, tmp_path, pooling, **changes):
    """The model as AnglE would save it, so that the folder names any pooling."""
    folder = copied(folder, tmp_path)
    (folder / "modules.json").unlink()
    (folder / "config_sentence_transformers.json").unlink()
    found = describe_encoder(str(folder))
    spec = dataclasses.replace(found.spec, pooling=pooling, max_tokens=48, **changes)
    found = dataclasses.replace(found, spec=spec)
    return load_described(found, device="cpu", backend="torch")


@pytest.mark.parametrize(
    ("pooling", "layer", "formula"),
    [
        ("cls_avg", -1, lambda h, _: (h[-1][0] + h[-1].mean(0)) / 2),
        ("cls_max", -1, lambda h, _: (h[-1][0] + h[-1].max(0)) / 2),
        ("first_last_avg", -1, lambda h, _: (h[1].mean(0) + h[2].mean(0)) / 2),
        ("input_last_mean", -1, lambda h, _: (h[0].mean(0) + h[2].mean(0)) / 2),
        ("avg_top2", -1, lambda h, _: (h[1].mean(0) + h[2].mean(0)) / 2),
        ("embedding_last_mean", -1, lambda h, words: (words.mean(0) + h[2].mean(0)) / 2),
        ("mean", 0, lambda h, _: h[0].mean(0)),
        ("cls", 1, lambda h, _: h[1][0]),
        ("last", -2, lambda h, _: h[1][-1]),
    ],
)
def test_other_poolings_and_layers_follow_their_formula_among_padding(
    model_folder, tmp_path, by_hand, texts, pooling, layer, formula
):
    encoder = reloaded(model_folder("bert-mean"), tmp_path, pooling, layer=layer)
    want = np.array([formula(*by_hand(text)) for text in texts])

    got = encoder.encode_documents(texts)

    assert_close(got, want / np.linalg.norm(want, axis=1, keepdims=True))


@pytest.mark.parametrize("layer", [3, -4])
def test_a_layer_that_the_model_lacks_is_refused(model_folder, tmp_path, layer):
    with pytest.raises(ValueError, match=rf"^layer must be between -3 and 2, .*; got {layer}\.$"):
        reloaded(model_folder("bert-mean"), tmp_path, "mean", layer=layer)


def test_token_vectors_are_those_of_each_text_alone(model_folder, tmp_path, by_hand, texts):
    encoder = reloaded(model_folder("bert-mean"), tmp_path, "mean")

    got = encoder.encode_tokens(texts)

    assert [len(rows) for rows in got] == [min(n, 48) for n in encoder.count_tokens(texts)]
    for rows, text in zip(got, texts, strict=True):
        assert rows.dtype == np.float32
        assert_close(rows, by_hand(text)[0][-1])
    assert encoder.encode_tokens([]) == []


def test_token_vectors_are_refused_where_the_engine_has_none(small_encoder):
    encoder = small_encoder("bert-mean")
    engine = SimpleNamespace(device="cpu", token_budget=64)

    with pytest.raises(TypeError, match="has no token vectors; load with backend='torch'"):
        Encoder(encoder.spec, encoder._tokenizer, engine).encode_tokens(["a"])


# --- what stands beside a text does not matter ---


@QUICK
@given(data=st.data())
def test_a_text_does_not_depend_on_what_it_is_batched_with(small_encoder, kind, texts, data):
    positions = data.draw(st.lists(st.sampled_from(range(len(texts))), min_size=1, max_size=12))
    want = small_encoder(kind).encode_queries(texts)

    got = small_encoder(kind).encode_queries([texts[position] for position in positions])

    assert_close(got, want[positions])


def test_a_lone_text_has_the_values_that_it_has_among_others(default_encoder, texts):
    together = default_encoder.encode_documents(texts)

    alone = np.concatenate([default_encoder.encode_documents([text]) for text in texts])

    assert_close(alone, together)


@pytest.mark.parametrize("budget", [1, 40, 100])
def test_the_size_of_batches_does_not_matter(small_encoder, monkeypatch, kind, texts, budget):
    encoder = small_encoder(kind)
    want = encoder.encode_documents(texts)

    monkeypatch.setattr(encoder._backend, "token_budget", budget)

    assert_close(encoder.encode_documents(texts), want)


def test_eight_threads_give_the_values_of_one(small_encoder, texts):
    encoder = small_encoder("bert-mean")
    jobs = [texts[start:] + texts[:start] for start in range(len(texts))] * 4
    want = [encoder.encode_documents(job) for job in jobs]

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(encoder.encode_documents, jobs))

    for mine, theirs in zip(got, want, strict=True):
        assert_close(mine, theirs)


def test_no_texts_make_no_rows(default_encoder):
    got = default_encoder.encode_documents([])

    assert (got.shape, got.dtype) == ((0, 384), np.float32)


def test_the_caller_s_list_is_left_alone_and_may_be_a_tuple(small_encoder, texts):
    given_texts = tuple(texts)

    got = small_encoder("bert-mean").encode_documents(given_texts)

    assert_close(got, small_encoder("bert-mean").encode_documents(list(texts)))
    assert given_texts == tuple(texts)


def test_progress_counts_up_to_all_texts(small_encoder, monkeypatch, texts):
    encoder = small_encoder("bert-mean")
    monkeypatch.setattr(encoder._backend, "token_budget", 60)
    calls = []

    encoder.encode_documents(texts, progress=lambda done, total: calls.append((done, total)))

    done = [call[0] for call in calls]
    assert len(calls) > 2
    assert done == sorted(set(done))
    assert calls[-1] == (len(texts), len(texts))
    assert {call[1] for call in calls} == {len(texts)}


def test_embeddings_are_handed_over_as_they_are_made(small_encoder, monkeypatch, texts):
    encoder = small_encoder("bert-mean")
    monkeypatch.setattr(encoder._backend, "token_budget", 60)
    texts = [*texts, texts[0]]
    calls = []

    got = encoder.encode_documents(texts, on_batch=lambda *call: calls.append(call))

    assert len(calls) > 2
    assert sorted(place for places, _ in calls for place in places) == list(range(len(texts)))
    for places, rows in calls:
        np.testing.assert_array_equal(rows, got[places])


# --- instructions and tokens ---


def test_parts_count_as_in_the_whole_only_where_words_are_read_one_by_one(
    default_encoder, small_encoder
):
    assert default_encoder.counts_by_words
    assert not default_encoder.with_templates({"document": "passage: {text}"}).counts_by_words
    assert not small_encoder("qwen-last").counts_by_words


def test_known_tokens_are_not_made_again(default_encoder, monkeypatch):
    texts = ["reset the pump", "press it", "reset the pump", "an apple " * 300]
    want = default_encoder.encode_documents(texts)
    known = default_encoder.document_ids(texts)
    asked = []
    encode = default_encoder._tokenizer.encode

    def noticed(texts, *more):
        asked.extend(texts)
        return encode(texts, *more)

    monkeypatch.setattr(default_encoder._tokenizer, "encode", noticed)

    got = default_encoder.encode_documents(texts, ids=[known[0], None, known[2], known[3]])

    assert_close(got, want)
    assert sorted(asked) == sorted(texts[1::2])  # one that is not known, one that has to be cut


def test_the_share_of_unknown_tokens_is_that_of_the_text(default_encoder):
    for text in ("reset it", "怎么重置密码", "reset 怎么重置", ""):
        ids = default_encoder.document_ids([text])[0][1:-1]

        assert default_encoder.unknown_among(ids) == default_encoder.unknown_share(text)
    assert default_encoder.unknown_share("reset 怎么重置") == 4 / 5


def test_a_task_has_its_own_instruction(model_folder, tmp_path, texts):
    folder = copied(model_folder("bert-mean"), tmp_path)
    saved = folder / "config_sentence_transformers.json"
    saved.write_text(json.dumps({"prompts": {"query": "query: ", "sts": "alike: "}}))
    encoder = load_encoder(str(folder), device="cpu", backend="torch")
    want = encoder.encode_documents([f"alike: {text}" for text in texts])

    assert_close(encoder.encode_queries(texts, task="sts"), want)
    assert_close(encoder.encode_documents(texts, task="sts"), want)
    with pytest.raises(ValueError, match=r"has no task 'stx'. Its tasks: query, sts\."):
        encoder.encode_queries(texts, task="stx")


def test_an_instruction_is_not_put_in_twice_and_a_warning_says_so_once(
    small_encoder, texts, caplog
):
    encoder = small_encoder("bert-mean").with_templates({})
    want = encoder.encode_queries(texts)
    tokens = encoder.count_tokens(texts, role="query")
    carrying = [f"query: {text}" for text in texts]

    with caplog.at_level(logging.WARNING, logger="encoder"):
        assert_close(encoder.encode_queries([texts[0], *carrying])[1:], want)
        assert_close(encoder.encode_queries(carrying), want)
        assert encoder.count_tokens(carrying, role="query") == tokens

    assert [record.message for record in caplog.records] == [
        "texts[1] already carries the instruction 'query: {text}', which is not put in twice; "
        f"give {encoder.spec.name} the bare text."
    ]


def test_the_instruction_of_the_other_role_is_ordinary_text(small_encoder, caplog):
    encoder = small_encoder("bert-mean").with_templates({})

    got = encoder.encode_documents(["query: reset", "reset"])

    assert np.abs(got[0] - got[1]).max() > 1e-3
    assert caplog.text == ""


def test_other_templates_make_another_encoder(small_encoder, texts):
    encoder = small_encoder("bert-mean")
    want = encoder.encode_documents([f"Q: {text}" for text in texts])

    other = encoder.with_templates({"query": "passage: Q: {text}"})

    assert_close(other.encode_queries(texts), want)
    assert_close(other.encode_documents(texts), encoder.encode_documents(texts))
    assert other.spec.fingerprint != encoder.spec.fingerprint
    assert encoder.spec.template("query") == "query: {text}"


def test_a_role_without_words_is_a_role_without_an_instruction(small_encoder, default_encoder):
    bare = small_encoder("bert-mean").with_templates({"query": "{text}", "document": "{text}"})

    assert bare.spec.templates == {}
    assert default_encoder.with_templates({}).spec == default_encoder.spec


def test_a_family_of_instructions_fits_any_encoder(small_encoder):
    encoder = small_encoder("bert-mean").with_templates("prompteol")
    words = 'This sentence : "Is it a \'cat\'." means in one word:"'
    bare = small_encoder("bert-mean").with_templates({"query": "{text}", "document": "{text}"})

    got = encoder.encode_queries([' Is it a "cat"?'])

    assert_close(got, bare.encode_queries([words]))
    with pytest.raises(ValueError, match=r"^Unknown instructions 'eol'. Known: bge-en, bge-zh, "):
        encoder.with_templates("eol")
    with pytest.raises(ValueError, match=r"A template must contain \{text\}, got 'x'"):
        encoder.with_templates({"query": "x"})


def test_counts_include_the_instruction_and_the_marks(small_encoder):
    encoder = small_encoder("bert-mean")

    assert encoder.count_tokens(["", "a b"]) == [4, 6]  # [CLS] passage : a b [SEP]
    assert encoder.count_tokens(["a b"], role="query") == [6]
    assert encoder.count_tokens(["a " * 500]) == [504]


def test_spans_and_the_unknown_share_are_the_tokenizer_s(default_encoder):
    assert default_encoder.token_spans("Reset it") == [(0, 5), (6, 8)]
    assert default_encoder.unknown_share("reset 🦩") == 0.5


def test_a_text_beyond_the_maximum_is_cut(small_encoder, texts):
    encoder = small_encoder("bert-mean")
    words = ["alpha"] * (encoder.spec.max_tokens - 4)

    got = encoder.encode_documents([" ".join(words), " ".join([*words, "omega"]), "alpha"])

    assert_close(got[1], got[0], 1e-6)
    assert np.abs(got[2] - got[0]).max() > 1e-3


# --- wrong input ---


@pytest.mark.parametrize("role", ROLES)
def test_one_string_is_no_list_of_strings(default_encoder, role):
    with pytest.raises(TypeError, match="got bytes; decode them, into a list"):
        default_encoder.encode_documents(b"abc")
    with pytest.raises(TypeError, match="got one string; put it in a list"):
        encode(default_encoder, role, "reset my password")


@pytest.mark.parametrize(
    ("wrong", "kind"), [(None, "NoneType"), (3, "int"), (b"x", "bytes"), (["a"], "list")]
)
@pytest.mark.parametrize("role", ROLES)
def test_an_item_that_is_no_string_is_named_by_position(default_encoder, role, wrong, kind):
    with pytest.raises(TypeError, match=rf"^texts\[1\] must be a string, got {kind}\.$"):
        encode(default_encoder, role, ["a", wrong, 5])


@pytest.mark.parametrize("text", ["\ud800", "tail \udfff", "密\udc80码"])
def test_lone_surrogates_are_named_by_position(default_encoder, text):
    with pytest.raises(ValueError, match=r"^texts\[2\] holds lone surrogates"):
        default_encoder.encode_documents(["a", "🦩", text])


def test_a_text_without_tokens_is_named_by_position(model_folder, tmp_path):
    folder = copied(model_folder("qwen-last"), tmp_path)
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokenizer["post_processor"] = None
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer), "utf-8")
    (folder / "config_sentence_transformers.json").unlink()
    encoder = load_encoder(str(folder), device="cpu", backend="torch")

    with pytest.raises(ValueError, match=r"^texts\[1\] has no tokens"):
        encoder.encode_documents(["a", ""])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "gpu"}, "Unknown device 'gpu'. Known: auto, cpu, cuda, mps."),
        ({"device": "meta"}, "Unknown device 'meta'. Known: auto, cpu, cuda, mps."),
        (
            {"device": "cuda:99"},
            "Device 'cuda:99' was asked for, but this machine has no such GPU.",
        ),
        (
            {"dtype": "int9"},
            "Unknown dtype 'int9'. Known: auto, float32, float16, bfloat16, int8, int4.",
        ),
        ({"backend": "onnx"}, "Unknown backend 'onnx'. Known: auto, torch, openvino."),
    ],
)
def test_an_unknown_option_is_refused_in_a_sentence(model_folder, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load_encoder(str(model_folder("bert-mean")), **options)


# --- loading ---


def test_the_default_runs_where_it_was_asked_to(default_encoder):
    assert default_encoder.device == "cpu"
    assert default_encoder.dim == 384
    assert default_encoder.languages == ("en",)


def test_guesses_are_logged_as_warnings(save_random_model, tmp_path, caplog):
    save_random_model("bert-mean", tmp_path / "unheard-of")

    with caplog.at_level(logging.WARNING, logger="encoder"):
        load_encoder(str(tmp_path / "unheard-of"), device="cpu", backend="torch")

    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "unheard-of pools its tokens; mean is a guess" in caplog.text


def test_a_disagreement_of_folder_and_registry_is_logged(model_folder, tmp_path, caplog):
    folder = copied(model_folder("bert-mean"), tmp_path).rename(tmp_path / "bge-small-en")

    with caplog.at_level(logging.WARNING, logger="encoder"):
        load_encoder(str(folder), device="cpu", backend="torch")

    assert "says pooling 'mean', the registry 'cls'; the folder is followed." in caplog.text


@pytest.mark.parametrize("name", ["jinaai/jina-embeddings-v2-base-zh", "gte-Qwen2-7B-instruct"])
def test_a_model_that_needs_its_own_code_says_so_before_any_download(name):
    with pytest.raises(ValueError, match=f"{name} runs rightly only with .*trust_remote_code=True"):
        load_encoder(name)


def test_a_folder_of_a_model_that_needs_its_own_code_says_so(model_folder, tmp_path):
    name = "gte-multilingual-base"
    folder = copied(model_folder("bert-mean"), tmp_path).rename(tmp_path / name)

    with pytest.raises(ValueError, match=f"{name} runs rightly only with the code"):
        load_encoder(str(folder), device="cpu", backend="torch")


def test_loading_writes_nothing_to_the_terminal(model_folder, capfd):
    load_encoder(str(model_folder("bert-cls")), device="cpu")

    assert capfd.readouterr() == ("", "")


def copied(folder, tmp_path):
    target = tmp_path / "copy"
    for path in folder.rglob("*"):
        place = target / path.relative_to(folder)
        if path.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    return target


def with_weights(folder, change):
    from safetensors.torch import load_file, save_file

    path = folder / "model.safetensors"
    weights = change(load_file(path))
    save_file(weights, path, metadata={"format": "pt"})


def test_weights_under_other_names_are_refused_instead_of_random(model_folder, tmp_path):
    folder = copied(model_folder("bert-mean"), tmp_path)
    with_weights(folder, lambda weights: {f"other.{key}": weights[key] for key in weights})

    with pytest.raises(ValueError, match=r"are not those of its config\.json: \d+ are missing"):
        load_encoder(str(folder), device="cpu", backend="torch")


def test_a_missing_pooler_is_no_loss(model_folder, small_encoder, tmp_path, texts):
    folder = copied(model_folder("bert-mean"), tmp_path)
    with_weights(
        folder, lambda weights: {key: weights[key] for key in weights if "pooler" not in key}
    )

    got = load_encoder(str(folder), device="cpu", backend="torch").encode_documents(texts)

    assert_close(got, small_encoder("bert-mean").encode_documents(texts), 1e-6)


def test_damaged_weights_are_a_sentence(model_folder, tmp_path):
    folder = copied(model_folder("bert-mean"), tmp_path)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])

    with pytest.raises(
        ValueError, match=f"^The model in {re.escape(str(folder))} cannot be loaded"
    ):
        load_encoder(str(folder), device="cpu", backend="torch")


def test_a_model_without_fused_attention_runs_as_well(model_folder, small_encoder, texts):
    config = json.loads((model_folder("mpnet-mean") / "config.json").read_text())

    assert config["model_type"] == "mpnet"
    assert small_encoder("mpnet-mean").encode_documents(texts).shape == (len(texts), 16)


def test_code_that_comes_with_a_model_is_not_run_unasked(model_folder, tmp_path):
    folder = copied(model_folder("bert-mean"), tmp_path)
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own", "auto_map": own}))
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")

    with pytest.raises(ValueError, match="trust_remote_code"):
        load_encoder(str(folder), device="cpu", backend="torch")

    assert not (tmp_path / "ran").exists()


def test_every_public_name_is_importable():
    for name in package.__all__:
        assert getattr(package, name) is not None
