"""Small files of every kind, made here, so that no test needs a file of somebody else's."""

import io
import zipfile
from collections.abc import Iterable, Mapping

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
P = "http://schemas.openxmlformats.org/presentationml/2006/main"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
RELATIONS = "http://schemas.openxmlformats.org/package/2006/relationships"


def zipped(parts: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def relations(targets: Mapping[str, tuple[str, str]]) -> str:
    rows = "".join(
        f'<Relationship Id="{id_}" Type="{R}/{kind}" Target="{target}"/>'
        for id_, (kind, target) in targets.items()
    )
    return f'<Relationships xmlns="{RELATIONS}">{rows}</Relationships>'


def docx(body: str, **more: str) -> bytes:
    styles = "".join(
        f'<w:style w:styleId="H{level}"><w:name w:val="heading {level}"/></w:style>'
        for level in (1, 2)
    )
    main = f'<w:document xmlns:w="{W}"><w:body>{body}</w:body></w:document>'
    return zipped(
        {
            "_rels/.rels": relations({"r1": ("officeDocument", "word/document.xml")}),
            "word/document.xml": main,
            "word/styles.xml": f'<w:styles xmlns:w="{W}">{styles}</w:styles>',
            **more,
        }
    )


def w_paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f"<w:p>{properties}<w:r><w:t>{text}</w:t></w:r></w:p>"


def w_table(rows: Iterable[Iterable[str]]) -> str:
    lines = (
        "<w:tr>" + "".join(f"<w:tc>{w_paragraph(cell)}</w:tc>" for cell in row) + "</w:tr>"
        for row in rows
    )
    return f"<w:tbl>{''.join(lines)}</w:tbl>"


def pptx(slides: Iterable[str]) -> bytes:
    slides = list(slides)
    ids = "".join(f'<p:sldId id="{n}" r:id="s{n}"/>' for n in range(len(slides)))
    listed = f"<p:sldIdLst>{ids}</p:sldIdLst>"
    main = f'<p:presentation xmlns:p="{P}" xmlns:r="{R}">{listed}</p:presentation>'
    targets = {f"s{n}": ("slide", f"slides/slide{n}.xml") for n in range(len(slides))}
    parts = {
        "ppt/presentation.xml": main,
        "ppt/_rels/presentation.xml.rels": relations(targets),
    }
    for number, shapes in enumerate(slides):
        parts[f"ppt/slides/slide{number}.xml"] = (
            f'<p:sld xmlns:p="{P}" xmlns:a="{A}"><p:spTree>{shapes}</p:spTree></p:sld>'
        )
    return zipped(parts)


def p_shape(text: str, kind: str = "") -> str:
    placeholder = f'<p:nvPr><p:ph type="{kind}"/></p:nvPr>' if kind else ""
    return f"<p:sp>{placeholder}<p:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></p:txBody></p:sp>"


Placed = tuple[float, float, float, str]
"""x and y from the top left in points, font size, text in Latin-1."""


def pdf(pages: Iterable[Iterable[Placed]], drawing: str = "", title: str = "") -> bytes:
    """A PDF of letter pages (612 x 792) with Helvetica and lines drawn on every page."""
    objects: list[str] = ["<< /Type /Catalog /Pages 2 0 R >>", "", ""]
    objects[2] = "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
    kids = []
    for texts in pages:
        shown = "\n".join(
            f"BT /F1 {size} Tf {x} {792 - y} Td ({_escaped(text)}) Tj ET"
            for x, y, size, text in texts
        )
        content = f"{drawing}\n{shown}"
        objects.append(f"<< /Length {len(content)} >>\nstream\n{content}\nendstream")
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {len(objects)} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        kids.append(f"{len(objects)} 0 R")
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>"
    objects.append(f"<< /Title ({_escaped(title)}) >>")
    out, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n{content}\nendobj\n".encode("latin-1")
    start = len(out)
    rows = "".join(f"{place:010} 00000 n \n" for place in places)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{rows}".encode()
    out += f"trailer << /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\n".encode()
    return out + f"startxref\n{start}\n%%EOF\n".encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def lines_of_text(x: float, y: float, texts: Iterable[str], size: float = 10) -> list[Placed]:
    return [(x, y + 1.2 * size * number, size, text) for number, text in enumerate(texts)]
