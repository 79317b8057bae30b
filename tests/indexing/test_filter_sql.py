"""What filters mean: the catalogue agrees with a plain evaluation in Python."""

import itertools
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data import Chunk, Document
from indexing.catalog import Catalog, CatalogWriter, ChunkRecord, DocumentRecord, FileState
from indexing.filter_parser import parse_filter
from indexing.filters import BUILT_IN, Among, And, Comparison, Holds, Not, Or
from tests.indexing.filter_strategies import FILTERS, NUMBERS, WORDS

_OPERATORS = {
    "==": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def kind(value):
    return "number" if type(value) in (int, float) else type(value).__name__


def as_kind(value, wanted):
    """A document's value as the kind that it is compared with, or None."""
    if isinstance(wanted, date) and isinstance(value, str):
        try:
            return date.fromisoformat(value[:10]) if len(value) == 10 else None
        except ValueError:
            return None
    if kind(value) != kind(wanted):
        return None
    # SQLite holds 64 bits.
    return float(value) if isinstance(value, int) and not -(2**63) <= value < 2**63 else value


def look_up(chunk, document, field):
    """(values, whether they are a list) of a field."""
    if field in BUILT_IN:
        built_in = {
            "path": document.id,
            "title": document.title,
            "language": "zh",
            "date": document.metadata["date"],
            "heading": list(chunk.heading),
            "page": chunk.page,
        }
        value = built_in[field]
    else:
        value = document.metadata
        parts = ["title"] if field == "metadata.title" else field.split(".")
        for part in parts:
            value = value.get(part) if isinstance(value, dict) else None
    if value is None:
        return [], False
    return (value, True) if isinstance(value, list) else ([value], False)


def is_true(tree, chunk, document):
    if isinstance(tree, Not):
        return not is_true(tree.part, chunk, document)
    if isinstance(tree, And | Or):
        together = all if isinstance(tree, And) else any
        return together(is_true(part, chunk, document) for part in tree.parts)
    return is_met(tree, chunk, document)


def is_met(tree, chunk, document):
    values, is_list = look_up(chunk, document, tree.field)
    if isinstance(tree, Comparison) and tree.operator == "!=":
        return not is_true(Comparison(tree.field, "==", tree.value), chunk, document)
    if isinstance(tree, Comparison):
        return any(compares(value, tree.operator, tree.value) for value in values)
    if isinstance(tree, Among):
        return any(compares(a, "==", b) for a, b in itertools.product(values, tree.values))
    assert isinstance(tree, Holds)
    if is_list:
        return any(compares(value, "==", tree.value) for value in values)
    return any(
        isinstance(value, str) and isinstance(tree.value, str) and tree.value in value
        for value in values
    )


def compares(value, operator, wanted):
    mine = as_kind(value, wanted)
    theirs = as_kind(wanted, wanted)
    return mine is not None and _OPERATORS[operator](mine, theirs)


PLAIN = st.sampled_from(WORDS) | NUMBERS | st.booleans()
METADATA = st.fixed_dictionaries(
    {
        "date": st.sampled_from(["2024-01-31", "2024-02-01", "0999-12-01"]),
        "language": st.just("zh"),
    },
    optional={
        "year": PLAIN,
        "tags": st.lists(PLAIN, max_size=3),
        "author": st.fixed_dictionaries({"name": PLAIN}),
        "a-b": PLAIN,
        "标签": PLAIN | st.none(),
        "and": PLAIN,
        'q"\\': PLAIN,
        "title": PLAIN,
    },
)


@st.composite
def corpora(draw):
    """Records with one to three chunks each."""
    records, ids = [], itertools.count(1)
    for number in range(draw(st.integers(1, 4))):
        document = Document(
            id=draw(st.sampled_from(["docs/a.md", "zh", "ab"])) + str(number),
            title=draw(st.sampled_from(WORDS)),
            text="text",
            source="",
            metadata=draw(METADATA),
        )
        chunks = [
            Chunk(
                id=next(ids),
                document=document.id,
                start=0,
                end=4,
                page=draw(st.none() | st.integers(1, 3)),
                heading=tuple(draw(st.lists(st.sampled_from(WORDS), max_size=2))),
                text="text",
            )
            for _ in range(draw(st.integers(1, 3)))
        ]
        state = FileState(root="-", size=0, mtime_ns=0, content="")
        written = tuple(ChunkRecord(chunk, "", b"") for chunk in chunks)
        records.append(DocumentRecord(document, state, written))
    return records


def write(path, records):
    writer = CatalogWriter(path)
    writer.add(records)
    writer.close()
    return Catalog(path)


@settings(max_examples=50, deadline=None)
@given(records=corpora(), trees=st.lists(FILTERS, min_size=10, max_size=10))
def test_the_catalogue_agrees_with_plain_python(tmp_path_factory, records, trees):
    catalog = write(tmp_path_factory.mktemp("catalog") / "catalog.sqlite", records)
    rows = [(c.chunk, record.document) for record in records for c in record.chunks]

    for tree in trees:
        want = [chunk.id for chunk, document in rows if is_true(tree, chunk, document)]
        assert catalog.matching(tree).tolist() == want, tree


def record(id_, first, metadata, *, mtime_ns=0, text="The text of it.", root="-"):
    document = Document(id=id_, title=id_.upper(), text=text, source=id_, metadata=metadata)
    chunk = Chunk(id=first, document=id_, start=0, end=1, page=None, heading=("A", "B"), text="t")
    state = FileState(root=root, size=0, mtime_ns=mtime_ns, content="")
    return DocumentRecord(document, state, (ChunkRecord(chunk, "", b""),))


@pytest.fixture
def records():
    return [
        record("docs/a.md", 1, {"year": 2019, "tags": ["x", "yz"]}, mtime_ns=10**18),
        record("docs/b.md", 2, {"year": 2021, "note": "2020"}, text="这里有一些中文内容。"),
        record("c", 3, {"created": "2024年1月31日", "lang": "zh-CN", "due": "2025-01-01T10:00"}),
    ]


@pytest.mark.parametrize(
    ("expression", "want"),
    [
        ('lang == "zh" and year >= 2020', [2]),
        ('lang == "zh"', [2, 3]),
        ('lang == "en"', [1]),
        ('metadata.lang == "zh-CN"', [3]),
        ("year < 2021", [1]),
        ("year != 2021", [1, 3]),
        ("not year < 2021", [2, 3]),
        ('year == "2021"', []),
        ("note == 2020", []),
        ('"docs/" in path', [1, 2]),
        ('path == "c"', [3]),
        ('title == "C"', [3]),
        ('"y" in tags', []),
        ('"yz" in tags', [1]),
        ('tags == "x"', [1]),
        ('"A" in heading and heading == "B"', [1, 2, 3]),
        ('"b" in heading', []),
        ("date == 2001-09-09", [1]),  # 10**18 ns
        ("date >= 2024-01-31", [3]),
        ("due > 2024-12-31", [3]),
        ("due == 2025-01-01", [3]),
        ('due == "2025-01-01"', []),
        ("page == 1 or page != 1", [1, 2, 3]),
        ("page > 0", []),
        ('"\'; DROP TABLE chunks; --" in path', []),
        ('lang in ("zh", "en") and lang not in ("en", "fr")', [2, 3]),
    ],
)
def test_a_filter_by_value(tmp_path, records, expression, want):
    catalog = write(tmp_path / "catalog.sqlite", records)

    assert catalog.matching(parse_filter(expression)).tolist() == want


def test_a_catalogue_without_facts_is_asked_all_the_same(tmp_path, records):
    import sqlite3

    path = tmp_path / "catalog.sqlite"
    write(path, records).close()
    new = Catalog(path)
    want = {r.document.id: set(new.facts(r.document.id)) for r in records}
    new.close()
    connection = sqlite3.connect(path)
    connection.execute("DROP TABLE facts")
    connection.close()
    before = path.read_bytes()

    old = Catalog(path)

    assert old.matching(parse_filter('lang == "zh" and year >= 2020')).tolist() == [2]
    assert {r.document.id: set(old.facts(r.document.id)) for r in records} == want
    assert path.read_bytes() == before
    assert [name.name for name in tmp_path.iterdir()] == ["catalog.sqlite"]


def test_facts_are_kept_when_a_record_is_copied(tmp_path, records):
    first = write(tmp_path / "first.sqlite", records)

    second = write(tmp_path / "second.sqlite", first.records(["docs/a.md", "docs/b.md", "c"]))

    for written in records:
        id_ = written.document.id
        assert second.facts(id_) == first.facts(id_)
        assert ("date" in {fact.field for fact in second.facts(id_)}) == (id_ != "docs/b.md")


def test_a_file_changed_just_now_has_a_date(tmp_path):
    catalog = write(tmp_path / "catalog.sqlite", [record("a", 1, {}, root="/docs")])

    assert catalog.matching(parse_filter("date > 2026-01-01")).tolist() == [1]


def test_fields_that_no_document_has_are_named(tmp_path, records):
    catalog = write(tmp_path / "catalog.sqlite", records)

    assert catalog.unknown_fields(parse_filter("yeer == 1 or year == 1 or page == 1")) == {"yeer"}
    assert {"year", "tags", "path", "language", "metadata.lang"} <= catalog.fields()
