"""A headless Chromium for tests, driven through its debugging pipe: no port, no driver, no wait.

Messages are JSON with a NUL behind each, on file descriptors 3 (to Chromium) and 4 (from it).
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A shared machine may stall; nothing here takes seconds.
_PATIENCE_S = 120.0


def find_chromium() -> str | None:
    """Return the path of a Chromium, None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page of a headless Chromium; a context manager that ends it."""

    def __init__(self, profile: Path, width: int = 1200, height: int = 900) -> None:
        chromium = find_chromium()
        assert chromium is not None
        read_there, write_here = os.pipe()
        read_here, write_there = os.pipe()
        # Above 4, so that they do not meet on their way to 3 and 4.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (read_there, write_there)]
        for end in (read_there, write_there):
            os.close(end)

        self.process = subprocess.Popen(
            [
                *("bash", "-c", 'exec "${@:3}" 3<&$1 4>&$2', "bash", *map(str, ends)),
                chromium,
                "--headless=new",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-dev-shm-usage",
                "--no-first-run",
                "--mute-audio",
                "--autoplay-policy=no-user-gesture-required",
                "--remote-debugging-pipe",
                f"--user-data-dir={profile}",
                f"--window-size={width},{height}",
                "about:blank",
            ],
            pass_fds=ends,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for end in ends:
            os.close(end)
        self.write_fd, self.read_fd = write_here, read_here
        self.pending = b""
        self.number = 0
        self.session: str | None = None
        self.complaints: list[str] = []
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(target for target in targets if target["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=page["targetId"], flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.session = None
        try:
            self.call("Browser.close")  # and with it the processes that it started
            self.process.wait(_PATIENCE_S)
        finally:
            self.process.kill()
            self.process.wait()
        os.close(self.write_fd)
        os.close(self.read_fd)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Return the result of a command."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write_fd, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._message()
            if answer.get("id") == self.number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def open(self, path: Path) -> None:
        """Load a file and wait until the page has it all."""
        self.call("Page.navigate", url=path.resolve().as_uri())
        self.evaluate(
            "document.readyState === 'complete' || "
            "new Promise(done => addEventListener('load', () => done(true)))"
        )

    def evaluate(self, expression: str) -> Any:
        """Return what an expression, or the promise that it is, comes to."""
        answer = self.call(
            "Runtime.evaluate",
            expression=expression,
            awaitPromise=True,
            returnByValue=True,
            userGesture=True,
        )
        details = answer.get("exceptionDetails")
        assert details is None, details["exception"].get("description", details)
        return answer["result"].get("value")

    def wait(self, condition: str) -> None:
        """Wait until a condition holds, looking at each picture that is drawn."""
        self.evaluate(
            "new Promise((done, fail) => { const end = performance.now() + 60000; const look = () "
            f"=> ({condition}) ? done(true) : performance.now() > end ? fail(new Error("
            f"{json.dumps('still not: ' + condition)})) : setTimeout(look, 20); look(); }})"
        )

    def key(self, key: str, code: str = "") -> None:
        """Press and release a key."""
        text = key if len(key) == 1 else ""
        windows = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        known = {"key": key, "code": code, "windowsVirtualKeyCode": windows.get(key, ord(key[0]))}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **known)
        self.call("Input.dispatchKeyEvent", type="keyUp", **known)

    def click(self, selector: str, share: float = 0.5) -> None:
        """Click an element with the pointer, ``share`` of its width from its left."""
        x, y = self.evaluate(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); "
            "e.scrollIntoView({block: 'center'}); const b = e.getBoundingClientRect(); "
            f"return [b.left + {share} * b.width, b.top + b.height / 2]; }})()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def resize(self, width: int, height: int, mobile: bool = False) -> None:
        """Give the page another size."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if mobile else 1,
            mobile=mobile,
        )

    def screenshot(self, path: Path) -> None:
        """Write what is seen to a PNG file."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot")["data"]))

    def _message(self) -> dict[str, Any]:
        while b"\0" not in self.pending:
            ready, _, _ = select.select([self.read_fd], [], [], _PATIENCE_S)
            assert ready, "Chromium does not answer"
            piece = os.read(self.read_fd, 2**20)
            assert piece, "Chromium ended"
            self.pending += piece
        text, self.pending = self.pending.split(b"\0", 1)
        message: dict[str, Any] = json.loads(text)
        self._listen(message)
        return message

    def _listen(self, message: dict[str, Any]) -> None:
        """Note errors and warnings of the page."""
        method, said = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.complaints.append(str(said["exceptionDetails"]))
        elif method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.complaints.append(said["entry"]["text"])
        elif method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning"):
            self.complaints.append(str(said["args"]))
