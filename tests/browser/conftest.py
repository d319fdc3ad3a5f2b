"""Real clients in real Chromium, with no server at all: the replica is prepared, then the real command serves it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, Protocol

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.unit.clients.market import Bench, open_bench

CHROMIUM = os.environ.get("NAHUO_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
READY_S = 30.0
PHONE = ViewportSize(width=390, height=844)
DESK = ViewportSize(width=1280, height=800)

OWN_FONT = """async () => (await document.fonts.load('20px "Nahuo Chinese"', '拿货')).map(face => face.status)"""
"""What becomes of the Chinese font that a page brings for machines without any."""

Prepare = Callable[[Bench], None]


class Open(Protocol):
    """Prepare a replica, start its client and open its page; without `printer` it has none to begin with."""

    def __call__(self, client: Literal["field", "warehouse"], prepare: Prepare, *, printer: bool = True) -> Page: ...


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Real Chromium, or a skip that says what to install. Ends with this package: Playwright's loop would stand in asyncio tests' way."""
    if CHROMIUM is None:
        pytest.skip("Chromium is missing: install the package `chromium`, or name one in NAHUO_CHROMIUM")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield browser
        browser.close()


@pytest.fixture
def open_client(chromium: Browser, tmp_path: Path) -> Iterator[Open]:
    """Prepare a replica, start the real client on it (its server is out of reach) and open its page."""
    processes: list[subprocess.Popen[str]] = []
    contexts = []

    def open_page(client: Literal["field", "warehouse"], prepare: Prepare, *, printer: bool = True) -> Page:
        folder = tmp_path / client
        bench = open_bench(folder, client=client)
        prepare(bench)
        bench.node.close()
        arguments = [
            client,
            "--data",
            str(folder),
            "--server",
            "http://127.0.0.1:9",
            *(["--printer", f"file:{folder}/paper"] if printer else []),
        ]
        if client == "warehouse":
            arguments += ["--waybill-printer", f"file:{folder}/waybills"]
        process = subprocess.Popen(
            [sys.executable, "-m", "nahuo", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        processes.append(process)
        url = wait_ready(process)
        context = chromium.new_context(viewport=PHONE if client == "field" else DESK, locale="zh-CN")
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: pytest.fail(f"script error: {error}"))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    for process in processes:
        process.terminate()
        assert process.wait(15) == 0, "the client did not end cleanly"
        assert process.stdout is not None
        process.stdout.close()


def wait_ready(process: subprocess.Popen[str]) -> str:
    """Return the address of the ready line."""
    found: list[str] = []
    lines: list[str] = []
    ready = threading.Event()

    def listen() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if " ready http" in line:
                found.append(line.split()[-1])
                ready.set()
                return
        ready.set()

    threading.Thread(target=listen, daemon=True).start()
    until = time.monotonic() + READY_S
    assert ready.wait(READY_S), "the client was not ready in time"
    assert found, f"the client ended before it was ready: {''.join(lines)} ({until})"
    return found[0]


def sign_in(page: Page, pin: str) -> None:
    """Key the PIN on the page's own keys."""
    page.wait_for_selector("#pin-form")
    for digit in pin:
        page.click(f"[data-keys=pin] [data-key='{digit}']")
    page.click("#pin-form button.go")
    page.wait_for_function("() => !document.querySelector('#pin-form')")
