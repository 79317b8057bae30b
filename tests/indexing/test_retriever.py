"""An open index: modes, scores, limits, threads, and LangChain."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from encoder import load_encoder
from indexing import build_index, open_index
from indexing.fusion import Fusion
from indexing.langchain_adapters import IndexRetriever

PAGES = {
    "reset.md": "# Accounts\n\n## Forgotten password\n\nOpen settings and choose a new one.\n",
    "trains.md": "# Travel\n\nThe office books trains and hotels for you.\n",
    "cats.md": "# Pets\n\nCats may stay at home.\n",
    "请假.md": "# 请假制度\n\n请假需要提前三天向主管申请。\n",
}


@pytest.fixture(scope="module")
def kb(tmp_path_factory, default_encoder):
    folder = tmp_path_factory.mktemp("kb")
    docs = folder / "docs"
    docs.mkdir()
    for name, text in PAGES.items():
        (docs / name).write_text(text, "utf-8")
    # Of its own precision: another engine's rows may be kept under the same texts.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANGLER_CACHE_MIB", "0")
        build_index([str(docs)], folder / "kb", encoder=default_encoder)
    return folder / "kb"


@pytest.fixture(scope="module")
def index(kb, default_encoder):
    return open_index(kb, encoder=default_encoder)


def test_dense_search_finds_by_meaning(index):
    hit = index.search("I cannot log in any more", 1, mode="dense")[0]

    assert hit.document == "docs/reset.md"
    assert hit.heading == ("Accounts", "Forgotten password")


def test_dense_scores_are_cosines_of_the_embedded_text(index, default_encoder):
    query = "railway booking"
    hits = index.search(query, 4, mode="dense")

    headers = [" > ".join(dict.fromkeys([hit.title, *hit.heading])) for hit in hits]
    embedded = [f"{header}\n{hit.text}" for header, hit in zip(headers, hits, strict=True)]
    vector = default_encoder.encode_queries([query])[0]
    want = default_encoder.encode_documents(embedded) @ vector
    np.testing.assert_allclose([hit.score for hit in hits], want, atol=1e-5)
    assert all(hit.scores.dense == hit.score for hit in hits)


def test_lexical_search_finds_by_words_only(index):
    hits = index.search("hotel train", 10, mode="lexical")

    assert [hit.document for hit in hits] == ["docs/trains.md"]
    assert hits[0].scores.lexical == hits[0].score > 0


def test_hybrid_search_joins_both_scores(index):
    query = "train"
    dense = index.search(query, 4, mode="dense")
    lexical = index.search(query, 4, mode="lexical")

    hits = index.search(query, 4)

    want = Fusion().fuse(
        {hit.chunk: hit.score for hit in dense}, {hit.chunk: hit.score for hit in lexical}
    )
    assert [(hit.chunk, hit.score) for hit in hits] == want
    assert hits[0].document == "docs/trains.md"
    assert (hits[0].score, hits[1].scores.lexical) == (pytest.approx(1.0), None)


def test_hybrid_search_follows_the_words_where_the_encoder_is_blind(index):
    assert index.encoder.unknown_share("请假要提前几天申请") > 0.3

    hybrid = index.search("请假要提前几天申请", 4)
    lexical = index.search("请假要提前几天申请", 4, mode="lexical")

    assert [hit.chunk for hit in hybrid[: len(lexical)]] == [hit.chunk for hit in lexical]
    assert hybrid[0].document == "docs/请假.md"


def test_ranks_count_from_one_and_scores_fall(index):
    for mode in ("dense", "lexical", "hybrid"):
        hits = index.search("the office at home", 10, mode=mode)
        assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
        assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True)


def test_k_larger_than_the_index_gives_all(index):
    assert len(index.search("office", 1000, mode="dense")) == len(index) == 4


@pytest.mark.parametrize("query", ["", "  ", "\n\t"])
def test_an_empty_query_is_refused(index, query):
    with pytest.raises(ValueError, match="query is empty"):
        index.search(query)


@pytest.mark.parametrize(
    "query", ["🙂🙂", "the of and", "!?!", "。。", "x" * 100_000, "word " * 20_000]
)
def test_an_odd_query_gives_hits_and_no_error(index, query):
    for mode in ("dense", "lexical", "hybrid"):
        assert len(index.search(query, 3, mode=mode)) <= 3


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_a_query_that_is_no_text_is_refused_in_every_mode(index, mode):
    with pytest.raises(ValueError, match="bytes that are no text"):
        index.search("caf\udce9", mode=mode)
    with pytest.raises(ValueError, match="bytes that are no text"):
        index.answer("caf\udce9", mode=mode)


@pytest.mark.parametrize("query", ["what is the of a", "🎉🚀", "?!", "\x01", "password " * 11_000])
@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_an_odd_question_has_an_answer_or_none_and_no_error(index, query, mode):
    for sentence in index.answer(query, mode=mode).sentences:
        text = index.generation.text(sentence.document)
        assert text[sentence.start : sentence.end] == sentence.text


def test_wrong_arguments_are_refused(index):
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index.search("word", 0)
    with pytest.raises(ValueError, match="Unknown mode 'magic'"):
        index.search("word", mode="magic")


def test_threads_search_one_index_at_once(index):
    queries = ["train", "password", "请假", "cats"] * 10
    want = [[hit.chunk for hit in index.search(query)] for query in queries]

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda query: [hit.chunk for hit in index.search(query)], queries))

    assert got == want


def test_the_encoder_is_loaded_by_the_first_query_that_needs_it(kb, monkeypatch):
    import encoder

    loads = []
    real = encoder.load_encoder
    monkeypatch.setattr(
        encoder, "load_encoder", lambda *a, **k: loads.append(a) or real(*a, **k), raising=False
    )
    index = open_index(kb)

    index.search("train", mode="lexical")
    assert loads == []
    index.search("train")
    index.search("train")
    assert loads == [("sentence-transformers/all-MiniLM-L6-v2",)]


# LangChain


def test_a_retriever_gives_documents_with_their_citations(index):
    documents = index.as_retriever(k=2).invoke("trains")

    assert len(documents) == 2
    assert documents[0].page_content == "The office books trains and hotels for you."
    metadata = documents[0].metadata
    assert (metadata["document"], metadata["rank"]) == ("docs/trains.md", 1)
    assert metadata["heading"] == ("Travel",)
    text = index.generation.text("docs/trains.md")
    assert text[metadata["start"] : metadata["end"]] == documents[0].page_content


async def test_a_retriever_works_asynchronously(index):
    documents = await index.as_retriever(k=1, mode="lexical").ainvoke("cats")

    assert [document.metadata["document"] for document in documents] == ["docs/cats.md"]


def test_a_retriever_works_in_a_chain(index):
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_core.runnables import RunnableLambda, RunnablePassthrough

    def texts(documents):
        return "\n".join(document.page_content for document in documents)

    prompt = ChatPromptTemplate.from_template("Answer from:\n{context}\n\nQuestion: {question}")
    chain = (
        {"context": index.as_retriever(k=1) | texts, "question": RunnablePassthrough()}
        | prompt
        | RunnableLambda(lambda value: value.to_messages()[0].content)
    )

    assert chain.invoke("Who books trains?") == (
        "Answer from:\nThe office books trains and hotels for you.\n\nQuestion: Who books trains?"
    )


def test_a_document_cannot_overwrite_its_citation(kb, default_encoder, tmp_path):
    line = '{"id": "a", "text": "one two", "metadata": {"document": "forged", "year": 3}}'
    build_index(["-"], tmp_path / "kb", encoder=default_encoder, lines=[line])
    retriever = open_index(tmp_path / "kb", encoder=default_encoder).as_retriever(k=1)

    document = retriever.invoke("one")[0]

    assert isinstance(retriever, IndexRetriever)
    assert (document.metadata["document"], document.metadata["year"]) == ("a", 3)


def test_an_index_of_cut_embeddings_is_opened_by_its_own_name(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "trains.md").write_text("# Trains\n\nTickets are sold at the desk.\n")
    build_index([str(tmp_path / "docs")], tmp_path / "kb", encoder=load_encoder(dim=64))

    index = open_index(tmp_path / "kb")

    assert index.search("railway booking", 1, mode="dense")[0].document == "docs/trains.md"
    assert index.encoder.dim == 64
