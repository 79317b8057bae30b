import io
import zipfile

import pytest

from data import UnreadableDocumentError, load_document
from data.loaders.docx import read_docx
from data.loaders.epub import read_epub
from data.loaders.opendocument import read_opendocument
from data.loaders.spreadsheet import read_spreadsheet
from tests.data.documents import docx, p_shape, pptx, w_paragraph, w_table, zipped

OFFICE = "urn:oasis:names:tc:opendocument:xmlns"
MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def test_word_headings_text_and_tables_come_in_order():
    raw = docx(
        w_paragraph("Handbook", "H1")
        + w_paragraph("重置密码。")
        + w_paragraph("Prices", "H2")
        + w_table([["Item", "Price"], ["Tea|Coffee", "3"]])
        + w_paragraph("The end.")
    )

    got = read_docx(raw, "stem")

    assert got.title == "Handbook"
    assert got.text == (
        "# Handbook\n\n重置密码。\n\n## Prices\n\n"
        "| Item | Price |\n| --- | --- |\n| Tea\\|Coffee | 3 |\n\nThe end."
    )


def test_word_keeps_inserted_text_and_boxes_and_leaves_deleted_text_out():
    inserted = "<w:p><w:ins><w:r><w:t>kept</w:t></w:r></w:ins>"
    deleted = "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
    content = f"<w:txbxContent>{w_paragraph('boxed')}</w:txbxContent>"
    box = f"<w:p><w:r><w:pict>{content}</w:pict></w:r></w:p>"
    control = f"<w:sdt><w:sdtContent>{w_paragraph('controlled')}</w:sdtContent></w:sdt>"

    got = read_docx(docx(inserted + deleted + box + control), "stem")

    assert got == ("stem", "kept\n\nboxed\n\ncontrolled", (), {})


def test_slides_are_pages_with_their_titles_as_headings(tmp_path):
    path = tmp_path / "talk.pptx"
    group = f"<p:grpSp><p:grpSp>{p_shape('Deep inside')}</p:grpSp></p:grpSp>"
    path.write_bytes(
        pptx([p_shape("Welcome", "ctrTitle") + p_shape("Body"), group + p_shape("7", "sldNum")])
    )

    got = load_document(path, id="x")

    assert (got.title, got.text) == ("Welcome", "## Welcome\n\nBody\n\nDeep inside")
    assert got.page_starts == (0, 18)


def sheet(rows, name="Stock"):
    cells = "".join(
        "<row>"
        + "".join(
            f"<c><v>{cell}</v></c>"
            if isinstance(cell, int | float)
            else f'<c t="inlineStr"><is><t>{cell}</t></is></c>'
            for cell in row
        )
        + "</row>"
        for row in rows
    )
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    relations = "application/vnd.openxmlformats-package.relationships"
    kind = "application/vnd.openxmlformats-officedocument.spreadsheetml"
    return zipped(
        {
            "[Content_Types].xml": f'<Types xmlns="{package}/content-types">'
            f'<Default Extension="rels" ContentType="{relations}+xml"/>'
            f'<Override PartName="/xl/workbook.xml" ContentType="{kind}.sheet.main+xml"/>'
            f'<Override PartName="/xl/s.xml" ContentType="{kind}.worksheet+xml"/></Types>',
            "_rels/.rels": f'<Relationships xmlns="{package}/relationships"><Relationship Id="a" '
            f'Type="{office}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
            "xl/workbook.xml": f'<workbook xmlns="{MAIN}" xmlns:r="{office}"><sheets>'
            f'<sheet name="{name}" sheetId="1" r:id="b"/></sheets></workbook>',
            "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{package}/relationships">'
            f'<Relationship Id="b" Type="{office}/worksheet" Target="s.xml"/></Relationships>',
            "xl/s.xml": f'<worksheet xmlns="{MAIN}"><sheetData>{cells}</sheetData></worksheet>',
        }
    )


def test_sheets_are_tables_under_their_names_with_numbers_as_seen():
    got = read_spreadsheet(sheet([["品名", "数量"], ["茶", 3], ["糖", 0.1]]), "stem")

    assert got.text == "## Stock\n\n| 品名 | 数量 |\n| --- | --- |\n| 茶 | 3 |\n| 糖 | 0.1 |"


