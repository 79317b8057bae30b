"""What scores mean: probabilities, percentiles, thresholds, and how an index gets them."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

import indexing.calibrating
from data import GoldenQuestion
from indexing import build_index, open_index
from indexing.calibrating import (
    calibrate_index,
    fusion_for,
    gather,
    golden_questions,
    synthetic_questions,
)
from indexing.calibration import (
    FALSE_ANSWER_RATE,
    NAME,
    Calibration,
    Evidence,
    ModeCalibration,
    fit,
    read_calibration,
    read_sections,
    write_section,
)
from indexing.evidence import answer_probability
from indexing.hits import Mode
from indexing.judging import gather_evidence
from indexing.questions import KEPT_WORDS, STRANGE_WORDS
from indexing.reranking import Reranking

rng = np.random.default_rng(3)


def evidence(features, labels, unrelated=((0.0,),), without=((0.0,),)):
    return Evidence(
        features=np.array(features, float).reshape(len(labels), -1),
        is_right=np.array(labels, bool),
        unrelated=np.array(unrelated, float),
        without=np.array(without, float),
    )


def test_the_weights_are_those_of_a_ridge_regression():
    from scipy.optimize import minimize

    features = rng.normal(size=(400, 2))
    labels = rng.random(400) < 1 / (1 + np.exp(-(features @ [2.0, -1.0] - 0.5)))

    def loss(weights):
        odds = weights[0] + features @ weights[1:]
        fits = np.logaddexp(0, odds) - labels * odds
        return fits.sum() + 0.005 * (weights[1:] ** 2).sum() + 0.5e-6 * (weights**2).sum()

    want = minimize(loss, np.zeros(3), method="BFGS", options={"gtol": 1e-8}).x
    got = fit([evidence(features, labels, [[0.0, 0.0]], [[0.0, 0.0]])]).weights

    np.testing.assert_allclose(got, want, atol=1e-4)


def test_relevance_is_the_probability_by_value():
    mode = ModeCalibration(weights=(-1.0, 2.0), unrelated=(0.0,) * 54, unanswerable=(0.5,))

    got = mode.relevance(np.array([[0.0], [0.5], [2.0]]))

    np.testing.assert_allclose(got, [1 / (1 + np.e), 0.5, 1 / (1 + np.exp(-3))])


def test_better_than_is_the_share_of_unrelated_text_below():
    unrelated = [[value] for value in np.linspace(0, 1, 1001)]
    mode = fit([evidence([0.0, 1.0], [False, True], unrelated)])

    got = mode.better_than(np.array([[-1.0], [0.0], [0.25], [0.5], [0.995], [1.0], [2.0]]))

    np.testing.assert_allclose(got, [0, 0, 0.25, 0.5, 0.995, 1, 1], atol=2e-3)


def test_a_score_above_equal_unrelated_ones_is_better_than_all_of_them():
    mode = fit([evidence([0.0, 1.0], [False, True], [[0.0]] * 50)])

    assert mode.better_than(np.array([[0.1]]))[0] == 1.0


@pytest.mark.parametrize(
    ("rate", "want"), [(0.1, 0.89), (0.5, 0.49), (0.01, 0.98), (0.001, 1.0), (0.99, 0.0)]
)
def test_the_threshold_is_the_conformal_quantile(rate, want):
    best = tuple(n / 100 for n in range(99))  # 0.00 … 0.98: (99 + 1) · 0.9 = the 90th is 0.89
    mode = ModeCalibration(weights=(0.0, 1.0), unrelated=(), unanswerable=best)

    assert mode.threshold(rate) == pytest.approx(want)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_the_stated_false_answer_rate_is_the_observed_one(rate):
    def question():
        features = [rng.normal(1.5), *rng.normal(size=4)]
        return evidence(features, [True] + [False] * 4, without=rng.normal(size=(5, 1)))

    def questions(count):
        return [question() for _ in range(count)]

    mode = fit(questions(1500))
    best = [mode.relevance(item.without).max() for item in questions(4000)]

    assert np.mean(np.array(best) > mode.threshold(rate)) == pytest.approx(rate, abs=0.02)


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, float("nan")])
def test_a_rate_out_of_range_is_refused(rate):
    mode = ModeCalibration(weights=(0.0, 1.0), unrelated=(), unanswerable=(0.5,))

    with pytest.raises(ValueError, match="false_answer_rate must be between 0 and 1"):
        mode.threshold(rate)


def test_without_right_hits_there_is_nothing_to_learn():
    with pytest.raises(ValueError, match="No question found a right hit"):
        fit([evidence([0.0, 1.0], [False, False])])


def test_where_all_hits_are_right_random_texts_stand_for_wrong_ones():
    mode = fit([evidence([0.8, 0.9], [True, True], [[0.0]] * 5)])

    assert mode.relevance(np.array([[0.9], [0.0]])) == pytest.approx([1, 0], abs=0.15)
    with pytest.raises(ValueError, match="no text beside the right hits"):
        fit([evidence([0.8], [True], np.empty((0, 1)))])


def test_other_sections_of_the_file_are_kept(tmp_path):
    write_section(tmp_path, "fusion", {"weight": 0.3})
    linked = tmp_path / "published.json"
    linked.hardlink_to(tmp_path / NAME)

    write_section(
        tmp_path, "relevance", {"modes": {}, "source": "golden", "questions": 1, "chunks": 2}
    )

    assert set(read_sections(tmp_path)) == {"fusion", "relevance"}
    assert json.loads(linked.read_text()) == {"fusion": {"weight": 0.3}}
    assert read_calibration(tmp_path).source == "golden"
    assert read_calibration(tmp_path / "none") is None


# In an index

TOPICS = [
    f"{a}{b}"
    for a in ("pass", "train", "tax", "cat", "rent")
    for b in ("alpha", "beta", "gamma", "delta")
]


def line(number):
    topic = TOPICS[number % len(TOPICS)]
    words = " ".join(f"{topic}{(number * 7 + n) % 50}" for n in range(12))
    return json.dumps(
        {"id": f"d{number}", "text": f"About {topic} number{number} it says {words}."}
    )


@pytest.fixture(scope="module")
def kb(tmp_path_factory, make_word_encoder):
    folder = tmp_path_factory.mktemp("calibrated") / "kb"
    build_index(["-"], folder, encoder=make_word_encoder(), lines=[line(n) for n in range(150)])
    return folder


def test_a_build_calibrates_what_is_large_enough(kb, make_word_encoder):
    index = open_index(kb, encoder=make_word_encoder())

    found = index.generation.calibration
    assert (found.source, found.chunks) == ("synthetic", 150)
    for mode in ("dense", "lexical", "hybrid"):
        hits = index.search(json.loads(line(5))["text"], 20, mode=mode)
        values = [hit.relevance for hit in hits]
        assert all(0 <= value <= 1 for value in values)
        assert all(0 <= hit.better_than <= 1 for hit in hits)
        assert hits[0].document == "d5"
        assert hits[0].relevance == max(values)
        assert hits[0].better_than > 0.9
        assert hits[0].score == hits[0].scores.last  # the raw one stays


def test_an_index_that_nothing_can_be_learned_from_is_not_tried_again_with_each_change(
    tmp_path, make_word_encoder, monkeypatch
):
    tried = []

    def nothing(*_, **__):
        tried.append(1)
        raise ValueError("No question found a right hit.")

    monkeypatch.setattr(indexing.calibrating, "calibrate", nothing)
    for count, times in ((150, 1), (151, 1), (200, 2)):
        lines = [line(number) for number in range(count)]
        build_index(["-"], tmp_path / "kb", encoder=make_word_encoder(), lines=lines)
        assert len(tried) == times

    index = open_index(tmp_path / "kb", encoder=make_word_encoder())
    assert [hit.relevance for hit in index.search("number5", 3)] == [None] * 3
    assert index.answer("number5").threshold is None


def test_scanning_finds_what_the_stores_find(tmp_path, make_word_encoder):
    lines = [line(number) for number in range(150)]
    build_index(["-"], tmp_path / "kb", encoder=make_word_encoder(), lines=lines[:120])
    build_index(["-"], tmp_path / "kb", encoder=make_word_encoder(), lines=lines[10:])
    generation = open_index(tmp_path / "kb", encoder=make_word_encoder()).generation
    assert generation.delta is not None
    assert len(generation.deleted)
    rng = np.random.default_rng(0)
    queries = rng.standard_normal((3, generation.manifest.encoder.dim)).astype(np.float32)

    got, want = generation.scan(queries, 20), generation.search(queries, 20)

    assert got.ids.tolist() == want.ids.tolist()
    np.testing.assert_allclose(got.scores, want.scores, rtol=1e-5)


def test_a_small_index_has_no_relevance(tmp_path, word_encoder):
    build_index(["-"], tmp_path / "kb", encoder=word_encoder, lines=[line(n) for n in range(20)])
    index = open_index(tmp_path / "kb", encoder=word_encoder)

    assert index.generation.calibration is None
    assert [hit.relevance for hit in index.search("number5", 3)] == [None] * 3


def test_synthetic_questions_are_about_their_chunk(kb, make_word_encoder):
    generation = open_index(kb, encoder=make_word_encoder()).generation

    made = synthetic_questions(generation, 30)

    assert len(made) == 30
    for question in made:
        (document,) = question.documents
        (chunk,) = generation.chunks_of(document)
        assert question.is_answered_by(chunk)
        own = set(chunk.text.replace(".", "").split())
        assert own & set(question.text.split())


def test_synthetic_questions_keep_some_words_and_take_others_from_the_index(kb, make_word_encoder):
    generation = open_index(kb, encoder=make_word_encoder()).generation
    chunks = generation.chunks(generation.chunk_ids().tolist()).values()
    everything = {word for chunk in chunks for word in chunk.text.replace(".", "").split()}

    made = synthetic_questions(generation, 150)

    kept, lengths = [], []
    for question in made:
        (chunk,) = generation.chunks_of(min(question.documents))
        own, said = chunk.text.replace(".", "").split(), question.text.split()
        assert set(said) <= everything
        kept.append(len(set(own) & set(said)) / len(set(own)))
        lengths.append(len(said) / len(own))
    # 16 of the 17 words make a question; words of other texts such as "it" stand in this one too.
    assert KEPT_WORDS * 16 / 17 - 0.02 < np.mean(kept) < KEPT_WORDS * 16 / 17 + 0.12
    left = (KEPT_WORDS + (1 - KEPT_WORDS) * STRANGE_WORDS) * 16 / 17
    assert np.mean(lengths) == pytest.approx(left, abs=0.02)


def test_chinese_is_kept_and_left_out_by_a_character_or_two(tmp_path, word_encoder):
    texts = [
        f"第{chr(0x4E00 + 37 * n)}个题目讲的是铁路票价与行李规定以及车站的开放时间"
        for n in range(30)
    ]
    lines = [json.dumps({"id": f"z{n}", "text": text}) for n, text in enumerate(texts)]
    build_index(["-"], tmp_path / "kb", encoder=word_encoder, lines=lines)
    generation = open_index(tmp_path / "kb", encoder=word_encoder).generation

    made = synthetic_questions(generation, 30)

    assert len(made) == 30
    assert all(" " not in question.text for question in made)
    assert len({question.text for question in made}) > 25


def test_golden_questions_take_the_place_of_synthetic_ones_and_stay(tmp_path, word_encoder):
    folder, lines = tmp_path / "kb", [line(n) for n in range(110)]
    build_index(["-"], folder, encoder=word_encoder, lines=lines)
    first = open_index(folder, encoder=word_encoder).generation
    before = {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in first.folder.rglob("*.*")}
    golden = [GoldenQuestion(question=f"what is number{n}", document=f"d{n}") for n in range(40)]

    made = calibrate_index(folder, word_encoder, golden)

    index = open_index(folder, encoder=word_encoder)
    fusion = fusion_for(first, word_encoder, golden_questions(golden))
    assert index.generation.fusion == fusion
    assert read_sections(index.generation.folder)["fusion"] == fusion.as_dict()
    assert index.generation.calibration == made
    assert (made.source, made.questions) == ("golden", 40)
    assert index.generation.manifest.generation == first.manifest.generation + 1
    assert {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in before} == before
    build_index(
        ["-"], folder, encoder=word_encoder, lines=lines + [line(n) for n in range(110, 190)]
    )
    rebuilt = open_index(folder, encoder=word_encoder).generation
    assert (rebuilt.calibration, rebuilt.fusion) == (made, fusion)


def test_a_synthetic_calibration_is_made_anew_when_the_index_has_grown(tmp_path, word_encoder):
    def chunks(count):
        lines = [line(n) for n in range(count)]
        build_index(["-"], tmp_path / "kb", encoder=word_encoder, lines=lines)
        return open_index(tmp_path / "kb", encoder=word_encoder).generation.calibration.chunks

    assert [chunks(n) for n in (100, 115, 140)] == [100, 100, 140]


def test_too_few_questions_are_refused(kb, word_encoder):
    golden = [GoldenQuestion(question="what", document="d1")]

    with pytest.raises(ValueError, match="needs at least 20 questions, got 1"):
        calibrate_index(kb, word_encoder, golden)


# What speaks for an answer


def test_the_evidence_is_weighed_by_value():
    rows = np.array([[0.5, 0.25, 0.6, 1.0, 0.1], [0.5, 0.25, 0.1, 1.0, 0.1], [0.0] * 5])

    got = answer_probability(rows, 0.2)

    odds = [-3.6 + 3.25 * 0.5 + 3.1 * 0.25 + 2.5 * near - 2.7 + 13 * 0.1 for near in (0.5, 0.0)]
    want = [1 / (1 + np.exp(-value)) for value in (*odds, -3.6)]
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_the_evidence_of_the_first_hits_is_what_it_is_said_to_be(kb, make_word_encoder):
    index = open_index(kb, encoder=make_word_encoder())
    query = json.loads(line(5))["text"] + " Nonsense."
    asked = index.ask(query)
    ids = [id_ for id_, _ in asked.ranked(Mode.HYBRID, 5)][:5]

    coverage, sentence, cosine, trust, lead = gather_evidence(asked, Mode.HYBRID, ids)

    worth = index.generation.lexical.worth(query)
    held = {term for term, *_, is_in in index.generation.lexical.terms(query, line(5)) if is_in}
    want = sum(worth[term] for term in held) / sum(worth.values())
    shares = asked.lexical_shares(ids)
    assert 0 < want < 1
    assert coverage == sentence == pytest.approx(want)
    assert cosine == pytest.approx(asked.cosines(ids).max())
    assert trust == 1.0
    assert lead == pytest.approx(max(shares) - np.mean(shares))


def test_words_alone_need_no_encoder(kb):
    index = open_index(kb)  # its encoder exists in the tests only, so that loading it would fail
    asked = index.ask("tax number5", mode="lexical")
    ids = list(asked.lexical(5))

    coverage, _, cosine, trust, _ = gather_evidence(asked, Mode.LEXICAL, ids)

    assert (coverage > 0, cosine, trust) == (True, 0.0, 0.0)


def test_without_hits_nothing_speaks_for_an_answer(kb, make_word_encoder):
    index = open_index(kb, encoder=make_word_encoder())

    answer = index.answer("tax", filter='path == "d5" and path == "d6"')

    assert (answer.is_found, answer.relevance) == (False, pytest.approx(1 / (1 + np.exp(3.6))))


def test_the_threshold_is_for_the_evidence_of_the_calibration(kb, make_word_encoder):
    encoder = make_word_encoder()
    index = open_index(kb, encoder=encoder)
    made = index.generation.calibration
    questions = synthetic_questions(index.generation)

    gathered = list(gather(index.generation, encoder, questions))

    for mode in ("dense", "lexical", "hybrid"):
        missed = np.array([found[mode].missed for found in gathered])
        want = np.sort(answer_probability(missed, made.unrelated_cosine))
        np.testing.assert_allclose(made.modes[mode].unanswerable, want, atol=1e-6)
    asked = questions[3].text
    ids = [hit.chunk for hit in index.search(asked, 5)]
    seen = gather_evidence(index.ask(asked), Mode.HYBRID, ids)
    want = answer_probability(seen[None], made.unrelated_cosine)[0]
    assert index.answer(asked).relevance == pytest.approx(want)


def test_a_threshold_of_an_earlier_version_is_for_the_best_hit(kb, make_word_encoder, tmp_path):
    index = open_index(kb, encoder=make_word_encoder())
    made = index.generation.calibration
    index.generation.__dict__["calibration"] = replace(made, unrelated_cosine=None)
    query = json.loads(line(5))["text"]

    best = max(hit.relevance for hit in index.search(query, 5))

    assert index.answer(query).relevance == best


# Rerankers


class Overlap:
    """Says how many of the query's words a text holds, but for a few that it is wrong about."""

    name = "overlap"

    def score(self, query, documents, *, time_limit_s=None):
        wanted = set(query.split())
        return np.array([len(wanted & set(text.split())) / 20 for text in documents], np.float32)


