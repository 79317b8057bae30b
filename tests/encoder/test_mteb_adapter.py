"""What mteb calls; with the package itself: `make mteb`."""

from types import SimpleNamespace

import numpy as np
import pytest

from encoder.mteb_adapter import MtebEncoder

TEXTS = ["a red fox", "blue whales dive", "stock prices fell"]
BATCHES = [{"text": TEXTS[:2], "title": ["", ""]}, {"text": TEXTS[2:]}]


@pytest.fixture(scope="module")
def model(default_encoder):
    templates = {"query": "query: {text}", "document": "passage: {text}", "sts": "like: {text}"}
    return MtebEncoder(default_encoder.with_templates(templates))


@pytest.mark.parametrize(
    ("kind", "role", "written"),
    [
        ("Retrieval", "query", "query: "),
        ("Retrieval", "document", "passage: "),
        ("STS", None, "like: "),
        ("PairClassification", None, "like: "),
        ("Clustering", None, "passage: "),
        ("BitextMining", None, "passage: "),
    ],
)
def test_texts_get_the_instruction_of_their_role_or_task(
    model, default_encoder, kind, role, written
):
    task = SimpleNamespace(type=kind)

    got = model.encode(
        BATCHES, task_metadata=task, hf_split="test", hf_subset="default", prompt_type=role
    )

    want = default_encoder.encode_documents([written + text for text in TEXTS])
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_similarities_are_cosines(model):
    rows = model.encoder.encode_documents(TEXTS)

    together = model.similarity(rows, rows[:2])

    assert together.shape == (3, 2)
    np.testing.assert_allclose(together, rows @ rows[:2].T, atol=1e-6)
    np.testing.assert_allclose(model.similarity_pairwise(rows, rows[::-1])[1], 1.0, atol=1e-5)
