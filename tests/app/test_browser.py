"""The real page on the handbook's index in a real browser.

`ANGLER_SCREENSHOTS=docs/images pytest tests/app/test_browser.py` takes the README's pictures anew.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import ProxyHandler, build_opener

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from indexing import build_index

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parent.parent.parent
CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
SWITCHES = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--force-device-scale-factor=1",
    "--lang=en-US",
    "--accept-lang=en-US",
]
PATIENCE_S = 90
"""The encoder is loaded by the first search, on a machine that may be busy with other tests."""


class Page:
    """The page in a browser, and what a reader does with it."""

    def __init__(self, driver, url):
        self.driver, self.url = driver, url

    def open(self, *, width=1280, height=900, scheme="light", **parameters):
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        self.driver.get("about:blank")  # a page that is open already would only get a new address
        self.driver.get(f"{self.url}/?{urlencode(parameters)}" if parameters else self.url)
        self.wait_for(".st-key-query input")

    def wait_for(self, selector):
        return self.wait_until(lambda: self.find(selector))[0]

    def wait_until(self, condition):
        wait = WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.1)
        return wait.until(lambda _: condition())

    def find(self, selector):
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        script = "return [...document.querySelectorAll(arguments[0])].map(e => e.innerText)"
        return self.driver.execute_script(script, selector)

    def ask(self, question):
        box = self.wait_for(".st-key-query input")
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(question, Keys.ENTER)

    def wait_for_results(self, document):
        """Until the first hit is of this document, and answer and marks are drawn."""
        self.wait_until(lambda: self.texts("#hit-1 .document") == [document])
        self.wait_until(lambda: self.find("#hit-1 mark") and self.find(".angler-answer blockquote"))
        self.wait_until(lambda: not self.find('[data-testid="stStatusWidget"]'))

    def choose(self, key, label):
        """Press a choice of a control."""
        buttons = self.find(f".st-key-{key} button")
        next(button for button in buttons if button.text == label).click()

    def parameters(self):
        return {
            key: value for key, [value] in parse_qs(urlsplit(self.driver.current_url).query).items()
        }

    def marked(self, rank):
        """The text that is marked in a hit, as far as it can be seen."""
        return "".join(self.texts(f"#hit-{rank} mark"))

    def nameless(self):
        """Controls that a screen reader has no name for; those of a folded part have no text."""
        return self.driver.execute_script(
            "return [...document.querySelectorAll('button, input, textarea, a, summary')].filter("
            "e => e.checkVisibility() && e.type !== 'file' && !(e.ariaLabel || e.innerText.trim() "
            "|| e.title || e.labels?.length || e.getAttribute('aria-labelledby')))"
            ".map(e => e.outerHTML.slice(0, 300))"
        )

    def take_picture(self, path):
        away = {"type": "mouseMoved", "x": 2, "y": 2}
        self.driver.execute_cdp_cmd("Input.dispatchMouseEvent", away)
        self.driver.execute_script("document.activeElement.blur()")
        time.sleep(0.6)  # fades end
        self.driver.save_screenshot(str(path))
        assert path.stat().st_size > 10_000


@contextmanager
def served(log, **places):
    """The page's address, served as the README says, on an index or a home."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app/main.py", "--server.port", str(port)]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    environment |= {name: str(place) for name, place in places.items()}
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
        try:
            wait_for_health(server, f"http://127.0.0.1:{port}/_stcore/health", log)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(20)
    assert "Traceback" not in log.read_text("utf-8")


def wait_for_health(server, address, log):
    opener = build_opener(ProxyHandler({}))
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and server.poll() is None:
        try:
            with opener.open(address, timeout=5) as answer:
                assert answer.status == 200
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"The page did not start: {log.read_text('utf-8')[-500:]}", pytrace=False)


