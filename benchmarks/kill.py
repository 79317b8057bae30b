"""`python -m benchmarks.kill`: `kill -9` at random moments of every command that writes an index.

After each kill the index must answer as before the command or as after it, or say in a typed error
which file is damaged; the same command, run again, must succeed. Each command runs in a process of
its own, forked from one that has everything loaded, so that a round takes a fraction of a second.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np

import indexing.writing
from benchmarks.machine import describe_machine
from encoder import EncoderSpec
from encoder.encoder import OnBatch
from indexing import BuildConfig, IndexNotFoundError, build_index, managing, open_index, points
from indexing.backup import backup_index
from indexing.examining import Level, examine
from indexing.generation import current_folder
from indexing.manifest import Manifest
from indexing.reencoding import reembed_index

RESULT = Path(__file__).parent / "results" / "kill.md"
DOCUMENTS = 24
_DIM, _AT_ONCE = 16, 4
_DONE, _RAISED = 0, 1


class HashEncoder:
    """An encoder without a model, quick and the same in every process."""

    languages = ("en",)
    device = "cpu"
    weighs_words = False
    counts_by_words = False

    def __init__(self, name: str) -> None:
        self.spec = EncoderSpec(
            name=name,
            weights=hashlib.sha256(name.encode()).hexdigest(),
            config="c" * 64,
            tokenizer="t" * 64,
            pooling="mean",
            max_tokens=64,
            dim=_DIM,
        )
        self.dim = _DIM

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """Words and signs."""
        return [match.span() for match in re.finditer(r"\w+|[^\w\s]", text)]

    def count_tokens(self, texts: list[str], *, role: str = "document") -> list[int]:
        """Words and two special tokens."""
        return [len(self.token_spans(text)) + 2 for text in texts]

    def unknown_share(self, _: str) -> float:
        """It knows every word."""
        return 0.0

    def encode_documents(
        self, texts: list[str], *, on_batch: OnBatch | None = None, **_: object
    ) -> np.ndarray:
        """A direction for each text."""
        rows = []
        for start in range(0, len(texts), _AT_ONCE):
            some = texts[start : start + _AT_ONCE]
            time.sleep(0.002 * len(some))  # as if it were work, so that kills meet it
            rows.append(self.encode_queries(some))
            if on_batch is not None:
                on_batch(list(range(start, start + len(some))), rows[-1])
        return np.concatenate(rows)

    def encode_queries(self, texts: list[str], **_: object) -> np.ndarray:
        """A direction for each text."""
        rows = np.stack([self._row(text) for text in texts])
        unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return np.asarray(unit, np.float32)

    def _row(self, text: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(f"{self.spec.name} {text}".encode()).digest()[:8])
        return np.random.default_rng(seed).normal(size=_DIM)


ENCODERS = {name: HashEncoder(name) for name in ("first", "second")}
State = dict[str, str]
"""Text by document."""


@dataclass
class World:
    """A folder of documents and their index."""

    root: Path

    @property
    def docs(self) -> Path:
        """The source."""
        return self.root / "docs"

    @property
    def kb(self) -> Path:
        """The index."""
        return self.root / "kb"

    def edit(self, chance: random.Random) -> None:
        """Write, change and delete some documents."""
        self.docs.mkdir(exist_ok=True)
        for number in chance.sample(range(DOCUMENTS), 6):
            path = self.docs / f"{number:02}.md"
            if path.exists() and chance.random() < 0.2:
                path.unlink()
            else:
                words = " ".join(
                    f"w{chance.randrange(10**6)}" for _ in range(chance.randrange(5, 90))
                )
                path.write_text(f"# Page {number}\n\nshared {words}.\n", "utf-8")

    def on_disk(self) -> State:
        """What a build would find."""
        return {f"docs/{p.name}": p.read_text("utf-8") for p in sorted(self.docs.glob("*.md"))}

    def encoder(self) -> HashEncoder:
        """The one that the index was built with."""
        try:
            return ENCODERS[Manifest.read(current_folder(self.kb)).encoder.name]
        except (IndexNotFoundError, OSError):
            return ENCODERS["first"]


def build(world: World) -> None:
    """Bring the index up to date."""
    config = BuildConfig(allow_mass_delete=True)
    build_index([str(world.docs)], world.kb, config, encoder=world.encoder())  # type: ignore[arg-type]


def fold(world: World) -> None:
    """The same, and fold the delta into the base."""
    indexing.writing.FOLD_CHUNKS, indexing.writing.FOLD_SHARE = 0, 0.0
    build(world)


def reembed(world: World) -> None:
    """Change to the other encoder, unless that was done already."""
    wanted = (world.root / "wanted").read_text()
    if world.encoder().spec.name != wanted:
        reembed_index(world.kb, ENCODERS[wanted])  # type: ignore[arg-type]


def restore(world: World) -> None:
    """Publish the backup."""
    managing.restore(world.kb, world.root / "kb.zip", lambda *_: None)


def purge(world: World) -> None:
    """Leave nothing of what was removed."""
    managing.purge(world.kb)


def keep(world: World) -> None:
    """Drop all generations but the live one, then keep two again."""
    managing.keep(world.kb, 1)
    managing.keep(world.kb, 2)


COMMANDS: dict[str, Callable[[World], None]] = {
    one.__name__: one for one in (build, fold, reembed, restore, purge, keep)
}


def forked(work: Callable[[], Any], *, kill_after_s: float | None = None) -> tuple[int, Any]:
    """Run something in a process of its own.

    Returns:
        Its exit code, -9 if it was killed, and what it returned or the error's text.
    """
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        os.close(read)
        # OpenMP's threads of the parent are not here; whoever hands them work waits for ever.
        faiss.omp_set_num_threads(1)
        code, value = _DONE, None
        try:
            value = work()
        except BaseException as error:  # noqa: BLE001 - the parent is told
            code, value = _RAISED, f"{type(error).__name__}: {error}"
        with os.fdopen(write, "w") as pipe:
            json.dump(value, pipe)
        os._exit(code)
    os.close(write)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(process, signal.SIGKILL)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    _, status = os.waitpid(process, 0)
    code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    return code, json.loads(text) if text else None


def killed_at(work: Callable[[], None], wanted: str, nth: int) -> Callable[[], None]:
    """The same work, killed when it passes a point for the nth time."""

    def run() -> None:
        passed = 0

        def passing(point: str) -> None:
            nonlocal passed
            passed += point == wanted
            if point == wanted and passed == nth:
                os.kill(os.getpid(), signal.SIGKILL)

        points.passing = passing
        work()

    return run


def served(world: World) -> State | None:
    """What the index answers with, after looking at it in every way; None if there is no index.

    Raises:
        AssertionError: If two ways of looking do not agree.
    """
    encoder = world.encoder()
    try:
        index = open_index(world.kb, encoder=encoder)  # type: ignore[arg-type]
    except IndexNotFoundError:
        return None
    generation = index.generation
    state = {id_: str(generation.text(id_)) for id_ in generation.states()}
    chunks = generation.chunks(generation.chunk_ids().tolist())
    for mode in ("dense", "lexical"):
        found = {hit.chunk for hit in index.search("shared", 10_000, mode=mode)}
        want = {c.id for c in chunks.values() if mode == "dense" or "shared" in c.text}
        if mode == "lexical":
            found &= want
        assert found == want, f"{mode}: {sorted(found ^ want)}"
    for record in (record for portion in generation.portions() for record in portion):
        rows = generation.embeddings([chunk.chunk.id for chunk in record.chunks])
        texts = [chunk.embedded for chunk in record.chunks]
        if texts:
            assert np.allclose(rows, encoder.encode_queries(texts), atol=1e-6), "embeddings"
        for chunk in record.chunks:
            place = slice(chunk.chunk.start, chunk.chunk.end)
            assert record.document.text[place] == chunk.chunk.text, "offsets"
    return state


def soundness(world: World) -> list[str]:
    """What the doctor finds wrong."""
    found = examine(world.kb)
    return [f"{one.check}: {one.detail}" for one in found if one.level is Level.PROBLEM]


@dataclass
class Round:
    """One kill."""

    command: str
    died: bool
    state: str
    """`before`, `after`, or what went wrong."""


class KillTester:
    """Kills commands on one world, and checks what is left."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._chance = random.Random(seed)
        self._usual_s = dict.fromkeys(COMMANDS, 0.3)
        world.edit(self._chance)
        self._must(lambda: build(world))
        self._must(lambda: backup_index(world.kb, world.root / "kb.zip") and None)
        self._backed_up = self._served()

    def _must(self, work: Callable[[], Any]) -> Any:  # noqa: ANN401 - what the work returns
        code, value = forked(work)
        if code != _DONE:
            raise AssertionError(str(value))
        return value

    def _served(self) -> State | None:
        found: State | None = self._must(lambda: served(self._world))
        return found

    def round(self, name: str, point: str | None = None, nth: int = 1) -> Round:
        """Run a command, kill it at a point or at a random moment, and look at what is left.

        Raises:
            AssertionError: If the index is neither as before nor as after, or cannot go on.
        """
        world, command = self._world, COMMANDS[name]
        before = self._served()
        after = self.prepare(name, before)
        if point is None:
            after_s = self._chance.uniform(0, 1.1 * self._usual_s[name])
            code, value = forked(lambda: command(world), kill_after_s=after_s)
        else:
            code, value = forked(killed_at(lambda: command(world), point, nth))
        if code == _RAISED:
            raise AssertionError(f"{name} failed without being killed: {value}")
        found = self._served()
        if found not in (before, after):
            raise AssertionError(f"{name}: neither the old nor the new state is served.")
        started = time.monotonic()
        self._must(lambda: command(world))
        self._usual_s[name] = 0.5 * self._usual_s[name] + 0.5 * (time.monotonic() - started)
        if self._served() != after:
            raise AssertionError(f"{name}: the same call did not lead to the new state.")
        wrong = self._must(lambda: soundness(world))
        if wrong:
            raise AssertionError(f"{name}: {wrong}")
        return Round(name, code == -signal.SIGKILL, "before" if found == before else "after")

    def prepare(self, name: str, before: State | None) -> State | None:
        """Make something to do for the command; returns the state it must lead to."""
        if name in ("build", "fold"):
            self._world.edit(self._chance)
            return self._world.on_disk()
        if name == "reembed":
            others = {"first": "second", "second": "first"}
            (self._world.root / "wanted").write_text(others[self._world.encoder().spec.name])
        return self._backed_up if name == "restore" else before


