"""A new user's first hour, in a real browser on real files; `make first-hour` runs it.

Two knowledge bases from the collection that `ANGLER_DATA` names: 64 real files of 17 kinds, some of
them damaged, and Chinese news. The server is stopped in the middle of a build.
`ANGLER_SCREENSHOTS=docs/images/first-hour make first-hour` takes the handbook's pictures anew.
"""

import gzip
import json
import os
import time
from pathlib import Path

import pytest
from PIL import Image
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys

from app import jobs
from app.inventory import Standing, inventory
from app.jobs import Outcome
from app.library import Library
from benchmarks.machine import judged_sets
from tests.app.test_browser import driver, served
from tests.app.test_screens_browser import Screens

__all__ = ["driver"]

pytestmark = pytest.mark.browser

NEWS = 600
HEIGHT = 760


@pytest.fixture(scope="module")
def files():
    return sorted((judged_sets() / "files" / "files").iterdir())


@pytest.fixture(scope="module")
def news(tmp_path_factory):
    """News as text files, each called by its first words."""
    folder = tmp_path_factory.mktemp("新闻")
    with gzip.open(judged_sets() / "crud_news_zh" / "corpus.jsonl.gz", "rt") as lines:
        for number, line in zip(range(NEWS), lines, strict=False):
            (folder / f"{number:04}.txt").write_text(json.loads(line)["text"], "utf-8")
    return sorted(folder.iterdir())


@pytest.fixture
def album(tmp_path):
    """Takes pictures for the handbook, small ones, in each language."""
    folder = Path(os.environ.get("ANGLER_SCREENSHOTS") or tmp_path / "pictures")
    folder.mkdir(parents=True, exist_ok=True)

    def take(screens, name, language):
        screens.take_picture(tmp_path / "picture.png")
        with Image.open(tmp_path / "picture.png") as picture:
            picture.save(folder / f"{name}-{language}.webp", quality=82, method=6)

    return take


def in_both(screens, album, name, path, ready, **parameters):
    """A picture of a page in each language, once something is drawn on it."""
    for language in ("zh", "en"):
        screens.visit(path, height=HEIGHT, lang=language, **parameters)
        screens.wait_until(ready)
        screens.settle()
        album(screens, name, language)


def make(screens, album, name, files):
    """Make a knowledge base and hand it its files."""
    for language in ("zh", "en"):
        screens.visit("documents", height=HEIGHT, lang=language)
        screens.press("new_base")
        screens.type("new_name", name)
        album(screens, "new", language)
    screens.driver.execute_script(
        "[...document.querySelectorAll('[role=dialog] button')]"
        ".find(b => b.innerText === 'Create').click()"
    )
    screens.wait_until(lambda: "There are no documents yet" in screens.text())
    for start in range(0, len(files), 200):
        box = screens.find("input[type=file]:not([webkitdirectory])")[0]
        before = screens.texts(".st-key-update button")  # says how many wait
        box.send_keys("\n".join(map(str, files[start : start + 200])))
        screens.wait_until(lambda before=before: screens.texts(".st-key-update button") != before)
        screens.settle()
    screens.wait_until(lambda: screens.find(".st-key-update button"))


def begin(screens, listing, key):
    """Press a button that begins a job; returns once it has begun."""
    before = jobs.last(listing)
    screens.press(key)
    screens.wait_until(lambda: jobs.last(listing) not in (None, before))


def wait_for_job(listing, seconds=900):
    end = time.monotonic() + seconds
    while jobs.is_running(listing) and time.monotonic() < end:
        time.sleep(0.5)
    return jobs.last(listing)


def search(screens, question, **parameters):
    screens.visit("", **{"q": question, "mode": "hybrid", "k": "5", "lang": "en"} | parameters)
    screens.wait_for("#hit-1")


def test_the_first_hour(driver, files, news, tmp_path, album):
    home, fresh = tmp_path / "home", tmp_path / "fresh"
    with served(tmp_path / "1.log", ANGLER_HOME=home) as url:
        mixed, chinese = make_both(Screens(driver, url), album, Library(home), files, news)
    assert jobs.is_running(chinese), "the build ended before the server was stopped"
    check_reasons(mixed)

    with served(tmp_path / "2.log", ANGLER_HOME=home) as url:
        screens = Screens(driver, url)
        see_it_go_on(screens, album, chinese)
        job = wait_for_job(chinese)
        assert job.outcome is Outcome.DONE, job
        assert job.report["documents"] + job.report["duplicates"] == NEWS
        ask_and_remove(screens, album, chinese)
        backup = back_up(screens, album, chinese, home)

    (fresh / "backups").mkdir(parents=True)
    (fresh / "backups" / backup.name).write_bytes(backup.read_bytes())
    with served(tmp_path / "3.log", ANGLER_HOME=fresh) as url:
        screens = Screens(driver, url)
        restore_in_browser(screens, album, backup.name)
        screens.wait_until(lambda: Library(fresh).all() and Library(fresh).all()[0].has_index)
        [restored] = Library(fresh).all()
        assert wait_for_job(restored).outcome is Outcome.DONE
        assert restored.name == "人民网新闻"
        search(screens, "人民网")
        assert screens.find("#hit-1")


