"""Chromium, headless, through chromedriver and the W3C WebDriver protocol: plain JSON over HTTP, no library.

`Browser.start()` gives None where there is no chromedriver; `make test` installs it where it may.
"""

import base64
import contextlib
import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from journeys.installation import free_port, get, until

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # WebDriver section 12.1: the name under which an element's id stands
ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
    "--no-proxy-server",
)  # fmt: skip


class Browser:
    """One browser. Use it in a `with`."""

    def __init__(self, *arguments: str) -> None:
        self._profile = tempfile.mkdtemp(prefix="chromium-")
        self._port = free_port()
        self._driver = subprocess.Popen(
            ["chromedriver", f"--port={self._port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._session = ""
        try:
            until(lambda: get(f"http://127.0.0.1:{self._port}/status")[0] == 200, 30, "chromedriver")
            options = {"args": [*ARGUMENTS, f"--user-data-dir={self._profile}", *arguments]}
            capabilities = {"alwaysMatch": {"goog:chromeOptions": options, "timeouts": {"script": 30_000}}}
            self._session = f"/session/{self._call('POST', '/session', capabilities=capabilities)['sessionId']}"
        except BaseException:
            self.close()
            raise

    @staticmethod
    def is_there() -> bool:
        return shutil.which("chromedriver") is not None

    def open(self, url: str) -> None:
        self._call("POST", f"{self._session}/url", url=url)

    @property
    def url(self) -> str:
        return self._call("GET", f"{self._session}/url")

    @property
    def text(self) -> str:
        """What a reader sees of the page."""
        return self.run("return document.body.innerText")

    def run(self, script: str, *arguments):
        """A script's result; one that returns a promise is awaited."""
        return self._call("POST", f"{self._session}/execute/sync", script=script, args=list(arguments))

    def find(self, selector: str) -> str | None:
        with contextlib.suppress(NoSuchElement):
            return self._call("POST", f"{self._session}/element", using="css selector", value=selector)[ELEMENT]
        return None

    def click(self, selector: str) -> None:
        self._call("POST", f"{self._session}/element/{self._there(selector)}/click")

    def type(self, selector: str, text: str) -> None:
        """Text into a field, or a path into one for files."""
        self._call("POST", f"{self._session}/element/{self._there(selector)}/value", text=text)

    def cookies(self) -> dict[str, dict]:
        return {cookie["name"]: cookie for cookie in self._call("GET", f"{self._session}/cookie")}

    def forget_cookies(self) -> None:
        self._call("DELETE", f"{self._session}/cookie")

    def resize(self, width: int, height: int) -> None:
        self._call("POST", f"{self._session}/window/rect", width=width, height=height)

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._call("GET", f"{self._session}/screenshot")))

    def close(self) -> None:
        with contextlib.suppress(OSError, WebDriverError):
            if self._session:
                self._call("DELETE", self._session)
        self._driver.terminate()
        self._driver.wait(timeout=30)
        shutil.rmtree(self._profile, ignore_errors=True)

    def __enter__(self) -> "Browser":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _there(self, selector: str) -> str:
        return until(lambda: self.find(selector), 10, f"{selector} in the page")

    def _call(self, method: str, path: str, **body):
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}",
            method=method,
            data=json.dumps(body).encode() if method == "POST" else None,
            headers={"content-type": "application/json"},
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.loads(answer.read())["value"]
        except urllib.error.HTTPError as error:
            with error:
                value = json.loads(error.read())["value"]
            kind = NoSuchElement if value["error"] == "no such element" else WebDriverError
            raise kind(f"{value['error']}: {value['message']}") from None


class WebDriverError(Exception):
    pass


class NoSuchElement(WebDriverError):
    pass
