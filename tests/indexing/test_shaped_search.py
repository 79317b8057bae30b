"""Search with diversity, few hits per document, merging, context and reranking."""

import re
from dataclasses import replace

import numpy as np
import pytest

from indexing import BuildConfig, build_index, open_index
from indexing.reranking import Reranking

SECTIONS = [
    f"## Part {n}\n\n" + " ".join(f"Word{n} sentence {m} about trains." for m in range(9))
    for n in range(4)
]


@pytest.fixture(scope="module")
def index(tmp_path_factory, make_word_encoder):
    folder = tmp_path_factory.mktemp("shaped")
    docs = folder / "docs"
    docs.mkdir()
    (docs / "long.md").write_text("# Long\n\n" + "\n\n".join(SECTIONS) + "\n")
    for n in range(3):
        (docs / f"short{n}.md").write_text(
            f"# Short {n}\n\nOne text about trains and number {n}.\n"
        )
    encoder = make_word_encoder()
    config = BuildConfig(chunk_tokens=24, overlap_tokens=8)
    build_index([str(docs)], folder / "kb", config, encoder=encoder)
    return open_index(folder / "kb", encoder=encoder)


QUERY = "a sentence about trains"


def test_one_hit_per_document_is_the_best_of_each(index):
    everything = index.search(QUERY, 1000, mode="dense")
    best = {}
    for hit in everything:
        best.setdefault(hit.document, hit.chunk)

    hits = index.search(QUERY, 10, mode="dense", per_document=1)

    assert [hit.chunk for hit in hits] == list(best.values())
    assert [hit.rank for hit in hits] == [1, 2, 3, 4]
    assert [h.chunk for h in index.search(QUERY, 2, mode="dense", per_document=1)] == [
        hit.chunk for hit in hits[:2]
    ]


@pytest.mark.parametrize("mode", ["dense", "lexical", "hybrid"])
def test_merged_hits_are_exact_quotes_that_do_not_meet(index, mode):
    plain = index.search(QUERY, 1000, mode=mode)
    hits = index.search(QUERY, 1000, mode=mode, merge=True)

    assert len(hits) < len(plain)
    for hit in hits:
        assert index.generation.text(hit.document)[hit.start : hit.end] == hit.text
        others = [h for h in hits if h.document == hit.document and h is not hit]
        assert all(h.end < hit.start or hit.end < h.start for h in others)


def test_diversity_brings_other_texts_forward(index):
    plain = index.search(QUERY, 6, mode="dense")
    diverse = index.search(QUERY, 6, mode="dense", diversity=0.7)

    def likeness(hits):
        rows = index.generation.embeddings([hit.chunk for hit in hits])
        return float((np.triu(rows @ rows.T, 1)).sum())

    assert diverse[0].chunk == plain[0].chunk
    assert likeness(diverse) < likeness(plain)


def test_choices_out_of_range_are_refused(index):
    with pytest.raises(ValueError, match="diversity must be between 0 and 1, got 2"):
        index.search(QUERY, diversity=2)
    with pytest.raises(ValueError, match="per_document must be at least 1, got 0"):
        index.search(QUERY, per_document=0)


# Context


def test_a_window_holds_the_neighbouring_chunks(index):
    chunks = index.generation.chunks_of("docs/long.md")
    middle = chunks[5]
    hit = next(h for h in index.search(QUERY, 1000, mode="dense") if h.chunk == middle.id)
    text = index.generation.text("docs/long.md")

    wide = index.window(hit, 1, 2)

    around = [n for n, c in enumerate(chunks) if c.start < hit.end and hit.start < c.end]
    first, last = chunks[around[0] - 1], chunks[around[-1] + 2]
    assert (wide.start, wide.end) == (first.start, last.end)
    assert wide.text == text[wide.start : wide.end]
    assert (wide.rank, wide.score, wide.chunk) == (hit.rank, hit.score, hit.chunk)
    everything = index.window(hit, 1000, 1000)
    assert (everything.start, everything.end) == (chunks[0].start, chunks[-1].end)


def test_a_section_goes_from_heading_to_heading(index):
    hit = next(h for h in index.search("Word2", 1000) if h.heading == ("Long", "Part 2"))

    whole = index.section(hit)

    assert whole.text.strip() in SECTIONS[2]
    assert set(re.findall(r"Word\d", whole.text)) == {"Word2"}
    assert whole.text.count("Word2") == 9


def test_context_of_a_document_that_is_gone_is_refused(index):
    hit = replace(index.search(QUERY, 1)[0], document="docs/gone.md")

    with pytest.raises(LookupError, match=r"docs/gone\.md has changed since this hit was found"):
        index.window(hit)
    with pytest.raises(LookupError, match="search again"):
        index.section(hit)
    with pytest.raises(ValueError, match="0 or more, got -1 and 0"):
        index.window(hit, -1, 0)


