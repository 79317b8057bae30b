"""The README says what is true: its code prints what it says, its links lead somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", README, re.DOTALL)
DOCS = sorted((ROOT / "docs").glob("*/*.md"))


def test_every_python_block_has_its_output():
    assert len(BLOCKS) == README.count("```python") >= 2


@pytest.mark.parametrize(("code", "output"), BLOCKS)
def test_a_block_prints_what_the_readme_says(code, output, tmp_path):
    (tmp_path / "docs").symlink_to(ROOT / "docs")

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == output


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS], ids=str)
def test_every_link_to_a_file_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", DOCS, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_every_python_block_of_the_handbook_compiles_and_imports_what_exists(page):
    for code in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        compile(code, str(page), "exec")
        imports = "\n".join(line for line in code.splitlines() if re.match(r"(from|import) ", line))
        exec(imports, {})


@pytest.mark.parametrize(
    ("mark", "result", "first"),
    [("figures", "quality", "| set"), ("encode", "encode", "| system")],
)
def test_the_figures_are_those_that_were_measured(mark, result, first):
    measured = (ROOT / f"benchmarks/results/{result}.md").read_text("utf-8")
    tables = measured[measured.index(f"\n{first}") :].strip()

    assert f"<!-- {mark} -->\n{tables}\n<!-- /{mark} -->" in README


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_no_page_holds_the_marks_of_a_merge(page):
    lines = (ROOT / page).read_text("utf-8").splitlines()

    assert not [line for line in lines if line.startswith(("<<<<<<<", ">>>>>>>"))]
