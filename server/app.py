"""The server as one ASGI application: pages, API and the sync endpoint over one store and one writer thread.

`create_app` only puts parts together. The store opens when the application starts and closes when it ends; the health answer needs
neither. What the parts do stands in their own modules.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import Response
from starlette.routing import WebSocketRoute
from starlette.staticfiles import StaticFiles

from printer.web_font import chinese_font
from server.api import devices as device_api
from server.api import health, reading
from server.pages import imports, merchant, platform, platform_people, sign_in
from server.pages.guard import Guard
from server.pages.problems import NotFoundError, add_problem_pages
from server.wiring import open_running, sync


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Where the data lies and who may show our pages in a frame. `database` is a SQLAlchemy URL; None: SQLite in `data`."""

    data: Path
    database: str | None = None
    synchronous: str = "FULL"
    embedders: tuple[str, ...] = ()
    """Origins like `http://127.0.0.1:8800`, or `http://127.0.0.1:*`: the demo's page shows ours side by side."""


PARTS = (health, device_api, reading, sign_in, imports, merchant, platform, platform_people)
"""Modules with a `router`; tests walk them, so that no form goes unguarded."""


def create_app(settings: ServerSettings) -> FastAPI:
    """Return the application for a data folder that `nahuo init` made."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with open_running(app, data=settings.data, database=settings.database, synchronous=settings.synchronous):
            yield

    app = FastAPI(title="Nahuo", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.add_middleware(Guard, embedders=settings.embedders, import_paths=imports.IMPORT_PATHS)
    add_problem_pages(app)
    # First, and without FastAPI's questions: a herd of phones takes this way.
    app.router.routes.append(WebSocketRoute("/sync", sync))
    for part in PARTS:
        app.include_router(part.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")

    @app.get("/font/chinese.ttf")
    def font() -> Response:
        """The font of the labels, for machines without any Chinese font (static/font.css)."""
        try:
            content = chinese_font()
        except FileNotFoundError:
            raise NotFoundError from None
        return Response(content, media_type="font/ttf", headers={"Cache-Control": "max-age=604800"})

    return app
