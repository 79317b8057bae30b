import multiprocessing
import os
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder.embedding_cache import EmbeddingCache, cache_folder, digest_of


class Clock:
    def __init__(self):
        self.now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "angler" / "embeddings.sqlite"


@pytest.fixture
def cache(path):
    opened = EmbeddingCache(path, size_mib=8)
    yield opened
    opened.close()


def rows_of(texts, dim=8):
    """A row for each text that nothing else has."""
    seeds = [list(digest_of(text)) for text in texts]
    rows = [np.random.default_rng(seed).standard_normal(dim) for seed in seeds]
    return np.array(rows, np.float32).reshape(-1, dim)


def keys(*texts):
    return [digest_of(text) for text in texts]


def bytes_on_disk(folder):
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def pieces_on_disk(row, folder):
    """How many pieces of 64 bytes of a row stand in the folder's files."""
    data, files = row.tobytes(), bytes_on_disk(folder)
    return sum(data[start : start + 64] in files for start in range(0, len(data) - 63, 64))


def test_what_was_put_is_got_also_by_the_next_run(cache, path):
    rows = np.array([[1.5, -2, np.float32(1e-30)], [0, 3, 4]], np.float32)

    cache.put_many("f1", keys("a", "b"), rows)
    cache.close()
    got = EmbeddingCache(path, size_mib=8).get_many("f1", keys("b", "c", "a"))

    assert set(got) == set(keys("a", "b"))
    np.testing.assert_array_equal(got[digest_of("a")], rows[0])
    np.testing.assert_array_equal(got[digest_of("b")], rows[1])
    assert got[digest_of("a")].dtype == np.float32


def test_each_encoder_has_its_own_rows(cache):
    cache.put_many("f1", keys("a"), rows_of(["one"]))
    cache.put_many("f2", keys("a"), rows_of(["two"], dim=5))

    np.testing.assert_array_equal(
        cache.get_many("f1", keys("a"))[digest_of("a")], rows_of(["one"])[0]
    )
    np.testing.assert_array_equal(
        cache.get_many("f2", keys("a"))[digest_of("a")], rows_of(["two"], 5)[0]
    )
    assert cache.get_many("f3", keys("a")) == {}


def test_a_template_is_part_of_the_key():
    assert digest_of("a") != digest_of("a", "query: {text}")
    assert digest_of("query: a") != digest_of("a", "query: {text}")


def test_a_row_that_is_got_is_the_callers_own(cache):
    cache.put_many("f", keys("a"), rows_of(["a"]))

    cache.get_many("f", keys("a"))[digest_of("a")][:] = 7

    np.testing.assert_array_equal(cache.get_many("f", keys("a"))[digest_of("a")], rows_of(["a"])[0])


def test_more_digests_than_one_statement_takes(cache):
    texts = [str(number) for number in range(1701)]
    cache.put_many("f", keys(*texts), rows_of(texts))

    got = cache.get_many("f", [*keys(*texts), *keys(*texts), *keys("x")])

    np.testing.assert_array_equal([got[key] for key in keys(*texts)], rows_of(texts))
    assert len(got) == len(cache) == 1701


def test_what_is_not_finite_is_not_remembered(cache):
    cache.put_many("f", keys("a", "b"), np.array([[1, np.nan], [1, 2]], np.float32))

    assert set(cache.get_many("f", keys("a", "b"))) == set(keys("b"))


@pytest.mark.parametrize("shape", [(2, 3), (1,), (0, 3)])
def test_not_one_row_for_each_digest(cache, shape):
    with pytest.raises(ValueError, match=r"embeddings must have shape \(1, dim\), got \("):
        cache.put_many("f", keys("a"), np.zeros(shape, np.float32))


# Size


def test_the_rows_unused_for_longest_make_room(path, clock):
    cache = EmbeddingCache(path, size_mib=1, clock=clock)
    texts = [str(number) for number in range(1000)]
    for text in texts:
        clock.now += 1
        cache.put_many("f", keys(text), rows_of([text], dim=256))
        if text.endswith("00"):
            clock.now += 4000
            cache.get_many("f", keys("7"))

    kept = [text for text in texts if cache.get_many("f", keys(text))]

    assert cache.used_mib <= 1
    assert "7" in kept
    assert [text for text in kept if text != "7"] == texts[-(len(kept) - 1) :]
    assert len(kept) * 1024 > 0.6 * 2**20
    assert path.stat().st_size < 1.3 * 2**20


def test_rows_that_do_not_fit_together_leave_the_last_ones(path):
    cache = EmbeddingCache(path, size_mib=0.5)
    texts = [str(number) for number in range(2000)]

    cache.put_many("f", keys(*texts), rows_of(texts, dim=256))

    kept = set(cache.get_many("f", keys(*texts)))
    assert cache.used_mib <= 0.5
    assert 100 < len(kept) < 500
    assert kept == set(keys(*texts[-len(kept) :]))


