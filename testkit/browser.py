"""A headless Chromium for tests of pages: what it shows, asks the network for and complains of."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from .waiting import wait_for

# By default, Chromium contacts Google's hosts at every start, for updates and the like.
_ARGUMENTS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
)


# All that a person reads on a page; ``innerText`` leaves out what lies in shadow roots.
_READ = """
    const read = (node) => {
        if (node.nodeType === Node.TEXT_NODE) return node.textContent;
        if (node.nodeType !== Node.ELEMENT_NODE && !(node instanceof ShadowRoot)) return "";
        if (["STYLE", "SCRIPT", "NOSCRIPT"].includes(node.tagName)) return "";
        if (node instanceof Element && getComputedStyle(node).display === "none") return "";
        const inner = node.shadowRoot || node;
        const nodes = inner.tagName === "SLOT" ? inner.assignedNodes() : inner.childNodes;
        return [...nodes].map(read).join(" ");
    };
    return read(document.body).replace(/\\s+/g, " ");
"""


class Browser:
    """Chromium, and what tests ask of it."""

    def __init__(self, driver: webdriver.Chrome):
        self.driver = driver

    def open(self, url: str, width: int = 1280, height: int = 900) -> None:
        self.driver.set_window_size(width, height)
        self._drain()
        self.complaints()
        self.driver.get(url)

    @property
    def text(self) -> str:
        """What a person reads on the page."""
        return str(self.driver.find_element(By.TAG_NAME, "body").text)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run JavaScript; ``return`` gives its value."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, condition: Callable[[], Any], what: str = "") -> Any:
        """Wait until the condition gives something true, and return that."""
        return wait_for(condition, lambda: f"{what}; the page reads: {self.text[:3000]}")

    def wait_for(self, *words: str) -> str:
        """Wait until the page reads all of the words; returns all that it reads."""
        self.wait(lambda: all(word in self.text for word in words), ", ".join(words))
        return self.text

    def wait_to_read(self, *words: str) -> str:
        """As ``wait_for``, on pages of web components; runs of blanks are one blank."""

        def all_there() -> str | None:
            text: str = self.run(_READ)
            return text if all(word in text for word in words) else None

        return str(self.wait(all_there, what=", ".join(words)))

    def picture(self, path: Path) -> None:
        """Save a picture of the whole page."""
        height = self.run("return document.documentElement.scrollHeight")
        width = self.run("return document.documentElement.clientWidth")
        self.driver.set_window_size(width, min(int(height) + 150, 16_000))
        time.sleep(0.5)
        self.driver.save_screenshot(str(path))

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened, the page's own too."""
        messages = [json.loads(entry["message"])["message"] for entry in self._drain()]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    def complaints(self) -> list[str]:
        """Errors on the console since the last look."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        return [entry["message"] for entry in entries if entry["level"] == "SEVERE"]

    def _drain(self) -> list[dict[str, Any]]:
        return list(self.driver.get_log("performance"))  # type: ignore[no-untyped-call]


def what_is_missing() -> str | None:
    """Why there can be no browser here, None where there can."""
    if shutil.which("chromium") and shutil.which("chromedriver"):
        return None
    return "needs Debian's packages chromium and chromium-driver"


@contextmanager
def open_browser(folder: Path) -> Iterator[Browser]:
    """Start Chromium with a profile in ``folder``; nothing of it may be missing."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for argument in (*_ARGUMENTS, f"--user-data-dir={folder}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        # Chromium's sandbox refuses to run as root.
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
