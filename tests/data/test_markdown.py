import pytest

from data.loaders.markdown import first_h1, read_markdown


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("# Reset a password\n\ntext", "Reset a password"),
        ("intro\n\n## Not this\n\n# 重置密码\n", "重置密码"),
        ("   # Up to three blanks #\n", "Up to three blanks"),
        ("# C# and F#\n", "C# and F#"),
        ("# Closed ##  \n", "Closed"),
        ("Underlined\n=====\n", "Underlined"),
        ("#\n# Second, the first is empty\n", "Second, the first is empty"),
        (
            "# **Bold** and `snake_case`, [a link](https://x.y) {#id}\n",
            "Bold and snake_case, a link",
        ),
        ('# <a name="top"></a>_Soft_ 2 * 3 * 4\\_5\n', "Soft 2 * 3 * 4_5"),
        ("```sh\n# comment\n```\n# Title\n", "Title"),
        ("~~~\n# comment\n```\n# comment\n~~~~\n# Title\n", "Title"),
        ("````\n```\n# comment\n```\n````\n# Title\n", "Title"),
    ],
)
def test_the_first_top_heading_is_the_title(text, title):
    assert first_h1(text) == title


@pytest.mark.parametrize(
    "text",
    [
        "no heading",
        "## Second level\n",
        "    # code by indentation\n",
        "#hashtag\n",
        "```\n# comment in a fence that never ends\n",
        "- item\n====\n",
        "\n====\n",
    ],
)
def test_without_a_top_heading_the_title_is_the_stem(text):
    assert first_h1(text) is None
    assert read_markdown(text.encode(), "guide").title == "guide"


@pytest.mark.parametrize(
    ("line", "title"),
    [
        ("title: Reset a password", "Reset a password"),
        ('title: "密码：重置"', "密码：重置"),
        ("title : 'Quoted'", "Quoted"),
        ("title:", "Heading"),
        ("title: >", "Heading"),
        ("subtitle: other", "Heading"),
    ],
)
def test_front_matter_gives_the_title_and_leaves_the_text(line, title):
    raw = f"---\ndate: 2026-01-01\n{line}\ntags:\n  - a\n---\n\n# Heading\n\ntext\n".encode()

    assert read_markdown(raw, "stem")[:2] == (title, "\n# Heading\n\ntext\n")


def test_windows_line_ends_do_not_hide_front_matter():
    assert read_markdown(b"---\r\ntitle: T\r\n---\r\nx\r\n", "stem")[:2] == ("T", "x\n")


@pytest.mark.parametrize(
    "text",
    [
        "---\nA sentence between two rules.\n---\n\nmore\n",
        "---\ntitle: never closed\n\nmore\n",
        "text\n\n---\ntitle: not at the top\n---\n",
    ],
)
def test_rules_that_are_no_front_matter_stay_text(text):
    assert read_markdown(text.encode(), "stem")[:2] == ("stem", text)