def main() -> None:
    """Kill many times and say what was left."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kill", description=__doc__)
    parser.add_argument("--rounds", type=int, default=240, help="default: 240")
    parser.add_argument("--seed", type=int, default=1, help="default: 1")
    parser.add_argument("--write", action="store_true", help=f"write {RESULT.name}")
    arguments = parser.parse_args()
    os.environ["ANGLER_CACHE_MIB"] = "0"  # the journal alone must do
    rounds: list[Round] = []
    root = Path(TemporaryDirectory().name)
    root.mkdir(parents=True)
    tester = KillTester(World(root), arguments.seed)
    names = list(COMMANDS)
    for number in range(arguments.rounds):
        rounds.append(tester.round(names[number % len(names)]))
        if number % 20 == 19:
            print(f"{number + 1} rounds, none lost", file=sys.stderr)
    shutil.rmtree(root)
    text = _table(rounds)
    print(text)
    if arguments.write:
        head = "\n".join(f"- {name}: {value}" for name, value in describe_machine().items())
        RESULT.write_text(
            "# Kills at random moments\n\n"
            f"`python -m benchmarks.kill --rounds {arguments.rounds} --seed {arguments.seed} "
            f"--write` (`make kill-test`)\n\n{head}\n\n{text}\n",
            "utf-8",
        )


def _table(rounds: list[Round]) -> str:
    lines = [
        "| command | rounds | killed | ended before the kill | old state served | new state served "
        "| lost |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in COMMANDS:
        some = [one for one in rounds if one.command == name]
        states = Counter(one.state for one in some)
        died = sum(one.died for one in some)
        lines.append(
            f"| {name} | {len(some)} | {died} | {len(some) - died} | {states['before']} "
            f"| {states['after']} | 0 |"
        )
    died = sum(one.died for one in rounds)
    lines.append(
        "\nAfter every kill all texts, offsets and embeddings were compared, both legs searched, "
        "and the same command run again to its end; the doctor then found nothing wrong. "
        f"{died} processes were killed."
    )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
