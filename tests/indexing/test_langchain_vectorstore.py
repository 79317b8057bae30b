"""An index as a LangChain VectorStore: LangChain's own suite, its index(), filters and MMR."""

import pytest
from langchain_core.documents import Document
from langchain_core.indexing import InMemoryRecordManager, index
from langchain_tests.integration_tests.vectorstores import VectorStoreIntegrationTests

from encoder.langchain_adapter import EncoderEmbeddings
from indexing.errors import BuildFailedError, UsageError
from indexing.langchain_vectorstore import IndexVectorStore

DOCUMENTS = [
    Document(id="a", page_content="apple pear", metadata={"n": 1, "lang": "en"}),
    Document(id="b", page_content="apple plum", metadata={"n": 2, "lang": "en"}),
    Document(id="c", page_content="苹果 梨", metadata={"n": 3, "lang": "zh"}),
    Document(id="d", page_content="fig date olive", metadata={"n": 4, "lang": "en"}),
]


class TestStandard(VectorStoreIntegrationTests):
    """LangChain's standard suite."""

    @pytest.fixture
    def vectorstore(self, tmp_path, word_encoder):
        return IndexVectorStore(tmp_path / "kb", word_encoder)


@pytest.fixture
def store(tmp_path, word_encoder):
    store = IndexVectorStore(tmp_path / "kb", word_encoder)
    store.add_documents(DOCUMENTS)
    return store


def ids(documents):
    return [document.id for document in documents]


def test_scores_are_cosines_and_filters_are_kept_to(store, word_encoder):
    got = store.similarity_search_with_score("apple pear", k=2)

    rows = word_encoder.encode_documents([d.page_content for d in DOCUMENTS[:2]])
    assert ids([document for document, _ in got]) == ["a", "b"]
    assert [score for _, score in got] == pytest.approx([1.0, float(rows[0] @ rows[1])], abs=1e-5)
    found = store.similarity_search("apple", k=9, filter='lang == "zh" or n == 4')
    assert set(ids(found)) == {"c", "d"}
    relevance = store.similarity_search_with_relevance_scores("apple pear", k=1)
    assert relevance[0][1] == pytest.approx(1.0, abs=1e-5)


def test_a_search_by_vector_finds_what_the_text_finds(store, word_encoder):
    vector = word_encoder.encode_queries(["apple plum"])[0].tolist()

    assert ids(store.similarity_search_by_vector(vector, k=2)) == ["b", "a"]
    assert len(store.similarity_search_by_vector(vector, k=9)) == len(DOCUMENTS)


def test_marginal_relevance_prefers_what_is_unlike(store):
    assert ids(store.max_marginal_relevance_search("apple pear", k=2, lambda_mult=1.0)) == [
        "a",
        "b",
    ]
    assert ids(store.max_marginal_relevance_search("apple pear", k=2, lambda_mult=0.1)) != [
        "a",
        "b",
    ]


async def test_the_asynchronous_calls_do_the_same(store):
    assert ids(await store.asimilarity_search("apple pear", k=2)) == ["a", "b"]
    retriever = store.as_retriever(search_kwargs={"k": 1, "filter": "n > 1"})
    assert ids(await retriever.ainvoke("apple pear")) == ["b"]
    await store.adelete(["b"])
    assert ids(await store.asimilarity_search("apple plum", k=1)) == ["a"]


def test_a_retriever_of_each_search_type_works(store):
    for search_type in ("similarity", "mmr"):
        retriever = store.as_retriever(search_type=search_type, search_kwargs={"k": 1})
        assert ids(retriever.invoke("apple pear")) == ["a"]


def test_langchains_own_index_keeps_it_in_step_with_its_sources(store):
    store.delete(ids(DOCUMENTS))
    assert store.similarity_search("apple", k=3) == []
    records = InMemoryRecordManager("kb")
    records.create_schema()
    first = [
        Document(page_content=d.page_content, metadata={"source": d.id}) for d in DOCUMENTS[:3]
    ]

    def run(documents, cleanup):
        return index(
            documents,
            records,
            store,
            cleanup=cleanup,
            source_id_key="source",
            key_encoder="sha256",
        )

    assert run(first, "full")["num_added"] == 3
    assert run(first, "full")["num_skipped"] == 3
    changed = [*first[:1], Document(page_content="quince", metadata={"source": "b"})]
    report = run(changed, "full")

    assert (report["num_added"], report["num_deleted"], report["num_skipped"]) == (1, 2, 1)
    found = store.similarity_search("quince", k=9)
    assert [d.page_content for d in found] == ["quince", "apple pear"]
    assert found[0].metadata == {"source": "b"}


def test_equal_texts_with_two_ids_are_two_documents(store):
    store.add_texts(["same", "same"], ids=["x", "y"])

    assert sorted(ids(store.similarity_search("same", k=2))) == ["x", "y"]
    assert ids(store.get_by_ids(["y", "nobody", "x"])) == ["y", "x"]


def test_another_object_over_the_same_folder_sees_what_was_published(store, tmp_path, word_encoder):
    other = IndexVectorStore(tmp_path / "kb", word_encoder, mode="hybrid")
    assert ids(other.similarity_search("olive", k=1)) == ["d"]

    store.delete(["d"])

    assert other.get_by_ids(["d"]) == []


def test_bad_input_is_told(store, tmp_path, word_encoder):
    with pytest.raises(BuildFailedError, match="holds no text"):
        store.add_texts([" "])
    with pytest.raises(BuildFailedError, match="metadata of z cannot be kept as JSON"):
        store.add_texts(["text"], [{"when": object()}], ids=["z"])
    with pytest.raises(ValueError, match="zip"):
        store.add_texts(["text"], ids=["1", "2"])
    with pytest.raises(ValueError, match="Give the ids to delete"):
        store.delete()
    with pytest.raises(ValueError, match="'nonsense' is not a valid Mode"):
        IndexVectorStore(tmp_path, mode="nonsense")
    with pytest.raises(UsageError, match="give EncoderEmbeddings and a folder"):
        IndexVectorStore.from_texts(["text"], EncoderEmbeddings.__new__(EncoderEmbeddings))
    assert len(store.similarity_search("apple", k=9)) == len(DOCUMENTS)
