import numpy as np
import pytest
import torch

from benchmarks.tiny_models import WIDTH, add_m3_heads, save_tiny_model
from encoder import load_encoder, mixed_scores
from encoder.heads import TokenHeads, lexical_score, max_sim

TEXTS = ["reset my password", "怎么重置密码？", "a", "reset my password"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("heads") / "bge-m3"
    save_tiny_model("xlm-roberta", made)
    add_m3_heads(made)
    return made


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(str(folder), device="cpu", backend="torch")


def test_the_dense_head_is_that_of_the_encoder(encoder):
    got = encoder.encode_heads(TEXTS)

    np.testing.assert_allclose(got.dense, encoder.encode_documents(TEXTS), rtol=0, atol=1e-6)


def test_the_other_heads_follow_their_formula(encoder, folder):
    sparse = torch.load(folder / "sparse_linear.pt", weights_only=True)
    multi = torch.load(folder / "colbert_linear.pt", weights_only=True)
    got = encoder.encode_heads(TEXTS)

    for text, rows in enumerate(encoder.encode_tokens(TEXTS)):
        vectors = torch.from_numpy(rows)
        weights = torch.relu(vectors @ sparse["weight"].T + sparse["bias"])[:, 0]
        want = {}
        for token, weight in zip(ids(encoder, TEXTS[text]), weights.tolist(), strict=True):
            if token > 3 and weight > 0:  # the first four stand for no word
                want[token] = max(weight, want.get(token, 0))
        assert got.lexical[text] == pytest.approx(want, abs=1e-5)
        unit = torch.nn.functional.normalize(vectors[1:] @ multi["weight"].T + multi["bias"], dim=1)
        np.testing.assert_allclose(got.multi[text], unit.numpy(), rtol=0, atol=1e-5)


def ids(encoder, text):
    return encoder._tokenizer.encode([text], "{text}", encoder.spec)[0].ids


def test_a_tokenizer_that_was_kept_knows_its_marks(encoder, folder):
    again = load_encoder(str(folder), device="cpu", backend="torch")

    assert again._tokenizer.marks == encoder._tokenizer.marks == {0, 1, 2, 3}
    assert again.encode_heads(TEXTS).lexical == encoder.encode_heads(TEXTS).lexical


def test_a_repeated_word_counts_once_with_its_largest_weight():
    heads = TokenHeads(
        (np.array([[1.0]]), np.array([0.0])), (np.eye(1), np.zeros(1)), frozenset({0, 2})
    )
    rows = np.array([[9.0], [0.5], [2.0], [-1.0], [9.0]], dtype=np.float32)

    assert heads.lexical(rows, [0, 7, 7, 8, 2]) == {7: 2.0}
    assert heads.multi(rows).tolist() == [[1.0], [1.0], [-1.0], [1.0]]


def test_scores_by_hand():
    assert lexical_score({1: 0.5, 2: 1.0}, {2: 0.25, 3: 9.0}) == 0.25
    assert max_sim(np.eye(2), np.array([[0.0, 1.0], [0.6, 0.8]])) == pytest.approx(0.8)
    assert max_sim(np.zeros((0, 2)), np.eye(2)) == 0.0


@pytest.mark.parametrize("weights", [(1, 1, 1), (0.4, 0.2, 0.4), (1, 0, 0), (0, 0, 3)])
def test_mixed_scores_are_the_weighted_mean_of_the_three(encoder, weights):
    queries, documents = encoder.encode_heads(TEXTS[:2]), encoder.encode_heads(TEXTS)
    each = [mixed_scores(queries, documents, tuple(row)) for row in np.eye(3)]
    want = sum(weight * scores for weight, scores in zip(weights, each, strict=True)) / sum(weights)

    np.testing.assert_allclose(mixed_scores(queries, documents, weights), want, rtol=0, atol=1e-5)
    assert each[0].shape == (2, 4)
    assert each[1][1, 2] == pytest.approx(lexical_score(queries.lexical[1], documents.lexical[2]))


@pytest.mark.parametrize("weights", [(0, 0, 0), (1, -1, 1)])
def test_impossible_weights_are_refused(encoder, weights):
    found = encoder.encode_heads(["a"])

    with pytest.raises(ValueError, match="must not be negative nor all 0"):
        mixed_scores(found, found, weights)


def test_no_texts_make_no_rows(encoder):
    got = encoder.encode_heads([])

    assert (got.dense.shape, got.lexical, got.multi) == ((0, WIDTH), [], [])


def test_a_model_without_them_says_so(default_encoder):
    with pytest.raises(TypeError, match="has a dense head only; bge-m3 has others"):
        default_encoder.encode_heads(["a"])


def test_damaged_heads_are_a_sentence(tmp_path):
    save_tiny_model("xlm-roberta", tmp_path)
    add_m3_heads(tmp_path)
    (tmp_path / "sparse_linear.pt").write_bytes(b"nothing")

    with pytest.raises(ValueError, match=r"sparse_linear\.pt cannot be loaded: "):
        load_encoder(str(tmp_path), device="cpu", backend="torch")
