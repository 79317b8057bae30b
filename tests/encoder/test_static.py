import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.parity_static import KINDS, TOLERANCE, differences, save_table
from encoder import describe_encoder, load_encoder
from encoder.report import EncodeReport
from encoder.word_vectors import UNKNOWN, WordTokenizer

RECORDED = json.loads((Path(__file__).parent / "model2vec.json").read_text("utf-8"))
WORDS = {
    "reset": [1, 0, 0, 2],
    "Password": [0, 1, 0, 0],
    "password": [0, 0, 3, 0],
    "密码": [0, 5, 0, 1],
    "密": [9, 9, 9, 9],
    "怎么": [1, 1, 0, 0],
    "重置": [0, 0, 0, 7],
    "san francisco": [2, 2, 2, 2],
    ",": [0.5, 0, 0, 0],
}


def vec_text(words=WORDS, head=True):
    lines = [f"{len(words)} 4"] if head else []
    lines += [f"{word} {' '.join(map(str, row))}" for word, row in words.items()]
    return "\n".join(lines) + "\n"


@pytest.fixture(autouse=True)
def _cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("ANGLER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def vec(tmp_path):
    path = tmp_path / "wiki.multi.vec"
    path.write_text(vec_text(), "utf-8")
    return path


def unit_mean(*words):
    row = np.mean([WORDS[word] for word in words], axis=0)
    return row / np.linalg.norm(row)


# model2vec


def test_tables_give_what_model2vec_gave(tmp_path):
    worst = differences(RECORDED, tmp_path)

    assert list(worst) == list(KINDS)
    assert {kind: value for kind, value in worst.items() if value > TOLERANCE[kind]} == {}


@pytest.mark.parametrize("nested", [False, True])
def test_sentence_transformers_own_tables(tmp_path, nested, texts):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer

    save_table("wordpiece", tmp_path / "words")
    tokenizer = Tokenizer.from_file(str(tmp_path / "words" / "tokenizer.json"))
    weights = np.random.default_rng(3).normal(size=(tokenizer.get_vocab_size(), 6))
    table = StaticEmbedding(tokenizer, embedding_weights=weights.astype(np.float32))
    SentenceTransformer(modules=[table], device="cpu").save(str(tmp_path / "st"))
    folder = tmp_path / "st"
    if nested:
        modules = json.loads((folder / "modules.json").read_text())
        place = folder / modules[0]["path"]
        (folder / "0_StaticEmbedding").mkdir(exist_ok=True)
        for name in ("model.safetensors", "tokenizer.json"):
            (place / name).rename(folder / "0_StaticEmbedding" / name)
        modules[0]["path"] = "0_StaticEmbedding"
        (folder / "modules.json").write_text(json.dumps(modules))
    peer = SentenceTransformer(modules=[table], device="cpu")
    shown = ["reset my password", "reset zzz", "怎么密", "!"]

    got = load_encoder(str(folder)).encode_documents(shown)

    want = peer.encode(shown, normalize_embeddings=True)
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_what_is_said_of_a_table(tmp_path):
    save_table("wordpiece", tmp_path / "potion-base-8M")
    save_table("mapped", tmp_path / "other")
    (tmp_path / "other" / "config.json").write_text('{"model_type":"model2vec","max_length":7}')

    known, other = (describe_encoder(str(tmp_path / name)) for name in ("potion-base-8M", "other"))

    assert (known.languages, known.spec.max_tokens, known.spec.dim) == (("en",), 512, 12)
    assert (other.spec.max_tokens, other.spec.pooling) == (7, "mean")
    assert other.sources["max_tokens"] == "config.json"
    assert known.spec.fingerprint != other.spec.fingerprint


def test_a_text_of_which_the_table_knows_nothing_is_zero(tmp_path):
    save_table("wordpiece", tmp_path)

    rows = load_encoder(str(tmp_path)).encode_documents(["", "zzz", "reset"])

    assert np.abs(rows[:2]).max() == 0
    assert np.linalg.norm(rows[2]) == pytest.approx(1)


def test_a_table_can_be_cut_and_a_text_too(tmp_path):
    save_table("wordpiece", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "model2vec", "max_length": 2}')
    report = EncodeReport()

    whole = load_encoder(str(tmp_path))
    rows = whole.encode_documents(["reset my password", "reset my"], report=report)
    cut = load_encoder(str(tmp_path), dim=5).encode_documents(["reset my"])

    np.testing.assert_array_equal(rows[0], rows[1])
    assert (report.truncated.count, report.truncated.first) == (1, [0])
    want = rows[1, :5] / np.linalg.norm(rows[1, :5])
    np.testing.assert_allclose(cut[0], want, atol=1e-6)


def test_it_is_an_encoder_as_any_other(tmp_path):
    save_table("wordpiece", tmp_path)
    encoder = load_encoder(str(tmp_path), backend="static")

    assert encoder.engine == "static float32 on cpu"
    assert encoder.count_tokens(["reset, my password"]) == [4]
    assert encoder.token_spans("reset, my") == [(0, 5), (5, 6), (7, 9)]
    assert encoder.unknown_share("reset zzz") == 0.5
    (array,) = encoder.encode_tokens(["reset my"])
    assert array.shape == (2, 12)
    texts = ["reset", "my password", "the how"] * 500
    rows = encoder.encode_documents(texts)
    np.testing.assert_array_equal(rows[3:6], encoder.encode_documents(texts[:3]))


# Word vectors


@pytest.mark.parametrize("head", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_a_text_is_the_mean_of_its_words(tmp_path, head, packed):
    path = tmp_path / ("words.vec.gz" if packed else "words.vec")
    content = vec_text(head=head).encode()
    path.write_bytes(gzip.compress(content) if packed else content)

    for _ in range(2):  # the second time from what was kept
        rows = load_encoder(str(path)).encode_documents(
            ["reset Password", "RESET the password", "怎么重置密码？", "reset, reset", "", "zzz"]
        )

    want = [
        unit_mean("reset", "Password"),
        unit_mean("reset", "password"),
        unit_mean("怎么", "重置", "密码"),
        unit_mean("reset", ",", "reset"),
        np.zeros(4),
        np.zeros(4),
    ]
    np.testing.assert_allclose(rows, want, atol=1e-6)


def test_words_are_found_as_written_then_in_lower_case_and_the_longest_first(vec):
    encoder = load_encoder(str(vec))
    text = "Reset 密码密x"

    assert encoder.token_spans(text) == [(0, 5), (6, 8), (8, 9), (9, 10)]
    assert encoder.count_tokens([text]) == [4]
    assert encoder.unknown_share(text) == pytest.approx(1 / 4)
    assert encoder.unknown_share("reset !!!") == 0
    assert encoder.unknown_share("") == 0
    assert encoder.spec.name == str(vec)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_places_are_in_order_and_cover_all_but_blanks(text):
    spans = WordTokenizer(list(WORDS)).spans(text)

    places = [place for start, end in spans for place in range(start, end)]
    assert places == sorted(set(places))
    left = [character for place, character in enumerate(text) if place not in set(places)]
    assert "".join(left).strip() == ""


@given(st.text("密码怎么重置ab ,", max_size=12))
def test_chinese_is_cut_greedily(text):
    tokenizer = WordTokenizer(list(WORDS))
    known = set(WORDS)
    for token, (start, end) in tokenizer._tokens(text):
        piece = text[start:end]
        assert (token == UNKNOWN) == (piece not in known and piece.lower() not in known)
        if piece[0] in "密码怎么重置":
            rest = text[start:]
            run = next((n for n, c in enumerate(rest) if c not in "密码怎么重置"), len(rest))
            longer = [rest[:n] for n in range(len(piece) + 1, run + 1)]
            assert not any(word in known for word in longer)


def test_the_first_of_two_equal_words_counts(tmp_path):
    path = tmp_path / "twice.vec"
    path.write_text("3 2\na 1 0\nb 0 1\na 0 5\n")

    rows = load_encoder(str(path)).encode_documents(["a", "b"])

    np.testing.assert_allclose(rows, [[1, 0], [0, 1]], atol=1e-7)


def test_word_vectors_work_where_nothing_can_be_kept(vec, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ANGLER_CACHE", str(tmp_path / "file"))

    rows = load_encoder(str(vec)).encode_documents(["reset"])

    np.testing.assert_allclose(rows, [unit_mean("reset")], atol=1e-6)


def test_another_file_under_the_same_name_is_another_encoder(vec):
    before = describe_encoder(str(vec)).spec
    vec.write_text(vec_text({**WORDS, "reset": [7, 7, 7, 7]}), "utf-8")

    assert describe_encoder(str(vec)).spec.fingerprint != before.fingerprint
    np.testing.assert_allclose(
        load_encoder(str(vec)).encode_documents(["reset"]), np.full((1, 4), 0.5), atol=1e-6
    )


# Bad input


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "its first line holds no vector"),
        (b"2 2\na 1 0\nb 1\n", "line 3: expected a word and 2 numbers"),
        (b"2 2\na 1 x\n", "line 2: expected a word and 2 numbers"),
        (b"2 2\na 1 nan\n", "line 2: expected a word and 2 numbers"),
        (b"2 2\n", "holds no word"),
    ],
)
def test_a_damaged_file_of_word_vectors(tmp_path, content, sentence):
    path = tmp_path / "words.vec"
    path.write_bytes(content)

    with pytest.raises(ValueError, match=sentence):
        load_encoder(str(path))


