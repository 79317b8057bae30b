from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder import ModelNotFoundError, load_encoder, load_reranker
from encoder.pairs import TEMPLATES
from encoder.registry import find_row
from encoder.rerankers import CROSS_ENCODER, find_reranker, known_rerankers

CROSS = ("bert", "xlm-roberta", "roberta", "modernbert", "distilbert")
ASKED = ("qwen3", "gemma")
PAIRS = [
    ("reset my password", "Press Forgot and follow the letter."),
    ("怎么重置密码？", "点击忘记密码，然后按邮件操作。"),
    ("a", ""),
    ("", "an empty query still has its marks"),
    ("{document} {query}", "braces {instruction} are text"),
    ("opening hours", "We open at nine. " * 3),
    ("reset my password", "We open at nine."),
]
MAX_TOKENS = 96


def _corpus():
    texts = [text for pair in PAIRS for text in pair]
    return texts + [segment for template in TEMPLATES.values() for segment in template.segments]


def _fast(tokenizer, pair, *, marks=(), **names):
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    if pair:
        single, double = pair
        tokenizer.post_processor = TemplateProcessing(
            single=single, pair=double, special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        **names,
    )
    if marks:
        fast.add_special_tokens({"additional_special_tokens": list(marks)})
    return fast


def _byte_level(pair, *, words=(), marks=()):
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=500,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(
        [*_corpus(), *[word for word in words for _ in range(99)]], trainer
    )
    return _fast(tokenizer, pair, marks=marks)


def _unigram(pair):
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=250,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(), trainer)
    return _fast(tokenizer, pair)


def _wordpiece():
    from transformers import AutoTokenizer

    from encoder.model_folder import find_model_folder

    return AutoTokenizer.from_pretrained(find_model_folder(None))


def _tokenizer(kind):
    doubled = ("<s> $A </s>", "<s> $A </s> </s> $B </s>")
    if kind in {"bert", "distilbert"}:
        return _wordpiece()
    if kind == "xlm-roberta":
        return _unigram(doubled)
    if kind == "roberta":
        return _byte_level(doubled)
    if kind == "modernbert":
        return _byte_level(("<s> $A </s>", "<s> $A </s> $B </s>"))
    marks = ("<|im_start|>", "<|im_end|>") if kind == "qwen3" else ()
    # Gemma's tokenizer begins each text with its mark, Qwen's adds none.
    pair = ("<s> $A", "<s> $A $B") if kind == "gemma" else None
    return _byte_level(pair, words=("yes", "no", "Yes", "No"), marks=marks)


def _config(kind, tokenizer):
    import transformers

    classes = {
        "bert": transformers.BertConfig,
        "distilbert": transformers.DistilBertConfig,
        "xlm-roberta": transformers.XLMRobertaConfig,
        "roberta": transformers.RobertaConfig,
        "modernbert": transformers.ModernBertConfig,
        "qwen3": transformers.Qwen3Config,
        "gemma": transformers.GemmaConfig,
    }
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    if kind == "distilbert":
        shape = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
    if kind in ASKED:
        shape |= {"num_key_value_heads": 1, "head_dim": 8}
    return classes[kind](
        vocab_size=len(tokenizer),
        intermediate_size=32,
        # RoBERTa's positions begin behind the padding's.
        max_position_embeddings=MAX_TOKENS + (2 if kind in {"roberta", "xlm-roberta"} else 0)
        if kind in CROSS
        else 512,
        initializer_range=0.3,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        num_labels=1,
        **shape,
    )


