import math
import os
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tantivy
from hypothesis import given, settings
from hypothesis import strategies as st

import indexing.words as words_module
from indexing.lexical import COMMON_WEIGHT, LexicalIndex, LexicalWriter
from indexing.words import common_words, words


def write(folder, texts, *, removed=()):
    writer = LexicalWriter(folder)
    writer.remove(removed)
    writer.add(texts.items())
    writer.close()
    return LexicalIndex(folder)


def found(index, query, k=10):
    return index.search(query, k)[1].tolist()


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "lexical"


# Words


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("Reset your PASSWORD, please!", ["reset", "your", "password", "please"]),
        ("max_tokens=3.14", ["max", "tokens", "3", "14"]),
        ("E-4012", ["e", "4012"]),
        ("Café naïve Ångström Straße", ["cafe", "naive", "angstrom", "strasse"]),
        ("Cafe\u0301", ["cafe"]),
        ("ＡＢＣ １２３", ["abc", "123"]),
        ("ﬁne", ["fine"]),
        ("密", ["密"]),
        ("重置密码", ["重", "置", "密", "码", "重置", "置密", "密码"]),
        ("重置。密码", ["重", "置", "重置", "密", "码", "密码"]),
        ("用Python教程3天", ["用", "python", "教", "程", "教程", "3", "天"]),
        ("人々", ["人", "々", "人々"]),
        ("二〇二六", ["二", "〇", "二", "六", "二〇", "〇二", "二六"]),
        ("パス・ワード", ["パ", "ス", "パス", "ワ", "ー", "ド", "ワー", "ード"]),
        ("ﾊﾟｽ", ["パ", "ス", "パス"]),
        ("비밀", ["비", "밀", "비밀"]),
        ("𠮷野", ["𠮷", "野", "𠮷野"]),
        ("кот Ёлка", ["кот", "елка"]),
        ("設置密碼", ["设", "置", "密", "码", "设置", "置密", "密码"]),
        ("後來，皇后", ["后", "来", "后来", "皇", "后", "皇后"]),
        ("…！？、《》「」 -- ,. ()", []),
        ("\U0001f600 \u2764\ufe0f", []),
        ("", []),
        (" \n\t\u3000", []),
        ("x" * 100, ["x" * 64]),
    ],
)
def test_words(text, want):
    assert list(words(text)) == want


@given(st.text(max_size=50))
def test_words_hold_no_space(text):
    assert all(word and not any(map(str.isspace, word)) for word in words(text))


@given(st.text(st.characters(max_codepoint=127), max_size=50))
def test_words_are_the_same_in_capitals(text):
    assert list(words(text.upper())) == list(words(text))


# Scores


def stem(word):
    return {"passwords": "password", "resetting": "reset", "resets": "reset"}.get(word, word)


def bm25(texts, query, k1=1.2, b=0.75):
    """Robertson & Zaragoza 2009, 3.5, with the idf that is never negative (Lucene's)."""
    terms = {id_: Counter(stem(word) for word in words(text)) for id_, text in texts.items()}
    average = sum(sum(counts.values()) for counts in terms.values()) / len(terms)
    scores = {}
    for id_, counts in terms.items():
        length = sum(counts.values())
        for word in words(query):
            holding = sum(stem(word) in other for other in terms.values())
            idf = math.log(1 + (len(terms) - holding + 0.5) / (holding + 0.5))
            times = counts[stem(word)]
            share = times * (k1 + 1) / (times + k1 * (1 - b + b * length / average))
            weight = COMMON_WEIGHT if word in common_words() else 1.0
            scores[id_] = scores.get(id_, 0.0) + weight * idf * share
    return sorted(((-score, id_) for id_, score in scores.items() if score > 0))


TEXTS = {
    11: "Reset your password. The password page resets passwords.",
    7: "Billing: how to pay an invoice by card.",
    3: "The page of the invoice.",
    20: "重置密码的方法：点击重置。",
    21: "密码错误。",
    22: "Use the password 密码 page, or ask somebody else who knows the password of the page.",
}


