"""The commands as a user types them: output, exit codes, one clear sentence for bad input."""

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from encoder import __main__ as command
from encoder import known_models, known_rerankers

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def call(monkeypatch, capsys):
    """Call the command in this process; gives (exit code, stdout, stderr)."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["encoder", *map(str, arguments)])
        capsys.readouterr()  # what the fixtures' libraries wrote
        with pytest.raises(SystemExit) as stopped:
            command.main()
        out, err = capsys.readouterr()
        return stopped.value.code or 0, out, err

    return call


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_bytes("reset my password\r\n怎么重置密码？\n\nsplit\u2028not here\n".encode())
    return path


TEXTS = ["reset my password", "怎么重置密码？", "", "split\u2028not here"]


def test_list_names_every_model_and_whether_it_runs(call):
    code, out, err = call("list")

    assert (code, err) == (0, "")
    names = [line.split()[0] for line in out.splitlines()]
    assert names == [*known_models(), *known_rerankers()]
    (unable,) = [line for line in out.splitlines() if "NV-Embed-v2" in line]
    assert unable.endswith("not yet: it pools by an attention layer of its own")
    (reranker,) = [line for line in out.splitlines() if "bge-reranker-v2-m3" in line]
    assert reranker.split()[1:] == ["8192", "reranker", "en+zh+multilingual", "formula"]


def test_list_gives_one_json_object(call):
    listed = json.loads(call("list", "--json")[1])
    models = listed["models"]

    assert [model["name"] for model in models] == known_models()
    assert [row["name"] for row in listed["rerankers"]] == known_rerankers()
    assert models[0].keys() >= {"dim", "max_tokens", "pooling", "languages", "checked", "source"}


def test_show_says_where_each_fact_came_from(call, model_folder):
    code, out, _ = call("show", model_folder("bert-cls"))

    assert code == 0
    assert '  pooling                "cls"  [1_Pooling/config.json]\n' in out
    assert '  templates.query        "query: {text}"  [config_sentence_transformers.json]\n' in out
    assert "  append_eos             false  [default]\n" in out


def test_show_gives_one_json_object_with_guesses(call, save_random_model, tmp_path):
    save_random_model("bert-mean", tmp_path / "unheard-of")

    shown = json.loads(call("show", tmp_path / "unheard-of", "--json")[1])

    assert shown["facts"]["pooling"] == {"value": "mean", "from": "guess"}
    assert shown["warnings"][0] == "Nothing says how unheard-of pools its tokens; mean is a guess."


@pytest.mark.parametrize(
    ("model", "note"),
    [
        ("jinaai/jina-embeddings-v3", "Angler does not run it yet: it wants one of several LoRA"),
        ("BAAI/bge-large-zh", "The model is not on this machine; these are the registry's facts."),
        ("AI-ModelScope/bge-large-zh", "The model is not on this machine"),
    ],
)
def test_show_knows_a_model_that_is_not_here(call, model, note):
    code, out, err = call("show", model)

    assert (code, err) == (0, "")
    assert "  pooling " in out
    assert "[registry]" in out
    assert note in out


@pytest.mark.parametrize("role", ["query", "document"])
def test_encode_writes_one_row_for_each_line(
    call, lines, tmp_path, small_encoder, role, monkeypatch
):
    encoder = small_encoder("bert-mean")
    out = tmp_path / "x.npy"
    encode = {"query": encoder.encode_queries, "document": encoder.encode_documents}[role]

    options = ("--model", encoder.spec.name, "--backend", "torch", "--role", role, "--json")
    code, printed, err = call("encode", lines, "--out", out, *options)

    assert (code, err) == (0, "")
    got = np.load(out, allow_pickle=False)
    assert (got.dtype, got.shape) == (np.float32, (4, 16))
    np.testing.assert_allclose(got, encode(TEXTS), rtol=0, atol=1e-5)
    assert json.loads(printed).items() >= {"texts": 4, "dim": 16, "out": str(out)}.items()
    assert {path.name for path in tmp_path.iterdir()} == {"texts.txt", "x.npy"}


def test_encode_reads_stdin_and_cuts_dimensions(call, monkeypatch, tmp_path, model_folder):
    stdin = io.TextIOWrapper(io.BytesIO("\ufeffeins\nzwei".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    model = model_folder("bert-mean")

    code, printed, _ = call("encode", "-", "--out", tmp_path / "x", "--model", model, "--dim", 5)

    assert code == 0
    assert printed.startswith("2 texts, 5 dimensions, ")
    assert np.load(tmp_path / "x").shape == (2, 5)


def test_encode_says_what_was_cut_and_what_was_equal(call, tmp_path, model_folder):
    path = tmp_path / "texts.txt"
    path.write_text("a\n" + "long " * 60 + "\na\nb\n" + "longer " * 60, "utf-8")
    arguments = ("encode", path, "--out", tmp_path / "x.npy", "--model", model_folder("bert-mean"))

    code, printed, _ = call(*arguments)
    report = json.loads(call(*arguments, "--json")[1])

    first, *rest = printed.splitlines()
    assert code == 0
    assert first.startswith("5 texts, 16 dimensions, ")
    assert rest == [
        "1 equal another text and were encoded once.",
        "2 are longer than 48 tokens and were cut: line 2, line 5.",
    ]
    assert report["texts"] == 5
    assert report["tokens"] == 5 + 5 + 48 + 48  # [CLS] passage : a [SEP]
    assert report["duplicates"] == 1
    assert report["truncated"] == {"texts": 2, "first": [1, 4]}
    assert report["retried"] == {"texts": 0, "first": []}
    assert report["tokens_per_s"] > 0


def test_encode_goes_on_where_it_was_cut_off(call, tmp_path, model_folder, monkeypatch):
    lines = [f"number {n}" for n in range(7)]
    path, out = tmp_path / "texts.txt", tmp_path / "x.npy"
    path.write_bytes(b"\n".join([line.encode() for line in lines[:5]] + [b"\xff"] + [b"x"]))
    monkeypatch.setattr("encoder.streaming.WINDOW_TEXTS", 2)
    arguments = ("encode", path, "--out", out, "--model", model_folder("bert-mean"))

    code, _, err = call(*arguments, "--resume")
    assert code == 1
    assert err == f"error: {path} is not UTF-8 (invalid start byte at byte 45, line 6).\n"
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "texts.txt",
        "x.npy.part",
        "x.npy.part.json",
    ]

    path.write_text("\n".join(lines), "utf-8")
    code, printed, _ = call(*arguments, "--resume")
    assert code == 0
    assert printed.startswith("4 from before and 3 texts, 16 dimensions, ")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["texts.txt", "x.npy"]
    resumed = np.load(out)
    call(*arguments)
    np.testing.assert_allclose(resumed, np.load(out), rtol=0, atol=1e-5)


def test_selftest_passes_and_says_so(call, model_folder):
    code, out, _ = call("selftest", model_folder("qwen-last"))
    report = json.loads(call("selftest", model_folder("qwen-last"), "--json")[1])

    assert code == 0
    assert out.count("  passed  ") == 6
    assert report["passed"] is True
    assert [check["name"] for check in report["checks"]] == [
        "unit length",
        "batch invariance",
        "padding",
        "end mark",
        "instructions",
        "truncation",
    ]


def test_a_missing_file_is_named_where_the_output_is_there_already(call, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.npy").write_bytes(b"old")

    code, _, err = call("encode", "none.txt", "--out", "x.npy")

    assert (code, err) == (2, "error: There is no file none.txt.\n")


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ([], 2, "the following arguments are required: COMMAND"),
        (["lst"], 2, "invalid choice: 'lst'"),
        (["show", "nobody/none"], 2, "error: Cannot load the model 'nobody/none'"),
        (["show", "/none/at/all"], 2, "error: No folder /none/at/all."),
        (["encode", "none.txt", "--out", "x.npy"], 2, "error: There is no file none.txt."),
        (["encode", "-", "--out", "none/x.npy"], 2, "error: There is no folder none to write"),
        (["encode", "-", "--out", "."], 2, "error: . is a folder; give the name of a file"),
        (["encode", "-", "--out", "x", "--dim", "385"], 1, "between 1 and 384, the width of"),
        (["encode", "-", "--out", "x", "--model", "no/model"], 2, "error: Cannot load the model"),
        (["encode", "-", "--out", "x", "--task", "sts"], 1, "error: sentence-transformers/all"),
        (["encode", "-", "--out", "x", "--dim", "0"], 1, "error: dim must be between 1 and 384"),
        (["selftest", "--device", "gpu"], 1, "error: Unknown device 'gpu'."),
        (["selftest", "--backend", "onnx"], 1, "error: Unknown backend 'onnx'."),
        (
            ["selftest", "jina-embeddings-v3"],
            1,
            "error: Angler does not run jinaai/jina-embeddings-v3 yet",
        ),
    ],
)
def test_a_wrong_call_is_one_sentence(call, monkeypatch, tmp_path, arguments, code, sentence):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n")))

    got, out, err = call(*arguments)

    assert (got, out) == (code, "")
    assert sentence in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_encode_does_not_write_over_the_texts(call, lines):
    content = lines.read_bytes()

    code, _, err = call("encode", lines, "--out", lines)

    assert code == 2
    assert err == f"error: {lines} is the file of the texts; give another name to --out.\n"
    assert lines.read_bytes() == content


def test_no_lines_make_a_file_without_rows(call, tmp_path):
    (tmp_path / "none.txt").touch()

    code, printed, _ = call("encode", tmp_path / "none.txt", "--out", tmp_path / "x.npy")

    assert code == 0
    assert printed.startswith("0 texts, 384 dimensions, ")
    assert np.load(tmp_path / "x.npy").shape == (0, 384)


def test_a_file_that_is_not_utf_8_is_named(call, tmp_path):
    (tmp_path / "gbk.txt").write_bytes("密码".encode("gbk"))

    code, _, err = call("encode", tmp_path / "gbk.txt", "--out", tmp_path / "x.npy")

    assert code == 1
    assert err.startswith(f"error: {tmp_path / 'gbk.txt'} is not UTF-8 (invalid ")
    assert err.endswith(" at byte 0, line 1).\n")
    assert [path.name for path in tmp_path.iterdir()] == ["gbk.txt"]


@pytest.mark.parametrize("arguments", [["--help"], ["encode", "--help"], ["list"]])
def test_help_comes_at_once_and_loads_nothing_heavy(arguments):
    code = f"""
