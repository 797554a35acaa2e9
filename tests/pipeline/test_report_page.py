"""The report in a real browser, driven over its DevTools pipe: nothing asked of the network, nothing on the console, every
picture loaded, nothing cut off, at the width of a desk and of a telephone, in light and dark."""

from __future__ import annotations

import fcntl
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[1] / "unit" / "report"))
from _report_results import forms, write_samples

from potstill.report import build

pytestmark = pytest.mark.tools

FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-extensions", "--hide-scrollbars",
    "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
)  # fmt: skip
"""No name resolves: a page that asks for something outside is seen to ask, and gets nothing."""
PATIENCE_S = 60

LAYOUT = """(() => {
  const seen = (e) => e.getClientRects().length > 0;
  const cut = [], over = [];
  for (const svg of document.querySelectorAll('main svg[role=img]')) {
    const frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll('text')].map((t) => [t.textContent, t.getBoundingClientRect()]);
    for (const [text, b] of boxes)
      if (b.left < frame.left - 1 || b.right > frame.right + 1 || b.top < frame.top - 1 || b.bottom > frame.bottom + 1)
        cut.push(svg.getAttribute('aria-label') + ': ' + text);
    boxes.forEach(([text, a], i) => boxes.slice(i + 1).forEach(([other, b]) => {
      if (Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4)
        over.push(svg.getAttribute('aria-label') + ': ' + text + ' and ' + other);
    }));
  }
  const wide = document.documentElement.clientWidth;
  return {
    images: [...document.images].map((i) => i.naturalWidth),
    scripts: document.scripts.length,
    sideways: document.documentElement.scrollWidth - wide,
    beyond: [...document.querySelectorAll('main *')].filter((e) => seen(e) && !e.closest('.scroll, pre')
      && e.getBoundingClientRect().right > wide + 1).map((e) => e.outerHTML.slice(0, 80)),
    charts: document.querySelectorAll('main svg[role=img]').length,
    ground: getComputedStyle(document.body).backgroundColor,
    text: document.body.innerText,
    cut, over,
  };
})()"""


@dataclass
class Seen:
    """What a page did while it was opened, and how it looks."""

    requests: list[str] = field(default_factory=list)
    """Addresses asked for, beyond the page itself and what it carries within."""
    console: list[str] = field(default_factory=list)
    """Errors and warnings, of the console or the browser, uncaught exceptions, dialogs."""
    blocked: list[str] = field(default_factory=list)
    """Why a request did not leave, of those that the page itself forbids."""
    layout: dict[str, Any] = field(default_factory=dict)


