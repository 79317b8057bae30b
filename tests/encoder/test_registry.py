import pytest

from encoder import EncoderSpec, known_instructions, known_models, known_rerankers
from encoder.registry import CHECKS, DEFAULT_MODEL, find_row
from encoder.spec import POOLINGS as POOLING_NAMES

MODELS = known_models()
ALIASES = [(alias, name) for name in MODELS for alias in find_row(name).aliases]
SEARCH = "Represent this sentence for searching relevant passages: {text}"
SEARCH_ZH = "为这个句子生成表示以用于检索相关文章：{text}"
WEB = "Given a web search query, retrieve relevant passages that answer the query"
ALIKE = "Retrieve semantically similar text."
ANGLE_A = 'Summarize sentence "{text}" in one word:"'
ANGLE_B = 'You can only output one word. Summarize "{text}":"'
# Copied from the model cards, independently of the tables: query, document, texts of one kind.
EXPECTED = {
    "BAAI/bge-small-en": (SEARCH, None, None),
    "BAAI/bge-base-en-v1.5": (SEARCH, None, None),
    "BAAI/bge-large-zh": (SEARCH_ZH, None, None),
    "BAAI/bge-small-zh-v1.5": (SEARCH_ZH, None, None),
    "BAAI/bge-large-zh-noinstruct": (None, None, None),
    "BAAI/bge-m3": (None, None, None),
    "WhereIsAI/UAE-Large-V1": (SEARCH, None, "{text}"),
    "mixedbread-ai/mxbai-embed-2d-large-v1": (SEARCH, None, None),
    "Snowflake/snowflake-arctic-embed-m-v1.5": (SEARCH, None, None),
    "Snowflake/snowflake-arctic-embed-l-v2.0": ("query: {text}", None, None),
    "intfloat/e5-large": ("query: {text}", "passage: {text}", None),
    "intfloat/multilingual-e5-small": ("query: {text}", "passage: {text}", None),
    "intfloat/e5-mistral-7b-instruct": (
        f"Instruct: {WEB}\nQuery: {{text}}",
        None,
        f"Instruct: {ALIKE}\nQuery: {{text}}",
    ),
    "Salesforce/SFR-Embedding-2_R": (
        f"Instruct: {WEB}\nQuery: {{text}}",
        None,
        f"Instruct: {ALIKE}\nQuery: {{text}}",
    ),
    "Qwen/Qwen3-Embedding-4B": (
        f"Instruct: {WEB}\nQuery:{{text}}",
        None,
        f"Instruct: {ALIKE}\nQuery:{{text}}",
    ),
    "Alibaba-NLP/gte-Qwen2-7B-instruct": (
        f"Instruct: {WEB}\nQuery: {{text}}",
        None,
        f"Instruct: {ALIKE}\nQuery: {{text}}",
    ),
    "NovaSearch/stella_en_1.5B_v5": (
        f"Instruct: {WEB}.\nQuery: {{text}}",
        None,
        f"Instruct: {ALIKE}\nQuery: {{text}}",
    ),
    "BAAI/bge-multilingual-gemma2": (
        f"<instruct>{WEB}.\n<query>{{text}}",
        None,
        f"<instruct>{ALIKE}\n<query>{{text}}",
    ),
    "BAAI/bge-en-icl": (
        f"<instruct>{WEB}.\n<query>{{text}}\n<response>",
        None,
        f"<instruct>{ALIKE}\n<query>{{text}}\n<response>",
    ),
    "HIT-TMG/KaLM-embedding-multilingual-mini-instruct-v1.5": (
        "Instruct: Given a query, retrieve documents that answer the query. \n Query: {text}",
        None,
        f"Instruct: {ALIKE} \n Query: {{text}}",
    ),
    "GritLM/GritLM-7B": (
        f"<|user|>\n{WEB}.\n<|embed|>\n{{text}}",
        "<|embed|>\n{text}",
        f"<|user|>\n{ALIKE}\n<|embed|>\n{{text}}",
    ),
    "nomic-ai/nomic-embed-text-v1.5": ("search_query: {text}", "search_document: {text}", None),
    "nomic-ai/modernbert-embed-base": ("search_query: {text}", "search_document: {text}", None),
    "jinaai/jina-embeddings-v3": (
        "Represent the query for retrieving evidence documents: {text}",
        "Represent the document for retrieval: {text}",
        None,
    ),
    "jinaai/jina-embeddings-v2-base-zh": (None, None, None),
    "google/embeddinggemma-300m": (
        "task: search result | query: {text}",
        "title: none | text: {text}",
        "task: sentence similarity | query: {text}",
    ),
    "sensenova/piccolo-base-zh": ("查询：{text}", "结果：{text}", "{text}"),
    "infgrad/stella-large-zh": ("查询：{text}", "结果：{text}", "{text}"),
    "infgrad/stella-large-zh-v2": (None, None, None),
    "SeanLee97/angle-llama-7b-nli-v2": (ANGLE_A, ANGLE_A, None),
    "SeanLee97/angle-llama-7b-zhnli-v1": (ANGLE_B, ANGLE_B, None),
    "SeanLee97/bellm-llama-7b-nli": (
        'The representative word for sentence {text} is:"',
        'The representative word for sentence {text} is:"',
        None,
    ),
    "royokong/prompteol-opt-2.7b": (
        'This sentence : "{text}" means in one word:"',
        'This sentence : "{text}" means in one word:"',
        None,
    ),
    "thenlper/gte-base-zh": (None, None, None),
    "moka-ai/m3e-base": (None, None, None),
    "shibing624/text2vec-base-chinese": (None, None, None),
    DEFAULT_MODEL: (None, None, None),
}
LLM_EMBEDDER = {
    "qa": (
        "Represent this query for retrieving relevant documents: ",
        "Represent this document for retrieval: ",
    ),
    "convsearch": (
        "Encode this query and context for searching relevant passages: ",
        "Encode this passage for retrieval: ",
    ),
    "chat": (
        "Embed this dialogue to find useful historical dialogues: ",
        "Embed this historical dialogue for retrieval: ",
    ),
    "lrlm": (
        "Embed this text chunk for finding useful historical chunks: ",
        "Embed this historical text chunk for retrieval: ",
    ),
    "icl": (
        "Convert this example into vector to look for useful examples: ",
        "Convert this example into vector for retrieval: ",
    ),
    "tool": (
        "Transform this user request for fetching helpful tool descriptions: ",
        "Transform this tool description for retrieval: ",
    ),
}
# (architecture, pooling) of the small random models that other tests compare with their authors'.
COMPARED = {
    *((architecture, "mean") for architecture in ("bert", "mpnet", "xlm-roberta", "ernie")),
    *((architecture, "last") for architecture in ("qwen2", "qwen3", "mistral")),
    *(("modernbert", pooling) for pooling in ("cls", "mean")),
    *(("bert", pooling) for pooling in ("cls", "cls_avg")),
    ("xlm-roberta", "cls"),
    *((architecture, "last") for architecture in ("llama", "opt")),
    *((architecture, "mean") for architecture in ("t5", "mistral")),
    ("static", "mean"),
}


