import io
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from data import Document, UnreadableDocumentError
from data.loaders.pdf import read_pdf
from data.page_view import view_page, view_passage
from tests.data.documents import lines_of_text, pdf
from tests.data.test_pdf import LEFT, RIGHT


def read(raw):
    pages = read_pdf(raw, "x").pages
    starts = [0]
    for page in pages:
        starts.append(starts[-1] + len(page) + 2)
    return Document(
        id="x", title="x", text="\n\n".join(pages), source="x", page_starts=tuple(starts[:-1])
    )


def view(raw, document, passage, **options):
    start = document.text.index(passage)
    return view_passage(raw, document, start, start + len(passage), **options)


def test_the_boxes_of_a_passage_lie_on_its_lines_in_its_column():
    page = lines_of_text(72, 100, LEFT) + lines_of_text(330, 100, RIGHT)
    raw = pdf([sorted(page, key=lambda line: line[1])])

    (got,) = view(raw, read(raw), " ".join(RIGHT)[:80])

    assert (got.page, got.width, got.height) == (1, 612, 792)
    assert len(got.boxes) == 2
    for line, box in enumerate(got.boxes):
        assert box.x0 == pytest.approx(330, abs=1)
        assert box.top < 100 + 12 * line < box.bottom + 1
        assert box.bottom - box.top < 15


def test_a_cell_is_marked_alone():
    page = [
        (x, 100 + 15 * row, 10, f"{name} {row}")
        for row in range(4)
        for x, name in ((72, "name"), (250, "price"), (400, "stock"))
    ]
    raw = pdf([page])

    (got,) = view(raw, read(raw), "price 2")

    (box,) = got.boxes
    assert (box.x0, box.x1) == (pytest.approx(250, abs=1), pytest.approx(282, abs=3))
    assert box.top < 130 < box.bottom


def test_the_picture_is_marked_where_the_boxes_are_and_nowhere_else():
    raw = pdf([lines_of_text(72, 100, LEFT)])
    document = read(raw)

    (marked,) = view(raw, document, LEFT[1], scale=2)
    plain = view_page(raw, 1, scale=2)

    pictures = [
        np.asarray(Image.open(io.BytesIO(one.png)).convert("RGB")) for one in (marked, plain)
    ]
    assert pictures[0].shape == (1584, 1224, 3)
    rows, columns = np.nonzero((pictures[0] != pictures[1]).any(axis=2))
    (box,) = marked.boxes
    assert 2 * box.top - 1 <= rows.min() <= rows.max() <= 2 * box.bottom + 1
    assert 2 * box.x0 - 1 <= columns.min() <= columns.max() <= 2 * box.x1 + 1


def test_a_passage_over_two_pages_is_shown_on_both():
    raw = pdf([[(72, 700, 10, "It begins here")], [(72, 80, 10, "and ends there.")]])

    got = view(raw, read(raw), "begins here\n\nand ends")

    assert [(one.page, len(one.boxes)) for one in got] == [(1, 1), (2, 1)]
    assert got[0].boxes[0].x0 > 72
    assert got[1].boxes[0].x0 == pytest.approx(72, abs=1)


def test_every_word_of_a_page_is_found_again():
    page = lines_of_text(72, 100, LEFT) + lines_of_text(330, 100, RIGHT)
    raw = pdf([page])
    document = read(raw)
    ends = [at for at, char in enumerate(document.text + " ") if char.isspace()]

    for before, after in pairwise([-1, *ends]):
        if after > before + 1:
            (got,) = view_passage(raw, document, before + 1, after, scale=0.1)
            assert len(got.boxes) == 1


def test_a_file_that_changed_a_little_is_still_marked_and_another_is_not():
    raw = pdf([lines_of_text(72, 100, LEFT)])
    document = read(raw)
    edited = pdf([lines_of_text(72, 100, ["A new first line of some words.", *LEFT])])
    other = pdf([lines_of_text(72, 100, RIGHT)])

    assert view(edited, document, LEFT[3])[0].boxes[0].top > 130
    assert view(other, document, LEFT[3])[0].boxes == ()


def test_wrong_passages_and_pages_are_refused():
    raw = pdf([[(72, 72, 10, "Text.")]])
    document = read(raw)

    with pytest.raises(ValueError, match="not in the text, which has 5 characters"):
        view_passage(raw, document, 0, 6)
    with pytest.raises(ValueError, match="has no pages"):
        view_passage(raw, Document(id="a.md", title="", text="x", source=""), 0, 1)
    with pytest.raises(UnreadableDocumentError, match="no page 2; it has 1"):
        view_page(raw, 2)
    with pytest.raises(UnreadableDocumentError, match="not a PDF"):
        view_passage(b"", document, 0, 1)
