"""The frame of every page: who is asking, in which language, and how an answer is made.

Pages are plain functions: read, then `show` a template, or give a command to the writer, then `follow` to the page that shows
its outcome. A program that asks for JSON gets the same outcome as JSON. No page decides a rule of the trade.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from server.auth import Account, SignedIn, form_token, same
from server.pages import words

LANGUAGE_COOKIE = "nahuo_language"
SESSION_COOKIE = "nahuo_session"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

_SETS: Mapping[str, Mapping[str, words.Word]] = {
    "order": words.ORDER_STATUS,
    "wanted": words.WANTED_STATUS,
    "hold": words.HOLD,
    "attempt": words.ATTEMPT_STATUS,
    "decision": words.DECISION,
    "task": words.TASK_STATUS, "place": words.PIECE_PLACE, "parcel": words.PARCEL_STATUS, "held": words.HELD_REASON,
    "answer": words.ANSWER, "means": words.MEANS, "role": words.ROLE, "refused": words.REFUSED_REASON,
    "outcome": words.OUTCOME, "kind": words.KIND,
}  # fmt: skip


class SignInNeededError(Exception):
    """Nobody is signed in, or the session ended."""


class NotAllowedError(Exception):
    """Signed in, but this page is for somebody else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the main menu."""

    path: str
    zh: str
    en: str
    count: int = 0
    current: bool = False


def yuan(fen: int | None, *, sign: bool = False) -> str:
    """`4850` -> `48.50`; with `sign`, gains carry a plus."""
    if fen is None:
        return "—"
    mark = "-" if fen < 0 else "+" if sign and fen > 0 else ""
    return f"{mark}{abs(fen) // 100:,}.{abs(fen) % 100:02d}"


def instant(at_ms: int | None, zone: dt.tzinfo, *, now_ms: int | None = None) -> str:
    """`11-22 20:53` of the zone; the year stands only when it is not this one."""
    if at_ms is None:
        return "—"
    try:
        when = dt.datetime.fromtimestamp(at_ms / 1000, tz=zone)
    except (OverflowError, ValueError, OSError):
        return f"{at_ms} ms"
    this_year = now_ms is None or dt.datetime.fromtimestamp(now_ms / 1000, tz=zone).year == when.year
    return when.strftime("%m-%d %H:%M" if this_year else "%Y-%m-%d %H:%M")


def ago(at_ms: int | None, now_ms: int, lang: str) -> str:
    """How long ago, in the largest unit that says something: `40 分钟前`, `40 min ago`."""
    if at_ms is None:
        return "从未" if lang == "zh" else "never"
    seconds = max(0, (now_ms - at_ms) // 1000)
    for unit_s, zh, en in ((86_400, "天", "d"), (3_600, "小时", "h"), (60, "分钟", "min")):
        if seconds >= unit_s:
            count = seconds // unit_s
            return f"{count} {zh}前" if lang == "zh" else f"{count} {en} ago"
    return "刚才" if lang == "zh" else "just now"


def csv_cell(text: str) -> str:
    """The text, made harmless for spreadsheets that run cells beginning with a sign."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def language(request: Request) -> str:
    """`zh` unless the switch says English."""
    return "en" if request.cookies.get(LANGUAGE_COOKIE) == "en" else "zh"


def wants_json(request: Request) -> bool:
    """True for a program: it asked for JSON, or came with a bearer."""
    return "application/json" in request.headers.get("accept", "")


def local_path(text: str, otherwise: str = "/") -> str:
    """A path of our own to go on to; anything that could lead elsewhere becomes `otherwise`."""
    if (
        not text.startswith("/")
        or text.startswith(("//", "/\\"))
        or not text.isprintable()
        or len(text) > 500
        or "\\" in text
    ):
        return otherwise
    return text


def bearer(request: Request) -> str | None:
    """The token of an `Authorization: Bearer` header."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def check_form(form: Mapping[str, Any], request: Request) -> None:
    """Refuse a form without its session's token. A bearer is never sent by a browser by itself: it needs none.

    Raises:
        NotAllowedError: the token is missing or another session's.
    """
    session: SignedIn | None = getattr(request.state, "session", None)
    if session is not None and bearer(request) is not None:
        return
    wanted = session.form_token if session is not None else guest_form_token(request)
    given = form.get("form_token", "")
    if not wanted or not isinstance(given, str) or not same(given, wanted):
        raise NotAllowedError("form")


def guest_form_token(request: Request) -> str:
    """The form token of somebody not signed in, from his own cookie; empty when he has none yet."""
    guest = request.cookies.get("nahuo_guest", "")
    return form_token(guest) if 20 <= len(guest) <= 100 else ""


def with_query(path: str, **more: object) -> str:
    """The path with query parameters added; empty ones are left out."""
    pairs = urlencode({key: value for key, value in more.items() if value not in (None, "")})
    return path if not pairs else f"{path}{'&' if '?' in path else '?'}{pairs}"


def make_environment() -> Environment:
    """Return the templates, with every name and filter they use; undefined names fail loudly."""
    env = Environment(
        loader=FileSystemLoader(Path(__file__).parent.parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["with_query"] = with_query
    env.filters["yuan"] = yuan
    env.filters["path_part"] = lambda text: quote(str(text), safe="")
    return env


_ENVIRONMENT = make_environment()


def render(template: str, request: Request, *, zone: dt.tzinfo, zone_name: str, now_ms: int, **values: Any) -> str:
    """Return the HTML of a template in the asker's language."""
    lang = language(request)
    session: SignedIn | None = getattr(request.state, "session", None)
    token = session.form_token if session is not None else getattr(request.state, "guest_form_token", "")

    def t(zh: str, en: str) -> str:
        return zh if lang == "zh" else en

    def pill(which: str, key: object) -> Markup:
        found = words.word(_SETS[which], key)
        return Markup('<span class="pill {}">{}</span>').format(found.colour, found.said(lang))

    def say(which: str, key: object) -> str:
        return words.word(_SETS[which], key).said(lang)

    def form_guard() -> Markup:
        return Markup('<input type="hidden" name="form_token" value="{}">').format(token)

    account: Account | None = session.account if session is not None else None
    known: dict[str, Any] = {
        "lang": lang, "t": t, "pill": pill, "say": say, "form_guard": form_guard, "account": account,
        "role_word": lambda role: words.word(words.ROLE, role).said(lang), "now_ms": now_ms, "zone": zone_name,
        "here": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        "instant": lambda at_ms: instant(at_ms, zone, now_ms=now_ms), "ago": lambda at_ms: ago(at_ms, now_ms, lang),
        "own_font": request.url.hostname in LOOPBACK, "navigation": (), "organisation_name": "", "outcome": None,
        "refresh_s": 0,
    }  # fmt: skip
    return _ENVIRONMENT.get_template(template).render({**known, **values})


def answer_page(html: str, status: int = 200) -> HTMLResponse:
    """An HTML answer."""
    return HTMLResponse(html, status)


def go_to(path: str) -> Response:
    """See other: a form never answers with a page that a reload would send again."""
    return RedirectResponse(local_path(path), 303)


def as_json(value: Mapping[str, Any], status: int = 200) -> Response:
    """A JSON answer."""
    return JSONResponse(dict(value), status)


def zone_of(name: str) -> dt.tzinfo:
    """The time zone of a name; UTC when this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        return dt.UTC
