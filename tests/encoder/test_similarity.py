import numpy as np
import pytest

from encoder import compare

SOURCE = "吃完海鲜可以喝牛奶吗?"
TEXTS = ["不可以，早晨喝牛奶不科学", "吃了海鲜后是不能再喝牛奶的", SOURCE]


def by_hand(encoder, source, texts, encode):
    rows = encode([source, *texts]).astype(np.float64)
    return [float(rows[0] @ row / np.sqrt((rows[0] @ rows[0]) * (row @ row))) for row in rows[1:]]


def test_scores_are_cosines_with_the_first_text(default_encoder):
    found = compare(default_encoder, SOURCE, TEXTS)

    want = by_hand(default_encoder, SOURCE, TEXTS, default_encoder.encode_documents)
    np.testing.assert_allclose(found.scores, want, atol=1e-6)
    assert found.scores[2] == pytest.approx(1, abs=1e-6)
    assert found.text_embedding.shape == (4, 384)
    np.testing.assert_allclose(
        found.text_embedding, default_encoder.encode_documents([SOURCE, *TEXTS]), atol=1e-6
    )
    assert found.text_embedding.dtype == found.scores.dtype == np.float32


def test_the_shape_of_modelscopes_pipeline(default_encoder):
    result = compare(default_encoder, "a", ["b", "c"]).as_dict()

    assert list(result) == ["text_embedding", "scores"]
    assert result["text_embedding"].shape == (3, 384)
    assert [type(score) for score in result["scores"]] == [float, float]


def test_a_source_alone_has_no_scores(default_encoder):
    found = compare(default_encoder, "a")

    assert found.text_embedding.shape == (1, 384)
    assert found.as_dict()["scores"] == []


def test_texts_of_one_kind_get_one_instruction(small_encoder):
    # As E5: both roles have an instruction, and the authors take the query's for both sides.
    encoder = small_encoder("bert-mean")
    found = compare(encoder, "a b", ["a c", "d"])
    np.testing.assert_allclose(
        found.scores, by_hand(encoder, "a b", ["a c", "d"], encoder.encode_queries), atol=1e-6
    )

    with_task = encoder.with_templates({"sts": "alike: {text}"})
    found = compare(with_task, "a b", ["a c", "d"])
    bare = encoder.with_templates({"query": "{text}", "document": "{text}"})
    want = bare.encode_documents(["alike: a b", "alike: a c", "alike: d"])
    np.testing.assert_allclose(found.text_embedding, want, atol=1e-6)
    np.testing.assert_allclose(
        compare(with_task, "a", ["b"], task="query").text_embedding,
        encoder.encode_queries(["a", "b"]),
        atol=1e-6,
    )


def test_wrong_input(default_encoder):
    with pytest.raises(TypeError, match="source must be a string, got list"):
        compare(default_encoder, ["a"], ["b"])
    with pytest.raises(TypeError, match="put it in a list"):
        compare(default_encoder, "a", "b")
    with pytest.raises(TypeError, match=r"texts\[1\] must be a string, got NoneType"):
        compare(default_encoder, "a", ["b", None])
    with pytest.raises(ValueError, match="has no task 'nonsense'"):
        compare(default_encoder, "a", ["b"], task="nonsense")