def test_size_zero_turns_it_off(path, monkeypatch):
    monkeypatch.setenv("ANGLER_CACHE_MIB", "0")
    cache = EmbeddingCache(path)

    cache.put_many("f", keys("a"), rows_of(["a"]))

    assert cache.get_many("f", keys("a")) == {}
    assert not path.exists()


@pytest.mark.parametrize("size", [-1, 0.1, float("nan")])
def test_an_impossible_size(path, size):
    with pytest.raises(ValueError, match=r"must be 0 \(off\) or at least 0.25 MiB, got"):
        EmbeddingCache(path, size_mib=size)


def test_a_size_that_is_no_number(monkeypatch):
    monkeypatch.setenv("ANGLER_CACHE_MIB", "much")

    with pytest.raises(ValueError, match="ANGLER_CACHE_MIB must be a number of MiB, got 'much'"):
        EmbeddingCache()


def test_the_folder_is_the_users(monkeypatch, tmp_path):
    monkeypatch.setenv("ANGLER_CACHE", str(tmp_path / "mine"))
    cache = EmbeddingCache(size_mib=1)

    cache.put_many("f", keys("a"), rows_of(["a"]))

    assert cache_folder() == cache.path.parent == tmp_path / "mine"
    assert stat.S_IMODE(cache.path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in cache.path.parent.iterdir()} == {0o600}
    monkeypatch.delenv("ANGLER_CACHE")
    assert cache_folder().parts[-2:] == (".cache", "angler")


# Purging


@pytest.mark.parametrize("how", ["digest", "fingerprint", "both", "clear"])
def test_nothing_of_what_is_purged_stays_on_disk(cache, path, how):
    # Long rows: SQLite spreads one over several pages.
    secret, other = rows_of(["secret"], dim=1500), rows_of(["other"], dim=1500)
    cache.put_many("f1", keys("secret"), secret)
    cache.put_many("f1" if how == "digest" else "f2", keys("other"), other)
    # An older state of the page stands in the journal.
    cache.put_many("f1", keys("secret"), secret)
    assert pieces_on_disk(secret, path.parent) > 50

    if how == "clear":
        cache.clear()
    else:
        by_digest = {"digests": keys("secret", "never put")} if how != "fingerprint" else {}
        by_encoder = {"fingerprint": "f1"} if how != "digest" else {}
        assert cache.purge(**by_digest, **by_encoder) == 1

    assert pieces_on_disk(secret, path.parent) == 0
    assert digest_of("secret") not in bytes_on_disk(path.parent)
    assert (pieces_on_disk(other, path.parent) > 50) == (how != "clear")


def test_purging_a_text_takes_every_encoders_row(cache):
    cache.put_many("f1", keys("a", "b"), rows_of(["a", "b"]))
    cache.put_many("f2", keys("a"), rows_of(["a"]))

    assert cache.purge(digests=keys("a")) == 2
    assert len(cache) == 1


def test_purging_what_is_not_there(cache, path):
    assert cache.purge(fingerprint="f") == 0
    cache.clear()
    assert not path.exists()
    with pytest.raises(ValueError, match="needs a fingerprint or digests"):
        cache.purge()


def test_purging_while_the_journal_is_read_is_an_error(cache, path, monkeypatch):
    monkeypatch.setattr("encoder.embedding_cache._BUSY_S", 0.2)
    cache.put_many("f", keys("a"), rows_of(["a"]))
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM embeddings").fetchall()

    with pytest.raises(OSError, match="another process is reading its journal"):
        cache.purge(fingerprint="f")
    reader.close()

    assert cache.purge(fingerprint="f") == 0
    assert rows_of(["a"]).tobytes() not in bytes_on_disk(path.parent)


def test_purging_a_damaged_file_deletes_it(cache, path):
    cache.put_many("f", keys("a"), rows_of(["a"]))
    cache.close()
    path.write_bytes(b"not a database " * 100 + rows_of(["a"]).tobytes())

    assert cache.purge(fingerprint="f") == 0
    assert rows_of(["a"]).tobytes() not in bytes_on_disk(path.parent)


# Damage


def damage_head(path):
    path.write_bytes(b"garbage" * 1000)


def damage_middle(path):
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [damage_head, damage_middle, truncate])
def test_a_damaged_file_is_set_aside_and_begun_anew(cache, path, damage, caplog):
    texts = [str(number) for number in range(300)]
    cache.put_many("f", keys(*texts), rows_of(texts))
    cache.close()
    damage(path)

    got = cache.get_many("f", keys(*texts))
    cache.put_many("f", keys("a"), rows_of(["a"]))

    assert got == {}
    assert set(cache.get_many("f", keys("a"))) == set(keys("a"))
    assert "is damaged" in caplog.text
    assert path.with_name("embeddings.sqlite.damaged").is_file()