def test_a_long_sheet_names_its_columns_again_in_every_group():
    rows = [["Name", "Number"], *[[f"row {n}", n] for n in range(300)]]

    text = read_spreadsheet(sheet(rows), "stem").text

    groups = text.split("\n\n")[1:]
    assert len(groups) > 3
    assert all(group.startswith("| Name | Number |\n| --- | --- |\n") for group in groups)
    assert [line for group in groups for line in group.split("\n")[2:]] == [
        f"| row {n} | {n} |" for n in range(300)
    ]


def test_opendocument_text_has_headings_lists_and_tables():
    content = (
        f'<o:document-content xmlns:o="{OFFICE}:office:1.0" xmlns:t="{OFFICE}:text:1.0" '
        f'xmlns:b="{OFFICE}:table:1.0"><o:body><o:text>'
        '<t:h t:outline-level="2">Tea</t:h>'
        '<t:p>Two<t:s t:c="2"/>blanks<t:line-break/>and a break</t:p>'
        "<t:list><t:list-item><t:p>green</t:p></t:list-item></t:list>"
        "<b:table><b:table-row><b:table-cell><t:p>a</t:p></b:table-cell>"
        '<b:table-cell b:number-columns-repeated="2"><t:p>b</t:p></b:table-cell>'
        "</b:table-row></b:table>"
        "</o:text></o:body></o:document-content>"
    )

    got = read_opendocument(zipped({"content.xml": content}), "stem")

    assert got.text == (
        "## Tea\n\nTwo  blanks\nand a break\n\n- green\n\n| a | b | b |\n| --- | --- | --- |"
    )


def test_chapters_of_a_book_come_in_the_order_of_its_spine():
    page = "<html><head><title>t</title></head><body><h1>{0}</h1><p>Text of {0}.</p></body></html>"
    opf = (
        '<package xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>西游记</dc:title>'
        '</metadata><manifest><item id="b" href="two.xhtml" media-type="application/xhtml+xml"/>'
        '<item id="a" href="a%20one.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/><itemref idref="b"/></spine></package>'
    )
    raw = zipped(
        {
            "META-INF/container.xml": '<c><rootfile full-path="OPS/book.opf"/></c>',
            "OPS/book.opf": opf,
            "OPS/a one.xhtml": page.format("One"),
            "OPS/two.xhtml": page.format("Two"),
        }
    )

    got = read_epub(raw, "stem")

    assert got == ("西游记", "# One\n\nText of One.\n\n# Two\n\nText of Two.", (), {})


@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx", "odt", "epub"])
@pytest.mark.parametrize("raw", [b"", b"PK\x03\x04", b"no zip", zipped({"a": "b"}), zipped({})])
def test_damaged_files_are_refused_with_one_sentence(tmp_path, suffix, raw):
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(raw)

    with pytest.raises(UnreadableDocumentError) as error:
        load_document(path, id="x")

    assert str(error.value).endswith(".")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", ["docx", "pptx", "xlsx"])
def test_an_encrypted_office_file_says_so(tmp_path, suffix):
    path = tmp_path / f"secret.{suffix}"
    magic = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
    path.write_bytes(magic + bytes(504) + "EncryptedPackage".encode("utf-16-le") + bytes(1000))

    with pytest.raises(UnreadableDocumentError, match="encrypted with a password"):
        load_document(path, id="x")


def test_a_part_that_unpacks_to_too_much_is_refused():
    bomb = docx("", **{"word/styles.xml": " " * 30_000_000})

    with pytest.raises(UnreadableDocumentError, match=r"styles\.xml unpacks to 29 MiB"):
        read_docx(bomb, "x")


def test_xml_that_defines_entities_is_refused():
    evil = '<!DOCTYPE w [<!ENTITY a "aaaaaaaaaa">]><w>&a;</w>'
    raw = zipped({"word/document.xml": evil})

    with pytest.raises(UnreadableDocumentError, match="defines XML entities"):
        read_docx(raw, "x")


def test_a_part_with_a_wrong_checksum_is_refused():
    raw = bytearray(docx(w_paragraph("x" * 100)))
    with zipfile.ZipFile(io.BytesIO(bytes(raw))) as archive:
        at = archive.getinfo("word/document.xml").header_offset
    raw[at + 60] ^= 0xFF

    with pytest.raises(UnreadableDocumentError, match=r"word/document\.xml is damaged"):
        read_docx(bytes(raw), "x")