def test_a_retriever_takes_the_same_choices(index):
    retriever = index.as_retriever(k=3, mode="dense", per_document=1, context=1)
    hits = index.search(QUERY, 3, mode="dense", per_document=1)

    got = retriever.invoke(QUERY)

    assert [d.page_content for d in got] == [index.window(hit, 1, 1).text for hit in hits]
    assert [d.metadata["chunk"] for d in got] == [hit.chunk for hit in hits]
    with pytest.raises(ValueError, match="Extra inputs are not permitted"):
        index.as_retriever(per_documents=1)


# Reranking


class Numbers:
    """Scores a text by the numbers in it, as many texts as its time allows at one a second."""

    def __init__(self):
        self.read = []

    def score(self, query, documents, *, time_limit_s=None):
        self.read += documents[: int(time_limit_s)]
        scores = [sum(map(int, re.findall(r"\d+", text))) - 50.0 for text in self.read]
        return np.array(scores + [np.nan] * (len(documents) - len(scores)), np.float32)


def test_the_first_hits_are_reordered_by_the_reranker(index):
    scorer = Numbers()
    before = index.search(QUERY, 10)
    hits = index.search(QUERY, 10, rerank=Reranking(model=scorer, depth=5, timeout_s=9))

    assert len(scorer.read) == 5
    assert {hit.chunk for hit in hits[:5]} == {hit.chunk for hit in before[:5]}
    assert [hit.chunk for hit in hits[5:]] == [hit.chunk for hit in before[5:]]
    scores = [hit.scores.rerank for hit in hits[:5]]
    assert scores == sorted(scores, reverse=True)
    assert [hit.score for hit in hits[:5]] == scores
    assert all(hit.scores.fused is not None for hit in hits)
    assert all(hit.scores.rerank is None for hit in hits[5:])
    # It reads what was embedded: title and headings with the text.
    assert all(text.startswith(("Long", "Short")) for text in scorer.read)


def test_few_hits_are_chosen_from_all_that_were_reranked(index):
    scorer = Numbers()

    best = index.search(QUERY, 1, rerank=Reranking(model=scorer, depth=1000, timeout_s=1000))[0]

    assert len(scorer.read) == len(index)
    assert best.score == max(Numbers().score("", scorer.read, time_limit_s=1000))


def test_hits_that_the_reranker_did_not_reach_keep_their_order_behind_the_others(index):
    before = [hit.chunk for hit in index.search(QUERY, 10)]

    hits = index.search(QUERY, 10, rerank=Reranking(model=Numbers(), depth=8, timeout_s=3))

    assert {hit.chunk for hit in hits[:3]} == set(before[:3])
    assert [hit.chunk for hit in hits[3:]] == before[3:]
    assert [hit.scores.rerank is None for hit in hits] == [False] * 3 + [True] * 7
    assert (
        index.search(QUERY, 10, rerank=Reranking(model=Numbers(), timeout_s=0.5))[0].chunk
        == before[0]
    )


def test_a_cross_encoder_is_loaded_by_its_folder_and_only_once(index, tmp_path, monkeypatch):
    from transformers import AutoTokenizer, BertConfig, BertForSequenceClassification

    import encoder
    from encoder import describe_encoder, load_reranker

    tokenizer = AutoTokenizer.from_pretrained(describe_encoder(None).folder)
    tokenizer.save_pretrained(tmp_path)
    config = BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=16, num_labels=1, initializer_range=0.5,
    )  # fmt: skip
    BertForSequenceClassification(config).save_pretrained(tmp_path)
    loaded = []
    monkeypatch.setattr(
        encoder, "load_reranker", lambda *a, **k: loaded.append(a) or load_reranker(*a, **k)
    )

    for _ in range(2):
        hits = index.search(QUERY, 5, rerank=Reranking(model=str(tmp_path), depth=5, timeout_s=60))

    texts = index.generation.embedded_texts([hit.chunk for hit in hits])
    want = load_reranker(str(tmp_path)).score(QUERY, [texts[hit.chunk] for hit in hits])
    np.testing.assert_allclose([hit.score for hit in hits], want, atol=1e-5)
    assert sorted(want, reverse=True) == list(want)
    assert loaded == [(str(tmp_path),)]


def test_a_reranker_that_is_not_there_is_refused(index, tmp_path):
    from encoder import ModelNotFoundError

    with pytest.raises(ModelNotFoundError, match="nowhere"):
        index.search(QUERY, rerank=str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"depth": 0}, "depth of a reranking must be at least 1, got 0"),
        ({"timeout_s": 0.0}, "timeout_s must be above 0, got 0.0"),
        ({"timeout_s": float("nan")}, "timeout_s must be above 0, got nan"),
    ],
)
def test_a_wrong_reranking_is_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        Reranking(model="any", **choices)
