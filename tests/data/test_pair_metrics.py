import gzip

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import average_precision_score, f1_score

from data.pair_files import load_labelled_pairs
from data.pair_metrics import average_ranks, evaluate_pairs

_SCORES = st.lists(st.sampled_from([-0.5, 0.0, 0.1, 0.25, 0.5, 0.9]), min_size=3, max_size=20)


@given(_SCORES, st.data())
def test_correlations_are_scipys(scores, data):
    labels = data.draw(
        st.lists(st.integers(0, 5), min_size=len(scores), max_size=len(scores)), label="labels"
    )
    assume(len(set(scores)) > 1 and len(set(labels)) > 1)

    got = evaluate_pairs(scores, labels)

    assert got["spearman"] == pytest.approx(stats.spearmanr(scores, labels).statistic, abs=1e-9)
    assert got["pearson"] == pytest.approx(stats.pearsonr(scores, labels).statistic, abs=1e-9)
    np.testing.assert_allclose(average_ranks(np.array(scores)), stats.rankdata(scores))


@given(_SCORES, st.data())
def test_accuracy_f1_and_precision_are_sklearns_best(scores, data):
    labels = data.draw(
        st.lists(st.integers(0, 1), min_size=len(scores), max_size=len(scores)), label="labels"
    )
    assume(len(set(labels)) == 2)

    got = evaluate_pairs(scores, labels)

    gold, values = np.array(labels), np.array(scores)
    cuts = [*set(scores), max(scores) + 1]
    accuracy = max(float(((values >= cut) == gold).mean()) for cut in cuts)
    f1 = max(f1_score(gold, values >= cut, zero_division=0) for cut in cuts)
    assert got["accuracy"] == pytest.approx(accuracy)
    assert got["f1"] == pytest.approx(f1)
    assert got["ap"] == pytest.approx(average_precision_score(gold, values))


def test_similarities_without_variation_correlate_with_nothing():
    assert evaluate_pairs([0.5] * 4, [0, 1, 2, 3]) == {"spearman": 0.0, "pearson": 0.0}


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([], [], "two or more"),
        ([1.0], [1], "two or more"),
        ([1.0, 2.0], [1], "got 2 and 1"),
        ([1.0, 2.0], [3, 3], "label 3; nothing"),
    ],
)
def test_pairs_that_say_nothing_are_refused(scores, labels, message):
    with pytest.raises(ValueError, match=message):
        evaluate_pairs(scores, labels)


# Files


def test_plain_and_gzipped_files_are_read_alike(tmp_path):
    lines = (
        '{"text1": "a", "text2": "乙", "label": 1, "id": 7}\n\n'
        '{"text1": "", "text2": "b", "label": 2.5}\n'
    )
    (tmp_path / "x.jsonl").write_text(lines, "utf-8")
    with gzip.open(tmp_path / "x.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(lines)

    got = load_labelled_pairs(tmp_path / "x.jsonl")

    assert got == [("a", "乙", 1.0), ("", "b", 2.5)]
    assert load_labelled_pairs(tmp_path / "x.jsonl.gz") == got


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text1": "a", "label": 1}', "Line 1 has no 'text2'"),
        ('{"text1": "a", "text2": "b", "label": "entailment"}', "must be a number"),
        ('{"text1": "a", "text2": "b", "label": true}', "must be a number"),
        ('{"text1": 1, "text2": "b", "label": 1}', "'text1' must be a string"),
        ("no json", "is not JSON"),
        ("", "holds no pair"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(tmp_path, line, message):
    (tmp_path / "x.jsonl").write_text(line, "utf-8")

    with pytest.raises(ValueError, match=message):
        load_labelled_pairs(tmp_path / "x.jsonl")
