import pytest

from indexing.fusion import Fusion
from indexing.fusion_choice import CANDIDATES, Judged, choose_fusion


def question(right_leg, number):
    """One leg has the right one first, the other has it nowhere."""
    right = {1000 + number: 1.0, 1: 0.5, 2: 0.1}
    wrong = {n: 1.0 - n / 100 for n in range(10, 60)}
    dense, lexical = (right, wrong) if right_leg == "dense" else (wrong, right)
    return Judged(dense, lexical, 0.0, {1000 + number: 1})


def test_the_leg_that_is_right_gets_the_say():
    dense = choose_fusion([question("dense", n) for n in range(40)])
    lexical = choose_fusion([question("lexical", n) for n in range(40)])

    assert dense.dense_share > 0.5
    assert lexical.dense_share <= 0.5


def test_the_default_stands_where_a_lead_may_be_chance():
    mixed = [question("dense", 1), question("lexical", 2)]

    assert choose_fusion([question("dense", 1)]) == Fusion()
    assert choose_fusion(mixed * 2) == Fusion()


def test_the_default_is_among_the_candidates_and_survives_json():
    assert Fusion() in CANDIDATES
    assert [Fusion.from_dict(fusion.as_dict()) for fusion in CANDIDATES] == list(CANDIDATES)


def test_no_question_is_an_error():
    with pytest.raises(ValueError, match="one question or more"):
        choose_fusion([])
