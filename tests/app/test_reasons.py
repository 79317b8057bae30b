"""Every reason that a reader of formats can give is there in the other languages."""

import ast
import re
import zipfile
from itertools import count
from pathlib import Path
from string import Formatter

import pytest

from app.reasons import _texts, reason_in
from data import UnreadableDocumentError
from data.loaders import load_document

ROOT = Path(__file__).parent.parent.parent
READERS = [
    *sorted((ROOT / "data/loaders").glob("*.py")),
    *(ROOT / "data" / name for name in ("pdfium.py", "site.py", "fetching.py", "json_lines.py")),
]
TELLS = {"Failure", "failure_of", "_fail", "UnreadableDocumentError"}
CHINESE = re.compile("[\u4e00-\u9fff]")


def template(node):
    """A literal text, its values as {}; None of anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(v.value if isinstance(v, ast.Constant) else "{}" for v in node.values)
    return None


def parsed(path):
    return ast.parse(path.read_text("utf-8"))


def sentences(tree):
    """Literals that are a sentence, but for docstrings."""
    nodes = list(ast.walk(tree))
    left_out = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    for node in nodes:
        if isinstance(node, ast.JoinedStr):
            left_out |= {id(part) for part in ast.walk(node) if part is not node}
    texts = [template(node) for node in nodes if id(node) not in left_out]
    return [text for text in texts if text and re.match(r"[A-Z{].{14,}\.$", text, re.DOTALL)]


def calls(tree, names):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in names:
                yield node


def failures():
    """What ends a whole job that the pages can begin."""
    left_out = {"merging", "ray_driver", "ledger", "langchain_vectorstore", "sharding"}
    told = {"BuildFailedError", "IndexLockedError", "ModelNotFoundError", "RemoteError"}
    told |= {"RefusedError"}
    for path in [
        *(one for one in (ROOT / "indexing").glob("*.py") if one.stem not in left_out),
        *(ROOT / "encoder" / name for name in ("model_folder.py", "hubs.py", "backends/remote.py")),
    ]:
        # There, a page can ask for what makes no sense.
        more = {"UsageError"} if path.stem == "reencoding" else set()
        for call in calls(parsed(path), told | more):
            yield from (text for argument in call.args if (text := template(argument)))
        for call in calls(parsed(path), {"CorruptIndexError", "BackupError"}):
            yield from (f"{text}." for argument in call.args[1:] if (text := template(argument)))
    for node in ast.walk(parsed(ROOT / "indexing" / "pipeline.py")):
        if isinstance(node, ast.FunctionDef) and node.name == "_nothing_found":
            found = [one for one in ast.walk(node) if isinstance(one, ast.JoinedStr)]
            yield from filter(None, map(template, found))
    found = parsed(ROOT / "indexing" / "errors.py")
    for call in calls(found, {"__init__"}):
        yield from (text for argument in call.args if (text := template(argument)))


def reasons():
    for failure in failures():
        yield f"{failure}." if failure.endswith(": {}") else failure  # the last is a sentence
    for path in READERS:
        yield from sentences(parsed(path))
        for call in calls(parsed(path), {"missing_extra"}):
            yield f"{template(call.args[0])} needs an extra: pip install -e '.[{{}}]'"
    for path in sorted((ROOT / "indexing").glob("*.py")):
        for call in calls(parsed(path), TELLS):
            told = [template(argument) for argument in call.args]
            yield from (text for text in told if text and " " in text)
    yield "The same as {}."


@pytest.mark.parametrize("reason", sorted(set(reasons())))
def test_a_reason_is_told_in_chinese_with_its_values(reason):
    numbers = count(1)
    values = [f"v{next(numbers)}" for _ in range(reason.count("{}"))]
    told = reason_in("zh", reason.replace("{}", "%s") % tuple(values))

    assert CHINESE.search(told)
    assert not re.search("[a-z]{4,} [a-z]{2,}", told.replace("pip install", ""))
    assert all(value in told for value in values)


def test_there_are_many_reasons_and_no_text_is_left_over():
    given = set(reasons())

    assert len(given) > 60
    assert set(_texts("zh")) - given <= {
        " Its earlier version stays in the index.",
        "It repeats {}, which failed.",
        "its id {} is also that of {}",
    }


def test_each_text_has_a_place_for_each_value():
    for english, chinese in _texts("zh").items():
        places = [name for _, name, _, _ in Formatter().parse(chinese) if name is not None]
        assert len(places) == english.count("{}"), english


def test_an_earlier_version_that_stays_is_told_too():
    reason = "Page 3 is damaged. Its earlier version stays in the index."

    assert reason_in("zh", reason) == "第 3 页已损坏。索引中保留它的上一个版本。"
    assert reason_in("en", reason) == reason


def test_a_reason_within_a_reason_is_told_too():
    reason = "The file cannot be read: The page took longer than 30 s."

    assert reason_in("zh", reason) == "无法读取文件：网页读取超过 30 秒。"


@pytest.mark.parametrize("reason", ["", "Something else.", "{}", "50 % {of} it", "无法读取"])
def test_what_is_unknown_stays_as_it_is(reason):
    assert reason_in("zh", reason) == reason


def test_the_reason_of_a_real_file_is_told(tmp_path):
    path = tmp_path / "mail.docx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("word/document.xml", "<a")

    with pytest.raises(UnreadableDocumentError) as caught:
        load_document(path, id=path.name)

    assert CHINESE.search(reason_in("zh", str(caught.value)))
