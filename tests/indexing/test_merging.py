"""Shards merged are what one build makes: the same ids, embeddings and hits, whatever happens."""

import json
import os
import random
import shutil
import signal
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import indexing.embedding
import indexing.filling
from benchmarks.kill import HashEncoder, forked, killed_at
from indexing import (
    BuildConfig,
    BuildFailedError,
    IndexMismatchError,
    UsageError,
    build_index,
    open_index,
)
from indexing.duplicates import read_duplicates
from indexing.examining import Level, examine
from indexing.generation import current_folder, open_current
from indexing.merging import merge_shards
from indexing.sharding import Shard
from indexing.work import State, file_states

TEXTS = [
    "# Passwords\n\nReset it under settings.\n\n## Rules\n\nTen letters, no birthdays.\n",
    "# Travel\n\nBook trains with the office.\n",
    "# 请假\n\n请假需要提前三天申请。\n",
    "The canteen opens at noon.",
    "The canteen opens at noon. ",  # all but the same bytes
    "The canteen opens at one.",
]
QUERIES = ["canteen noon", "请假 申请", "reset settings", "trains office letters"]


def write(folder, files):
    """Make a folder hold these files and no others; all of them were changed long ago."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.rglob("*.*"):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            os.utime(path, (1_000_000_000 + len(text), 1_000_000_000 + len(text)))


def held(index, *, from_one=False):
    """All that an index holds, by value, but for the sizes and names of its files.

    With `from_one`, chunks are numbered from 1, whatever their ids.
    """
    generation = open_current(index, with_stores=False)
    records = [record for portion in generation.portions() for record in portion]
    ids = sorted(chunk.chunk.id for record in records for chunk in record.chunks)
    manifest = generation.manifest
    first = ids[0] - 1 if from_one else 0
    shown = {record.document.id: asdict(record) for record in records}
    for chunk in (chunk["chunk"] for record in shown.values() for chunk in record["chunks"]):
        chunk["id"] -= first
    return {
        "records": shown,
        "facts": {record.document.id: record.facts for record in records},
        "duplicates": read_duplicates(generation.folder),
        "ids": [id_ - first for id_ in ids],
        "embeddings": generation.embeddings(ids).tobytes(),
        "counts": (manifest.documents, manifest.chunks, manifest.next_id - first),
        "made": manifest.made,
    }


def hits(index, encoder, queries=QUERIES):
    """What a person would see, in every mode."""
    opened = open_index(index, encoder=encoder)
    return [
        (hit.document, hit.chunk, hit.text, round(hit.score, 5))
        for query in queries
        for mode in ("dense", "lexical", "hybrid")
        for hit in opened.search(query, 5, mode=mode)
    ]


class World:
    """The same sources, built at once and in shards."""

    def __init__(self, root, encoder, of=3, sources=None, **choices):
        self.root, self.encoder, self.of = root, encoder, of
        self.docs, self.one, self.kb = root / "docs", root / "one", root / "kb"
        self.sources = sources or [str(self.docs)]
        self.choices = choices

    @property
    def shards(self):
        return [self.root / f"s{number}" for number in range(1, self.of + 1)]

    def build_one(self, lines=()):
        config = BuildConfig(**self.choices)
        return build_index(self.sources, self.one, config, encoder=self.encoder, lines=lines)

    def build_shard(self, number, lines=(), **choices):
        config = BuildConfig(shard=f"{number}/{self.of}", **choices)
        folder = self.root / f"s{number}"
        return build_index(self.sources, folder, config, encoder=self.encoder, lines=lines)

    def build_shards(self, lines=()):
        return [self.build_shard(number, lines) for number in range(1, self.of + 1)]

    def merge(self, index=None, **choices):
        config = BuildConfig(**(self.choices | choices))
        return merge_shards(self.shards, index or self.kb, config, encoder=self.encoder)


@pytest.fixture
def world(tmp_path, word_encoder):
    made = World(tmp_path, word_encoder)
    write(made.docs, {f"d{number}.md": text for number, text in enumerate(TEXTS)})
    return made


NAMES = [f"{place}{n}{end}" for place in ("", "sub/") for n in range(5) for end in (".md", ".txt")]
files = st.dictionaries(
    st.sampled_from(NAMES),
    st.sampled_from(TEXTS),
    min_size=1,
)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(before=files, after=files, of=st.integers(1, 4), piped=st.lists(st.sampled_from(TEXTS)))
def test_shards_merged_are_what_one_build_makes(
    tmp_path_factory, make_word_encoder, before, after, of, piped
):
    root = tmp_path_factory.mktemp("merging")
    world = World(root, make_word_encoder(), of, [str(root / "docs"), "-"], store="exact")
    config = {"allow_mass_delete": True}
    world.choices |= config
    lines = [json.dumps({"id": f"p{n}", "text": text}) for n, text in enumerate(piped)]

    for state, records in ((before, lines), (after, lines[1:])):
        write(world.docs, state)
        one = world.build_one(records)
        for number in range(1, of + 1):
            world.build_shard(number, records, **config)
        merged = world.merge()

        assert held(world.kb) == held(world.one)
        assert hits(world.kb, world.encoder) == hits(world.one, world.encoder)
        same = ("documents", "chunks", "added", "updated", "skipped", "duplicates", "deleted")
        assert [getattr(merged, name) for name in same] == [getattr(one, name) for name in same]
        assert not [one for one in examine(world.kb) if one.level is Level.PROBLEM]

    shutil.rmtree(root)


@settings(max_examples=200, deadline=None)
@given(document=st.text(), of=st.integers(1, 50))
def test_every_document_is_of_one_shard(document, of):
    numbers = [n for n in range(1, of + 1) if Shard(number=n, of=of).holds(document)]

    assert len(numbers) == 1


def test_a_document_is_of_the_same_shard_everywhere():
    # sha256("docs/d0.md")[:8] modulo 3, and so on, worked out apart from the code
    got = [
        next(n for n in (1, 2, 3) if Shard(number=n, of=3).holds(name))
        for name in ("docs/a.md", "docs/b.md", "docs/c.md", "请假.md")
    ]

    assert got == [2, 3, 3, 3]


def test_equal_files_of_two_shards_are_stored_once_under_the_first_name(world):
    text = "The only text there is."
    write(world.docs, {f"{name}.md": text for name in "abcdefgh"} | {"a.txt": text})
    world.build_one()
    stored = [report.documents for report in world.build_shards()]

    report = world.merge()

    assert sum(stored) > 2  # each shard has stored one of its own
    assert (report.documents, report.duplicates) == (2, 7)  # as text and as Markdown
    assert set(held(world.kb)["records"]) == {"docs/a.md", "docs/a.txt"}
    assert held(world.kb) == held(world.one)


def test_texts_that_differ_by_a_blank_or_a_letter_are_all_kept(world):
    near = {"a.txt": TEXTS[3], "b.txt": TEXTS[4], "c.txt": TEXTS[5], "d.txt": TEXTS[3].upper()}
    write(world.docs, near)
    world.build_one()
    world.build_shards()

    report = world.merge()

    assert (report.documents, report.duplicates) == (4, 0)
    assert held(world.kb) == held(world.one)


def test_a_duplicate_takes_the_place_of_a_stored_document_that_went(world):
    write(world.docs, {"a.md": TEXTS[0], "b.md": TEXTS[0], "c.md": TEXTS[1], "d.md": TEXTS[2]})
    world.build_one()
    world.build_shards()
    world.merge()
    (world.docs / "a.md").unlink()

    world.build_one()
    world.build_shards()
    report = world.merge()

    assert (report.added, report.deleted) == (1, 1)
    assert "docs/b.md" in held(world.kb)["records"]
    assert held(world.kb) == held(world.one)


def test_a_merge_of_unchanged_shards_publishes_nothing(world):
    world.build_shards()
    first = world.merge()

    again = world.merge()

    assert (again.generation, again.skipped) == (first.generation, first.documents)
    assert (again.added, again.updated, again.deleted) == (0, 0, 0)


def test_shards_may_be_named_in_any_order_and_be_copied_elsewhere(world, tmp_path):
    world.build_one()
    world.build_shards()
    moved = [Path(shutil.copytree(s, tmp_path / "other" / s.name)) for s in world.shards]
    for shard in world.shards:
        shutil.rmtree(shard)

    merge_shards(moved[::-1], world.kb, encoder=world.encoder)

    assert held(world.kb) == held(world.one)


def test_a_shard_without_a_document_is_a_shard_all_the_same(world):
    world.of = 6
    write(world.docs, {"a.md": TEXTS[0], "b.md": TEXTS[1]})
    world.build_one()

    counts = [report.documents for report in world.build_shards()]

    assert sorted(counts)[:4] == [0, 0, 0, 0]
    assert world.merge().documents == 2
    assert held(world.kb) == held(world.one)


def test_sources_without_any_document_make_no_shard(world):
    write(world.docs, {})

    with pytest.raises(BuildFailedError, match=r"No documents found"):
        world.build_shard(1)


def test_what_no_shard_could_read_is_reported_once_and_the_rest_is_merged(world):
    (world.docs / "broken.pdf").write_bytes(b"no pdf")
    (world.docs / "same.pdf").write_bytes(b"no pdf")
    one = world.build_one()
    world.build_shards()

    with pytest.raises(BuildFailedError, match=r"^2 documents could not be read and --strict"):
        world.merge(strict=True)
    report = world.merge()

    names = sorted(Path(failure.source).name for failure in report.failed)
    assert names == ["broken.pdf", "same.pdf"]
    assert sorted(Path(failure.source).name for failure in one.failed) == names
    assert {row.source for row in file_states(world.kb, State.FAILED)} == {
        str(world.docs / name) for name in names
    }
    assert held(world.kb) == held(world.one)


@pytest.mark.parametrize("index_type", ["ivf_flat", "sq8", "auto"])
def test_learned_types_are_learned_from_the_rows_of_all_shards(world, index_type):
    chance = random.Random(5)
    words = [f"w{number}" for number in range(400)]
    lines = [
        json.dumps({"id": f"d{n}", "text": " ".join(chance.choices(words, k=12))})
        for n in range(1_300)
    ]
    world.sources, world.choices = ["-"], {"index_type": index_type}
    world.build_one(lines)
    world.build_shards(lines)

    world.merge()

    assert held(world.kb) == held(world.one)
    assert bool(held(world.kb)["made"]) == (index_type != "auto")  # which is exact for so few
    store = "store.faiss"
    mine, other = (current_folder(index) / "base" / store for index in (world.kb, world.one))
    assert mine.read_bytes() == other.read_bytes()


def test_a_merge_that_purges_leaves_nothing_of_what_was_removed(world):
    world.build_shards()
    world.merge()
    (world.docs / "d2.md").unlink()
    world.build_shards()

    report = world.merge(purge=True)

    assert (report.deleted, report.generation) == (1, open_current(world.kb).manifest.generation)
    for path in world.kb.rglob("catalog.sqlite"):
        assert "请假需要提前三天申请".encode() not in path.read_bytes()


def test_a_merged_index_is_updated_by_an_ordinary_build(world):
    world.build_shards()
    world.merge()
    write(world.docs, {f"d{number}.md": text for number, text in enumerate(TEXTS[1:])})

    world.build_one()
    report = build_index(world.sources, world.kb, encoder=world.encoder)

    assert (report.added, report.deleted) == (0, 1)
    mine, other = (held(index)["records"].values() for index in (world.kb, world.one))
    assert {r["document"]["text"] for r in mine} == {r["document"]["text"] for r in other}


def test_the_scores_of_a_merged_index_mean_what_those_of_one_build_mean(world):
    names = [f"place{number}" for number in range(150)]
    lies = "# The {0}\n\nThe {0} lies {1} miles from here.\n"
    write(world.docs, {f"{name}.md": lies.format(name, n) for n, name in enumerate(names)})
    world.build_one()
    world.build_shards()

    world.merge()

    one, merged = (current_folder(index) / "calibration.json" for index in (world.one, world.kb))
    assert merged.read_text() == one.read_text()
    assert not list(world.root.glob("s?/gen-*/calibration.json"))


# Interrupted


@pytest.fixture
def killed(tmp_path, monkeypatch):
    """A world whose builds and merges pass many points."""
    monkeypatch.setenv("ANGLER_CACHE_MIB", "0")
    monkeypatch.setattr(indexing.filling, "ENCODED_AT_ONCE", 4)
    monkeypatch.setattr(indexing.embedding, "_KEPT_EVERY_S", 0.0)
    monkeypatch.setattr("indexing.merging._AT_ONCE", 4)
    made = World(tmp_path, HashEncoder("first"), of=2)
    write(made.docs, {f"{n}.md": f"# Page {n}\n\nshared w{n}.\n" for n in range(24)})
    return made


def test_a_shard_that_was_killed_goes_on_from_where_it_was(killed):
    code, _ = forked(killed_at(lambda: killed.build_shard(1), "portion encoded", 2))
    encoded = []
    encode = killed.encoder.encode_documents
    killed.encoder.encode_documents = lambda texts, **_: encoded.extend(texts) or encode(texts)

    report = killed.build_shard(1)

    assert code == -signal.SIGKILL
    assert len(encoded) == report.chunks - 8  # two batches of four were kept
    killed.build_shard(2)
    killed.build_one()
    killed.merge()
    assert held(killed.kb) == held(killed.one)


FIRST_POINTS = [
    "portion merged",
    "segment closed",
    "manifest written",
    "files synced",
    "pointer prepared",
    "generation named",
    "pointer replaced",
    "published",
]


@pytest.mark.parametrize("point", FIRST_POINTS)
def test_a_first_merge_that_was_killed_loses_nothing(killed, point):
    killed.build_one()
    killed.build_shards()

    code, _ = forked(killed_at(lambda: killed.merge() and None, point, 1))

    assert code == -signal.SIGKILL
    killed.merge()
    # A generation that has its name has given its ids, published or not.
    from_one = point == "generation named"
    assert held(killed.kb, from_one=from_one) == held(killed.one)


@pytest.mark.parametrize("point", [*FIRST_POINTS, "old generation set aside"])
def test_a_merge_into_an_index_that_was_killed_leaves_the_old_or_the_new_one(killed, point):
    killed.build_shards()
    killed.merge()
    for number in (0, 3, 7):  # so that an older generation goes
        (killed.docs / f"{number}.md").write_text(f"# Page {number}\n\nshared new.\n", "utf-8")
        killed.build_shards()
        before = held(killed.kb)
        if number == 7:
            code, _ = forked(killed_at(lambda: killed.merge() and None, point, 1))
            assert code == -signal.SIGKILL
        else:
            killed.merge()

    left = held(killed.kb)
    killed.merge()
    after = held(killed.kb)

    assert left["ids"] in (before["ids"], after["ids"])
    texts = {r["document"]["id"]: r["document"]["text"] for r in after["records"].values()}
    assert texts["docs/7.md"] == "shared new." or "shared new" in texts["docs/7.md"]
    killed.build_one()
    assert set(after["records"]) == set(held(killed.one)["records"])


# Bad input


def complaint(error):
    """The sentence of an error, which is one line."""
    text = str(error.value)
    assert "\n" not in text
    return text


def test_a_missing_shard_is_named(world):
    world.build_shard(1)

    with pytest.raises(UsageError) as error:
        merge_shards([world.root / "s1"], world.kb)

    assert complaint(error).startswith("Shards 2, 3 of 3 are missing.")
    world.build_shard(2)
    with pytest.raises(UsageError, match=r"Shard 3 of 3 is missing.*--shard 3/3"):
        merge_shards(world.shards[:2], world.kb)
    assert not world.kb.exists()


def test_a_shard_that_is_not_finished_is_named(world):
    world.build_shard(1)
    (world.root / "s2").mkdir()

    with pytest.raises(UsageError, match=r"s2 holds no finished shard\. Build it, or go on"):
        merge_shards([world.root / "s1", world.root / "s2"], world.kb)


def test_a_shard_built_twice_is_refused(world):
    world.build_shards()
    shutil.copytree(world.root / "s2", world.root / "again")

    with pytest.raises(UsageError, match=r"s2 and .*again are both shard 2/3; leave one"):
        merge_shards([*world.shards, world.root / "again"], world.kb)


def test_shards_of_another_count_are_refused(world):
    world.build_shards()
    world.of = 4
    world.root /= "others"
    world.build_shard(4)

    with pytest.raises(UsageError, match=r"they are shard 1/3 and shard 4/4. Build all"):
        merge_shards([*(world.root.parent / f"s{n}" for n in (1, 2)), world.root / "s4"], world.kb)


def test_shards_of_different_encoders_are_refused(world, make_word_encoder):
    world.build_shard(1)
    world.build_shard(2)
    world.encoder = make_word_encoder(name="other words", weights="v" * 64)
    world.build_shard(3)

    with pytest.raises(UsageError, match=r"their encoders are words and other words .*weights"):
        world.merge()


def test_shards_split_in_different_ways_are_refused(world):
    world.build_shard(1)
    world.build_shard(2)
    world.build_shard(3, chunk_tokens=32)

    with pytest.raises(UsageError, match=r"split in different ways .64 tokens .* and 32 tokens"):
        world.merge()


def test_shards_of_different_sources_are_refused(world):
    world.build_shard(1)
    world.build_shard(2)
    world.docs.rename(world.root / "papers")
    world.sources = [str(world.root / "papers")]
    world.build_shard(3)

    with pytest.raises(UsageError, match=r"their sources are docs and papers"):
        world.merge()


def test_an_index_of_its_own_is_no_shard_and_a_shard_no_index_to_merge_into(world):
    world.build_one()
    world.build_shards()

    with pytest.raises(UsageError, match=r"one holds an index of its own, not a shard"):
        merge_shards([world.one], world.kb)
    with pytest.raises(UsageError, match=r"s1 is one of the shards; give the index a folder"):
        merge_shards(world.shards, world.root / "s1")
    with pytest.raises(UsageError, match=r"No SHARD given"):
        merge_shards([], world.kb)
    other = Path(shutil.copytree(world.root / "s1", world.root / "copy"))
    with pytest.raises(UsageError, match=r"copy holds shard 1/3, got no --shard"):
        merge_shards(world.shards, other, encoder=world.encoder)


def test_a_shard_is_built_on_as_that_shard_only(world):
    world.build_one()
    world.build_shard(1)

    with pytest.raises(UsageError, match=r"s1 holds shard 1/3, got --shard 1/4. Give --shard 1/3"):
        World.build_shard(World(world.root, world.encoder, of=4), 1)
    with pytest.raises(UsageError, match=r"s1 holds shard 1/3, got no --shard"):
        build_index(world.sources, world.root / "s1", encoder=world.encoder)
    with pytest.raises(UsageError, match=r"one holds an index of its own, not shard 1/3"):
        build_index(world.sources, world.one, BuildConfig(shard="1/3"), encoder=world.encoder)


@pytest.mark.parametrize(
    "text", ["", "3", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1/1000000", "¹/3"]
)
def test_a_shard_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match=r"--shard must be i/n"):
        BuildConfig(shard=text)


@pytest.mark.parametrize(
    ("choice", "value"),
    [
        ("store", "faiss"),
        ("index_type", "flat"),
        ("recall", 0.9),
        ("uri", "x.db"),
        ("consistency", "strong"),
    ],
)
def test_what_the_merge_decides_is_no_choice_of_a_shard(choice, value):
    option = f"--{choice.replace('_', '-')}"

    with pytest.raises(UsageError, match=f"{option} is for python -m indexing.merge"):
        BuildConfig(shard="1/3", **{choice: value})
    with pytest.raises(UsageError, match=r"leave --shard out"):
        merge_shards(["x"], "y", BuildConfig(shard="1/3"))


def test_an_index_of_another_encoder_or_splitter_is_not_merged_into(world, make_word_encoder):
    world.build_shards()
    world.encoder = make_word_encoder(name="other words", weights="v" * 64)
    world.build_one()
    with pytest.raises(IndexMismatchError, match=r"was built with other words, and words differs"):
        merge_shards(world.shards, world.one)

    world.encoder, world.one = make_word_encoder(), world.root / "short"
    world.choices = {"chunk_tokens": 32}
    world.build_one()
    with pytest.raises(UsageError, match=r"short are split in another way than those"):
        merge_shards(world.shards, world.one)


def test_a_merge_that_would_delete_most_of_an_index_stops(world):
    write(world.docs, {f"x{n}.md": f"Another text {n}." for n in range(9)})
    world.build_one()
    write(world.docs, {"d.md": TEXTS[0]})
    world.build_shards()

    with pytest.raises(BuildFailedError, match=r"9 of the index's 9 .*--allow-mass-delete"):
        world.merge(world.one)

    assert world.merge(world.one, allow_mass_delete=True).deleted == 9


def test_a_shard_whose_sources_lost_most_of_their_documents_stops(world):
    write(world.docs, {f"x{n}.md": f"Another text {n}." for n in range(9)})
    world.build_shards()
    write(world.docs, {"x0.md": "Another text 0.", "x1.md": "Another text 1."})

    with pytest.raises(BuildFailedError, match=r"pass --allow-mass-delete"):
        world.build_shards()
    write(world.docs, {})
    with pytest.raises(BuildFailedError, match=r"docs holds no documents now"):
        world.build_shards()


def test_the_choices_beside_a_shard_are_read_again(world):
    from indexing.config import read_config

    world.build_shard(1)

    choices = read_config(world.root / "s1" / "build.toml")

    assert choices["shard"] == "1/3"
    BuildConfig(**choices)


# Last: the threads of Milvus's client outlive it, and no process is forked well beside them


def test_shards_become_one_collection_of_milvus(world, milvus_uri):
    world.choices = {"store": "milvus", "uri": milvus_uri, "index_type": "flat"}
    world.build_one()
    world.build_shards()

    world.merge()

    assert held(world.kb) == held(world.one)
    assert hits(world.kb, world.encoder) == hits(world.one, world.encoder)
    (world.docs / "d1.md").unlink()
    world.build_one()
    world.build_shards()
    assert world.merge().deleted == 1
    assert hits(world.kb, world.encoder) == hits(world.one, world.encoder)
