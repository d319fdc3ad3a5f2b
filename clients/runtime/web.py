"""The frame of the local web application: pages from templates, forms that act once, answers as page or JSON.

A screen is an ordinary Starlette endpoint. `Frame.show` answers a GET; `Frame.perform` runs the action of a POST. Both answer JSON
on the same address when the caller accepts `application/json`, so a program drives the very forms a person does.

An action runs at most once however often its form arrives: each form carries a one-time id, kept with the action's answer in the
action's own transaction. A double tap, a reload and a retry after a lost answer all get the first answer again.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import unicodedata
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from clients.runtime import shown
from clients.runtime.guard import wants_json
from clients.runtime.language import Language, say, say_error
from clients.runtime.node import Node
from sync_core.errors import (
    CorruptError,
    DiskError,
    DiskFullError,
    InvariantError,
    MalformedError,
    NahuoError,
    RefusedError,
    RetryableError,
)
from sync_core.facts import Json
from sync_core.storage import FULL_WORDS
from trade import words

FORM_BYTES_MAX: Final = 64 * 1024
ACTIONS_KEPT_MS: Final = 48 * 3_600_000
Endpoint = Callable[[Request], Awaitable[Response]]


class Form(dict[str, str]):
    """The fields of a form as text; full-width digits and letters read as the narrow ones."""

    def text(self, name: str, *, default: str | None = None, length_max: int = 200) -> str:
        """Return a field, stripped.

        Raises:
            MalformedError: the field is missing and has no default, or is too long.
        """
        value = unicodedata.normalize("NFKC", self.get(name, "")).strip()
        if not value:
            if default is None:
                raise MalformedError("form.missing", name)
            return default
        if len(value) > length_max:
            raise MalformedError("form.too_long", name)
        return value

    def whole(self, name: str, *, default: int | None = None, at_least: int = 0, at_most: int = 10**9) -> int:
        """Return a field that is a whole number.

        Raises:
            MalformedError: it is none, or out of range.
        """
        value = self.text(name, default="" if default is not None else None, length_max=12)
        if not value and default is not None:
            return default
        if not value.isascii() or not value.isdigit() or not at_least <= int(value) <= at_most:
            raise MalformedError("form.number", name)
        return int(value)

    def flag(self, name: str) -> bool:
        """True when the box is ticked."""
        return self.get(name, "") in {"1", "on", "yes", "true"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What an action answers: facts for a program, and the page a person sees next."""

    go: str
    answer: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One button of a question: a form with its fields filled in. `look` is go, warn, stop or empty."""

    key: str
    address: str
    fields: Mapping[str, str]
    look: str = ""


class Question(RefusedError):
    """An action that needs one more tap of the person; nothing was done. `parts` fill the sentence `ask.<code>`.

    `back`: where the person keyed what is asked about, as he left it; None is the action's own way back.
    """

    def __init__(self, code: str, choices: Sequence[Choice], *, back: str | None = None, **parts: object) -> None:
        super().__init__(code, say("en", f"ask.{code}", **parts))
        self.choices = tuple(choices)
        self.back = back
        self.zh = say("zh", f"ask.{code}", **parts)
        self.en = say("en", f"ask.{code}", **parts)


class Frame:
    """Renders pages and runs the actions of one node."""

    def __init__(self, node: Node, *, folders: Sequence[Path], theme: str, tabs: Sequence[tuple[str, str]]) -> None:
        self.node = node
        self._theme = theme
        self._tabs = tuple(tabs)
        own = Path(__file__).parent / "templates"
        self._templates = Environment(
            loader=FileSystemLoader([*folders, own]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters["yuan"] = shown.yuan
        self._templates.filters["clock"] = shown.clock
        self._templates.filters["day"] = shown.day
        self._templates.filters["first_words"] = shown.first_words
        self._templates.filters["tail"] = shown.tail

    def language(self) -> Language:
        """Return the language of this device: Chinese until somebody switches."""
        return "en" if self.node.replica.setting("language", "zh") == "en" else "zh"

    def show(
        self, request: Request, template: str, *, answer: Mapping[str, Json], status: int = 200, **values: object
    ) -> Response:
        """Return the page, or `answer` for a program."""
        if wants_json(request.headers):
            return JSONResponse(dict(answer), status_code=status)
        return HTMLResponse(self.render(request, template, **values), status_code=status)

    def render(self, request: Request, template: str, **values: object) -> str:
        """Return a template filled with `values` and what every page needs."""
        language = self.language()
        known: dict[str, object] = {
            "language": language,
            "t": lambda key, **parts: say(language, key, **parts),
            "e": lambda code, message="": say_error(language, code, message),
            "w": lambda vocabulary, word: words.say(getattr(words, vocabulary), word, language),
            "one_time": lambda: secrets.token_hex(8),
            "bar": self.node.bar(),
            "person": self.node.sign_in.person(),
            "theme": self._theme,
            "tabs": self._tabs,
            "here": request.url.path,
            "version": self.node.version,
        }
        return self._templates.get_template(template).render(known | values)

    async def perform(
        self, request: Request, run: Callable[[Form], Done], *, back: str, person_needed: bool = True
    ) -> Response:
        """Run the action of a form, once, in one transaction; answer with the next page, JSON, or what went wrong."""
        try:
            form = await read_form(request)
        except MalformedError as error:
            return self.fail(request, error, back=back)
        return self.perform_form(request, form, run, back=back, person_needed=person_needed)

    def perform_form(
        self,
        request: Request,
        form: Form,
        run: Callable[[Form], Done],
        *,
        back: str,
        person_needed: bool = True,
        refused: Callable[[NahuoError], Response] | None = None,
    ) -> Response:
        """`perform` for a form that was read already; `refused` shows a refusal to a person in its own way."""
        if person_needed:
            if self.node.sign_in.person() is None:
                return self.ask_to_sign_in(request)
            self.node.sign_in.touch()
        try:
            try:
                done, again = self.once(form, run)
            except DiskFullError:
                done, again = self._once_more(form, run)
        except NahuoError as error:
            if refused is not None:
                shown = refused(error)
                return self.fail(request, error, back=back) if wants_json(request.headers) else shown
            return self.fail(request, error, back=back)
        if wants_json(request.headers):
            return JSONResponse({"ok": True, "again": again, **done.answer})
        return RedirectResponse(done.go, status_code=303)

    def _once_more(self, form: Form, run: Callable[[Form], Done]) -> tuple[Done, bool]:
        """The disk is full: what the journal holds is written into the file first, then the ballast is given up.

        Raises:
            DiskFullError: neither made room; nothing was changed.
        """
        if self.node.reuse_log():
            with suppress(DiskFullError):
                return self.once(form, run)
        if not self.node.free_ballast():
            raise DiskFullError(FULL_WORDS)
        return self.once(form, run)

    def once(self, form: Form, run: Callable[[Form], Done]) -> tuple[Done, bool]:
        """Return what the action of this form answered, and whether that was earlier.

        Raises:
            NahuoError: the action was refused or the disk is full; nothing was changed.
        """
        action = form.get("action", "")[:40] or secrets.token_hex(8)
        now_ms = self.node.clock.wall_ms()
        with self.node.replica.transaction() as conn:
            row = conn.execute("SELECT answer, go FROM done_action WHERE action = ?", (action,)).fetchone()
            if row is not None:
                return Done(go=row[1], answer=json.loads(row[0])), True
            done = run(form)
            conn.execute(
                "INSERT INTO done_action (action, at_ms, answer, go) VALUES (?, ?, ?, ?)",
                (action, now_ms, json.dumps(dict(done.answer), ensure_ascii=False), done.go),
            )
        self.node.changed(acted=True)
        return done, False

    def fail(self, request: Request, error: NahuoError, *, back: str) -> Response:
        """Return the page or JSON that says in plain words what is wrong and what to do."""
        status = status_of(error)
        zh, en = say_error("zh", error.code, str(error)), say_error("en", error.code, str(error))
        zh, en = getattr(error, "zh", None) or zh, getattr(error, "en", None) or en
        answer: dict[str, Json] = {"ok": False, "code": error.code, "zh": zh, "en": en}
        sentence = zh if self.language() == "zh" else en
        choices = error.choices if isinstance(error, Question) else ()
        back = (error.back if isinstance(error, Question) else None) or back
        if choices:
            answer["choices"] = [
                {"address": choice.address, "fields": dict(choice.fields), "key": choice.key} for choice in choices
            ]
        return self.show(
            request, "refused.html", answer=answer, status=status, words=sentence, code=error.code, back=back,
            choices=choices, tone="warn" if choices else "stop",
        )  # fmt: skip

    def ask_to_sign_in(self, request: Request) -> Response:
        """Send the person to the PIN page; 401 for a program."""
        if wants_json(request.headers):
            zh, en = say("zh", "sign_in.needed"), say("en", "sign_in.needed")
            return JSONResponse({"ok": False, "code": "sign_in.needed", "zh": zh, "en": en}, status_code=401)
        return RedirectResponse("/sign-in", status_code=303)

    def signed_in(self, screen: Endpoint) -> Endpoint:
        """Return the screen, open only to a person who is signed in."""

        async def guarded(request: Request) -> Response:
            if self.node.sign_in.person() is None:
                return self.ask_to_sign_in(request)
            self.node.sign_in.touch()
            return await screen(request)

        return guarded


def status_of(error: NahuoError) -> int:
    """Return the HTTP status that fits an error of the tree."""
    match error:
        case MalformedError():
            return 422
        case DiskError() | CorruptError():
            return 507
        case RetryableError():
            return 503
        case InvariantError():
            return 500
        case RefusedError():
            return 401 if error.code.startswith("sign_in.") else 409
        case _:
            return 409


async def read_form(request: Request) -> Form:
    """Return the fields of a plain form.

    Raises:
        MalformedError: another content type, a body that is too large or not whole, or a field that stands twice.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in {"application/x-www-form-urlencoded", ""}:
        raise MalformedError("form.kind", kind[:60])
    body = b""
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > FORM_BYTES_MAX:
                raise MalformedError("form.too_long", "form")
    except ClientDisconnect:
        raise MalformedError("form.missing", "the form did not arrive whole") from None
    if body and not kind:
        raise MalformedError("form.kind", "no content type")
    try:
        pairs: list[tuple[str, Any]] = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise MalformedError("form.kind", "not UTF-8") from error
    form = Form(pairs)
    if len(form) != len(pairs):
        raise MalformedError("form.twice", "form")
    return form


def prepare(conn: sqlite3.Connection) -> None:
    """Make the table of actions that were done."""
    conn.execute(
        "CREATE TABLE IF NOT EXISTS done_action (action TEXT PRIMARY KEY, at_ms INTEGER NOT NULL,"
        " answer TEXT NOT NULL, go TEXT NOT NULL) STRICT"
    )


def forget_old_actions(conn: sqlite3.Connection, now_ms: int) -> None:
    """Drop one-time ids nobody will send again."""
    conn.execute("DELETE FROM done_action WHERE at_ms < ?", (now_ms - ACTIONS_KEPT_MS,))