def asked_number(number):
    return json.loads(line(number))["text"].removesuffix(".")


@pytest.fixture(scope="module")
def reranked_kb(tmp_path_factory, make_word_encoder):
    folder = tmp_path_factory.mktemp("reranked") / "kb"
    build_index(["-"], folder, encoder=make_word_encoder(), lines=[line(n) for n in range(150)])
    golden = [GoldenQuestion(question=asked_number(n), document=f"d{n}") for n in range(40)]
    reranking = Reranking(model=Overlap(), depth=20)
    calibrate_index(folder, make_word_encoder(), golden, reranking=reranking)
    return open_index(folder, encoder=make_word_encoder())


def test_a_rerankers_scores_get_a_meaning_that_follows_their_order(reranked_kb):
    found = reranked_kb.generation.calibration
    assert (found.reranker, set(found.modes)) == (
        "overlap",
        {"dense", "lexical", "hybrid", "reranked"},
    )

    for number in (3, 77, 120):
        hits = reranked_kb.search(asked_number(number), 10, rerank=Overlap())

        said = np.array([hit.scores.rerank for hit in hits], np.float64)
        odds = np.log(said / (1 - said))[:, None]
        want = found.modes["reranked"].relevance(odds)
        assert [hit.relevance for hit in hits] == pytest.approx(want.tolist(), abs=1e-6)
        assert [hit.relevance for hit in hits] == sorted(want.tolist(), reverse=True)
        assert [hit.better_than for hit in hits] == sorted(
            (hit.better_than for hit in hits), reverse=True
        )
        assert (hits[0].document, hits[0].relevance > 0.5) == (f"d{number}", True)


