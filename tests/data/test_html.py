import pytest

from data import UnreadableDocumentError
from data.loaders.html import read_html


def read(html, encoding="utf-8"):
    return read_html(html.encode(encoding, "surrogatepass"), "stem")


def test_headings_lists_tables_and_code_survive_as_markdown():
    got = read(
        "<h1>Guide</h1><p>Set <b>max</b>_<em>tokens</em> to 3*4, see "
        "<a href='https://x.y'>the page</a>.</p>"
        "<h2>重置密码</h2><ul><li>one<ul><li>two</li></ul></li></ul>"
        "<table><tr><th>姓名</th><th>年龄</th></tr><tr><td>张三</td><td>30</td></tr></table>"
        "<pre>if x:\n    y\n\n\nz</pre>"
    )

    assert got[:2] == (
        "Guide",
        "# Guide\n\nSet max_tokens to 3*4, see the page.\n\n## 重置密码\n\n- one\n  - two\n\n"
        "| 姓名 | 年龄 |\n| --- | --- |\n| 张三 | 30 |\n\n```\nif x:\n    y\n\n\nz\n```",
    )


@pytest.mark.parametrize(
    "around",
    [
        "<script>noise</script>",
        "<style>noise</style>",
        "<noscript>noise</noscript>",
        "<template>noise</template>",
        "<nav>noise<nav>noise</nav></nav>",
        "<header><h2>noise</h2></header>",
        "<footer>noise</footer>",
        "<aside>noise</aside>",
        "<form><label>noise</label><input value='noise'><button>noise</button></form>",
        "<select><option>noise</option></select>",
        "<div hidden>noise</div>",
        "<div role='navigation'>noise</div>",
        "<svg><title>noise</title></svg>",
        "<!-- noise -->",
        "<![if noise]>",
        "<?php noise ?>",
    ],
)
def test_what_is_not_the_main_text_is_dropped(around):
    got = read(f"<body>{around}<p>The main text of the page.</p>{around}</body>")

    assert got[:2] == ("stem", "The main text of the page.")


def test_the_main_element_is_the_text_where_there_is_one():
    got = read("<body><div>menu</div><main><header><h1>T</h1></header><p>x</p></main>y</body>")

    assert got[:2] == ("T", "# T\n\nx")


def test_an_empty_main_element_does_not_hide_the_page():
    assert read("<body><main id='app'></main><p>text</p></body>").text == "text"


def test_an_article_keeps_its_own_header():
    got = read("<header>site</header><article><header><h1>T</h1></header><p>x</p></article>")

    assert got.text == "# T\n\nx"


def test_a_form_around_the_whole_page_is_no_form():
    got = read("<body><form><h1>T</h1><p>All of the page.</p><input value='v'></form></body>")

    assert got.text == "# T\n\nAll of the page."


def test_tables_that_only_place_things_keep_their_headings():
    got = read("<table><tr><td>menu</td><td><h2>T</h2><p>one</p><p>two</p></td></tr></table>")

    assert got.text == "menu\n\n## T\n\none\n\ntwo"


def test_pictures_leave_their_description():
    assert (
        read("<p>如<img alt='图一' src='data:image/png;base64,AAAA'>所示</p>").text == "如图一所示"
    )


@pytest.mark.parametrize(
    ("html", "title"),
    [
        ("<head><title> Reset &amp;\n  recover </title></head><h1>H</h1>", "Reset & recover"),
        ("<title></title><h1>First <i>heading</i></h1><h1>Second</h1>", "First heading"),
        ("<svg><title>icon</title></svg><p>x</p>", "stem"),
        ("<h2>only second level</h2>", "stem"),
    ],
)
def test_the_title_is_the_title_element_the_first_h1_or_the_stem(html, title):
    assert read(html).title == title


def test_the_title_element_is_not_part_of_the_text():
    assert read("<html><head><title>T</title></head><body><p>x</p></body></html>").text == "x"
    assert read("<head><title>T</title></head><p>x</p>").text == "x"


@pytest.mark.parametrize(
    ("encoding", "head"),
    [
        ("gb18030", "<meta charset=gb2312>"),
        ("gb18030", '<meta http-equiv="Content-Type" content="text/html; charset=gbk">'),
        ("gb18030", "<meta charset=utf-8>"),
        ("gb18030", ""),
        ("big5", "<meta charset=big5>"),
        ("utf-8", "<meta charset=gb2312>"),
        ("utf-8-sig", ""),
        ("utf-16", "<meta charset=utf-16>"),
        ("utf-16", ""),
        ("gb18030", "<?xml version='1.0' encoding='gb2312'?>"),
    ],
)
def test_the_character_set_is_found(encoding, head):
    assert read(f"{head}<p>中文的文件</p>", encoding).text == "中文的文件"


def test_a_single_byte_page_is_read_as_declared():
    got = read("<meta charset='iso-8859-2'><p>Ćevapčići</p>", "iso8859-2")

    assert got.text == "Ćevapčići"


def test_an_address_or_xml_in_the_page_warns_nobody(recwarn):
    read("https://x.y")
    read("<?xml version='1.0'?><feed><entry>x</entry></feed>")

    assert not recwarn.list


def test_elements_nested_too_deeply_are_refused():
    with pytest.raises(UnreadableDocumentError, match="nested too deeply"):
        read("<div>" * 3000 + "x")
