import pytest

from encoder import EncoderSpec, known_models
from encoder.registry import DEFAULT_MODEL, find_row
from encoder.spec import POOLINGS

MODELS = known_models()
ALIASES = [(alias, name) for name in MODELS for alias in find_row(name).aliases]
BGE_EN = "Represent this sentence for searching relevant passages: {text}"
BGE_ZH = "为这个句子生成表示以用于检索相关文章：{text}"
WEB_SEARCH = "Given a web search query, retrieve relevant passages that answer the query"
E5 = {"query": "query: {text}", "document": "passage: {text}"}
# Copied from the model cards, independently of models.toml.
TEMPLATES = {
    "BAAI/bge-small-en-v1.5": {"query": BGE_EN},
    "BAAI/bge-base-en-v1.5": {"query": BGE_EN},
    "BAAI/bge-large-en-v1.5": {"query": BGE_EN},
    "BAAI/bge-small-zh-v1.5": {"query": BGE_ZH},
    "BAAI/bge-base-zh-v1.5": {"query": BGE_ZH},
    "BAAI/bge-large-zh-v1.5": {"query": BGE_ZH},
    "BAAI/bge-m3": {},
    "WhereIsAI/UAE-Large-V1": {"query": BGE_EN, "sts": "{text}"},
    "mixedbread-ai/mxbai-embed-large-v1": {"query": BGE_EN},
    "intfloat/e5-small-v2": E5,
    "intfloat/e5-base-v2": E5,
    "intfloat/e5-large-v2": E5,
    "intfloat/multilingual-e5-small": E5,
    "intfloat/multilingual-e5-base": E5,
    "intfloat/multilingual-e5-large": E5,
    "intfloat/e5-mistral-7b-instruct": {
        "query": f"Instruct: {WEB_SEARCH}\nQuery: {{text}}",
        "sts": "Instruct: Retrieve semantically similar text.\nQuery: {text}",
    },
    "Qwen/Qwen3-Embedding-0.6B": {
        "query": f"Instruct: {WEB_SEARCH}\nQuery:{{text}}",
        "sts": "Instruct: Retrieve semantically similar text.\nQuery:{text}",
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_every_row_is_valid(name):
    row = find_row(name)

    assert row.name == name
    assert row.pooling in POOLINGS
    assert row.max_tokens >= 128
    assert row.languages
    assert row.source.startswith("https://")
    for template in row.templates.values():
        assert template.count("{text}") == 1


@pytest.mark.parametrize("name", MODELS)
def test_a_spec_can_be_made_of_every_row(name):
    row = find_row(name)
    facts = {"weights": "w", "config": "c", "tokenizer": "t", "dim": 8}

    spec = EncoderSpec(
        name=name,
        pooling=row.pooling,
        max_tokens=row.max_tokens,
        templates=row.templates,
        **facts,
    )

    assert spec.template("query") == (row.query or "{text}")


@pytest.mark.parametrize("name", TEMPLATES)
def test_instructions_are_those_of_the_model_card_byte_by_byte(name):
    assert find_row(name).templates == TEMPLATES[name]


@pytest.mark.parametrize("name", sorted(set(MODELS) - set(TEMPLATES)))
def test_the_other_models_want_the_bare_text(name):
    assert find_row(name).templates == {}


def test_only_the_model_whose_card_asks_for_it_gets_an_end_mark():
    assert [name for name in MODELS if find_row(name).append_eos] == [
        "intfloat/e5-mistral-7b-instruct"
    ]


@pytest.mark.parametrize(
    ("prefix", "pooling"),
    [
        ("BAAI/bge-", "cls"),
        ("WhereIsAI/", "cls"),
        ("mixedbread-ai/", "cls"),
        ("intfloat/e5-mistral", "last"),
        ("intfloat/multilingual-e5", "mean"),
        ("thenlper/gte-base-zh", "cls"),
        ("moka-ai/m3e", "mean"),
        ("Qwen/Qwen3-Embedding", "last"),
        ("sentence-transformers/", "mean"),
    ],
)
def test_each_family_has_its_pooling(prefix, pooling):
    assert {find_row(name).pooling for name in MODELS if name.startswith(prefix)} == {pooling}


def test_the_default_has_a_row():
    row = find_row(DEFAULT_MODEL)

    assert (row.pooling, row.max_tokens, row.languages) == ("mean", 256, ("en",))


@pytest.mark.parametrize(("alias", "name"), ALIASES)
def test_an_alias_is_the_model(alias, name):
    assert find_row(alias) == find_row(name)


@pytest.mark.parametrize("name", [*MODELS, *(alias for alias, _ in ALIASES)])
def test_a_folder_called_like_a_model_gets_its_row(name):
    assert find_row(name.rpartition("/")[2]) == find_row(name)


def test_no_two_rows_share_a_name():
    names = [known for name in MODELS for known in (name, *find_row(name).aliases)]
    short = [name.rpartition("/")[2] for name in MODELS]

    assert len(set(names)) == len(names)
    assert len(set(short)) == len(short)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "bge",
        "bge-m3-tuned",
        "my-bge-m3",
        "BGE-M3",
        "someone/bge-m3",
        "models/BAAI/bge-m3",
        "BAAI/",
        "BAAI",
    ],
)
def test_a_name_is_never_matched_in_part(name):
    assert find_row(name) is None


def test_known_models_are_sorted_names():
    assert sorted(MODELS) == MODELS
    assert DEFAULT_MODEL in MODELS
