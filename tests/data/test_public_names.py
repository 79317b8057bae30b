import subprocess
import sys

import pytest

import data


def test_all_names_are_importable_and_listed():
    want = set(data.__all__)

    assert {name for name in want if getattr(data, name) is not None} == want
    assert want <= set(dir(data))


def test_all_and_the_table_of_modules_hold_the_same_names():
    assert set(data._MODULE_OF) == set(data.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'load_documents'"):
        _ = data.load_documents


@pytest.mark.parametrize("statement", ["import data", "from data import SUFFIXES, load_document"])
def test_importing_data_imports_no_heavy_library(statement):
    heavy = ["bs4", "markdownify", "charset_normalizer", "numpy", "torch"]
    code = f"{statement}; import sys; print([n for n in {heavy} if n in sys.modules])"

    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert got.stdout.strip() == "[]"
