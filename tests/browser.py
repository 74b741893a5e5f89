"""A headless Chromium, driven over its DevTools protocol: no driver and no package of its own."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from websockets.sync.client import ClientConnection, connect

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_PATIENCE = 60.0


def binary() -> str | None:
    """The path of a Chromium, from $CHROMIUM or by its usual names; None where there is none."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


class Tab:
    """One page: what it is told, what it says."""

    def __init__(self, socket: ClientConnection):
        self.socket, self.count = socket, 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.count += 1
        self.socket.send(json.dumps({"id": self.count, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv(timeout=_PATIENCE))
            if message.get("id") == self.count:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def load(self, url: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)
        self.until("document.readyState == 'complete'")

    def ask(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited where it is a promise."""
        answer = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self.ask(expression):
            assert time.monotonic() < deadline, f"never true: {expression}"
            time.sleep(0.05)

    def complaints(self) -> list[dict[str, Any]]:
        """Errors and warnings of the console, exceptions, refused loads."""
        self.ask("0")
        return [
            event
            for event in self.events
            if event["method"] in ("Runtime.exceptionThrown", "Network.loadingFailed")
            or (event["method"] == "Log.entryAdded")
            or (
                event["method"] == "Runtime.consoleAPICalled"
                and event["params"]["type"] in ("error", "warning", "assert")
            )
        ]

    def requests(self) -> list[str]:
        """What was loaded, other than what the page itself holds."""
        urls = [
            event["params"]["request"]["url"]
            for event in self.events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in urls if not url.startswith("data:")]

    def look(self, width: int, height: int = 900, scheme: str = "light") -> None:
        """Make the window so many pixels wide, light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path) -> None:
        """The whole page as PNG."""
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextmanager
def tab(program: str) -> Iterator[Tab]:
    """A browser with one empty page, ended with the block."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        command = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-dev-shm-usage", "--disable-background-networking", "--mute-audio",
            "--remote-debugging-port=0", f"--user-data-dir={home}", "about:blank",
        ]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            with connect(_address(Path(home), process), max_size=None) as socket:
                yield Tab(socket)
        finally:
            process.kill()
            process.wait()


def _address(home: Path, process: subprocess.Popen) -> str:
    """The web socket of the browser's first page, once it is there."""
    found, deadline = home / "DevToolsActivePort", time.monotonic() + _PATIENCE
    while not (found.exists() and found.read_text().count("\n")):
        assert process.poll() is None, "the browser ended"
        assert time.monotonic() < deadline, "the browser does not answer"
        time.sleep(0.05)
    with urlopen(f"http://127.0.0.1:{found.read_text().splitlines()[0]}/json/list") as answer:
        pages = [target for target in json.load(answer) if target["type"] == "page"]
    return pages[0]["webSocketDebuggerUrl"]