@pytest.fixture(scope="session")
def driver(tmp_path_factory):
    """A fresh Chromium."""
    if not all(map(shutil.which, (CHROMIUM, DRIVER))):
        packages = "chromium chromium-driver fonts-wqy-zenhei"
        pytest.fail(f"The browser tests need Chromium: apt-get install {packages}", pytrace=False)
    options = Options()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for switch in [*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"]:
        options.add_argument(switch)
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def handbook_url(handbook_index, tmp_path_factory):
    """The page on the handbook."""
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with served(log, ANGLER_INDEX=handbook_index) as url:
        yield url


@pytest.fixture
def page(driver, handbook_url):
    """The page on the handbook; whatever the browser complains about fails the test."""
    driver.get_log("browser")
    page = Page(driver, handbook_url)
    yield page
    assert complaints(page) == []
    assert foreign_requests(page) == []


@pytest.fixture
def pictures(tmp_path):
    """Where the README's pictures go."""
    folder = Path(os.environ.get("ANGLER_SCREENSHOTS") or tmp_path)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def complaints(page):
    """What the browser complains about since it was last asked.

    Streamlit's own script does not know which part of an address is the server's: on a deep link
    it first asks below the page (`/documents/_stcore/health`), is told that there is nothing, and
    asks at the root. These two questions are no complaint; the same at the root would be one.
    """
    log = [entry for entry in page.driver.get_log("browser") if entry["level"] == "SEVERE"]
    return [entry["message"] for entry in log if not is_first_look(entry["message"], page.url)]


def is_first_look(message, url):
    """Whether a message is about Streamlit looking for its server below a page."""
    looked = rf"{re.escape(url)}/(search|ask|documents)/_stcore/(health|host-config) - .* 404 .*"
    return re.fullmatch(looked, message) is not None


def foreign_requests(page):
    """Addresses that the open page asked for, other than its own server's."""
    script = "return performance.getEntriesByType('resource').map(entry => entry.name)"
    asked = page.driver.execute_script(script)
    return [name for name in asked if not name.startswith((page.url, "data:", "blob:"))]


def test_a_question_in_english(page, pictures):
    page.open()
    assert len(page.wait_until(lambda: page.find("[class*=st-key-example_] button"))) == 3

    page.ask("which Python version does my computer need?")
    page.wait_for_results("en/getting-started.md")

    assert page.texts("#hit-1 h3") == ["1Getting started › Install it"]
    assert "Python 3.11" in page.marked(1)
    assert page.texts(".angler-answer blockquote")[0] == page.marked(1)
    assert page.texts(".angler-answer .path")[0] == "Getting started › Install it"
    assert len(page.find("article")) == 10
    assert page.parameters() == {
        "q": "which Python version does my computer need?",
        "mode": "hybrid",
        "k": "10",
        "lang": "en",
    }
    page.take_picture(pictures / "search-en.png")


def test_a_question_in_chinese(page, pictures):
    page.open()
    page.choose("language", "中文")
    page.wait_until(lambda: page.texts("[class*=st-key-choices] label")[:1] == ["搜索方式"])

    page.ask("数据会离开我的机器吗？")
    page.wait_for_results("zh/getting-started.md")

    assert page.texts("#hit-1 h3") == ["1快速上手 › Angler 是做什么的"]
    assert "数据不会离开你的机器" in page.marked(1)
    assert page.texts(".angler-answer blockquote")[0] == page.marked(1)
    assert page.parameters()["lang"] == "zh"
    assert page.parameters()["q"] == "数据会离开我的机器吗？"
    page.take_picture(pictures / "search-zh.png")


def test_a_link_opens_the_same_search_and_back_leads_back(page):
    page.open(q="怎样备份索引？", mode="lexical", k="5", lang="zh")
    page.wait_for_results("zh/index-on-disk.md")
    assert len(page.find("article")) == 5

    page.ask("需要哪个版本的 Python？")
    page.wait_for_results("zh/getting-started.md")
    page.driver.back()
    page.wait_for_results("zh/index-on-disk.md")

    assert page.find(".st-key-query input")[0].get_attribute("value") == "怎样备份索引？"
    assert page.parameters() == {"q": "怎样备份索引？", "mode": "lexical", "k": "5", "lang": "zh"}


def test_a_citation_leads_to_its_hit_and_a_long_hit_unfolds(page):
    page.open(height=600, q="how do I delete documents from an index?")
    page.wait_for_results("en/documents.md")

    page.find(".angler-answer .place a")[-1].click()
    rank = page.driver.execute_script("return location.hash")
    top = f"return document.querySelector('{rank}').getBoundingClientRect().top"
    page.wait_until(lambda: 0 <= page.driver.execute_script(top) < 600)
    folded = page.find("details")[0]
    page.driver.execute_script("arguments[0].querySelector('summary').click()", folded)

    assert folded.get_attribute("open") == "true"
    excerpt = folded.find_element(By.XPATH, "preceding-sibling::*")
    assert not excerpt.is_displayed()
    assert page.parameters()["q"] == "how do I delete documents from an index?"


@pytest.mark.parametrize(
    ("language", "question", "document"),
    [
        ("en", "which index types exist and how big are they?", None),
        ("zh", "索引类型有哪些，各占多少空间？", None),
        ("en", "which Python version does my computer need?", "en/getting-started.md"),
    ],
)
def test_nothing_is_wider_than_a_phone(page, tmp_path, language, question, document):
    page.open(width=390, height=844, q=question, lang=language)
    page.wait_for("#hit-10")
    page.wait_for_results(document or page.texts("#hit-1 .document")[0])

    for part in ("html", ".stMain"):
        width = f"return document.querySelector('{part}').scrollWidth"
        assert page.driver.execute_script(width) <= 390
    too_wide = (
        "return [...document.querySelectorAll('article, .angler-answer, button, input')]"
        ".filter(e => e.getBoundingClientRect().right > 390).length"
    )
    assert page.driver.execute_script(too_wide) == 0
    page.take_picture(tmp_path / f"phone-{language}.png")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_in_the_light_and_in_the_dark(page, tmp_path, scheme):
    page.open(scheme=scheme, q="which Python version does my computer need?")
    page.wait_for_results("en/getting-started.md")

    back = colour(page, "[data-testid=stApp]", "backgroundColor")
    assert (luminance(back) < 0.1) == (scheme == "dark")
    for selector in ("#hit-1 mark", "#hit-1 .paragraph", ".angler-answer blockquote"):
        text = blend(colour(page, selector, "color"), back)
        under = blend(colour(page, selector, "backgroundColor"), back)
        assert contrast(text, under) > 6, selector
    page.take_picture(tmp_path / f"{scheme}.png")


def test_every_control_has_a_name(page):
    page.open(q="which Python version does my computer need?")
    page.wait_for_results("en/getting-started.md")

    assert page.nameless() == []
    assert page.find(".st-key-query input")[0].get_attribute("aria-label") == "Your question"


def test_what_was_typed_is_repeated_as_typed(page):
    query = "**xyzzy** --qyqy $plughh$ :smiley: <xyqq> [zzxx](zzyy) ![](qqzz) qqzz_xxyy"

    page.open(q=query, mode="lexical")

    title = page.wait_for('[data-testid="stAlert"]')
    assert f"Nothing found for “{query}”" in title.text


def test_documents_cannot_run_scripts_or_fetch_anything(driver, tmp_path, default_encoder):
    (tmp_path / "fox.md").write_text(
        "# Fox <img src='http://127.0.0.1:9/title.png' onerror='window.hacked=1'>\n\n"
        "The fox <script>window.hacked=2</script> jumps ![p](http://127.0.0.1:9/p.png) over "
        "<img src='http://127.0.0.1:9/q.png' onerror='window.hacked=3'> the fence. "
        "<style>body{display:none}</style> [click](javascript:window.hacked=4)\n",
        "utf-8",
    )
    build_index([str(tmp_path / "fox.md")], tmp_path / "index", encoder=default_encoder)

    with served(tmp_path / "log.txt", ANGLER_INDEX=tmp_path / "index") as url:
        page = Page(driver, url)
        page.open(q="fox")
        page.wait_for_results("fox.md")

        assert "<script>window.hacked=2</script>" in page.texts("#hit-1")[0]
        assert driver.execute_script("return window.hacked") is None
        assert foreign_requests(page) == []
        assert page.find("article img, article script, article style, article a") == []
        assert page.find("#hit-1")[0].is_displayed()


def colour(page, selector, name):
    """A computed colour as (red, green, blue, alpha)."""
    script = "return getComputedStyle(document.querySelector(arguments[0]))[arguments[1]]"
    value = page.driver.execute_script(script, selector, name)
    numbers = [float(number) for number in value.partition("(")[2].rstrip(")").split(",")]
    return (*numbers[:3], numbers[3] if len(numbers) > 3 else 1.0)


def blend(over, under):
    """A colour as it is seen on another."""
    alpha = over[3]
    return (*(alpha * o + (1 - alpha) * u for o, u in zip(over[:3], under[:3], strict=True)), 1.0)


def luminance(colour):
    """Relative luminance, 0 to 1. Source: WCAG 2.2, https://www.w3.org/TR/WCAG22/."""
    parts = [part / 255 for part in colour[:3]]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    """1 to 21. Source: WCAG 2.2, https://www.w3.org/TR/WCAG22/."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
