"""The search screen in all its states, without a browser."""

import re
import shutil
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from app import knowledge_base
from encoder import ModelNotFoundError
from indexing import BuildConfig, build_index
from indexing.hits import Mode

DOCS = Path(__file__).parents[2] / "docs"
HARMLESS_TAGS = {"a", "article", "blockquote", "details", "div", "h1", "h2", "h3", "img", "mark"}
HARMLESS_TAGS |= {"p", "section", "span", "summary"}
HARMLESS_ATTRIBUTES = {"alt", "aria-label", "class", "id", "lang"}
NASTY = """# Nasty <script>alert(1)</script>

The quick **fox** jumps. <img src=x onerror=alert(2)> ![pixel](http://example.org/p.png)
costs $5 and $6. Read [the terms](javascript:alert(3)) of the fox :smile: or `<b>code</b>` now.

```html
<script>alert(4)</script>
```
"""


def examples(page):
    """The questions that the page offers."""
    return [one for one in page.button if (one.key or "").startswith("example_")]


class Tags(HTMLParser):
    """Collects what a page's own HTML consists of."""

    def __init__(self, html):
        super().__init__()
        self.found, self.text = [], ""
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def articles(page):
    return [block.value for block in page.html if block.value.startswith("<article")]


def answer(page):
    found = [block.value for block in page.html if 'class="angler-answer"' in block.value]
    assert len(found) == 1
    return found[0]


def marked(html):
    """The marked text of a hit, without the fold that holds it a second time."""
    shown = html.partition("<details>")[0]
    return unescape("".join(re.findall(r"<mark[^>]*>(.*?)</mark>", shown, re.DOTALL)))


def plain(html):
    return Tags(html).text


@pytest.fixture
def index_of(tmp_path, default_encoder):
    """Builds a small index of files given by name."""

    def build(**texts):
        for name, text in texts.items():
            (tmp_path / "notes").mkdir(exist_ok=True)
            (tmp_path / "notes" / f"{name}.md").write_text(text, "utf-8")
        build_index([str(tmp_path / "notes")], tmp_path / "index", encoder=default_encoder)
        return tmp_path / "index"

    return build


def test_before_the_first_question_it_says_what_is_indexed_and_offers_examples(
    open_page, handbook_index
):
    page = open_page(handbook_index)

    assert not page.exception
    assert articles(page) == []
    assert len(examples(page)) == 3
    about = page.caption[-1].value
    assert "**handbook**" in about
    pages = len(list(DOCS.glob("*/*.md")))
    assert f"{pages} documents" in about
    assert "MiniLM" in about
    assert page.query_params == {}


def test_an_example_is_asked_with_one_press(open_page, handbook_index):
    page = open_page(handbook_index)
    question = examples(page)[0].label

    examples(page)[0].click().run()

    assert page.text_input(key="query").value == question
    assert len(articles(page)) == 10
    assert page.query_params["q"] == question


def test_a_question_brings_hits_an_answer_and_a_link(open_page, handbook_index):
    page = open_page(handbook_index)

    page.text_input(key="query").set_value("which Python version do I need?").run()

    assert not page.exception
    first = articles(page)[0]
    assert len(articles(page)) == 10
    assert "en/getting-started.md" in plain(first)
    assert "Getting started › Install it" in plain(first)
    assert re.search(r"score [01]\.\d\d\d · meaning 0\.\d\d · words \d", plain(first))
    assert "Python 3.11" in marked(first)
    assert marked(first) in plain(answer(page))
    assert 'href="#hit-1"' in answer(page)
    assert re.fullmatch(r"10 results in \d+ ms|10 results in \d\.\d s", page.caption[0].value)
    assert "0.033" in page.caption[0].proto.help
    assert page.query_params == {
        "q": "which Python version do I need?",
        "mode": "hybrid",
        "k": "10",
        "lang": "en",
    }