def test_a_damaged_row_is_missing_and_not_given_out(cache, path, caplog):
    cache.put_many("f", keys("a", "b"), rows_of(["a", "b"]))
    cache.close()
    data = path.read_bytes()
    place = data.index(rows_of(["a"]).tobytes())
    path.write_bytes(data[:place] + b"\x01" + data[place + 1 :])

    got = cache.get_many("f", keys("a", "b"))

    assert set(got) == set(keys("b"))
    assert "1 rows of the embedding cache" in caplog.text
    assert len(cache) == 1


def test_a_file_deleted_under_an_open_cache_is_begun_anew(cache, path):
    cache.put_many("f", keys("a"), rows_of(["a"]))
    path.unlink()

    assert cache.get_many("f", keys("a")) == {}
    cache.put_many("f", keys("b"), rows_of(["b"]))
    assert set(cache.get_many("f", keys("b"))) == set(keys("b"))


def test_a_folder_that_cannot_be_made_costs_a_warning_and_no_work(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache = EmbeddingCache(tmp_path / "file" / "embeddings.sqlite", size_mib=1)

    cache.put_many("f", keys("a"), rows_of(["a"]))

    assert cache.get_many("f", keys("a")) == {}
    assert "cannot be written" in caplog.text
    assert "Embeddings are computed again instead." in caplog.text


def test_a_locked_file_costs_a_warning_and_no_work(cache, path, monkeypatch, caplog):
    monkeypatch.setattr("encoder.embedding_cache._BUSY_S", 0.1)
    cache.put_many("f", keys("a"), rows_of(["a"]))
    cache.close()
    writer = sqlite3.connect(path, isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")

    cache.put_many("f", keys("b"), rows_of(["b"]))
    writer.execute("COMMIT")
    writer.close()

    assert "cannot be written: database is locked" in caplog.text
    assert set(cache.get_many("f", keys("a", "b"))) == set(keys("a"))


# Sharing


def _put_from(path, start):
    shared = EmbeddingCache(path, size_mib=8)
    for number in range(start, start + 40):
        shared.put_many("f", keys(str(number)), rows_of([str(number)]))
        shared.get_many("f", keys("0", "40", str(number)))


def test_several_processes_and_threads_share_a_file(cache, path):
    cache.put_many("f", keys("before the fork"), rows_of(["before the fork"]))
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_put_from, args=(path, start)) for start in (0, 40)]

    for worker in workers:
        worker.start()
    with ThreadPoolExecutor(4) as pool:
        list(
            pool.map(
                lambda number: cache.put_many("f", keys(str(number)), rows_of([str(number)])),
                range(80, 160),
            )
        )
    for worker in workers:
        worker.join(60)

    assert [worker.exitcode for worker in workers] == [0, 0]
    texts = [str(number) for number in range(160)]
    got = cache.get_many("f", keys(*texts))
    np.testing.assert_array_equal([got[key] for key in keys(*texts)], rows_of(texts))


def test_a_forked_process_opens_the_file_itself(cache):
    cache.put_many("f", keys("a"), rows_of(["a"]))

    child = os.fork()
    if not child:
        os._exit(0 if set(cache.get_many("f", keys("a"))) == set(keys("a")) else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert set(cache.get_many("f", keys("a"))) == set(keys("a"))


@settings(max_examples=25, deadline=None)
@given(
    actions=st.lists(
        st.tuples(
            st.sampled_from(["put", "purge text", "purge encoder"]),
            st.sampled_from(["f1", "f2"]),
            st.lists(st.sampled_from("abcde"), max_size=4, unique=True),
        ),
        max_size=12,
    )
)
def test_it_is_a_dictionary_that_forgets_on_demand(actions, tmp_path_factory):
    cache = EmbeddingCache(tmp_path_factory.mktemp("cache") / "e.sqlite", size_mib=8)
    want = {}
    for round_, (action, fingerprint, texts) in enumerate(actions):
        if action == "put":
            rows = rows_of([f"{text}{round_}" for text in texts])
            cache.put_many(fingerprint, keys(*texts), rows)
            want |= {(fingerprint, text): row for text, row in zip(texts, rows, strict=True)}
        elif action == "purge text":
            gone = {key for key in want if key[1] in texts}
            assert cache.purge(digests=keys(*texts)) == len(gone)
            want = {key: row for key, row in want.items() if key not in gone}
        else:
            cache.purge(fingerprint=fingerprint)
            want = {key: row for key, row in want.items() if key[0] != fingerprint}

    for fingerprint in ("f1", "f2"):
        got = cache.get_many(fingerprint, keys(*"abcde"))
        for text in "abcde":
            if (fingerprint, text) in want:
                np.testing.assert_array_equal(got[digest_of(text)], want[fingerprint, text])
            else:
                assert digest_of(text) not in got
    cache.close()
