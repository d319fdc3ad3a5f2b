"""`GET /api/health`: is the process there, and could it write last time. Touches no database, no writer, no template: it answers while
everything else is busy.
"""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from server.pages.asking import Serving

router = APIRouter()


@router.get("/api/health")
async def health(request: Request) -> JSONResponse:
    """`{"ok": true, "writing": true}`; `writing` is false from a commit that failed until one that holds (the platform's page says why)."""
    serving: Serving = request.app.state.serving
    return JSONResponse({"ok": True, "writing": not serving.trouble()})