def test_a_chinese_question_finds_the_chinese_page(open_page, handbook_index):
    page = open_page(handbook_index, locale="zh-CN")

    page.text_input(key="query").set_value("数据会离开我的机器吗？").run()

    first = articles(page)[0]
    assert "zh/getting-started.md" in plain(first)
    assert "数据不会离开你的机器" in marked(first)
    assert "快速上手 › Angler 是做什么的" in plain(answer(page))
    assert page.caption[0].value.startswith("10 条结果")
    assert (
        "字词匹配" in page.caption[1].value
    )  # this encoder reads no Chinese, and the page says so


def test_a_link_restores_the_search(open_page, handbook_index):
    page = open_page(handbook_index, q="HNSW 图", mode="lexical", k="5", lang="zh")

    assert page.text_input(key="query").value == "HNSW 图"
    assert page.segmented_control(key="mode").value is Mode.LEXICAL
    assert page.segmented_control(key="count").value == 5
    assert page.segmented_control(key="language").value == "zh"
    assert len(articles(page)) == 5
    assert "得分" in plain(articles(page)[0])
    assert page.query_params == {"q": "HNSW 图", "mode": "lexical", "k": "5", "lang": "zh"}


def test_a_spoiled_link_takes_the_defaults(open_page, handbook_index):
    page = open_page(handbook_index, q="chunk", mode="magic", k="-3", lang="xx")

    assert len(articles(page)) == 10
    assert page.query_params == {"q": "chunk", "mode": "hybrid", "k": "10", "lang": "en"}


def test_choices_change_the_hits_and_the_link(open_page, handbook_index):
    page = open_page(handbook_index, q="error codes")

    page.segmented_control(key="count").set_value(20).run()
    page.segmented_control(key="mode").set_value(Mode.DENSE).run()

    assert len(articles(page)) == 20
    assert re.search(r"score 0\.[1-9]", plain(articles(page)[0]))
    assert (page.query_params["k"], page.query_params["mode"]) == ("20", "dense")


def test_going_back_to_an_older_link_restores_it(open_page, handbook_index):
    page = open_page(handbook_index, q="backup")
    page.text_input(key="query").set_value("generations").run()

    page.query_params["q"] = "backup"
    page.run()

    assert page.text_input(key="query").value == "backup"
    assert page.query_params["q"] == "backup"


def test_a_change_is_not_lost_if_the_browser_has_not_heard_of_the_last_link(
    open_page, handbook_index
):
    page = open_page(handbook_index)
    page.text_input(key="query").set_value("backup").run()

    page.query_params.clear()
    page.segmented_control(key="count").set_value(5).run()

    assert page.text_input(key="query").value == "backup"
    assert page.query_params["k"] == "5"


@pytest.mark.parametrize(("locale", "want"), [("zh-Hans-CN", "zh"), ("de-DE", "en"), (None, "en")])
def test_the_browser_chooses_the_first_language(open_page, handbook_index, locale, want):
    page = open_page(handbook_index, locale=locale)

    assert page.segmented_control(key="language").value == want


def test_the_language_switch_keeps_the_search(open_page, handbook_index):
    page = open_page(handbook_index, q="backup", mode="lexical")
    hits = [plain(html) for html in articles(page)]

    page.segmented_control(key="language").set_value("zh").run()

    assert page.text_input(key="query").placeholder == "输入问题，或者几个词"
    assert page.query_params["lang"] == "zh"
    assert len(articles(page)) == len(hits)
    assert page.segmented_control(key="mode").value is Mode.LEXICAL


def test_the_language_is_kept_in_the_link_without_a_search(open_page, handbook_index):
    page = open_page(handbook_index)

    page.segmented_control(key="language").set_value("zh").run()

    assert page.query_params == {"lang": "zh"}


def test_nothing_found_says_so_and_offers_the_other_way(open_page, handbook_index):
    page = open_page(handbook_index, q="*xyzzy* plugh", mode="lexical")
    assert articles(page) == []
    assert page.info[0].proto.title == r"Nothing found for “\*xyzzy\* plugh”"

    next(one for one in page.button if one.label == "Search by meaning too").click().run()

    assert len(articles(page)) == 10
    assert page.query_params["mode"] == "hybrid"