def _save(kind, folder):
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    tokenizer = _tokenizer(kind)
    torch.manual_seed(11)
    family = AutoModelForCausalLM if kind in ASKED else AutoModelForSequenceClassification
    family.from_config(_config(kind, tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def folder_of(tmp_path_factory):
    return cache(lambda kind: _save(kind, tmp_path_factory.mktemp("rerankers") / kind))


@pytest.fixture(scope="session")
def reranker_of(folder_of):
    return cache(lambda kind: load_reranker(str(folder_of(kind)), device="cpu", backend="torch"))


@pytest.fixture(params=[*CROSS, *ASKED])
def kind(request):
    return request.param


def sigmoid(values):
    return 1 / (1 + np.exp(-np.asarray(values, np.float64)))


def _direct(kind, folder, pairs):
    """Each pair alone through the whole model, in the words of the model's card."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    scores = []
    for query, document in pairs:
        ids = _asked_as_on_the_card(kind, tokenizer, query, document)
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
        if kind == "gemma":
            yes = tokenizer("Yes", add_special_tokens=False)["input_ids"][0]
            scores.append(float(logits[yes]))
        else:
            answers = tokenizer.convert_tokens_to_ids(["no", "yes"])
            chance = torch.log_softmax(logits[answers].double(), 0)[1].exp()
            scores.append(float(torch.logit(chance)))
    return scores


def _asked_as_on_the_card(kind, tokenizer, query, document):
    def plain(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    if kind == "gemma":
        prompt = (
            "Given a query A and a passage B, determine whether the passage contains an answer to "
            "the query by providing a prediction of either 'Yes' or 'No'."
        )
        ids = [tokenizer.bos_token_id, *plain(f"A: {query}"), *plain("\n")]
        return [*ids, *plain(f"B: {document}"), *plain("\n"), *plain(prompt)]
    task = "Given a web search query, retrieve relevant passages that answer the query"
    prefix = (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query "
        'and the Instruct provided. Note that the answer can only be "yes" or "no".<|im_end|>\n'
        "<|im_start|>user\n"
    )
    suffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    body = f"<Instruct>: {task}\n<Query>: {query}\n<Document>: {document}"
    return [*plain(prefix), *plain(body), *plain(suffix)]


# Parity


@pytest.mark.parametrize("kind", CROSS)
def test_a_cross_encoder_scores_as_sentence_transformers(kind, folder_of, reranker_of):
    from sentence_transformers import CrossEncoder

    peer = CrossEncoder(str(folder_of(kind)), device="cpu", local_files_only=True)
    raw = peer.predict(PAIRS, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    reranker = reranker_of(kind)

    np.testing.assert_allclose(reranker.compute_score(PAIRS), raw, atol=1e-5)
    np.testing.assert_allclose(
        reranker.compute_score(PAIRS, normalize=True), sigmoid(raw), atol=1e-5
    )
    assert np.ptp(raw) > 0.01
    assert reranker.kind == CROSS_ENCODER


@pytest.mark.parametrize("kind", ASKED)
def test_a_language_model_scores_as_its_card_says(kind, folder_of, reranker_of):
    want = _direct(kind, folder_of(kind), PAIRS)
    reranker = reranker_of(kind)

    np.testing.assert_allclose(reranker.compute_score(PAIRS), want, atol=1e-5)
    np.testing.assert_allclose(
        reranker.compute_score(PAIRS, normalize=True), sigmoid(want), atol=1e-5
    )
    assert np.ptp(want) > 0.01
    assert reranker.kind == {"qwen3": "qwen3", "gemma": "bge-gemma"}[kind]


def test_another_instruction_is_asked(folder_of, reranker_of):
    template = replace(TEMPLATES["qwen3"], instruction="find {query} the same")
    other = load_reranker(str(folder_of("qwen3")), template=template, device="cpu")

    got, usual = other.compute_score(PAIRS[:1]), reranker_of("qwen3").compute_score(PAIRS[:1])

    assert abs(got[0] - usual[0]) > 1e-4


def test_a_pair_scores_the_same_in_any_batch(kind, reranker_of):
    reranker = reranker_of(kind)

    together = reranker.compute_score(PAIRS)
    alone = [reranker.compute_score(pair) for pair in PAIRS]

    np.testing.assert_allclose(together, alone, atol=1e-5)
    np.testing.assert_allclose(reranker.compute_score(PAIRS[::-1]), together[::-1], atol=1e-5)


# Through OpenVINO


@pytest.fixture(scope="session")
def converted_of(folder_of):
    def load(kind):
        return load_reranker(
            str(folder_of(kind)), device="cpu", backend="openvino", dtype="float32"
        )

    return cache(load)


@pytest.mark.parametrize("kind", CROSS)
def test_openvino_gives_torchs_scores(kind, converted_of, reranker_of):
    reranker = converted_of(kind)
    pairs = PAIRS * 5  # several batches, which run at once

    want = reranker_of(kind).compute_score(pairs)

    np.testing.assert_allclose(reranker.compute_score(pairs), want, atol=1e-5)
    np.testing.assert_allclose(reranker.compute_score(PAIRS[1]), want[1], atol=1e-5)
    assert reranker.engine == "openvino float32 on cpu"


def test_a_bert_reranker_is_told_which_text_is_which(converted_of):
    one, other = ("reset my password", "press"), ("press", "reset my password")
    reranker = converted_of("bert")

    (tokens,) = reranker._tokenizer.encode([one])

    assert set(tokens.types) == {0, 1}
    assert abs(reranker.compute_score(one) - reranker.compute_score(other)) > 1e-3


def test_a_cross_encoder_takes_openvino_by_itself_and_a_language_model_torch(folder_of):
    for kind, engine in (("xlm-roberta", "openvino"), ("qwen3", "torch")):
        reranker = load_reranker(str(folder_of(kind)), device="cpu")
        assert reranker.engine == f"{engine} float32 on cpu"


def test_sixteen_bits_through_openvino_keep_the_scores_near(folder_of, reranker_of):
    reranker = load_reranker(
        str(folder_of("bert")), device="cpu", backend="openvino", dtype="bfloat16"
    )

    want = reranker_of("bert").compute_score(PAIRS, normalize=True)
    got = reranker.compute_score(PAIRS, normalize=True)
    np.testing.assert_allclose(got, want, atol=0.03)
    assert reranker.engine == "openvino bfloat16 on cpu"


def test_a_converted_reranker_is_kept(folder_of, converted_of, monkeypatch):
    from encoder.backends import openvino_pairs

    want = converted_of("bert").compute_score(PAIRS)
    monkeypatch.setattr(openvino_pairs, "converted", None)  # converting again would fail

    again = load_reranker(str(folder_of("bert")), device="cpu", backend="openvino")

    assert again.compute_score(PAIRS) == want


def test_a_reranker_that_does_not_convert_runs_on_torch(folder_of, reranker_of, monkeypatch):
    from encoder.backends import openvino_pairs
    from encoder.backends.openvino import CannotRunError

    def refuse(*_):
        raise CannotRunError("no such operation")

    monkeypatch.setattr(openvino_pairs, "load_pair_graph", lambda *_, **__: refuse())
    name = str(folder_of("bert"))

    assert load_reranker(name, device="cpu").engine == "torch float32 on cpu"
    with pytest.raises(ValueError, match=r"cannot run this model \(no such operation\); load it"):
        load_reranker(name, device="cpu", backend="openvino")


def test_scores_that_are_not_finite_are_no_scores(folder_of, tmp_path):
    import shutil

    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folder_of("bert"), tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    weights["classifier.bias"][:] = torch.nan
    save_file(weights, folder / "model.safetensors", {"format": "pt"})

    for backend in ("torch", "openvino"):
        reranker = load_reranker(str(folder), device="cpu", backend=backend)
        with pytest.raises(ArithmeticError, match="scores that are not finite"):
            reranker.compute_score(PAIRS)


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        ("bert", {"backend": "onnx"}, "Unknown backend 'onnx'. Known: auto, torch, openvino"),
        ("bert", {"backend": "openvino", "dtype": "float16"}, "float32, bfloat16 and int8, not fl"),
        ("qwen3", {"backend": "openvino"}, "runs cross-encoders, no language models"),
    ],
)
def test_what_openvino_does_not_run(folder_of, kind, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_reranker(str(folder_of(kind)), device="cpu", **arguments)


# Cutting


def _decoded(reranker, pair):
    (tokens,) = reranker._tokenizer.encode([pair])
    text = reranker._tokenizer._backend.decode(tokens.ids, skip_special_tokens=False)
    # A tokenizer without a decoder shows its pieces, and blanks as ▁.
    return tokens, text.replace(" ", "").replace("▁", " ") if "▁" in text else text


def test_a_long_document_is_cut_at_its_end_and_the_query_stays(kind, folder_of):
    reranker = load_reranker(
        str(folder_of(kind)), device="cpu", max_tokens=200 if kind in ASKED else 40
    )
    query, document = "where is the hidden entrance", "first words " + "then more words " * 200

    tokens, text = _decoded(reranker, (query, document))

    assert len(tokens.ids) == (200 if kind in ASKED else 40)
    assert tokens.dropped > 300
    assert query in text
    assert "first words" in text
    full, _ = _decoded(reranker, (query, "first words"))
    assert tokens.ids[-1] == full.ids[-1]
    if kind == "qwen3":
        assert text.endswith("<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    if kind == "gemma":
        assert text.endswith("by providing a prediction of either 'Yes' or 'No'.")


def test_a_query_is_cut_only_where_it_takes_three_quarters(kind, folder_of):
    most = 200 if kind in ASKED else 40
    reranker = load_reranker(str(folder_of(kind)), device="cpu", max_tokens=most)
    query, document = "begin " + "query words " * 300, "answer words " * 300

    tokens, text = _decoded(reranker, (query, document))

    assert len(tokens.ids) == most
    assert "begin" in text
    assert text.count("query") > text.count("answer") >= 1
    # With next to no document, the query takes what is left.
    short, _ = _decoded(reranker, (query, ""))
    assert len(short.ids) == most


def test_cutting_is_the_peers_where_only_the_document_is_cut(folder_of):
    from transformers import AutoTokenizer

    reranker = load_reranker(str(folder_of("bert")), device="cpu", max_tokens=40)
    peer = AutoTokenizer.from_pretrained(folder_of("bert"))
    pair = ("where is the hidden entrance", "then more words " * 50)
    want = peer(*pair, truncation="only_second", max_length=40)

    (got,) = reranker._tokenizer.encode([pair])

    assert got.ids == want["input_ids"]
    assert got.types == want["token_type_ids"]


@settings(max_examples=40, deadline=None)
@given(
    query=st.text(st.characters(exclude_categories=["Cs"]), max_size=200),
    document=st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
    kind=st.sampled_from(["bert", "xlm-roberta", "gemma"]),
)
def test_no_pair_is_longer_than_the_maximum(query, document, kind, reranker_of):
    reranker = reranker_of(kind)
    tokenizer = reranker._tokenizer

    (tokens,) = tokenizer.encode([(query, document)])

    assert len(tokens.ids) == len(tokens.types) <= tokenizer._max_tokens
    whole = len(tokens.ids) + tokens.dropped
    assert tokens.dropped == max(0, whole - tokenizer._max_tokens)


# Reranking


def test_rerank_gives_the_best_first_with_their_positions(reranker_of):
    reranker = reranker_of("bert")
    documents = [document for _, document in PAIRS]
    scores = reranker.score("reset my password", documents)

    ranked = reranker.rerank("reset my password", documents, k=3)

    want = sorted(range(len(documents)), key=lambda place: -scores[place])[:3]
    assert [one.position for one in ranked] == want
    np.testing.assert_allclose([one.score for one in ranked], scores[want])
    pairs = [("reset my password", document) for document in documents]
    np.testing.assert_allclose(scores, reranker.compute_score(pairs, normalize=True), atol=1e-6)
    assert scores.dtype == np.float32
    assert len(reranker.rerank("a", documents)) == len(documents)
    assert reranker.rerank("a", documents, k=0) == reranker.rerank("a", []) == []


def test_equal_documents_keep_their_order(reranker_of):
    ranked = reranker_of("bert").rerank("a", ["same", "same", "same"])

    assert [one.position for one in ranked] == [0, 1, 2]


class SlowScorer:
    """Real time, so that the limit is kept by the clock: 10 ms a pair."""

    device, engine, token_budget = "cpu", "slow", 10_000

    def score(self, pairs):
        import time

        time.sleep(0.01 * len(pairs))
        return np.array([len(pair.ids) for pair in pairs], np.float32)


def test_a_time_limit_gives_what_was_scored_by_then_the_first_first(reranker_of):
    import time

    from encoder import Reranker

    reranker = Reranker("slow", CROSS_ENCODER, reranker_of("bert")._tokenizer, SlowScorer())
    documents = [f"document {number}" for number in range(200)]
    start = time.perf_counter()

    scores = reranker.score("a", documents, time_limit_s=0.5)
    took = time.perf_counter() - start

    done = np.isfinite(scores)
    assert took < 2
    assert 4 <= done.sum() < 60
    assert done[: done.sum()].all()
    assert len(reranker.rerank("a", documents, time_limit_s=0.5)) < 60
    assert np.isnan(reranker.score("a", documents, time_limit_s=0)).all()
    assert reranker.rerank("a", documents, time_limit_s=0) == []
    assert len(reranker.rerank("a", documents[:9], time_limit_s=60)) == 9


class SmallScorer(SlowScorer):
    """Has room for so many tokens at a time."""

    def __init__(self, room):
        self.room = room

    def score(self, pairs):
        if len(pairs) * max(len(pair.ids) for pair in pairs) > self.room:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return np.array([len(pair.ids) for pair in pairs], np.float32)


def test_a_full_memory_halves_the_batches_for_good(reranker_of, caplog):
    from encoder import Reranker

    tokenizer = reranker_of("bert")._tokenizer
    small = SmallScorer(100)
    reranker = Reranker("small", CROSS_ENCODER, tokenizer, small)

    got = reranker.compute_score(PAIRS * 3)

    assert got == [len(pair.ids) for pair in tokenizer.encode(PAIRS * 3)]
    assert small.token_budget <= 100
    assert "ran out of memory" in caplog.text
    with pytest.raises(MemoryError, match="no room for a pair of 9 tokens in the free memory of c"):
        Reranker("none", CROSS_ENCODER, tokenizer, SmallScorer(5)).compute_score(
            [("a b c", "d e f")]
        )


def test_windows_give_the_scores_of_one_batch(reranker_of):
    reranker = reranker_of("xlm-roberta")
    documents = [document for _, document in PAIRS] * 6

    np.testing.assert_allclose(
        reranker.score("a", documents, time_limit_s=1000),
        reranker.score("a", documents),
        atol=1e-6,
    )


def test_nothing_to_score(reranker_of):
    reranker = reranker_of("bert")

    assert reranker.compute_score([]) == []
    assert reranker.score("a", []).shape == (0,)


def test_large_logits_become_0_and_1_and_no_warning():
    from encoder.reranker import _sigmoid

    got = _sigmoid(np.array([-1000, -1, 0, 1, 1000, np.nan], np.float32))

    np.testing.assert_allclose(got[:5], [0, 0.26894143, 0.5, 0.7310586, 1], rtol=1e-6)
    assert np.isnan(got[5])


# Bad input


@pytest.mark.parametrize(
    ("pairs", "error", "sentence"),
    [
        ([("a", "b"), ("a",)], TypeError, r"pairs\[1\] must be a \(query, document\) pair, got"),
        ([("a", 1)], TypeError, r"pairs\[0\] must be"),
        (["a", "b", "c"], TypeError, r"pairs\[0\] must be a \(query, document\) pair, got 'str'"),
        (
            [("a", "b"), ("a", "\ud800")],
            ValueError,
            r"pairs\[1\]: texts\[1\] holds lone surrogates",
        ),
    ],
)
def test_what_is_no_pair(reranker_of, pairs, error, sentence):
    with pytest.raises(error, match=sentence):
        reranker_of("bert").compute_score(pairs)


def test_wrong_arguments_of_a_call(reranker_of):
    reranker = reranker_of("bert")

    with pytest.raises(TypeError, match="query must be a string, got list"):
        reranker.score(["a"], ["b"])
    with pytest.raises(TypeError, match="put it in a list"):
        reranker.score("a", "b")
    with pytest.raises(ValueError, match="time_limit_s must not be negative, got -1"):
        reranker.score("a", ["b"], time_limit_s=-1)
    with pytest.raises(ValueError, match="k must not be negative"):
        reranker.rerank("a", ["b"], k=-1)


def test_an_encoder_is_no_reranker(model_folder):
    with pytest.raises(
        ValueError, match="is an encoder, which gives embeddings; load it with load_e"
    ):
        load_reranker("BAAI/bge-m3")
    with pytest.raises(ValueError, match="holds BertModel, which is no reranker"):
        load_reranker(str(model_folder("bert-mean")))


def test_a_reranker_that_is_not_there_is_called_a_model():
    for name, known in (("BAAI/bge-reranker-base", "a model"), ("no/such", "no model")):
        sentence = f"Cannot load the model '{name}' \\({known} of the registry\\)"
        with pytest.raises(ModelNotFoundError, match=sentence):
            load_reranker(name, local_files_only=True)


def test_a_reranker_is_no_encoder(folder_of, tmp_path):
    with pytest.raises(ValueError, match="is a reranker, which scores pairs of texts"):
        load_encoder("BAAI/bge-reranker-base")


def test_a_classifier_of_several_labels(folder_of, tmp_path):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    config = _config("bert", _wordpiece())
    config.num_labels = 3
    AutoModelForSequenceClassification.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder_of("bert")).save_pretrained(tmp_path)

    with pytest.raises(ValueError, match="a classifier of 3 labels; a reranker has one"):
        load_reranker(str(tmp_path))


def test_weights_without_a_classifier(folder_of, tmp_path):
    import json

    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_config(_config("bert", _wordpiece())).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(folder_of("bert")).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["architectures"] = ["BertForSequenceClassification"]
    (tmp_path / "config.json").write_text(json.dumps(config))

    with pytest.raises(ValueError, match="weights are missing, among them classifier"):
        load_reranker(str(tmp_path))


@pytest.mark.parametrize(
    ("kind", "arguments", "sentence"),
    [
        ("bert", {"max_tokens": 0}, "max_tokens must be between 1 and 96"),
        ("bert", {"max_tokens": 97}, "max_tokens must be between 1 and 96"),
        ("bert", {"max_tokens": 3}, "max_tokens must be at least 5 for this reranker"),
        ("bert", {"dtype": "int4"}, "Unknown dtype 'int4'"),
        ("bert", {"device": "tpu"}, "Unknown device 'tpu'"),
        ("bert", {"template": "qwen3"}, "no language model to ask by a template"),
        ("qwen3", {"template": "nonsense"}, "Unknown template 'nonsense'. Known: qwen3, bge-gemma"),
        (
            "qwen3",
            {"template": replace(TEMPLATES["qwen3"], yes="certainly so")},
            "tokens of the answer 'certainly so' instead of one",
        ),
    ],
)
def test_wrong_arguments_of_loading(folder_of, kind, arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        load_reranker(str(folder_of(kind)), **arguments)


def test_a_reranker_that_does_not_run_yet_says_why_before_any_download():
    with pytest.raises(ValueError, match="yet: code of its own takes a score behind each layer"):
        load_reranker("BAAI/bge-reranker-v2-minicpm-layerwise")
    with pytest.raises(ValueError, match="only with the code that comes with it"):
        load_reranker("Alibaba-NLP/gte-multilingual-reranker-base")


# What is known


@pytest.mark.parametrize("name", known_rerankers())
def test_every_row_is_whole_and_says_truly_how_it_was_checked(name):
    row = find_reranker(name)

    assert row.kind in {CROSS_ENCODER, *TEMPLATES}
    assert row.source == f"https://huggingface.co/{name}"
    assert 512 <= row.max_tokens <= 32768
    assert set(row.languages) <= {"en", "zh", "multilingual"}
    compared = row.architecture in {*CROSS, *ASKED} and not row.not_yet and not row.remote_code
    assert row.checked == ("formula" if compared else "card")
    assert find_reranker(name.rpartition("/")[2]) == row
    assert find_row(name) is None


def test_a_folder_called_like_a_reranker_gets_its_row(folder_of, tmp_path):
    folder = tmp_path / "bce-reranker-base_v1"
    folder.symlink_to(folder_of("xlm-roberta"))

    assert load_reranker(str(folder), device="cpu").languages == ("en", "zh")