@pytest.mark.parametrize(
    "query",
    [
        "password",
        "resetting passwords",
        "the page",
        "the the page",
        "invoice unknownword",
        "密码",
        "重置密码",
        "password 密码",
        "怎么重置 password?",
        "THE ＰＡＧＥ",
    ],
)
def test_scores_are_those_of_the_formula(folder, query):
    index = write(folder, TEXTS)

    scores, ids = index.search(query, 10)

    want = bm25(TEXTS, query)
    assert ids.tolist() == [id_ for _, id_ in want]
    np.testing.assert_allclose(scores, [-score for score, _ in want], rtol=1e-5)
    assert (scores.dtype, ids.dtype) == (np.float32, np.int64)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from("abcdef密码"), max_size=12).map(" ".join), min_size=1, max_size=8
    ),
    st.lists(st.sampled_from("abcdefgx密码"), min_size=1, max_size=4).map(" ".join),
)
def test_scores_of_any_texts_are_those_of_the_formula(tmp_path_factory, texts, query):
    held = dict(enumerate(texts))
    index = write(tmp_path_factory.mktemp("lexical"), held)

    scores, ids = index.search(query, 10)

    want = bm25(held, query) if any(held.values()) else []
    got = dict(zip(ids.tolist(), scores.tolist(), strict=True))
    assert got == pytest.approx({id_: -score for score, id_ in want}, rel=1e-4)
    assert sorted(scores.tolist(), reverse=True) == scores.tolist()


@pytest.mark.parametrize("query", ["reset", "resets", "resetting", "Resetting", "ＲＥＳＥＴ"])
def test_forms_of_a_word_are_one_term(folder, query):
    index = write(folder, {1: "Resetting it.", 2: "It resets.", 3: "A reset", 4: "A resort"})

    assert sorted(found(index, query)) == [1, 2, 3]


def test_accents_and_case_do_not_count(folder):
    index = write(folder, {1: "Café", 2: "CAFE", 3: "cafeteria"})

    assert found(index, "cafe") == found(index, "CAFÉ") == [1, 2]


def test_a_word_within_chinese_is_found(folder):
    index = write(folder, {1: "用Python写程序", 2: "用手写"})

    assert found(index, "python") == [1]


def test_texts_with_the_pair_of_characters_come_first(folder):
    index = write(folder, {1: "码头很密集", 2: "密码很重要", 3: "天气很好"})

    assert found(index, "密码") == [2, 1]


def test_equal_scores_come_in_the_order_of_their_ids(folder):
    index = write(folder, {5: "same text", 2: "same text", 9: "same text"})

    assert found(index, "text") == [2, 5, 9]


@pytest.mark.parametrize("query", ["zzz", "", "…！", "\U0001f600", "未知"])
def test_a_query_that_shares_no_term_finds_nothing(folder, query):
    index = write(folder, TEXTS)

    scores, ids = index.search(query, 10)

    assert (scores.tolist(), ids.tolist()) == ([], [])
    assert (scores.dtype, ids.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("query", ['"', "text:password", "id:7", "+a -b", "a AND", "(", "*", "\\"])
def test_a_query_is_words_and_no_syntax(folder, query):
    index = write(folder, TEXTS)

    assert found(index, query) == [id_ for _, id_ in bm25(TEXTS, query)]


def test_k_limits_and_may_be_larger_than_the_index(folder):
    index = write(folder, TEXTS)
    want = found(index, "password", len(TEXTS))

    assert len(want) == 2
    assert found(index, "password", 1) == want[:1]
    assert found(index, "password", 10**6) == want


def test_a_long_query_is_searched_for(folder):
    index = write(folder, TEXTS)

    assert found(index, "重置密码 password " * 2000)[0] in TEXTS


def test_an_empty_index_finds_nothing(folder):
    index = write(folder, {})

    assert len(index) == 0
    assert found(index, "password") == []


def test_texts_without_words_are_counted_and_never_found(folder):
    index = write(folder, {1: "", 2: "…", 3: "word"})

    assert len(index) == 3
    assert found(index, "word") == [3]


def test_ids_may_be_large(folder):
    assert found(write(folder, {2**62: "word"}), "word") == [2**62]


# Changes


def test_removed_texts_are_gone(folder):
    write(folder, TEXTS)

    index = write(folder, {}, removed=[11, 20, 999])

    assert len(index) == 4
    assert found(index, "password") == [22]
    assert 20 not in found(index, "重置密码")


def test_a_text_is_replaced_by_removing_and_adding(folder):
    write(folder, TEXTS)

    index = write(folder, {11: "Nothing of that kind."}, removed=[11])

    assert len(index) == len(TEXTS)
    assert found(index, "password") == [22]
    assert found(index, "kind") == [11]


def test_all_texts_can_be_removed(folder):
    write(folder, TEXTS)

    index = write(folder, {}, removed=TEXTS)

    assert len(index) == 0
    assert found(index, "password") == []


def test_many_writers_leave_one_index(folder):
    for id_ in range(12):
        index = write(folder, {id_: f"word number{id_}"}, removed=[id_ - 3])

    assert len(index) == 3
    assert sorted(found(index, "word")) == [9, 10, 11]
    assert found(index, "number10") == [10]


def test_no_locks_are_left_in_the_folder(folder):
    writer = LexicalWriter(folder)
    writer.add(TEXTS.items())
    writer.close()

    assert list(folder.glob("*.lock")) == []


def test_writing_to_a_linked_copy_leaves_the_first_index_as_it_was(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    old = write(first, TEXTS)
    want = [old.search(query, 10) for query in ("password", "重置密码", "page")]
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    shutil.copytree(first, second, copy_function=os.link)

    new = write(second, {50: "password page 重置密码"}, removed=[11, 20])

    for index in (old, LexicalIndex(first)):
        for query, (scores, ids) in zip(("password", "重置密码", "page"), want, strict=True):
            got = index.search(query, 10)
            assert got[1].tolist() == ids.tolist()
            assert got[0].tolist() == scores.tolist()
    after = {path.name: path.read_bytes() for path in first.iterdir() if path.suffix != ".lock"}
    assert after == {name: content for name, content in before.items() if name in after}
    assert {name for name in before if not name.endswith(".lock")} == set(after)
    assert set(found(new, "password")) == {22, 50}


def test_an_open_index_stays_as_it_was_opened(folder):
    index = write(folder, TEXTS)

    write(folder, {50: "password"}, removed=[11])

    assert found(index, "password") == [11, 22]


def test_several_threads_search_at_once(folder):
    index = write(folder, TEXTS)
    queries = ["password", "重置密码", "the page", "invoice", "nothing"] * 40
    want = [found(index, query) for query in queries]

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda query: found(index, query), queries))

    assert got == want