def test_hits_that_the_reranker_did_not_read_are_judged_by_the_legs(reranked_kb):
    reranking = Reranking(model=Overlap(), depth=3)
    plain = {hit.chunk: hit.relevance for hit in reranked_kb.search(asked_number(3), 10)}

    hits = reranked_kb.search(asked_number(3), 10, rerank=reranking)

    assert [hit.scores.rerank is None for hit in hits] == [False] * 3 + [True] * 7
    assert [hit.relevance for hit in hits[3:]] == [plain[hit.chunk] for hit in hits[3:]]


def test_another_reranker_has_no_meaning_here_and_refuses_nothing(reranked_kb, kb):
    class Other(Overlap):
        name = "other"

    for folder, scorer in ((reranked_kb.folder, Other()), (kb, Overlap())):
        index = open_index(folder, encoder=reranked_kb.encoder)
        hits = index.search("entirely other matters altogether", 5, rerank=scorer)
        assert [(hit.relevance, hit.better_than) for hit in hits] == [(None, None)] * 5
        answer = index.answer("entirely other matters about tax", rerank=scorer)
        assert (answer.relevance, answer.threshold) == (None, None)
        assert answer.is_found


def test_an_answer_from_reranked_hits_has_a_threshold_of_its_own(reranked_kb):
    answer = reranked_kb.answer(asked_number(5), rerank=Overlap())
    refused = reranked_kb.answer("entirely other matters altogether", rerank=Overlap())

    modes = reranked_kb.generation.calibration.modes
    assert answer.threshold == modes["reranked"].threshold(FALSE_ANSWER_RATE)
    assert answer.threshold != modes["hybrid"].threshold(FALSE_ANSWER_RATE)
    assert answer.sentences[0].document == "d5"
    assert not refused.is_found