def test_a_packed_file_that_breaks_off(tmp_path):
    path = tmp_path / "words.vec.gz"
    path.write_bytes(gzip.compress(vec_text().encode())[:-12])

    with pytest.raises(ValueError, match="cannot be read"):
        load_encoder(str(path))


def test_a_file_that_is_no_model(tmp_path):
    path = tmp_path / "model.bin"
    path.write_bytes(b"x")

    with pytest.raises(
        ValueError, match=r"is a file, and no file of word vectors \(.vec, .vec.gz\)"
    ):
        load_encoder(str(path))


def test_a_damaged_table(tmp_path):
    save_table("wordpiece", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(ValueError, match="holds no table of vectors"):
        load_encoder(str(tmp_path))

    save_table("wordpiece", tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"tokenizer.json is damaged"):
        load_encoder(str(tmp_path))

    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"no whole table of vectors: it holds no tokenizer.json"):
        load_encoder(str(tmp_path))


def test_a_table_that_is_smaller_than_its_tokenizer(tmp_path):
    from safetensors.numpy import save_file

    save_table("wordpiece", tmp_path)
    save_file({"embeddings": np.ones((3, 12), np.float32)}, tmp_path / "model.safetensors")

    with pytest.raises(
        ValueError, match="has vectors for 3 tokens, but the tokenizer beside it has 15"
    ):
        load_encoder(str(tmp_path))


@pytest.mark.parametrize(
    ("choices", "sentence"),
    [
        ({"dim": 5}, "dim must be between 1 and 4"),
        ({"device": "cuda"}, "device must be auto or cpu, got 'cuda'"),
        ({"backend": "torch"}, "backend must be auto or static, got 'torch'"),
        ({"dtype": "int8"}, "dtype must be auto or float32, got 'int8'"),
    ],
)
def test_wrong_choices(vec, choices, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_encoder(str(vec), **choices)