import sys
sys.argv = ["encoder", *{arguments!r}]
from encoder.__main__ import main
try:
    main()
finally:
    heavy = {{"torch", "transformers", "numpy", "tokenizers", "huggingface_hub"}} & set(sys.modules)
    print(sorted(heavy), file=sys.stderr)
"""
    start = time.perf_counter()

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)

    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert time.perf_counter() - start < 2, "0.1 s where nothing else runs"


def test_the_module_runs():
    command = [sys.executable, "-m", "encoder", "list", "--json"]

    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)

    assert len(json.loads(done.stdout)["models"]) == len(known_models())


def test_the_cache_is_shown_and_cleared(call, monkeypatch, tmp_path):
    from encoder.model_cache import keep_entry

    monkeypatch.setenv("ANGLER_CACHE", str(tmp_path))
    keep_entry("a", lambda folder: (folder / "graph.bin").write_bytes(bytes(2**20)))

    code, out, _ = call("cache", "--json")
    shown = json.loads(out)
    assert code == 0
    assert shown["folder"] == str(tmp_path / "models")
    assert shown["bytes"] > 2**20
    assert shown["freed_bytes"] == 0

    assert call("cache", "--clear") == (
        0,
        f"{tmp_path / 'models'}: 0.0 MiB of converted models\n1.0 MiB were deleted.\n",
        "",
    )
