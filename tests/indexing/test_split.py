"""`python -m indexing.split` shows what a build stores."""

import json
import sys

import pytest

from indexing import build_index, split
from indexing.config import BuildConfig
from indexing.generation import open_current
from indexing.preview import preview_split


@pytest.fixture
def manual(tmp_path):
    path = tmp_path / "docs" / "manual.md"
    path.parent.mkdir()
    path.write_text(
        "# Manual\n\n## Doors\n\n"
        + "".join(f"Door {n} opens with key {n * 7}. " for n in range(40))
        + "\n\n## 退款\n\n钱最长需要五天才会回到您的卡上。\n",
        "utf-8",
    )
    return path


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["split", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            split.main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return call


def test_the_preview_is_what_the_build_stores(manual, tmp_path, default_encoder):
    config = BuildConfig(store="exact", chunk_tokens=48, overlap_tokens=8)
    build_index([str(manual.parent)], tmp_path / "kb", config, encoder=default_encoder)

    got = preview_split(manual, config)

    built = open_current(tmp_path / "kb", with_stores=False)
    assert got.splitter.digest == built.manifest.splitter.digest
    [record] = [record for portion in built.portions() for record in portion]
    stored = [
        (c.chunk.start, c.chunk.end, c.chunk.heading, c.chunk.text, c.embedded)
        for c in record.chunks
    ]
    assert len(stored) > 5
    assert [(p.start, p.end, p.heading, p.text, p.embedded) for p in got.pieces] == stored
    counts = default_encoder.count_tokens([c.embedded for c in record.chunks])
    assert [piece.tokens for piece in got.pieces] == counts


def test_json_gives_each_chunk_with_its_place(manual, call):
    code, out, _ = call(manual, "--chunk-tokens", 48, "--overlap-tokens", 8, "--json")

    body = json.loads(out)
    text = manual.read_text("utf-8")
    assert code == 0
    assert body["splitter"]["chunk_tokens"] == 48
    assert len(body["splitter"]["digest"]) == 64
    assert [chunk["number"] for chunk in body["chunks"]] == [*range(1, len(body["chunks"]) + 1)]
    assert all(text[c["start"] : c["end"]] == c["text"] for c in body["chunks"])
    assert body["chunks"][-1]["heading"] == ["Manual", "退款"]
    assert body["chunks"][-1]["page"] is None


def test_a_person_reads_the_hash_the_headings_and_the_text(manual, call):
    code, out, _ = call(manual)

    assert code == 0
    assert out.startswith("manual.md: ")
    assert f"Configuration {preview_split(manual).splitter.digest}" in out
    assert "Manual > 退款, " in out
    assert "    钱最长需要五天才会回到您的卡上。" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.md"], 2, "missing.md is no file"),
        (["manual.md", "--chunk-tokens", "4000"], 2, "--chunk-tokens 4000 is more than"),
        (["manual.md", "--chunk-tokens", "20", "--overlap-tokens", "15"], 2, "overlap_tokens must"),
        (["bad.pdf"], 1, "PDF"),
    ],
)
def test_a_wrong_call_costs_one_sentence(arguments, code, message, manual, call, monkeypatch):
    monkeypatch.chdir(manual.parent)
    (manual.parent / "bad.pdf").write_bytes(b"nothing of the kind")

    got, out, err = call(*arguments)

    assert (got, out) == (code, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1
