"""Words with boxes to text: what rendered pages of real files showed to be read wrongly once."""

from data.loaders.grids import find_grids
from data.loaders.layout import page_text
from data.pdfium import Rule, Word


def line(x0, top, text, *, size=10.0, width=None, is_bold=False):
    """The words of a line; blanks are as wide as they must be for it to have its width."""
    words, letter = text.split(), size * 0.5
    letters = sum(map(len, words)) * letter
    blank = letter if width is None else (width - letters) / max(1, len(words) - 1)
    found = []
    for word in words:
        x1 = x0 + len(word) * letter
        found.append(Word(word, x0, top, x1, top + size, size, is_bold))
        x0 = x1 + blank
    return found


def lines(x0, top, texts, **choices):
    return [
        word for at, text in enumerate(texts) for word in line(x0, top + 12 * at, text, **choices)
    ]


BODY = ["The body of the page runs over the whole width of its column and goes on"] * 3


def test_lines_of_an_inset_paragraph_are_joined_and_its_cut_words_made_whole():
    abstract = [
        "Open-domain question answering relies on ef-",
        "ficient selection of passages by a dual-",
        "encoder that is trained on few questions us-",
        "ing dense representations of the passages,",
    ]
    words = lines(20, 0, abstract, width=230) + lines(0, 80, BODY, width=380)
    words += line(0, 140, "A dual-encoder reads both.")

    text = " ".join(page_text(words).split())

    assert text.startswith(
        "Open-domain question answering relies on efficient selection of passages by a "
        "dual-encoder that is trained on few questions using dense representations of the "
        "passages, The body"
    )
    assert "\u00ad" not in text


def test_short_lines_of_like_length_stay_lines():
    verses = [
        "Roses are red today,",
        "violets blue as ever",
        "sugar is sweet, true",
        "and you, dear, too",
    ]
    words = lines(0, 0, verses) + lines(0, 80, BODY, width=380)

    assert page_text(words).startswith("\n".join(verses))


def test_a_heading_with_its_number_far_in_front_is_a_heading():
    words = line(0, 0, "1", size=14, is_bold=True) + line(30, 0, "Scope", size=14, is_bold=True)
    words += lines(0, 40, BODY, width=380)

    assert page_text(words).splitlines()[0] == "## 1 Scope"


def framed(header):
    """A table of three columns and two rows, whose first row no line parts."""
    rules = [Rule(0, y, 300, y) for y in (0, 20, 40)]
    rules += [Rule(x, 0, x, 40) for x in (0, 300)] + [Rule(x, 20, x, 40) for x in (100, 200)]
    values = [word for at, text in enumerate("abc") for word in line(100 * at + 40, 25, text)]
    grids, _ = find_grids(header + values, rules)
    return grids[0].rows


def test_names_of_columns_in_one_box_are_parted_by_the_columns():
    header = line(10, 5, "Permit") + line(110, 5, "Long Gun") + line(230, 5, "Other")

    assert framed(header) == [["Permit", "Long Gun", "Other"], ["a", "b", "c"]]


def test_the_name_of_a_group_of_columns_stands_with_the_first_of_them():
    group = line(120, 2, "Group of all", size=8)
    header = line(10, 11, "Permit", size=8) + line(110, 11, "Long Gun", size=8)
    header += line(230, 11, "Other", size=8)

    assert framed(group + header)[0] == ["Group of all Permit", "Long Gun", "Other"]


def test_a_title_over_several_columns_stays_whole():
    words = "Title over all of the columns that there are"

    assert framed(line(20, 5, words)) == [[words, "", ""], ["a", "b", "c"]]
    assert framed(line(40, 5, "Two", width=0) + line(220, 5, "words")) == [
        ["Two words", "", ""],
        ["a", "b", "c"],
    ]
