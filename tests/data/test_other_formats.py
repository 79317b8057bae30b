import contextlib
import json
import struct

import pytest

from data import UnreadableDocumentError
from data.loaders import SUFFIXES, load_document, parse
from data.loaders.delimited import read_delimited
from data.loaders.mail import read_mail
from data.loaders.notebook import read_notebook
from data.loaders.outlook import unpacked_rtf
from data.loaders.rtf import read_rtf
from data.loaders.structured import read_json, read_json_lines
from data.loaders.tables import grouped_table, markdown_table
from data.loaders.xml import read_xml

TABLE = "| 姓名 | 城市 |\n| --- | --- |\n| 王伟 | 上海 |\n| 李娜 | 北京 |"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimited_tables_are_read_in_any_encoding(encoding, delimiter):
    rows = [["姓名", "城市"], ["王伟", "上海"], ["李娜", "北京"]]
    raw = "\r\n".join(delimiter.join(row) for row in rows).encode(encoding)

    assert read_delimited(raw, "x").text == TABLE


def test_quoted_fields_may_hold_delimiters_and_line_ends():
    got = read_delimited(b'a,b\n"1, 2","3\n4"\n5,6\n', "x").text

    assert got == "| a | b |\n| --- | --- |\n| 1, 2 | 3 4 |\n| 5 | 6 |"


def test_rows_of_long_text_become_records_that_name_every_column():
    long = "The answer. " * 40

    got = grouped_table([["question", "answer"], ["Why?", long], ["How?", long]])

    assert (
        got == f"question: Why?\nanswer: {long.strip()}\n\nquestion: How?\nanswer: {long.strip()}"
    )


def test_tables_lose_empty_rows_and_columns_and_fill_short_rows():
    got = markdown_table([["a", "", "b"], ["", "", ""], ["1"]])

    assert got == "| a | b |\n| --- | --- |\n| 1 |  |"


def test_a_mail_tells_its_heading_lines_body_and_attachments():
    raw = (
        b"From: =?utf-8?b?5byg5LiJ?= <zhang@example.com>\nTo: li@example.com\n"
        b"Date: Fri, 16 Dec 2022 17:04:16 -0500\nSubject: =?gb2312?B?u+HS6Q==?=\n"
        b'MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary="b"\n\n'
        b'--b\nContent-Type: text/html; charset="utf-8"\n\n<p>We meet at <b>ten</b>.</p>\n'
        b'--b\nContent-Type: text/csv\nContent-Disposition: attachment; filename="list.csv"\n\n'
        b"a,b\n1,2\n--b--\n"
    )

    got = read_mail(raw, "stem")

    assert got.title == "会议"
    assert got.text == (
        "From: 张三 <zhang@example.com>\nTo: li@example.com\n"
        "Date: Fri, 16 Dec 2022 17:04:16 -0500\nSubject: 会议\n\nWe meet at ten.\n\n"
        "## list.csv\n\n| a | b |\n| --- | --- |\n| 1 | 2 |"
    )
    assert got.metadata == {
        "from": "张三 <zhang@example.com>",
        "date": "Fri, 16 Dec 2022 17:04:16 -0500",
    }


def test_what_has_no_heading_lines_is_no_mail():
    with pytest.raises(UnreadableDocumentError, match="no mail"):
        read_mail(b"", "x")


def test_rtf_reads_its_code_page_and_unicode():
    raw = b"{\\rtf1\\ansi\\ansicpg936 {\\b Bold} \\'d6\\'d8\\'d6\\'c3 \\u23494?\\par Next}"

    assert read_rtf(raw, "x").text == "Bold 重置 密\nNext"


def test_compressed_rtf_is_unpacked_as_in_its_specification():
    # Source: [MS-OXRTFCP] 4.1.1.
    packed = bytes.fromhex(
        "2d0000002b0000004c5a4675f1c5c7a703000a007263706731323542320af3206865"
        "6c090020627705b06c647d0a800fa0"
    )

    assert unpacked_rtf(packed) == b"{\\rtf1\\ansi\\ansicpg1252\\pard hello world}\r\n"
    assert unpacked_rtf(struct.pack("<II4sI", 0, 3, b"MELA", 0) + b"abc") == b"abc"


def test_json_records_are_told_line_by_line_and_other_json_indented():
    records = [{"id": 1, "name": {"zh": "茶"}, "tags": ["a", "b"], "none": None}, {"id": 2}]

    assert read_json(json.dumps(records).encode(), "x").text == (
        "id: 1\nname.zh: 茶\ntags: a, b\n\nid: 2"
    )
    assert read_json(b'{"a":"\\u8336"}', "x").text == '```json\n{\n  "a": "茶"\n}\n```'
    assert read_json(b'{"cut": "o', "x").text == '```json\n{"cut": "o\n```'
    assert read_json_lines(b'{"a": 1}\nnot json\n\n{"a": true}', "x").text == (
        "a: 1\n\nnot json\n\na: true"
    )


def test_a_notebook_keeps_text_code_and_results_and_drops_tracebacks():
    cells = [
        {"cell_type": "markdown", "source": ["# Sales\n", "By year."]},
        {
            "cell_type": "code",
            "source": "# not a heading\nprint(1)",
            "outputs": [
                {"output_type": "stream", "text": ["1\n"]},
                {"output_type": "error", "traceback": ["boom"]},
            ],
        },
    ]
    raw = json.dumps({"cells": cells, "metadata": {"kernelspec": {"language": "python"}}}).encode()

    got = read_notebook(raw, "stem")

    assert got.title == "Sales"
    assert got.text.strip() == (
        "# Sales\nBy year.\n\n```python\n# not a heading\nprint(1)\n```\n\n```\n1\n```"
    )


@pytest.mark.parametrize("raw", [b"{}", b"[]", b"no", b'{"cells": [1]}'])
def test_what_is_no_notebook_is_refused(raw):
    with pytest.raises(UnreadableDocumentError, match="no Jupyter notebook"):
        read_notebook(raw, "x")


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "big5"])
def test_a_feed_is_read_in_the_encoding_that_it_declares(encoding):
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?><rss><channel><title>新聞</title>'
        "<item><title>第一</title>"
        "<description>&lt;p&gt;內容 &lt;b&gt;一&lt;/b&gt;&lt;/p&gt;</description></item>"
        "<item><title>第二</title></item></channel></rss>"
    )

    got = read_xml(text.encode(encoding), "x")

    assert (got.title, got.text) == ("新聞", "# 新聞\n\n## 第一\n\n內容 一\n\n## 第二")


def test_comments_of_code_are_no_headings(tmp_path):
    path = tmp_path / "a.py"
    path.write_text("# A comment\nx = '```'\n")

    assert load_document(path, id="x").text == "```\n# A comment\nx = '```'\n```"


def test_every_format_names_a_loader_that_is_there():
    for format_ in set(SUFFIXES.values()):
        with contextlib.suppress(UnreadableDocumentError):
            parse(b"", format_.loader, "x")
