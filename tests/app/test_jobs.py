"""Jobs: processes of their own that outlive a page and a server, and what is known of them."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from app import jobs, worker
from app.backups import back_up, begin_restore, facts_in, list_backups, restore
from app.jobs import JobRunningError, Kind, Outcome, Recorder
from app.library import Facts, Library, LibraryError
from app.uploads import held, remove
from indexing import open_index
from indexing.work import State, file_states
from tests.app.conftest import put

ROOT = Path(__file__).parent.parent.parent
PATIENCE_S = 120


def wait_for_end(listing, number):
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        job = jobs.last(listing)
        assert job.id == number
        if not job.is_running:
            return job
        time.sleep(0.05)
    raise AssertionError((listing.folder / jobs.LOG).read_text())


SLEEPER = "import time; print('up', flush=True); time.sleep(600)"


@pytest.fixture
def sleeping(monkeypatch):
    """Jobs that do nothing but take long."""

    children = []

    def spawn(listing, number, lock):
        child = subprocess.Popen(
            [sys.executable, "-c", SLEEPER], pass_fds=[lock], stdout=subprocess.PIPE
        )
        child.stdout.readline()
        children.append(child)
        return child

    monkeypatch.setattr(jobs, "_spawn", spawn)
    yield
    for child in children:
        child.kill()
        child.communicate()


def test_an_update_runs_in_its_own_process_and_leaves_its_report(base):
    number = jobs.start(base, Kind.UPDATE)
    running = jobs.last(base)
    assert running.is_running
    assert running.process not in {0, os.getpid()}
    assert os.getsid(running.process) != os.getsid(0)

    job = wait_for_end(base, number)

    log = (base.folder / jobs.LOG).read_text()
    assert job.outcome is Outcome.DONE, log
    assert (job.report["documents"], job.report["added"], job.report["failed"]) == (2, 2, 0)
    assert (job.done, job.total) == (2, 2)
    time.sleep(0.1)
    assert not jobs.is_running(base)
    hits = open_index(base.index).search("who catches fish?", k=1, mode="lexical")
    assert hits[0].document == "anglers.md"
    assert "Traceback" not in log


def test_one_job_at_a_time_works_on_a_knowledge_base(base, sleeping):
    jobs.start(base, Kind.UPDATE)

    with pytest.raises(JobRunningError, match="Another job works on Notes"):
        jobs.start(base, Kind.PURGE)

    assert jobs.is_running(base)
    assert [job.kind for job in jobs.recent(base)] == [Kind.UPDATE]


def test_a_killed_job_is_called_interrupted_and_begins_again(base, sleeping):
    jobs.start(base, Kind.REEMBED, encoder="x")
    job = jobs.last(base)

    jobs.cancel(base, job, at_once=True)
    ended = wait_for_end(base, job.id)

    assert ended.outcome is Outcome.INTERRUPTED
    assert jobs.again(base, ended) == job.id + 1
    assert jobs.last(base).choices == {"encoder": "x"}


def test_a_job_outlives_the_server_that_began_it(base):
    code = (
        "import sys; from pathlib import Path; from app import jobs\n"
        "from app.library import Library\n"
        "home, id_ = Path(sys.argv[1]), sys.argv[2]\n"
        "print(jobs.start(Library(home).get(id_), jobs.Kind.UPDATE))\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code, str(base.folder.parent), base.id]

    number = subprocess.check_output(command, env=environment, cwd="/")

    job = wait_for_end(base, int(number))
    assert job.outcome is Outcome.DONE, (base.folder / jobs.LOG).read_text()
    assert {row.state for row in file_states(base.index)} == {State.PUBLISHED}


def test_cancelling_leaves_the_index_as_it_is_and_the_job_goes_on_later(base):
    texts = (f"# Note {n}\n\n" + f"Number {n} is about fish and rods. " * 60 for n in range(150))
    for number, text in enumerate(texts):
        put(base, f"{number}.md", text)
    number = jobs.start(base, Kind.UPDATE)
    end = time.monotonic() + PATIENCE_S
    while not jobs.last(base).done and time.monotonic() < end:
        time.sleep(0.02)

    jobs.cancel(base, jobs.last(base))
    job = wait_for_end(base, number)

    assert job.outcome is Outcome.CANCELLED, (base.folder / jobs.LOG).read_text()
    assert not base.has_index
    assert 0 < job.done < job.total == 152


def test_a_failure_is_one_sentence(library, do):
    empty = library.create(Facts(name="Empty"))
    number = jobs.start(empty, Kind.UPDATE)

    job = wait_for_end(empty, number)

    assert job.outcome is Outcome.FAILED
    assert job.message.startswith("No documents found in ")


def test_what_leaves_the_ledger_leaves_the_index_and_a_purge_leaves_no_byte(base, do):
    do(base, Kind.UPDATE)
    remove(base, ["tax.md"])

    assert do(base, Kind.UPDATE)["deleted"] == 1
    assert not open_index(base.index).search("june", mode="lexical")
    assert any(b"tax office" in path.read_bytes() for path in base.sources.iterdir())
    report = do(base, Kind.PURGE)

    assert report["removed_files"] == 1
    kept = [path for path in base.folder.rglob("*") if path.is_file()]
    assert not [path for path in kept if b"tax office" in path.read_bytes()]


def test_everything_can_be_removed(base, do):
    do(base, Kind.UPDATE)
    remove(base, list(held(base)))

    assert do(base, Kind.UPDATE)["documents"] == 0
    assert open_index(base.index).search("fish", mode="lexical") == []


def test_web_pages_are_read_only_from_public_addresses(library, base, do, monkeypatch):
    from app.uploads import add_address
    from tests.data.test_site import page, served

    with served({"/": page("Inside the firewall")}) as (url, asked):
        base = add_address(library, base, url)
        report = do(base, Kind.UPDATE)
        assert report["failed"] == 1
        assert asked == []
        [row] = file_states(base.index, State.FAILED)
        assert "is not a public one" in row.reason

        monkeypatch.setenv(worker.HOSTS_VARIABLE, "intranet.example, 127.0.0.1")
        assert do(base, Kind.UPDATE)["failed"] == 0
    [hit] = open_index(base.index).search("firewall", k=1, mode="lexical")
    assert hit.document == f"{url}/"


def test_a_backup_holds_everything_and_fills_a_fresh_library(base, library, do, tmp_path):
    library.change(base, description="about fish")
    do(base, Kind.UPDATE)
    name = "notes.kb.zip"
    report = do(base, Kind.BACKUP, file=name)
    [file] = list_backups(library.home)
    assert (file.name, file.stat().st_size) == (report["file"], report["bytes"])
    assert facts_in(file).description == "about fish"

    fresh = Library(tmp_path / "fresh")
    made = begin_restore(fresh, file)
    found = do(made, Kind.RESTORE, file=str(file))

    assert (made.name, found["documents"], found["files"]) == ("Notes", 2, 2)
    assert held(made) == held(base)
    assert open_index(made.index).search("fish", k=1, mode="lexical")[0].document == "anglers.md"
    assert do(made, Kind.UPDATE)["skipped"] == 2
    assert begin_restore(library, file).name == "Notes 2"


def test_a_knowledge_base_without_an_index_is_backed_up_too(base, library, tmp_path):
    file = back_up(base, "a.kb.zip", lambda *_: None)

    made = begin_restore(Library(tmp_path / "fresh"), file)
    report = restore(made, file, lambda *_: None)

    assert report == {"files": 2, "documents": 0, "chunks": 0}
    assert not made.has_index


def tampered(file, change):
    """The backup with other members."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def replace_source(members):
    name = next(name for name in members if name.endswith(".md"))
    members[name] += b"!"


