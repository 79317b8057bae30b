import pytest

from data import GoldenQuestion, load_golden

FULL = (
    '{"question": "怎么重置密码？", "document": "docs/a.md", "heading": "密码", '
    '"quote": "点击重置", "language": "zh"}'
)


def test_questions_come_in_order_with_what_is_known_about_them(tmp_path):
    path = tmp_path / "golden.jsonl"
    path.write_text(
        FULL + '\n\n{"question": "How?", "document": "b.md", "heading": null}\n', encoding="utf-8"
    )

    got = load_golden(path)

    assert got == [
        GoldenQuestion(
            question="怎么重置密码？",
            document="docs/a.md",
            heading="密码",
            quote="点击重置",
            language="zh",
        ),
        GoldenQuestion(question="How?", document="b.md"),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("nonsense", "Line 2 is not JSON"),
        ('"text"', "Line 2 must be a JSON object, got str"),
        ('{"question": "How?"}', "Line 2 has no 'document'; it needs question, document"),
        ('{"question": "How?", "document": "a", "answer": "x"}', "Line 2 has the unknown key 'ans"),
        ('{"question": "How?", "document": null}', "Line 2: 'document' must be a string"),
        ('{"question": "How?", "document": "a", "quote": 3}', "Line 2: 'quote' must be a string"),
        ('{"question": " ", "document": "a"}', "Line 2: 'question' is empty"),
    ],
)
def test_a_line_that_cannot_be_used_is_named_with_its_file(tmp_path, line, message):
    path = tmp_path / "golden.jsonl"
    path.write_text(f"{FULL}\n{line}\n", encoding="utf-8")

    with pytest.raises(ValueError, match=rf"golden\.jsonl: {message}"):
        load_golden(path)


def test_a_file_without_a_question_is_an_error(tmp_path):
    path = tmp_path / "golden.jsonl"
    path.write_text("\n", encoding="utf-8")

    with pytest.raises(ValueError, match="holds no question"):
        load_golden(path)


def test_a_missing_file_is_a_file_not_found_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="golden"):
        load_golden(tmp_path / "golden.jsonl")
