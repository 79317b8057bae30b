"""Each package's `__all__` is what it exports, and importing it costs nothing."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("data", "encoder", "finetune", "indexing")


@pytest.mark.parametrize("name", PACKAGES)
def test_all_names_can_be_imported_and_no_other_is_listed(name):
    package = importlib.import_module(name)

    assert len(set(package.__all__)) == len(package.__all__)
    for public in package.__all__:
        assert getattr(package, public) is not None
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("name", PACKAGES)
def test_type_checkers_see_the_same_names_as_all(name):
    tree = ast.parse((ROOT / name / "__init__.py").read_text("utf-8"))
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {
        alias.asname or alias.name
        for block in blocks
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }

    assert seen == set(importlib.import_module(name).__all__)


@pytest.mark.parametrize("name", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(name):
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = importlib.import_module(name).nonsense


@pytest.mark.parametrize("name", PACKAGES)
def test_importing_a_package_imports_nothing_heavy(name):
    heavy = "{'torch', 'transformers', 'faiss', 'tantivy', 'streamlit', 'numpy', 'bs4'}"
    code = f"import sys, {name}; print(sorted({heavy} & set(sys.modules)))"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_pyproject_lists_every_package():
    listed = set(
        tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    )

    there = {
        path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for top in (*PACKAGES, "app", "benchmarks")
        for path in (ROOT / top).rglob("__init__.py")
    }

    assert listed == there


def test_every_folder_with_code_is_a_package():
    for top in (*PACKAGES, "app", "benchmarks"):
        for path in (ROOT / top).rglob("*.py"):
            assert (path.parent / "__init__.py").is_file(), path
