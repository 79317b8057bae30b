"""Readers of the application: one speaks its websocket as a browser's script does, one is Chromium.

Both ask question after question by a search's link and say how long each took until the page was
whole: hits drawn, answer quoted, sentences marked.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

import websocket
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
PATIENCE_S = 120.0
HITS, WHOLE = "hits", "whole page"
_FIRST_HIT = 'id="hit-1"'


class AskError(RuntimeError):
    """A page that did not come, or came with an error on it."""


class Websocket:
    """A session without a browser."""

    def __init__(self, url: str) -> None:
        address = url.replace("http://", "ws://") + "/_stcore/stream"
        self._socket = websocket.create_connection(
            address, timeout=PATIENCE_S, origin=url, subprotocols=["streamlit"]
        )

    def ask(self, question: str) -> Mapping[str, float]:
        """Follow a search's link; seconds until its hits came, and until the page was whole.

        Raises:
            AskError: If it holds an error, or no hit.
        """
        wanted = BackMsg()
        wanted.rerun_script.query_string = urlencode({"q": question, "mode": "hybrid", "k": "10"})
        wanted.rerun_script.context_info.locale = "en-GB"
        started = time.perf_counter()
        self._socket.send_binary(wanted.SerializeToString())
        hits_s = None
        while True:
            message = ForwardMsg.FromString(self._receive())
            kind = message.WhichOneof("type")
            if kind == "delta":
                element = message.delta.new_element
                if element.WhichOneof("type") in {"exception", "alert"}:
                    raise AskError(f"{question!r}: {element.exception.type}{element.alert.body}")
                if hits_s is None and _FIRST_HIT in element.html.body:
                    hits_s = time.perf_counter() - started
            elif kind == "script_finished":
                break
        if message.script_finished != ForwardMsg.FINISHED_SUCCESSFULLY or hits_s is None:
            raise AskError(f"{question!r}: the page ended without a hit")
        return {HITS: hits_s, WHOLE: time.perf_counter() - started}

    def close(self) -> None:
        """Leave."""
        self._socket.close()

    def _receive(self) -> bytes:
        try:
            data = self._socket.recv()
        except (OSError, websocket.WebSocketException) as error:
            raise AskError(f"the connection broke ({type(error).__name__})") from error
        if not isinstance(data, bytes) or not data:
            raise AskError("the server closed the connection")
        return data


class Browser:
    """A session in Chromium."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self._driver, self._url = driver, url

    def open(self) -> float:
        """Open the page anew; seconds until a question can be typed."""
        self._driver.get("about:blank")
        started = time.perf_counter()
        self._driver.get(self._url)
        self._wait(".st-key-query input")[0].click()
        return time.perf_counter() - started

    def ask(self, question: str) -> Mapping[str, float]:
        """Type a question; seconds until the page was whole."""
        box = self._wait(".st-key-query input")[0]
        started = time.perf_counter()
        box.send_keys(Keys.CONTROL, "a")
        box.send_keys(question, Keys.ENTER)
        link = urlencode({"q": question})
        self._until(lambda: link in self._driver.current_url)
        self._wait("#hit-1")
        self._until(lambda: not self._find("[data-testid=stStatusWidget], .angler-waiting"))
        taken = time.perf_counter() - started
        if self._find("[data-testid=stException], [data-testid=stAlert]"):
            raise AskError(f"{question!r}: {self._find('[data-testid=stAlert]')[0].text}")
        return {WHOLE: taken}

    def complaints(self) -> list[str]:
        """What the browser complained about."""
        log = self._driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in log if entry["level"] == "SEVERE"]

    def close(self) -> None:
        """Leave."""
        self._driver.quit()

    def _find(self, selector: str) -> list[webdriver.remote.webelement.WebElement]:
        return self._driver.find_elements(By.CSS_SELECTOR, selector)

    def _wait(self, selector: str) -> list[webdriver.remote.webelement.WebElement]:
        self._until(lambda: self._find(selector))
        return self._find(selector)

    def _until(self, condition: Callable[[], object]) -> None:
        wait = WebDriverWait(self._driver, PATIENCE_S, poll_frequency=0.05)
        try:
            wait.until(lambda _: condition())
        except WebDriverException as error:
            raise AskError(f"the page did not come ({type(error).__name__})") from error


@contextmanager
def chromium(url: str, profile: Path) -> Iterator[Browser]:
    """A fresh Chromium, closed at the end."""
    options = Options()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for switch in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--window-size=1280,900",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(switch)
    browser = Browser(webdriver.Chrome(options=options, service=Service(DRIVER)), url)
    try:
        yield browser
    finally:
        browser.close()