def test_a_calibration_that_was_kept_before_rerankers_had_a_meaning_is_read(kb):
    body = read_calibration(open_index(kb).generation.folder).as_dict()
    del body["reranker"]

    assert Calibration.from_dict(body).reranker is None


# Answers


def test_a_question_without_an_answer_is_refused_by_the_threshold(kb, make_word_encoder):
    index = open_index(kb, encoder=make_word_encoder())
    question = json.loads(line(60))["text"]  # that no other text repeats

    found = index.answer(question)
    refused = index.answer("entirely other matters altogether")

    assert found.is_found
    assert found.relevance > found.threshold
    best = found.sentences[0]
    assert (best.document, best.text) == (
        "d60",
        index.generation.text("d60")[best.start : best.end],
    )
    assert not refused.is_found
    assert refused.relevance <= refused.threshold
    assert refused.sentences == ()


def test_the_chosen_rate_moves_the_threshold(kb, make_word_encoder):
    index = open_index(kb, encoder=make_word_encoder())

    strict, loose = (index.answer("what is it", false_answer_rate=rate) for rate in (0.02, 0.9))

    assert strict.threshold > loose.threshold
    with pytest.raises(ValueError, match="false_answer_rate must be between 0 and 1"):
        index.answer("what is it", false_answer_rate=0)


def test_an_index_without_a_calibration_answers_always(tmp_path, word_encoder):
    build_index(["-"], tmp_path / "kb", encoder=word_encoder, lines=[line(n) for n in range(20)])
    index = open_index(tmp_path / "kb", encoder=word_encoder)

    answer = index.answer("what says number5")

    assert (answer.relevance, answer.threshold) == (None, None)
    assert answer.is_found