def name_a_way_out(members):
    ledger = members["sources/.ledger.json"].decode()
    file = next(name for name in members if name.endswith(".md")).removeprefix("sources/")
    members["sources/.ledger.json"] = ledger.replace(file, "../../x.md").encode()
    members["sources/../../x.md"] = b"out"


def name_a_hidden_file(members):
    members["sources/.ledger.json"] = b'{"documents": {"a": {"file": "work.sqlite", "added": 0}}}'
    members["sources/work.sqlite"] = b"x"


@pytest.mark.parametrize(
    "change",
    [
        replace_source,
        name_a_way_out,
        name_a_hidden_file,
        lambda members: members.pop(next(name for name in members if name.endswith(".md"))),
        lambda members: members.update({"sources/.ledger.json": b"[]"}),
        lambda members: members.update({"index.zip": b"PK"}),
    ],
)
def test_a_backup_that_was_tampered_with_is_refused(base, library, tmp_path, change):
    file = back_up(base, "a.kb.zip", lambda *_: None)
    tampered(file, change)
    made = begin_restore(Library(tmp_path / "fresh"), file)

    with pytest.raises((LibraryError, OSError, RuntimeError)):
        restore(made, file, lambda *_: None)

    assert held(made) == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "home"]
    assert not list(tmp_path.rglob("x.md"))


