"""Hard negatives: never a positive, the query or a copy; within rank and margin; as asked."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.pair_reading import load_pairs
from data.pairs import PairRecord
from encoder.embedding_cache import EmbeddingCache
from finetune.mining import MiningConfig, MiningReport, mine_negatives
from finetune.pair_writing import as_row, write_rows

QUERIES = ["reset the password", "open the door", "bake bread"]
POSITIVES = [
    "to reset the password open the account page and choose reset",
    "turn the handle of the door to open it",
    "mix flour and water then bake the bread for an hour",
]
CORPUS = [
    *POSITIVES,
    "the password of the administrator is reset by support",
    "a door is made of wood",
    "bread is sold in shops",
    "the weather is fine today",
    "to reset the password open the account page and choose reset now",  # a copy of the first
]
LOOSE = MiningConfig(negatives=2, relative_margin=0.0)


def records(**changes):
    return [
        PairRecord(queries=(q,), positives=(p,), place=f"line {i}", **changes)
        for i, (q, p) in enumerate(zip(QUERIES, POSITIVES, strict=True), start=1)
    ]


def mined(found):
    return [record.negatives for record in found]


class Judge:
    """A cross-encoder by rule: how many words of the query a text has."""

    def __init__(self):
        self.read = []

    def score(self, query, documents, *, time_limit_s=None):
        self.read += documents
        words = set(query.split())
        return np.array([len(words & set(d.split())) / len(words) for d in documents], np.float32)


@pytest.mark.parametrize("mode", ["dense", "lexical"])
def test_negatives_are_near_and_never_the_positive_the_query_or_a_copy(mode, word_encoder):
    report = MiningReport()
    encoder = word_encoder if mode == "dense" else None
    corpus = [*CORPUS, *(q.upper() for q in QUERIES)]

    found = mine_negatives(records(), corpus, encoder=encoder, config=LOOSE, report=report)

    for record in found:
        assert record.negatives
        assert len(set(record.negatives)) == len(record.negatives) <= 2
        texts = {text.lower() for text in record.negatives}
        assert not texts & {record.queries[0], record.positives[0]}
    assert CORPUS[-1] not in found[0].negatives
    assert "the password of the administrator is reset by support" in found[0].negatives
    left_out = {(doubt.query, doubt.text): doubt.reason for doubt in report.suspicious}
    # By meaning it scores above the positive; by words there is no margin, but it is a copy.
    reason = "margin" if mode == "dense" else "near-duplicate"
    assert left_out[QUERIES[0], CORPUS[-1]] in {reason, "near-duplicate"}
    assert report.mined == sum(map(len, mined(found)))
    assert (report.records, report.documents) == (3, 11)


def test_positives_of_the_same_query_in_other_records_are_no_negatives(word_encoder):
    other = PairRecord(queries=("Reset  the password",), positives=(CORPUS[3],))

    found = mine_negatives([*records(), other], CORPUS, encoder=word_encoder, config=LOOSE)

    assert CORPUS[3] not in found[0].negatives
    assert POSITIVES[0] not in found[3].negatives


def test_ranks_are_those_of_the_ranking_without_what_is_known(word_encoder):
    every = MiningConfig(negatives=8, relative_margin=0.0, near_duplicate=2.0)
    ranked = [
        [CORPUS[i] for i in np.argsort(-scores, kind="stable") if CORPUS[i] != positive]
        for scores, positive in zip(
            word_encoder.encode_queries(QUERIES) @ word_encoder.encode_documents(CORPUS).T,
            POSITIVES,
            strict=True,
        )
    ]
    lowest = [
        float(q @ p)
        for q, p in zip(
            word_encoder.encode_queries(QUERIES),
            word_encoder.encode_documents(POSITIVES),
            strict=True,
        )
    ]
    config = MiningConfig(
        negatives=8, relative_margin=0.0, near_duplicate=2.0, first_rank=3, last_rank=5
    )

    found = mine_negatives(records(), CORPUS, encoder=word_encoder, config=config)
    whole = mine_negatives(records(), CORPUS, encoder=word_encoder, config=every)

    for got, all_of_them, want, bound, query in zip(
        mined(found), mined(whole), ranked, lowest, QUERIES, strict=True
    ):
        scores = word_encoder.encode_queries([query]) @ word_encoder.encode_documents(want).T
        below = [text for text, score in zip(want, scores[0], strict=True) if score <= bound]
        assert list(all_of_them) == below
        assert list(got) == [text for text in want[2:5] if text in below]


@pytest.mark.parametrize(("margin", "relative"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.5)])
def test_negatives_lie_the_margin_below_the_weakest_positive(word_encoder, margin, relative):
    config = MiningConfig(negatives=8, margin=margin, relative_margin=relative, near_duplicate=2.0)
    report = MiningReport()
    two = [PairRecord(queries=(QUERIES[0],), positives=(POSITIVES[0], CORPUS[3]))]

    found = mine_negatives(two, CORPUS, encoder=word_encoder, config=config, report=report)

    query = word_encoder.encode_queries([QUERIES[0]])[0]
    lowest = min(word_encoder.encode_documents(list(two[0].positives)) @ query)
    bound = lowest - max(margin, relative * abs(lowest))
    others = [text for text in CORPUS if text not in two[0].positives]
    scores = word_encoder.encode_documents(others) @ query
    want = {text for text, score in zip(others, scores, strict=True) if score <= bound}
    assert set(found[0].negatives) == want
    assert report.left_out["margin"] == len(others) - len(want)
    for doubt in report.suspicious:
        assert doubt.score > bound - 1e-5
        assert doubt.positive_score == pytest.approx(lowest, abs=1e-5)


def test_a_cross_encoder_has_the_last_word_and_its_scores_are_kept():
    judge, report = Judge(), MiningReport()
    config = MiningConfig(negatives=2, near_duplicate=2.0)
    own = [PairRecord(queries=(QUERIES[0],), positives=(POSITIVES[0],), negatives=(CORPUS[6],))]

    found = mine_negatives(own, CORPUS, config=config, reranker=judge, report=report)[0]

    # "the password of the administrator is reset" has all words of the query.
    assert CORPUS[3] not in found.negatives
    assert {(s.text, s.reason) for s in report.suspicious} >= {(CORPUS[3], "cross-encoder")}
    assert found.negatives[0] == CORPUS[6]
    assert found.positive_scores == (1.0,)
    words = set(QUERIES[0].split())
    want = [len(words & set(text.split())) / 3 for text in found.negatives]
    assert found.negative_scores == pytest.approx(want)
    assert all(score <= 0.5 for score in found.negative_scores[1:])


def test_own_negatives_stay_and_are_not_mined_again(word_encoder):
    own = records(negatives=(CORPUS[3],))

    found = mine_negatives(own, CORPUS, encoder=word_encoder, config=LOOSE)

    for record in found:
        assert record.negatives[0] == CORPUS[3]
        assert record.negatives.count(CORPUS[3]) == 1


def test_random_sampling_is_the_same_for_a_seed(word_encoder):
    def draw(seed):
        config = MiningConfig(negatives=1, relative_margin=0.0, sampling="random", seed=seed)
        return mined(mine_negatives(records(), CORPUS, encoder=word_encoder, config=config))

    assert draw(1) == draw(1)
    assert len({str(draw(seed)) for seed in range(8)}) > 1


def test_fewer_candidates_than_asked_for_are_all_there_is(word_encoder):
    report = MiningReport()
    config = MiningConfig(negatives=50, relative_margin=0.9)

    found = mine_negatives(
        records()[:1], POSITIVES[:2], encoder=word_encoder, config=config, report=report
    )

    assert len(found[0].negatives) <= 1
    assert report.without == int(not found[0].negatives)


def test_another_run_encodes_nothing(tmp_path, make_word_encoder):
    cache = EmbeddingCache(tmp_path / "cache.sqlite")
    first, second = make_word_encoder(), make_word_encoder()

    want = mine_negatives(records(), CORPUS, encoder=first, config=LOOSE, cache=cache)
    got = mine_negatives(records(), CORPUS, encoder=second, config=LOOSE, cache=cache)

    assert got == want
    assert sorted(first.encoded) == sorted(CORPUS)
    assert second.encoded == []


texts = st.lists(st.text("ab ", min_size=1, max_size=6).filter(str.strip), min_size=2, max_size=8)


@settings(max_examples=60, deadline=None)
@given(texts, texts, st.integers(1, 4), st.integers(0, 3))
def test_whatever_the_texts_no_negative_is_known_to_be_right(queries, corpus, first, seed):
    made = [
        PairRecord(queries=(q,), positives=(corpus[i % len(corpus)],))
        for i, q in enumerate(queries)
    ]
    config = MiningConfig(
        negatives=3, first_rank=first, last_rank=first + 3, sampling="random", seed=seed
    )

    def folded(text):
        return " ".join(text.casefold().split())

    try:
        found = mine_negatives(made, corpus, config=config)
    except ValueError as error:
        assert "at least two texts" in str(error)  # noqa: PT017 - the only reason to refuse
        return
    for record, before in zip(found, made, strict=True):
        right = {
            folded(text)
            for other in made
            if folded(other.queries[0]) == folded(record.queries[0])
            for text in other.positives
        }
        assert not {folded(n) for n in record.negatives} & (right | {folded(record.queries[0])})
        assert record.positives == before.positives


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"negatives": 0}, "negatives must be at least 1, got 0"),
        ({"first_rank": 0}, "got 0 to 200"),
        ({"first_rank": 9, "last_rank": 8}, "got 9 to 8"),
        ({"margin": -1.0}, "got -1.0 and 0.05"),
        ({"relative_margin": 1.0}, "got 0.0 and 1.0"),
        ({"sampling": "best"}, "top or random, got 'best'"),
    ],
)
def test_a_wrong_setting_says_what_came(changes, message):
    with pytest.raises(ValueError, match=message):
        MiningConfig(**changes)


def test_what_cannot_be_mined_is_refused():
    scored = PairRecord(queries=("a",), positives=("b",), label=0.5)
    with pytest.raises(ValueError, match="Scored pairs have no negatives"):
        mine_negatives([scored])
    with pytest.raises(ValueError, match="at least two texts to mine among, got 1"):
        mine_negatives(records()[:1])


# Files


def test_what_is_written_is_read_again(tmp_path):
    made = [
        PairRecord(
            queries=("q",),
            positives=("p", "p2"),
            negatives=("n",),
            positive_scores=(1.0, 2.0),
            negative_scores=(0.5,),
            instruction="Find: ",
            kind="only_1neg",
            place="line 1",
        ),
        PairRecord(queries=("q", "q2"), positives=("p",), place="line 2"),
    ]
    write_rows(tmp_path / "a.jsonl", map(as_row, made))

    assert load_pairs(tmp_path / "a.jsonl") == made


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("old")

    def rows():
        yield {"query": "q"}
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_rows(path, rows())

    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "finetune.negatives", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )


def test_the_command_mines_by_words_and_writes_all_it_was_asked_for(tmp_path):
    write_rows(tmp_path / "pairs.jsonl", map(as_row, records()))
    write_rows(tmp_path / "corpus.jsonl", ({"_id": i, "text": t} for i, t in enumerate(CORPUS)))
    out, doubts = tmp_path / "out.jsonl", tmp_path / "doubts.jsonl"
    call = [tmp_path / "pairs.jsonl", "--out", out, "--corpus", tmp_path / "corpus.jsonl"]
    call += ["--mode", "lexical", "--negatives", "2", "--suspicious", doubts, "--json"]

    done = run(*call)
    again = run(*call)

    body = json.loads(done.stdout)
    written = load_pairs(out)
    want = mine_negatives(records(), CORPUS, config=MiningConfig(negatives=2))
    assert (done.returncode, done.stderr) == (0, "")
    assert mined(written) == mined(want)
    assert body["negatives"] == sum(map(len, mined(want)))
    assert body["left_out"] == {"near-duplicate": len(doubts.read_text().splitlines())}
    assert again.returncode == 2
    assert "out.jsonl is there already" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ranks", "10"], "--ranks must be two numbers such as 10-200, got '10'"),
        (["--negatives", "0"], "negatives must be at least 1, got 0"),
        (["--corpus", "a", "--index", "b"], "Give --corpus or --index, not both"),
        (["--out", "no/such/folder/out.jsonl"], "There is no folder no/such/folder"),
    ],
)
def test_a_wrong_call_is_one_sentence(tmp_path, arguments, message):
    write_rows(tmp_path / "pairs.jsonl", map(as_row, records()))

    done = run(tmp_path / "pairs.jsonl", "--out", tmp_path / "out.jsonl", *arguments)

    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_chunks_of_an_index_are_a_corpus(tmp_path):
    from finetune.corpora import texts_of_index
    from indexing import build_index

    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "a.md").write_text("# Doors\n\nTurn the handle.\n\n# Bread\n\nBake it.\n")
    build_index([str(tmp_path / "docs")], tmp_path / "kb")

    found = list(texts_of_index(tmp_path / "kb"))

    assert any("Turn the handle." in text for text in found)
