import io

import pytest

from data import UnreadableDocumentError, load_document
from data.loaders.pdf import read_pdf
from tests.data.documents import lines_of_text, pdf

LEFT = [
    "Apples grow on trees that like cool winters and",
    "warm summers with much light. They are picked in",
    "autumn by hand, one after the other, and kept in",
    "the dark until spring, when the last are sold off",
]
RIGHT = [
    "Bananas are berries of a very large herb, not of",
    "a tree. They travel green in ships kept at about",
    "fourteen degrees and ripen in closed chambers in",
    "the country where they are eaten by most people",
]


def test_pages_and_their_starts_are_kept(tmp_path):
    path = tmp_path / "two pages.pdf"
    path.write_bytes(pdf([[(72, 72, 10, "First page.")], [(72, 72, 10, "Second page.")]]))

    got = load_document(path, id="x")

    assert got.text == "First page.\n\nSecond page."
    assert got.page_starts == (0, 13)
    assert [got.page_at(at) for at in (0, 12, 13, 20)] == [1, 1, 2, 2]


def test_two_columns_are_read_one_after_the_other():
    page = lines_of_text(72, 100, LEFT) + lines_of_text(330, 100, RIGHT)
    mixed = sorted(page, key=lambda line: line[1])  # drawn row by row

    got = read_pdf(pdf([mixed]), "x").pages[0]

    assert got == " ".join(LEFT) + "\n\n" + " ".join(RIGHT)


def test_a_title_over_two_columns_comes_before_both():
    title = [(150, 70, 10, "On the fruits of the temperate zones and of the tropics, a survey")]
    page = title + lines_of_text(72, 100, LEFT) + lines_of_text(330, 100, RIGHT)

    got = read_pdf(pdf([page]), "x").pages[0]

    assert got.index("survey") < got.index("Apples") < got.index("Bananas")
    assert got.index("sold off") < got.index("Bananas")


def test_aligned_cells_without_lines_are_a_table():
    rows = [
        ("Item", "2022", "2023"),
        ("Sales", "$ 10,500", "$ 12,000"),
        ("Cost of sales", "(800)", "(900)"),
    ]
    page = [
        (x, 100 + 15 * number, 10, cell)
        for number, row in enumerate(rows)
        for x, cell in zip((72, 250, 350), row, strict=True)
    ]

    got = read_pdf(pdf([page]), "x").pages[0]

    assert got == (
        "| Item | 2022 | 2023 |\n| --- | --- | --- |\n"
        "| Sales | $ 10,500 | $ 12,000 |\n| Cost of sales | (800) | (900) |"
    )


def test_a_ruled_table_keeps_wrapped_cells_together():
    drawing = "".join(f"72 {792 - y} m 372 {792 - y} l S\n" for y in (100, 120, 150)) + "".join(
        f"{x} 692 m {x} 642 l S\n" for x in (72, 172, 372)
    )
    page = [
        *[(80, 114, 10, "Name"), (180, 114, 10, "Meaning")],
        *[
            (80, 134, 10, "AA+"),
            (180, 134, 10, "able to pay even when"),
            (180, 146, 10, "times are bad"),
        ],
    ]

    got = read_pdf(pdf([page], drawing), "x").pages[0]

    assert got == (
        "| Name | Meaning |\n| --- | --- |\n| AA+ | able to pay even when times are bad |"
    )


def test_large_lines_are_headings_and_wrapped_lines_one_paragraph():
    page = [
        (72, 80, 18, "Cutting fruit trees"),
        *lines_of_text(72, 120, LEFT),
        (72, 200, 12.5, "When"),
        *lines_of_text(72, 230, RIGHT),
    ]

    got = read_pdf(pdf([page]), "x").pages[0]

    assert got == f"# Cutting fruit trees\n\n{' '.join(LEFT)}\n\n## When\n\n{' '.join(RIGHT)}"


def test_a_word_cut_at_a_line_end_is_made_whole():
    lines = [
        "The keeping of apples in cool and dark cham-",
        "bers goes back to times of which nobody knows",
    ]

    got = read_pdf(pdf([lines_of_text(72, 100, lines)]), "x").pages[0]

    assert "dark chambers goes back" in got


def test_bullets_are_no_table():
    page = [
        part
        for number, text in enumerate(["one thing", "another thing", "a third thing"])
        for part in ((72, 100 + 14 * number, 10, "\x95"), (100, 100 + 14 * number, 10, text))
    ]

    got = read_pdf(pdf([page]), "x").pages[0]

    assert got == "• one thing\n• another thing\n• a third thing"


@pytest.mark.parametrize(
    ("title", "want"),
    [
        ("Annual report", "Annual report"),
        ("Microsoft Word - a.doc", "stem"),
        ("0001-18-5", "stem"),
        ("", "stem"),
    ],
)
def test_the_title_is_that_of_the_properties_if_it_says_something(title, want):
    assert read_pdf(pdf([[(72, 72, 10, "Text.")]], title=title), "stem").title == want


@pytest.mark.parametrize(
    "raw", [b"", b"%PDF-1.4", b"%PDF-1.4\n%%EOF\n", b"no pdf", b"%PDF-1.4\n" + bytes(999)]
)
def test_what_is_no_pdf_is_refused(tmp_path, raw):
    path = tmp_path / "bad.pdf"
    path.write_bytes(raw)

    with pytest.raises(UnreadableDocumentError, match="not a PDF, or too damaged"):
        load_document(path, id="x")


def test_an_empty_page_holds_no_text(tmp_path):
    path = tmp_path / "empty.pdf"
    path.write_bytes(pdf([[]]))

    with pytest.raises(UnreadableDocumentError, match="holds no text"):
        load_document(path, id="x")


def scan(text: str) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", (1200, 300), "white")
    ImageDraw.Draw(picture).text((60, 100), text, "black", ImageFont.load_default(size=48))
    buffer = io.BytesIO()
    picture.save(buffer, "PDF", resolution=144)
    return buffer.getvalue()


def test_a_scanned_page_is_read_from_its_picture(tmp_path):
    path = tmp_path / "scan.pdf"
    path.write_bytes(scan("Invoice 4711 of March"))

    got = load_document(path, id="x")

    assert got.text.replace(" ", "") == "Invoice4711ofMarch"
    assert got.page_starts == (0,)


def test_a_scan_without_the_extra_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rapidocr", None)
    from data.loaders import ocr

    ocr._engine.cache_clear()

    with pytest.raises(UnreadableDocumentError, match=r"pip install -e '\.\[ocr\]'"):
        read_pdf(scan("x"), "x")


def test_a_pdf_without_the_extra_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pypdfium2", None)

    with pytest.raises(UnreadableDocumentError, match=r"pip install -e '\.\[documents\]'"):
        read_pdf(pdf([[]]), "x")
