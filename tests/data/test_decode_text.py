import codecs
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import UnreadableDocumentError, decode_text
from data.loaders.text import clean_text

ZH = "如何重置密码？请先联系管理员，再打开设置页面。\n第二步：保存。"
ZH_TRADITIONAL = "如何重置密碼？請先聯繫管理員，再打開設定頁面。\n第二步：儲存。"
EN = "How to reset your password: call the administrator.\n"

# Text without control characters (binary content) and without a leading mark, which is no text.
any_text = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(
    lambda text: not text.startswith(("\ufeff", "%PDF-", "{\\rtf"))
)
everyday_chinese = st.lists(
    st.sampled_from("的一是不了人在有我他这中大来上国和地到以说时要就出会可你对生能而子那得于着下"),
    min_size=8,
    max_size=60,
).map(lambda chars: "这是一份" + "".join(chars))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("utf-8", ZH),
        ("utf-8-sig", ZH),
        ("utf-16", ZH),
        ("utf-32", EN),
        ("utf-16-le", ZH),
        ("utf-16-be", ZH),
        ("utf-16-le", EN),
        ("utf-16-be", EN),
        ("utf-32-le", ZH),
        ("utf-32-be", EN),
        ("utf-16-le", "Привет, как дела?\n"),
        ("gb18030", ZH),
        ("gbk", ZH),
        ("gb2312", ZH),
        ("gb18030", ZH_TRADITIONAL),
        ("gb18030", ZH + " 𠮷 €"),
        ("big5", ZH_TRADITIONAL),
        ("gb18030", "你好世界"),
        ("gb18030", EN * 50 + "注意"),
        ("big5", "重設密碼"),
        ("cp1252", "Le café était fermé. “Smart quotes” aren’t rare, 15 €."),
        ("cp1252", "Die schöne Frau hat einen Kaffee mit Kuchen gegessen."),
        ("cp1251", "Привет, как дела? Сегодня хорошая погода."),
        ("cp1250", "Zażółć gęślą jaźń, proszę bardzo, dziękuję"),
        ("cp932", "東京都庁の開庁時間は午前九時から午後五時までです。"),
        ("euc_jp", "東京都庁の開庁時間は午前九時から午後五時までです。"),
        ("euc_kr", "비밀번호를 재설정하려면 관리자에게 문의하세요."),
    ],
)
def test_text_is_read_in_every_usual_encoding(encoding, text):
    assert decode_text(text.encode(encoding)) == text


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
        (codecs.BOM_UTF32_LE, "utf-32-le"),
        (codecs.BOM_UTF32_BE, "utf-32-be"),
        (b"\x84\x31\x95\x33", "gb18030"),
    ],
)
def test_a_byte_order_mark_decides_and_is_no_text(mark, encoding):
    assert decode_text(mark + ZH.encode(encoding)) == ZH


@given(any_text)
def test_any_text_survives_utf_8(text):
    assert decode_text(text.encode()) == text


@given(any_text, st.sampled_from(["utf-16", "utf-32"]))
def test_any_text_survives_utf_16_and_utf_32_with_a_mark(text, encoding):
    assert decode_text(text.encode(encoding)) == text


@given(everyday_chinese, st.sampled_from(["gb18030", "utf-16-le", "utf-16-be", "utf-8"]))
def test_everyday_chinese_survives_without_a_mark(text, encoding):
    assert decode_text(text.encode(encoding)) == text


def test_an_empty_file_decodes_to_an_empty_text():
    assert decode_text(b"") == ""


def test_a_declared_encoding_decides_where_the_bytes_do_not():
    raw = "Ćevapčići".encode("iso8859-2")

    assert decode_text(raw, declared="iso-8859-2") == "Ćevapčići"


def test_a_declared_latin_1_means_windows_1252_as_in_browsers():
    assert decode_text("15 € – “ok”".encode("cp1252"), "iso-8859-1") == "15 € – “ok”"


@pytest.mark.parametrize("declared", ["gb2312", "utf-16", "no-such-encoding", "hex", None])
def test_valid_utf_8_wins_over_a_wrong_declaration(declared):
    assert decode_text(ZH.encode(), declared) == ZH


@pytest.mark.parametrize("declared", ["utf-8", "utf-16", "no-such-encoding", "hex", "undefined"])
def test_a_declaration_that_cannot_hold_is_ignored(declared):
    assert decode_text(ZH.encode("gb18030"), declared) == ZH


@pytest.mark.parametrize(
    "raw",
    [
        b"text with \x00 inside",
        b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x02\x00",
        b"PK\x03\x04\x14\x00\x06\x00",
        b"\x01\x02 control characters",
        "中文\x00".encode(),
        b"%PDF-1.4\n1 0 obj\n",
        b"{\\rtf1\\ansi text}",
        codecs.BOM_UTF8 + b"\x00",
        codecs.BOM_UTF16_LE + "a\x00b".encode("utf-16-le"),
        random.Random(0).randbytes(4096),
    ],
)
def test_binary_content_is_refused(raw):
    with pytest.raises(UnreadableDocumentError, match="binary content"):
        decode_text(raw)


def test_bytes_valid_in_no_plausible_encoding_are_refused():
    noise = bytes(byte for byte in random.Random(0).randbytes(600) if byte >= 0x80)

    with pytest.raises(UnreadableDocumentError, match="no plausible encoding"):
        decode_text(noise)


def test_damaged_utf_8_is_not_read_as_something_else_and_the_damage_is_named():
    raw = ZH.encode()

    with pytest.raises(UnreadableDocumentError, match="damaged at byte 30;"):
        decode_text(raw[:30] + b"\xff" + raw[30:])


def test_a_mark_that_the_bytes_contradict_is_refused():
    with pytest.raises(UnreadableDocumentError, match="mark of UTF-16 but is not valid UTF-16"):
        decode_text(codecs.BOM_UTF16_LE + b"\x00\xd8a")


def test_terminal_colours_and_the_end_of_a_dos_file_are_text():
    raw = b"\x1b[31mERROR\x1b[0m disk full\r\n\x1a"

    assert clean_text(decode_text(raw)) == "ERROR disk full\n"


def test_cleaning_ends_lines_alike_and_drops_what_nobody_sees():
    got = clean_text("a\r\nb\rc\x0cd\u2028e\x07\u200bN\x08NAME\x85\ufeff")

    assert got == "a\nb\nc\nd\neNAME\n"


@given(st.text(st.characters()))
def test_no_lone_surrogate_and_no_control_character_survives_cleaning(text):
    got = clean_text(text)

    got.encode()
    assert not set(got) & {chr(code) for code in (*range(9), *range(11, 32), *range(127, 160))}
    assert clean_text(got) == got