def make_both(screens, album, library, files, news):
    make(screens, album, "Files of all kinds", files)
    [mixed] = library.all()
    begin(screens, mixed, "update")
    assert wait_for_job(mixed).outcome is Outcome.DONE
    for language, failed in (("zh", "失败"), ("en", "failed")):
        screens.visit("documents", height=HEIGHT, kb=mixed.id, lang=language)
        screens.wait_for(".st-key-narrow_standing button")
        pills = screens.find(".st-key-narrow_standing button")
        next(one for one in pills if one.text.startswith(failed)).click()
        screens.settle()
        screens.wait_for("[data-testid=stDataFrame] canvas")
        table = screens.find("[data-testid=stDataFrame]")[0]
        screens.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", table)
        album(screens, "reasons", language)
    make(screens, album, "人民网新闻", news)
    chinese = next(one for one in library.all() if one.name == "人民网新闻")
    begin(screens, chinese, "update")
    screens.wait_until(lambda: (jobs.last(chinese).done or 0) > 5)
    return mixed, chinese


def see_it_go_on(screens, album, chinese):
    """The page of the new server follows the build that the old one began."""
    in_both(
        screens,
        album,
        "build",
        "documents",
        lambda: screens.find(".st-key-job") or not jobs.is_running(chinese),
        kb=chinese.id,
    )


def check_reasons(listing):
    states = {row.document: row for row in inventory(listing)}
    assert states["wiki.md"].standing is Standing.INDEXED
    assert "random.bin" not in states  # refused with its reason when it was dropped
    assert "password" in states["password_tika.docx"].reason.lower()
    assert all(row.reason for row in states.values() if row.standing is Standing.FAILED)


def ask_and_remove(screens, album, chinese):
    question = "中国人民解放军建军招待会 柏林"
    search(screens, question, kb=chinese.id)
    assert screens.texts("#hit-1 .document") == ["0000.txt"]
    link = {"q": question, "mode": "hybrid", "k": "5", "kb": chinese.id}
    whole = ".angler-answer blockquote"
    in_both(screens, album, "search", "", lambda: screens.find(whole), **link)
    for language in ("zh", "en"):
        screens.visit("ask", height=HEIGHT, lang=language)
        box = screens.wait_for("[data-testid=stChatInput] textarea")
        box.send_keys("谁在柏林举行了招待会？", Keys.ENTER)
        screens.wait_until(lambda: screens.find(".angler-answer blockquote"))
        assert "招待会" in screens.texts(".angler-answer")[0]
        screens.settle()
        album(screens, "ask", language)

    remove_in_browser(screens, chinese, "0000.txt")
    assert wait_for_job(chinese).outcome is Outcome.DONE
    search(screens, question, kb=chinese.id)
    assert screens.texts("#hit-1 .document") != ["0000.txt"]


def back_up(screens, album, chinese, home):
    screens.visit("documents", kb=chinese.id, lang="en")
    screens.wait_until(lambda: screens.find("[data-testid=stTab]"))[1].click()
    begin(screens, chinese, "back_up")
    screens.wait_until(lambda: list((home / "backups").glob("*.kb.zip")))
    wait_for_job(chinese)
    for language in ("zh", "en"):
        screens.visit("documents", height=HEIGHT, kb=chinese.id, lang=language)
        screens.wait_until(lambda: screens.find("[data-testid=stTab]"))[1].click()
        screens.wait_until(lambda: screens.find("[data-testid=stDownloadButton]"))
        album(screens, "backup", language)
    return next((home / "backups").glob("*.kb.zip"))


def remove_in_browser(screens, listing, document):
    """Choose a row of the table, which is drawn on a canvas, and remove it."""
    screens.visit("documents", kb=listing.id, lang="en")
    screens.type("narrow_text", document)
    screens.settle()
    screens.wait_until(lambda: screens.find("[data-testid=stDataFrame] canvas"))
    table = screens.find("[data-testid=stDataFrame]")[0]
    width = table.size["width"]
    height = table.size["height"]
    ActionChains(screens.driver).move_to_element_with_offset(
        table, -width // 2 + 15, -height // 2 + 55
    ).click().perform()
    screens.press("remove")
    screens.press("remove_confirm")
    screens.wait_until(lambda: "Index 1 changes" in screens.text())
    begin(screens, listing, "update")


def restore_in_browser(screens, album, name):
    for language in ("zh", "en"):
        screens.visit("documents", height=HEIGHT, lang=language)
        screens.press("new_base")
        screens.wait_until(lambda: screens.find("[role=dialog] [data-testid=stTab]"))[1].click()
        box = screens.wait_until(lambda: screens.find(".st-key-restore_kept input"))[0]
        box.send_keys(name, Keys.ENTER)
        album(screens, "restore", language)
    screens.driver.execute_script(
        "[...document.querySelectorAll('[role=dialog] button')]"
        ".find(b => b.innerText === 'Restore').click()"
    )