@pytest.mark.parametrize("content", [b"", b"PK\x05\x06" + bytes(18), b"no zip at all"])
def test_what_is_no_backup_makes_no_knowledge_base(library, content):
    with pytest.raises(LibraryError, match="no whole backup"):
        begin_restore(library, BytesIO(content))

    assert library.all() == []


def test_going_back_to_an_earlier_version(base, do):
    first = do(base, Kind.UPDATE)["generation"]
    put(base, "new.md", "# New\n\nA new note about boats.")
    do(base, Kind.UPDATE)

    report = do(base, Kind.ROLLBACK, to=first)

    assert (report["generation"], report["documents"]) == (first, 2)
    assert open_index(base.index).search("boats", mode="lexical") == []


def test_documents_that_are_nearly_the_same_are_found(base, do):
    text = "# Tax\n\n" + "The tax office wants the blue form before the end of June this year. " * 9
    put(base, "one.md", text)
    put(base, "two.md", f"{text} Really.")
    do(base, Kind.UPDATE)

    do(base, Kind.NEAR_DUPLICATES)
    report = do(base, Kind.NEAR_DUPLICATES)

    [pair] = report["near"]
    assert {pair["first"], pair["second"]} == {"one.md", "two.md"}
    assert pair["similarity"] > 0.8


def test_the_pace_and_the_time_left_are_worked_out(base, sleeping):
    jobs.start(base, Kind.UPDATE)
    job = jobs.last(base)
    assert (job.rate(job.created + 9), job.left_s(job.created + 9)) == (None, None)

    Recorder(base.folder, job.id).expect(100)
    expected = jobs.last(base)
    assert expected.left_s(expected.moved + 30) == pytest.approx(70)
    moving = replace(expected, done=25, total=100)
    assert moving.rate(moving.moved + 10) == pytest.approx(2.5)
    assert moving.left_s(moving.moved + 10) == pytest.approx(30)


def test_jobs_wait_for_each_other_across_knowledge_bases(base, library):
    other = library.create(Facts(name="Other"))
    put(other, "a.md", "# A\n\ntext")
    with worker._alone(library.home):
        number = jobs.start(other, Kind.UPDATE)
        time.sleep(2)
        waiting = jobs.last(other)
        assert waiting.is_running
        assert waiting.moved is None
        os.kill(waiting.process, signal.SIGINT)
        assert wait_for_end(other, number).outcome is Outcome.CANCELLED


def test_cancelling_what_has_ended_kills_nobody(base, sleeping):
    jobs.start(base, Kind.UPDATE)
    job = jobs.last(base)
    jobs.cancel(base, job, at_once=True)
    ended = wait_for_end(base, job.id)

    jobs.cancel(base, replace(ended, process=os.getpid()), at_once=True)


def test_progress_calls_a_document_what_people_call_it(base):
    from app.uploads import held

    [stored] = [row.file for id_, row in held(base).items() if id_ == "tax.md"]
    name = worker._namer(base)

    assert name(f"{base.sources}/{stored}") == "tax.md"
    assert name(f"{base.sources}/{stored}/in/a.md") == "tax.md/in/a.md"
    assert name("https://example.com/") == "https://example.com/"