# Common words, characters of two scripts, older indexes


def test_common_words_count_little_beside_others(folder):
    index = write(folder, {1: "what is it and how is it", 2: "some password of ours", 3: "else"})

    assert found(index, "what is the password") == [2, 1]


@pytest.mark.parametrize("query", ["what is it", "是什么", "the"])
def test_a_query_of_common_words_alone_is_searched_for(folder, query):
    index = write(folder, {1: "what is it in the end", 2: "这是什么", 3: "else"})

    assert found(index, query) == [2 if query == "是什么" else 1]


def test_traditional_and_simplified_characters_find_each_other(folder):
    index = write(folder, {1: "怎样设置网络", 2: "如何設置網絡", 3: "天气"})

    for query in ("设置网络", "設置網絡", "设置網絡"):
        assert sorted(found(index, query)) == [1, 2]


def test_every_character_folds_to_one_that_stays():
    pairs = words_module._simplified()

    assert len(pairs) > 4000
    assert pairs[ord("龍")] == "龙"
    assert not [simple for simple in pairs.values() if ord(simple) in pairs]


def test_an_index_of_the_earlier_kind_keeps_its_terms(folder):
    write_earlier(folder, {1: "設置密碼", 2: "设置密码"})

    assert found(LexicalIndex(folder), "設置密碼")[0] == 1
    assert found(LexicalIndex(folder), "设置密码")[0] == 2
    index = write(folder, {3: "設置網絡"}, removed=[2])
    assert found(index, "設置網絡") == [3, 1]
    assert sorted(found(index, "网络")) == []


def write_earlier(folder, texts):
    """What the version before folding wrote."""
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("id", indexed=True, fast=True)
    builder.add_text_field("text", tokenizer_name="angler", index_option="freq")
    folder.mkdir()
    index = tantivy.Index(builder.build(), path=str(folder))
    index.register_tokenizer(
        "angler", tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.whitespace()).build()
    )
    writer = index.writer(num_threads=1)
    for id_, text in texts.items():
        document = tantivy.Document()
        document.add_integer("id", id_)
        document.add_text("text", " ".join(words(text, fold_traditional=False)))
        writer.add_document(document)
    writer.commit()
    writer.wait_merging_threads()
    for lock in folder.glob(".tantivy-*.lock"):
        lock.unlink()