def test_an_index_without_documents_is_no_error(open_page, index_of, tmp_path):
    folder = index_of(fox="# Fox\n\nThe fox jumps over the fence.")
    (tmp_path / "notes" / "fox.md").unlink()
    build_index([str(tmp_path / "notes")], folder, BuildConfig(allow_mass_delete=True))

    page = open_page(folder, q="anything", mode="dense")

    assert not page.exception
    assert "empty" in page.info[0].value


def test_without_an_index_it_names_the_command_that_builds_one(open_page, tmp_path):
    page = open_page(tmp_path / "my notes", q="anything")

    assert not page.exception
    assert page.info[0].proto.title == "There is no index yet"
    assert page.code[0].value == (
        f"python -m indexing.build docs/ --index '{tmp_path / 'my notes'}'"
    )


def test_a_damaged_index_is_named_in_one_sentence(open_page, handbook_index, tmp_path):
    copy = shutil.copytree(handbook_index, tmp_path / "damaged")
    file = next(copy.glob("gen-*")) / "deleted.npy"
    file.write_bytes(file.read_bytes() + b"x")

    page = open_page(copy)

    assert not page.exception
    assert page.error[0].proto.title == "The index cannot be opened"
    assert r"deleted\.npy has" in page.error[0].value


def test_an_encoder_that_cannot_be_loaded_is_named(open_page, index_of, monkeypatch):
    folder = index_of(fox="# Fox\n\nThe fox jumps.")
    error = ModelNotFoundError("No model here. Give a folder.")

    def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr("encoder.encoder.load_encoder", fail)
    knowledge_base._shared.clear()  # the encoders that other tests have loaded
    page = open_page(folder, q="fox")

    assert not page.exception
    assert page.error[0].proto.title == "The search failed"
    assert page.error[0].value == r"No model here\. Give a folder\."


def test_a_build_is_followed_without_a_restart(open_page, index_of):
    page = open_page(index_of(fox="# Fox\n\nThe fox jumps over the fence."), q="badger")
    assert len(articles(page)) == 1

    index_of(badger="# Badger\n\nThe badger digs in the garden.")
    page.run()

    assert len(articles(page)) == 2
    assert marked(articles(page)[0]) == "The badger digs in the garden."


def test_an_index_built_anew_in_the_same_place_is_opened_anew(open_page, index_of, tmp_path):
    folder = index_of(fox="# Fox\n\nThe fox jumps over the fence.")
    page = open_page(folder, q="what does it do")
    assert "fox" in plain(articles(page)[0])

    shutil.rmtree(folder)
    (tmp_path / "notes" / "fox.md").unlink()
    index_of(owl="# Owl\n\nThe owl sleeps in the barn.")
    page.run()

    assert "owl" in plain(articles(page)[0])


def test_document_text_stays_text(open_page, index_of):
    page = open_page(index_of(nasty=NASTY), q="fox")

    shown = [block.value for block in page.html if "<style" not in block.value]
    for tag, attributes in [pair for html in shown for pair in Tags(html).found]:
        assert tag in HARMLESS_TAGS
        addresses = {name: attributes.pop(name, "") for name in ("href", "src")}
        assert re.fullmatch(r"(#hit-\d+)?", addresses["href"])
        assert re.fullmatch(r"(data:image/svg\+xml;base64,[\w+/=]+)?", addresses["src"])
        assert set(attributes) <= HARMLESS_ATTRIBUTES
    text = "".join(map(plain, articles(page)))
    assert "<img src=x onerror=alert(2)>" in text
    assert "![pixel](http://example.org/p.png)" in text
    assert "[the terms](javascript:alert(3))" in text
    assert "<script>alert(4)</script>" in text
    assert "Nasty <script>alert(1)</script>" in text
    assert "costs $5 and $6" in text


def test_plain_text_keeps_its_lines_and_its_characters(open_page, tmp_path, default_encoder):
    (tmp_path / "log.txt").write_text("a **star** fell\nat night\n", "utf-8")
    build_index([str(tmp_path / "log.txt")], tmp_path / "index", encoder=default_encoder)

    page = open_page(tmp_path / "index", q="star", mode="lexical")

    assert '<div class="plain">' in articles(page)[0]
    assert "a **star** fell\nat night" in plain(articles(page)[0])