class Browser:
    """A headless Chromium, spoken to over its DevTools pipe: JSON, each message ended by a zero byte."""

    def __init__(self, program: str, profile: Path) -> None:
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # The browser reads from 3 and writes to 4; away from both first, so that neither is overwritten by the other.
        theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (theirs_in, theirs_out)]
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        self.process = subprocess.Popen(
            [program, *FLAGS, *root, f"--user-data-dir={profile}", "about:blank"], stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, close_fds=False, preexec_fn=lambda: (os.dup2(theirs[0], 3), os.dup2(theirs[1], 4)),
        )  # fmt: skip
        for fd in (theirs_in, theirs_out, *theirs):
            os.close(fd)
        self._in, self._out = ours_in, ours_out
        self._waiting, self._last = b"", 0
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str | None = None, **params: object) -> dict[str, Any]:
        """Send a command and return its result; events that arrive meanwhile are kept."""
        self._last += 1
        message: dict[str, Any] = {"id": self._last, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            found = self._read()
            if found.get("id") == self._last:
                assert "error" not in found, f"{method}: {found['error']}"
                result: dict[str, Any] = found["result"]
                return result
            self.events.append(found)

    def wait(self, method: str, session: str) -> None:
        """Read until an event of this kind has come."""
        while not any(e.get("method") == method and e.get("sessionId") == session for e in self.events):
            self.events.append(self._read())

    def _read(self) -> dict[str, Any]:
        until = time.monotonic() + PATIENCE_S
        while b"\0" not in self._waiting:
            ready, _, _ = select.select([self._in], [], [], max(0.0, until - time.monotonic()))
            assert ready, f"the browser said nothing for {PATIENCE_S} s"
            more = os.read(self._in, 1 << 20)
            assert more, "the browser is gone"
            self._waiting += more
        first, _, self._waiting = self._waiting.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message

    def open(self, page: Path, width: int = 1280, dark: bool = False) -> Seen:
        """Open a page in a tab of its own and return what it did."""
        self.events.clear()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable", session)
        self.call(
            "Emulation.setDeviceMetricsOverride",
            session,
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", session, features=[scheme])
        self.call("Page.navigate", session, url=page.as_uri())
        self.wait("Page.loadEventFired", session)
        # Whatever the page starts once it has loaded comes before the answer to this.
        pause = "new Promise((done) => setTimeout(done, 50))"
        self.call("Runtime.evaluate", session, expression=pause, awaitPromise=True)
        value = self.call("Runtime.evaluate", session, expression=LAYOUT, returnByValue=True)
        seen = Seen(layout=value["result"]["value"])
        for event in self.events:
            if event.get("sessionId") == session:
                _note(seen, event["method"], event["params"], page)
        self.call("Target.closeTarget", targetId=target)
        return seen

    def close(self) -> None:
        try:
            self.call("Browser.close")
        finally:
            self.process.wait(timeout=PATIENCE_S)
            os.close(self._in)
            os.close(self._out)


def _note(seen: Seen, method: str, params: dict[str, Any], page: Path) -> None:
    if method == "Network.requestWillBeSent":
        url = params["request"]["url"]
        if url != page.as_uri() and not url.startswith("data:"):
            seen.requests.append(url)
    elif method == "Network.loadingFailed" and "blockedReason" in params:
        seen.blocked.append(params["blockedReason"])
    elif method == "Runtime.consoleAPICalled":
        seen.console.append(f"{params['type']}: {params['args']}")
    elif method == "Runtime.exceptionThrown":
        seen.console.append(f"exception: {params['exceptionDetails']}")
    elif method == "Log.entryAdded":
        seen.console.append(f"{params['entry']['level']}: {params['entry']['text']}")
    elif method == "Page.javascriptDialogOpening":
        seen.console.append(f"dialog: {params['message']}")


@pytest.fixture(scope="module")
def browser(require_tool: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    program = require_tool("chromium", "chromium-browser", "google-chrome")
    opened = Browser(program, tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def built(folder: Path, results: dict[str, Any], samples: bool = True) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    write_samples(results, folder)
    (folder / "results.json").write_text(json.dumps(results))
    return build(folder, samples=samples)


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
@pytest.mark.parametrize("form", forms())
def test_a_page_opens_clean(browser: Browser, tmp_path: Path, form: str, width: int, dark: bool) -> None:
    results = forms()[form]
    seen = browser.open(built(tmp_path / "run", results), width, dark)
    assert seen.requests == []
    assert seen.console == []
    layout = seen.layout
    assert layout["scripts"] == 0
    assert layout["images"] == [8] * len(results["disagreements"])
    assert layout["charts"] >= 3
    assert layout["sideways"] <= 0
    assert layout["beyond"] == []
    assert layout["cut"] == []
    assert layout["over"] == []
    red = int(layout["ground"].removeprefix("rgb(").split(",")[0])
    assert red < 60 if dark else red > 200
    for text in (results["name"], *results["classes"][-3:]):
        assert text[:11] in layout["text"]


def test_a_page_opens_without_its_run(browser: Browser, tmp_path: Path) -> None:
    page = built(tmp_path / "run", forms()["plain"])
    alone = tmp_path / "elsewhere.html"
    alone.write_bytes(page.read_bytes())
    seen = browser.open(alone)
    assert (seen.requests, seen.console, seen.layout["images"]) == ([], [], [8] * 4)


PIXEL = "data:image/png;base64,iVBORw0KGgo="  # no picture, only its signature


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("<img src='https://example.invalid/x.png'>", "requests"),
        ("<link rel='stylesheet' href='https://example.invalid/x.css'>", "requests"),
        ("<img src='beside.png'>", "requests"),
        ("<script>setTimeout(() => fetch('https://example.invalid/late'), 20)</script>", "requests"),
        ("<script>console.error('no')</script>", "console"),
        ("<script>console.warn('no')</script>", "console"),
        ("<script>undefined.x</script>", "console"),
        (f"<img src='{PIXEL}'>", "images"),
        ("<main><div style='width:2000px'>wide</div></main>", "beyond"),
        ("<main><svg role='img' viewBox='0 0 99 99'><text x='95' y='50'>cut off</text></svg></main>", "cut"),
        ("<main><svg role='img' viewBox='0 0 99 99'><text x='9' y='50'>a bc</text><text x='12' y='52'>de</text></svg></main>", "over"),
    ],
)  # fmt: skip
def test_a_bad_page_is_seen(browser: Browser, tmp_path: Path, body: str, fault: str) -> None:
    page = tmp_path / "bad.html"
    page.write_text(f"<!doctype html><link rel='icon' href='data:,'><body>{body}</body>")
    seen = browser.open(page)
    found = {"requests": seen.requests, "console": seen.console, **seen.layout}
    assert found[fault] == [0] if fault == "images" else found[fault]


def test_its_policy_keeps_what_it_shows_from_running(browser: Browser, tmp_path: Path) -> None:
    """Should a name ever slip through unescaped: nothing runs, and nothing is sent."""
    page = built(tmp_path / "run", forms()["plain"])
    text = page.read_text()
    page.write_text(
        text.replace("</h1>", "</h1><script>document.title = 'ran'</script><img src='https://example.invalid/x'>")
    )
    assert page.read_text() != text
    seen = browser.open(page)
    assert seen.blocked == ["csp"]
    assert len(seen.console) == 2
    assert all("Content Security Policy" in entry for entry in seen.console)