def spec_of(row):
    facts = {"weights": "w", "config": "c", "tokenizer": "t"}
    facts |= {"pooling": row.pooling, "max_tokens": row.max_tokens, "dim": row.dim}
    return EncoderSpec(name=row.name, templates=row.templates, **facts)


@pytest.mark.parametrize("name", MODELS)
def test_every_row_is_valid(name):
    row = find_row(name)

    assert row.name == name
    assert row.pooling in POOLING_NAMES
    assert row.max_tokens >= 128
    assert row.languages
    assert row.source.startswith("https://")
    assert row.checked in CHECKS
    assert row.padding in {"", "left"}
    assert not row.note or row.note.endswith(".")
    for template in row.templates.values():
        assert template.count("{text}") == 1
    assert spec_of(row).template("query") == row.templates.get("query", "{text}")


def test_every_model_of_the_field_has_a_row():
    assert len([*MODELS, *known_rerankers()]) >= 140


@pytest.mark.parametrize("name", EXPECTED)
def test_instructions_are_those_of_the_model_card_byte_by_byte(name):
    spec = spec_of(find_row(name))
    query, document, alike = EXPECTED[name]

    assert spec.template("query") == (query or "{text}")
    assert spec.template("document") == (document or "{text}")
    if alike is None:
        assert "sts" not in spec.tasks
    else:
        assert spec.template("query", "sts") == spec.template("document", "sts") == alike


@pytest.mark.parametrize("task", LLM_EMBEDDER)
def test_llm_embedder_has_an_instruction_for_each_task_and_role(task):
    spec = spec_of(find_row("BAAI/llm-embedder"))
    query, document = LLM_EMBEDDER[task]

    assert spec.template("query", task) == query + "{text}"
    assert spec.template("document", task) == document + "{text}"
    assert set(spec.tasks) == {*LLM_EMBEDDER, "query", "document"}


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("intfloat/multilingual-e5-large-instruct", "Instruct: {task}\nQuery: {text}"),
        ("Qwen/Qwen3-Embedding-0.6B", "Instruct: {task}\nQuery:{text}"),
        ("BAAI/bge-code-v1", "<instruct>{task}\n<query>{text}"),
    ],
)
def test_a_search_task_of_an_instruct_model_leaves_documents_bare(name, query):
    spec = spec_of(find_row(name))
    fever = "Given a claim, retrieve documents that support or refute the claim"

    assert spec.template("query", "fever") == query.replace("{task}", fever)
    assert spec.template("document", "fever") == "{text}"
    assert {"web", "web-zh", "medical-zh", "nq", "dbpedia", "sts"} <= set(spec.tasks)


