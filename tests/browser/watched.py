"""A page of the browser with everything that it asks for, says and sends."""

from __future__ import annotations

import base64
import re
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import BrowserContext, ConsoleMessage, Locator, Page, Request, WebError, WebSocket

__all__ = ["Pixels", "Traffic", "Watched"]

HERE = {"127.0.0.1", "localhost"}
NOWHERE = {"about", "blob", "data"}
TIMEOUT = 60_000
# Decoded by the browser, in a page of its own, since nothing that aggrkit needs reads PNG.
COUNT_COLOURS = """async picture => {
    const bitmap = await createImageBitmap(await (await fetch("data:image/png;base64," + picture)).blob());
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
    const context = canvas.getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const counts = {};
    const values = new Uint32Array(context.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
    for (const value of values) counts[value] = (counts[value] ?? 0) + 1;
    return Object.entries(counts).map(([value, n]) => [value & 255, (value >> 8) & 255, (value >> 16) & 255, n]);
}"""


@dataclass(frozen=True)
class Pixels:
    """How often each colour, as (red, green, blue), is seen in a part of the page."""

    counts: Counter[tuple[int, int, int]]

    @property
    def background(self) -> tuple[int, int, int]:
        """The colour that is seen most."""
        return self.counts.most_common(1)[0][0]

    @property
    def darkest(self) -> int:
        """Brightness of the darkest grey, from 0 for black to 255 for white."""
        return min(self._greys())

    @property
    def brightest(self) -> int:
        """Brightness of the brightest grey, from 0 for black to 255 for white."""
        return max(self._greys())

    def of(self, colour: str, tolerance: int = 12) -> int:
        """Count the pixels of a colour such as "#0072B2", or nearly of it."""
        wanted = [int(colour[start : start + 2], 16) for start in (1, 3, 5)]
        return sum(
            n
            for seen, n in self.counts.items()
            if all(abs(one - other) <= tolerance for one, other in zip(seen, wanted, strict=True))
        )

    def _greys(self) -> list[int]:
        return [round(sum(seen) / 3) for seen in self.counts if max(seen) - min(seen) <= 12]


@dataclass
class Traffic:
    """What went through the websockets of a page."""

    sent: int = 0
    received: int = 0
    messages: int = 0


class Watched:
    """A page that remembers what went wrong in it.

    Parameters
    ----------
    context : BrowserContext
        A new one; the page is its first.
    screenshots : Path
        The folder for pictures.

    Attributes
    ----------
    page : Page
        The page.
    external : list of str
        Each request, and each websocket, to anything that is not this machine.
    errors : list of str
        What was written to the console as an error, and each error that nobody has caught.
    """

    def __init__(self, context: BrowserContext, screenshots: Path) -> None:
        self.external: list[str] = []
        self.errors: list[str] = []
        self.screenshots = screenshots
        self._excused: list[re.Pattern[str]] = []
        self._traffic = Traffic()
        context.set_default_timeout(TIMEOUT)
        context.on("request", self._on_request)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("page", lambda page: page.on("websocket", self._on_websocket))
        self._context = context
        self.page: Page = context.new_page()

    def excuse(self, pattern: str) -> None:
        """Don't count requests to addresses, or errors, that match a regular expression from their start."""
        self._excused.append(re.compile(pattern))

    def assert_clean(self) -> None:
        """Fail if anything but this machine was asked for anything, or if there was any error."""
        self.settle()
        problems = [f"external request: {url}" for url in self.external] + [f"error: {text}" for text in self.errors]
        assert problems == [], "\n".join(problems)

    def settle(self) -> None:
        """Wait until the page has drawn, and what it has told so far has arrived here."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 100)))")

    @contextmanager
    def traffic(self) -> Iterator[Traffic]:
        """Count the bytes that go through websockets within a block: `with watched.traffic() as traffic`."""
        self.settle()
        before, counted = Traffic(**vars(self._traffic)), Traffic()
        yield counted
        self.settle()
        for name, value in vars(self._traffic).items():
            setattr(counted, name, value - getattr(before, name))

    def screenshot(self, name: str, where: Locator | None = None) -> Path:
        """Take a picture of the page, or of a part of it, into the folder for pictures."""
        path = self.screenshots / f"{name}.png"
        (where or self.page).screenshot(path=path)
        return path

    def pixels(self, where: Locator) -> Pixels:
        """Return the colours that a reader sees in a part of the page, with all that lies behind it."""
        picture = base64.b64encode(where.screenshot(animations="disabled")).decode("ascii")
        decoder = self._context.new_page()
        try:
            found = decoder.evaluate(COUNT_COLOURS, picture)
        finally:
            decoder.close()
        return Pixels(Counter({(red, green, blue): n for red, green, blue, n in found}))

    def axe(self, selector: str) -> list[str]:
        """Return what axe-core finds serious or critical in a part of the page: rule, element, what to do."""
        from axe_playwright_python.sync_playwright import Axe

        found: dict[str, Any] = Axe().run(self.page, context=selector).response
        return [
            f"{violation['id']} ({violation['impact']}): {' '.join(map(str, node['target']))}: {node['failureSummary']}"
            for violation in found["violations"]
            if violation["impact"] in {"serious", "critical"}
            for node in violation["nodes"]
        ]

    def _on_request(self, request: Request) -> None:
        self._check(request.url)

    def _check(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in NOWHERE and parts.hostname not in HERE and not self._is_excused(url):
            self.external.append(url)

    def _on_console(self, message: ConsoleMessage) -> None:
        place = message.location.get("url", "")
        if message.type == "error" and not self._is_excused(message.text) and not self._is_excused(place):
            self.errors.append(f"{message.text} ({place})")

    def _on_error(self, error: WebError) -> None:
        text = error.error.stack or error.error.message
        if not self._is_excused(text):
            self.errors.append(text)

    def _on_websocket(self, websocket: WebSocket) -> None:
        self._check(websocket.url)
        websocket.on("framesent", self._on_sent)
        websocket.on("framereceived", self._on_received)

    def _on_sent(self, payload: str | bytes) -> None:
        self._traffic.sent += _size(payload)
        self._traffic.messages += 1

    def _on_received(self, payload: str | bytes) -> None:
        self._traffic.received += _size(payload)
        self._traffic.messages += 1

    def _is_excused(self, text: str) -> bool:
        return any(pattern.match(text) for pattern in self._excused)


def _size(payload: str | bytes) -> int:
    return len(payload.encode() if isinstance(payload, str) else payload)
