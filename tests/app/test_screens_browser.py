"""Documents and conversation in a real browser, from an empty library on.

`ANGLER_SCREENSHOTS=FOLDER pytest tests/app/test_screens_browser.py` keeps a picture of each state.
"""

import pytest
from selenium.webdriver.common.keys import Keys

from tests.app.conftest import ROOT
from tests.app.test_browser import Page, complaints, driver, foreign_requests, pictures, served

__all__ = ["driver", "pictures"]

pytestmark = pytest.mark.browser

NAMES = ["getting-started", "documents", "index-on-disk", "search-modes", "chunking"]


class Screens(Page):
    """The pages in a browser, and what somebody does with them."""

    def visit(self, path, *, width=1280, height=900, scheme="light", **parameters):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        query = "&".join(f"{key}={value}" for key, value in parameters.items())
        self.driver.get("about:blank")
        self.driver.get(f"{self.url}/{path}?{query}")
        self.wait_for(".angler-name")
        self.settle()

    def settle(self):
        self.wait_until(lambda: not self.find('[data-testid="stStatusWidget"]'))

    def press(self, key):
        button = self.wait_until(
            lambda: [one for one in self.find(f".st-key-{key} button") if one.is_enabled()]
        )[0]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
        button.click()

    def type(self, key, text):
        box = self.wait_for(f".st-key-{key} input")
        box.send_keys(text, Keys.TAB)

    def text(self):
        return self.driver.execute_script("return document.body.innerText")

    def is_no_wider_than(self, width):
        script = "return document.querySelector('.stMain').scrollWidth"
        return self.driver.execute_script(script) <= width


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def home_url(home, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with served(log, ANGLER_HOME=home, ANGLER_CACHE=home.parent / "cache") as url:
        yield url


@pytest.fixture
def screens(driver, home_url):
    driver.get_log("browser")
    screens = Screens(driver, home_url)
    yield screens
    assert complaints(screens) == []
    assert foreign_requests(screens) == []


# In the order of a first visit: each goes on from the one before.


def test_a_knowledge_base_is_made_filled_and_indexed(screens, pictures):
    screens.visit("documents", lang="en")
    screens.take_picture(pictures / "documents-empty-en.png")
    screens.press("first_base")
    screens.type("new_name", "产品手册 Handbook")
    screens.take_picture(pictures / "documents-new-en.png")
    screens.driver.execute_script(
        "[...document.querySelectorAll('[role=dialog] button')]"
        ".find(b => b.innerText === 'Create').click()"
    )
    screens.wait_until(lambda: "There are no documents yet" in screens.text())

    files = [str(ROOT / "docs" / "en" / f"{name}.md") for name in NAMES]
    box = screens.find("input[type=file]:not([webkitdirectory])")[0]
    box.send_keys("\n".join(files))
    screens.wait_until(lambda: "Index 5 changes" in screens.text())
    screens.take_picture(pictures / "documents-new-files-en.png")

    screens.press("update")
    screens.wait_until(lambda: screens.find(".st-key-job"))
    screens.driver.refresh()  # nothing is lost by that
    screens.wait_until(lambda: screens.find(".st-key-job") or "5 added" in screens.text())
    screens.wait_until(lambda: "5 added" in screens.text())
    screens.settle()
    assert "5 added" in screens.text()
    assert screens.nameless() == []
    screens.take_picture(pictures / "documents-en.png")


def test_the_documents_screen_in_chinese_in_the_dark_and_on_a_phone(screens, pictures):
    screens.visit("documents", scheme="dark", lang="zh")
    screens.wait_until(lambda: "更新索引" in screens.text())
    screens.take_picture(pictures / "documents-zh.png")

    screens.visit("documents", width=390, height=844, lang="zh")
    screens.wait_until(lambda: "更新索引" in screens.text())
    assert screens.is_no_wider_than(390)
    screens.take_picture(pictures / "documents-phone-zh.png")


def test_versions_and_settings(screens, pictures):
    screens.visit("documents", lang="en")
    for number, name in ((1, "versions"), (2, "settings")):
        tabs = screens.wait_until(lambda: screens.find("[data-testid=stTab]"))
        tabs[number].click()
        screens.settle()
        screens.take_picture(pictures / f"documents-{name}-en.png")
        assert screens.nameless() == []


@pytest.mark.parametrize(
    ("language", "question", "quote"),
    [
        ("en", "which Python version do I need?", "Python 3.11"),
        ("zh", "which Python version does my computer need?", "Python 3.11"),
    ],
)
def test_a_conversation(screens, pictures, language, question, quote):
    screens.visit("ask", lang=language)
    box = screens.wait_for("[data-testid=stChatInput] textarea")
    box.send_keys(question, Keys.ENTER)
    screens.wait_until(lambda: screens.find(".angler-answer blockquote"))
    screens.settle()
    assert quote in screens.texts(".angler-answer")[0]

    screens.find(".angler-answer a")[0].click()
    screens.wait_until(lambda: screens.find(".angler-sources details[open]"))

    assert screens.nameless() == []
    screens.take_picture(pictures / f"ask-{language}.png")


def test_a_conversation_on_a_phone(screens, tmp_path):
    screens.visit("ask", width=390, height=844, scheme="dark", lang="en")
    box = screens.wait_for("[data-testid=stChatInput] textarea")
    box.send_keys("which Python version do I need?", Keys.ENTER)
    screens.wait_until(lambda: screens.find(".angler-answer blockquote"))

    assert screens.is_no_wider_than(390)
    screens.take_picture(tmp_path / "ask-phone.png")


def test_going_from_page_to_page_keeps_the_language_and_the_search(screens):
    screens.visit("", q="rollback", mode="lexical", k="5", lang="zh")
    screens.wait_for("#hit-1")
    links = screens.find("[data-testid=stTopNavLink]")
    assert [one.text.splitlines()[-1] for one in links] == ["搜索", "问答", "文档"]
    links[2].click()
    screens.wait_until(lambda: "更新索引" in screens.text())
    screens.find("[data-testid=stTopNavLink]")[0].click()
    screens.wait_for("#hit-1")

    assert screens.find(".st-key-query input")[0].get_attribute("value") == "rollback"
    assert screens.parameters()["mode"] == "lexical"
