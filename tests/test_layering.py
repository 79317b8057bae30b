"""Imports run one way only: app, finetune, indexing, encoder and data, from left to right."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_USE = {
    "app": {"finetune", "indexing", "encoder", "data"},
    "finetune": {"indexing", "encoder", "data"},
    "indexing": {"encoder", "data"},
    "encoder": set(),
    "data": set(),
}
ONE_HOME = {
    "faiss": {"indexing/stores/faiss.py"},
    "pymilvus": {"indexing/stores/milvus.py"},
    "milvus_lite": {"indexing/stores/milvus.py"},
    "onnxruntime": {"finetune/onnx_file.py"},
    "openvino": {"encoder/backends/openvino.py"},
    "ray": {"indexing/ray_driver.py"},
    "tantivy": {"indexing/lexical.py"},
    "langchain_text_splitters": {"indexing/langchain_base.py"},
    "langchain_openai": {"app/chat_models.py"},
    "langchain_core": {
        "app/chat_models.py",
        "encoder/langchain_adapter.py",
        "indexing/langchain_base.py",
    },
}


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


def files(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no files in {package}"
    return found


@pytest.mark.parametrize("package", MAY_USE)
def test_a_package_imports_only_what_lies_to_its_right(package):
    allowed = MAY_USE[package] | {package}

    for path in files(package):
        ours = {name.partition(".")[0] for name in imports(path)} & {
            *MAY_USE,
            "benchmarks",
            "tests",
        }
        assert ours <= allowed, f"{path.relative_to(ROOT)} imports {sorted(ours - allowed)}"


@pytest.mark.parametrize("engine", ONE_HOME)
def test_an_engine_is_imported_in_one_place_of_each_package(engine):
    homes = {
        path.relative_to(ROOT).as_posix()
        for package in MAY_USE
        for path in files(package)
        if engine in {name.partition(".")[0] for name in imports(path)}
    }

    assert homes == ONE_HOME[engine]


def test_only_the_app_knows_streamlit():
    homes = {
        package
        for package in MAY_USE
        for path in files(package)
        if "streamlit" in {name.partition(".")[0] for name in imports(path)}
    }

    assert homes == {"app"}


def test_no_file_of_the_app_hides_a_package():
    # `streamlit run app/main.py` puts app/ first on sys.path.
    names = {path.stem for path in (ROOT / "app").iterdir() if not path.name.startswith("_")}

    assert not names & (sys.stdlib_module_names | set(MAY_USE))
