import json

import pytest

from data import Document, UnreadableDocumentError, load_records


def test_lines_become_documents_with_their_id_as_source():
    lines = [
        '{"id": "a", "text": "重置密码\\r\\nnow"}\n',
        "\n",
        '{"id": "b", "text": "x", "title": " Reset\\n it ", "metadata": {"lang": "en", "n": 1}}',
    ]

    got = list(load_records(lines))

    assert got == [
        Document(id="a", title="", text="重置密码\nnow", source="a"),
        Document(id="b", title="Reset it", text="x", source="b", metadata={"lang": "en", "n": 1}),
    ]


def test_null_means_the_same_as_leaving_a_key_out():
    got = list(load_records(['{"id": "a", "text": "x", "title": null, "metadata": null}']))

    assert got == [Document(id="a", title="", text="x", source="a")]


def test_no_line_gives_no_document():
    assert list(load_records([])) == []


def test_lone_surrogates_are_replaced_everywhere():
    line = r'{"id": "a\ud800", "text": "x\udc00 \ud83d\ude00", "metadata": {"k": ["\ud800"]}}'

    got = next(load_records([line]))

    assert (got.id, got.text, got.metadata) == ("a\ufffd", "x\ufffd 😀", {"k": ["\ufffd"]})
    json.dumps(got.metadata, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "Line 2 is not JSON"),
        ("[1]", "Line 2 must be a JSON object, got list"),
        ("[" * 100_000, "Line 2 is not JSON"),
        ('{"text": "x"}', "Line 2 has no 'id'; it needs id, text"),
        ('{"id": "b"}', "Line 2 has no 'text'"),
        ('{"id": "b", "text": null}', "Line 2 has no 'text'"),
        ('{"id": "b", "text": 3}', "Line 2: 'text' must be a string, got int 3"),
        ('{"id": 7, "text": "x"}', "Line 2: 'id' must be a string, got int 7"),
        ('{"id": " ", "text": "x"}', "Line 2 holds no id"),
        ('{"id": "b", "text": " \\n"}', "Line 2 holds no text"),
        ('{"id": "b", "text": "x", "metadata": []}', "Line 2: 'metadata' must be an object"),
        ('{"id": "b", "text": "x", "url": "y"}', "Line 2 has the unknown key 'url'; allowed: id,"),
        ('{"id": "a", "text": "y"}', "Line 2 repeats the id 'a' of line 1"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(line, message):
    documents = load_records(['{"id": "a", "text": "x"}', line])

    assert next(documents).id == "a"
    with pytest.raises(UnreadableDocumentError, match=message):
        next(documents)


def test_lines_that_are_not_utf_8_are_refused(tmp_path):
    path = tmp_path / "records.jsonl"
    path.write_bytes('{"id": "a", "text": "密码"}'.encode("gbk"))

    with (
        path.open(encoding="utf-8") as lines,
        pytest.raises(UnreadableDocumentError, match="UTF-8"),
    ):
        list(load_records(lines))
