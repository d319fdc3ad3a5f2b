"""The demo's one page: phones, terminal and merchant side by side, a signal switch for each, the server's switch, labels as they come.

It shows the real pages of real processes in frames; the switches pull the real plugs. Guarded like a client's page.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from clients.runtime.guard import Guard
from clients.runtime.serve import FONT

HERE = Path(__file__).parent
LABELS_SHOWN = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One frame of the page: what it shows, and which switch belongs to it."""

    key: str
    zh: str
    en: str
    look: str
    """`phone`, `terminal` or `desk`."""
    address: Callable[[], str]
    has_signal: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Plugs:
    """What the switches do: each returns when it is done."""

    signal: Callable[[str, bool], Awaitable[None]]
    server: Callable[[bool], Awaitable[None]]
    state: Callable[[], Awaitable[Mapping[str, Any]]]


def build_page(
    windows: Sequence[Window], printers: Mapping[str, Path], plugs: Plugs, *, port: int, token: str, hint: str
) -> ASGIApp:
    """Return the guarded application; `printers` are {name: folder of PNG files}."""
    templates = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined)

    async def show(_: Request) -> Response:
        shown = [
            {"key": w.key, "zh": w.zh, "en": w.en, "look": w.look, "address": w.address(), "has_signal": w.has_signal}
            for w in windows
        ]
        html = templates.get_template("stage.html").render(windows=shown, hint=hint)
        origins = " ".join(sorted({"/".join(str(w["address"]).split("/")[:3]) for w in shown}))
        policy = (
            f"default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
            f"frame-src {origins}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        return HTMLResponse(
            html, headers={"content-security-policy": policy, "cross-origin-resource-policy": "cross-origin"}
        )

    async def state(_: Request) -> Response:
        labels = await asyncio.to_thread(read_labels, printers)
        return JSONResponse({**await plugs.state(), "labels": labels})

    async def switch(request: Request) -> Response:
        form = await request.form()
        name, on = str(form.get("name", "")), form.get("on") == "1"
        if name == "server":
            await plugs.server(on)
        elif any(window.key == name and window.has_signal for window in windows):
            await plugs.signal(name, on)
        else:
            return JSONResponse({"ok": False, "error": f"there is no switch called {name[:40]}"}, status_code=404)
        return JSONResponse({"ok": True})

    async def label(request: Request) -> Response:
        folder = printers.get(request.path_params["printer"])
        path = None if folder is None else folder / f"{request.path_params['n']:04d}.png"
        if path is None or not path.is_file():
            return JSONResponse({"ok": False, "error": "no such label"}, status_code=404)
        return FileResponse(path, media_type="image/png", headers={"cache-control": "max-age=3600"})

    routes = [
        Route("/", show),
        Route("/state", state),
        Route("/switch", switch, methods=["POST"]),
        Route("/label/{printer}/{n:int}.png", label),
        FONT,
        Mount("/static", StaticFiles(directory=HERE / "static")),
    ]
    return Guard(Starlette(routes=routes), port=port, token=token)


def read_labels(printers: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Return the newest labels of all printers, newest first."""
    found: list[dict[str, Any]] = []
    for printer, folder in printers.items():
        lines = folder / "labels.jsonl"
        if not lines.exists():
            continue
        for line in lines.read_text("utf-8").splitlines()[-LABELS_SHOWN:]:
            try:
                record = json.loads(line)
            except ValueError:
                continue  # the line is being written
            shown = {name: record[name] for name in ("n", "codes", "at_ms")}
            found.append({"printer": printer, **shown, "scans": (record.get("qr") or record["codes"])[0]})
    return sorted(found, key=lambda label: -label["at_ms"])[:LABELS_SHOWN]