def test_nomic_and_gemma_have_their_other_tasks():
    nomic = spec_of(find_row("nomic-embed-text-v2-moe"))
    gemma = spec_of(find_row("embeddinggemma-300m"))

    assert nomic.template("document", "clustering") == "clustering: {text}"
    assert nomic.template("query", "classification") == "classification: {text}"
    assert gemma.template("query", "clustering") == "task: clustering | query: {text}"


def test_the_words_of_angle_and_prompteol_are_there_for_any_model():
    known = known_instructions()

    assert known["angle-a"].templates == {"query": ANGLE_A, "document": ANGLE_A}
    assert known["angle-b"].templates == {"query": ANGLE_B, "document": ANGLE_B}
    assert known["angle-c"].templates == {"query": SEARCH}
    assert known["prompteol"].clean == "prompteol"
    assert all(family.source.startswith("https://") for family in known.values())


@pytest.mark.parametrize(
    ("size", "example"),
    [
        ("125m", '"A man is smoking." means in one word:"Smoking"'),
        ("350m", '"A man is playing on a guitar and singing." means in one word:"Music"'),
        ("1.3b", '"relating to switzerland or its people." means in one word:"Swiss"'),
        ("2.7b", '"A jockey riding a horse." means in one word:"Equestrian"'),
        ("6.7b", '"The man is riding a horse." means in one word:"Horseback-riding"'),
        ("13b", '"meat from a deer." means in one word:"Venison"'),
        (
            "30b",
            '"The man is riding a motorcycle down the road." means in one word:"Motorcycling"',
        ),
        ("66b", '"of or relating to tutors or tutoring." means in one word:"Tutorial"'),
    ],
)
def test_prompteol_has_an_example_for_each_size_of_opt(size, example):
    family = known_instructions()[f"prompteol-icl-opt-{size}"]
    want = f'This sentence : {example}.This sentence : "{{text}}" means in one word:"'

    assert family.templates == {"query": want, "document": want}
    assert family.clean == "prompteol"


def test_only_models_whose_card_asks_for_it_get_an_end_mark():
    assert [name for name in MODELS if find_row(name).append_eos] == [
        "Alibaba-NLP/gte-Qwen1.5-7B-instruct",
        "Alibaba-NLP/gte-Qwen2-1.5B-instruct",
        "Alibaba-NLP/gte-Qwen2-7B-instruct",
        "Linq-AI-Research/Linq-Embed-Mistral",
        "Salesforce/SFR-Embedding-2_R",
        "Salesforce/SFR-Embedding-Mistral",
        "intfloat/e5-mistral-7b-instruct",
        "nvidia/NV-Embed-v2",
    ]


def test_only_one_model_is_layer_normalised():
    assert [name for name in MODELS if find_row(name).layer_norm] == [
        "nomic-ai/nomic-embed-text-v1.5"
    ]


@pytest.mark.parametrize("name", MODELS)
def test_how_a_row_was_checked_is_true(name):
    row = find_row(name)
    runs = not row.not_yet and not row.remote_code

    if row.checked == "weights":
        assert name == DEFAULT_MODEL, "the only published weights that the tests have"
    else:
        compared = runs and (row.architecture, row.pooling) in COMPARED
        assert row.checked == ("formula" if compared else "card")


@pytest.mark.parametrize(
    ("prefix", "pooling"),
    [
        ("BAAI/bge-small", "cls"),
        ("BAAI/bge-large", "cls"),
        ("BAAI/bge-m", "cls last"),
        ("WhereIsAI/", "cls"),
        ("mixedbread-ai/", "cls"),
        ("intfloat/e5-mistral", "last"),
        ("intfloat/multilingual-e5", "mean"),
        ("thenlper/gte-base-zh", "cls"),
        ("thenlper/gte-", "cls mean"),
        ("moka-ai/m3e", "mean"),
        ("Qwen/Qwen3-Embedding", "last"),
        ("Snowflake/", "cls"),
        ("nomic-ai/", "mean"),
        ("SeanLee97/angle-bert", "cls_avg"),
        ("sentence-transformers/", "mean"),
    ],
)
def test_each_family_has_its_pooling(prefix, pooling):
    got = {find_row(name).pooling for name in MODELS if name.startswith(prefix)}

    assert got == set(pooling.split())


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
