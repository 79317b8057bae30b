import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from indexing.sentences import split_clauses, split_sentences


def parts(text):
    return [text[start:end] for start, end in split_sentences(text)]


@pytest.mark.parametrize(
    "sentences",
    [
        ["One sentence"],
        ["It works. ", "It is fast! ", "Is it safe? ", "Yes."],
        ["First line.\n", "Second line."],
        ["Dr. Smith met Prof. J. R. R. Tolkien at St. John's. ", "They talked."],
        ["Use fruit, e.g. Apples, i.e. Malus, etc. and more. ", "Done."],
        ["It has 3.14 and 2.5 percent. ", "Version 1.2.3 is out."],
        ["See Fig. 3 and Eq. 4 vs. Table 5. ", "Then go on."],
        ["See No. 5 and Sec. 12. ", "Then go on."],
        ["The answer is no. ", "It took one sec. ", "Then it was done."],
        ["He lives in the U.S. now. ", "She does not."],
        ["Read https://example.org/a?b=1&c=2!x and www.example.org. ", "Then go on."],
        ["Open config.toml or index.html. ", "Then go on."],
        [
            '"It works." ',
            "He smiled. ",
            "“Really?” ",
            "Yes. ",
            "(It does.) ",
            "[So it is.] ",
            "Good.",
        ],
        ['"What?" he asked. ', "“Never!” she said. ", "Then they left."],
        ["Wait... maybe not. ", "Well… perhaps. ", "Hm... ", "Now it ends… ", "Yes."],
        ["Really?! ", "No!!! ", "Yes."],
        ["I don't. ", "It is Tom's. ", "It is 3D. ", "It is “x”. ", "Yes."],
        ["It ends here. ", "42 is a number."],
    ],
)
def test_english_is_cut_behind_each_sentence(sentences):
    assert parts("".join(sentences)) == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["怎么重置密码？", "点击“忘记密码”。", "太好了！", "完成"],
        ["他说：“好的。”", "她走了。"],
        ["「本当ですか？」", "はい。"],
        ["（见附录。）", "然后继续。", "【注意！】", "结束。"],
        ["我想……", "算了吧。", "什么？！", "没有。"],
        ["圆周率是3.14，版本是1.2.3。", "第二句。"],
        ["第一句。\n", "第二句。　", "第三句。"],
        ["详见Fig. 3和No. 5。", "结束。"],
        ["搜“怎么退款？”，结果是对的。", "他说“好！”、“行！”。", "结束。"],
        ["好!", "真的?", "是的。"],
        ["打开 https://example.org/a?b=1 查看。", "结束。"],
    ],
)
def test_chinese_is_cut_behind_each_sentence(sentences):
    assert parts("".join(sentences)) == sentences


def test_a_chinese_sentence_ends_also_before_a_latin_lower_case_word():
    assert parts("运行命令。pip 会安装它。“好。”then 结束。") == [
        "运行命令。",
        "pip 会安装它。",
        "“好。”",
        "then 结束。",
    ]


def test_mixed_languages_are_cut_by_the_marks_of_both():
    text = "Run `make demo` 即可。The page opens. 打开 http://127.0.0.1:8501 看看。OK?好的。"

    assert parts(text) == [
        "Run `make demo` 即可。",
        "The page opens. ",
        "打开 http://127.0.0.1:8501 看看。",
        "OK?",
        "好的。",
    ]


def test_only_the_given_range_is_cut():
    text = "Zero. One. Two. Three."

    spans = split_sentences(text, 6, 15)

    assert [text[start:end] for start, end in spans] == ["One. ", "Two."]


def test_an_empty_range_has_no_sentences():
    assert split_sentences("") == []
    assert split_sentences("abc", 2, 2) == []


def test_white_space_alone_is_one_span():
    assert split_sentences(" \n ") == [(0, 3)]


def test_clauses_are_cut_behind_commas_colons_and_line_ends():
    text = "First, with 1,000 items: this；然后，那个、其他\nlast"

    spans = split_clauses(text, 0, len(text))

    assert [text[start:end] for start, end in spans] == [
        "First, ",
        "with 1,000 items: ",
        "this；",
        "然后，",
        "那个、",
        "其他\n",
        "last",
    ]


_PARTS = [*'ab.Z!?…。！？，；:,"”」) \n\u3000', "Dr.", "http://x.y", "\U0001f600"]
_TEXTS = st.lists(st.sampled_from(_PARTS), max_size=40).map("".join) | st.text(max_size=60)


@given(_TEXTS, st.data())
def test_spans_touch_and_cover_the_range(text, data):
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))

    for split in (split_sentences, split_clauses):
        spans = split(text, start, end)

        assert [span[0] for span in spans] == [start, *(span[1] for span in spans)][: len(spans)]
        assert (spans[-1][1] if spans else start) == end
        assert all(first < last for first, last in spans)


@pytest.mark.parametrize("run", [".", "?", "!?.", "\n", ", ", "。", "a. ", "a, \n", '."'])
def test_long_runs_are_cut_in_linear_time(run):
    text = run * (300_000 // len(run))
    started = time.perf_counter()

    split_sentences(text)
    split_clauses(text, 0, len(text))

    assert time.perf_counter() - started < 5
