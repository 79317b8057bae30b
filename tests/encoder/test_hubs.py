"""Where an id leads, with hubs that cannot be reached."""

import shutil
import sys
from types import SimpleNamespace

import pytest

from encoder import ModelNotFoundError, describe_encoder, hubs
from encoder.model_folder import find_model_folder

GTE = "nlp_gte_sentence-embedding_chinese-base"
LAYOUTS = [
    ("models/{owner}--{name}/snapshots/master", False),
    ("models/{owner}/{name}", True),
    ("hub/models/{owner}/{name}", True),
    ("hub/{owner}/{name}", True),
]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "modelscope"))
    return tmp_path / "modelscope"


def put(cache, layout, owner, name):
    folder = cache / layout.format(owner=owner, name=name)
    shutil.copytree(find_model_folder(None), folder)
    return folder


@pytest.mark.parametrize(("layout", "is_older"), LAYOUTS)
@pytest.mark.parametrize("asked", ["iic", "damo"])
def test_an_alias_is_read_from_modelscope_s_cache(cache, layout, is_older, asked):
    folder = put(cache, layout, "iic", GTE)

    found = describe_encoder(f"{asked}/{GTE}", local_files_only=True)

    assert found.folder == folder
    assert found.row.name == "thenlper/gte-base-zh"


def test_a_dot_in_a_name_is_three_underscores_in_the_older_layout(cache):
    folder = put(cache, "hub/models/{owner}/{name}", "AI-ModelScope", "bge-small-zh-v1___5")

    got = find_model_folder("AI-ModelScope/bge-small-zh-v1.5", local_files_only=True)

    assert got == folder


def test_any_model_may_be_asked_for_on_modelscope(cache):
    folder = put(cache, LAYOUTS[0][0], "someone", "my-model")

    found = describe_encoder("modelscope:someone/my-model")

    assert found.folder == folder
    assert found.row is None


def test_a_revision_is_its_own_folder_and_never_one_that_does_not_say(cache):
    put(cache, LAYOUTS[1][0], "someone", "my-model")
    pinned = put(cache, "models/{owner}--{name}/snapshots/v1.0", "someone", "my-model")

    assert hubs.fetch("modelscope:someone/my-model", revision="v1.0") == pinned
    with pytest.raises(ModelNotFoundError, match="pip install modelscope"):
        hubs.fetch("modelscope:someone/my-model", revision="v2.0")


@pytest.mark.parametrize(
    "name", ["damo/nlp_corom_sentence-embedding_chinese-base", "modelscope:a/b"]
)
def test_without_its_package_modelscope_is_one_sentence(name):
    with pytest.raises(ModelNotFoundError) as caught:
        describe_encoder(name)

    message = str(caught.value)
    assert message.startswith(f"{name.removeprefix('modelscope:')} is to come from ModelScope: ")
    assert "pip install modelscope; or download it from https://modelscope.cn/models/" in message


def test_its_package_is_asked_with_the_revision(monkeypatch, tmp_path):
    asked = []

    def snapshot_download(name, **options):
        asked.append((name, options["revision"], options["local_files_only"]))
        return str(tmp_path)

    monkeypatch.setattr(hubs, "find_spec", lambda _: True)
    module = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "modelscope", module)

    assert hubs.fetch("modelscope:a/b", revision="v3", local_files_only=True) == tmp_path
    assert asked == [("a/b", "v3", True)]


def test_an_error_of_its_package_is_one_sentence(monkeypatch):
    def snapshot_download(*_, **__):
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(hubs, "find_spec", lambda _: True)
    module = SimpleNamespace(snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "modelscope", module)

    want = r"^ModelScope gave no a/b \(RuntimeError: no route to host\)\. Check"
    with pytest.raises(ModelNotFoundError, match=want):
        hubs.fetch("modelscope:a/b")
