"""Hands for the demo: the very forms a person uses, filled in by a program over HTTP.

`Desk` is a signed-in person at the server's pages; `Hand` a person at a device's own pages. Answers are JSON, because the pages give
JSON to who asks for it. What a page refuses comes back as an `Answer` that says so; nothing here decides anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from sync_core.errors import RefusedError, RetryableError

COMMAND_SECONDS = 60
HANDS_AT_ONCE = 4

Fields = Mapping[str, str | Sequence[str]]
Files = Sequence[tuple[str, tuple[str, bytes]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a page answered: the HTTP status and its JSON."""

    status: int
    body: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """True when it was done."""
        return self.status < 300

    @property
    def code(self) -> str:
        """Why not, as a stable code."""
        return str(self.body.get("code", ""))


class Desk:
    """Somebody signed in at the server."""

    def __init__(self, url: str, *, name: str, password: str) -> None:
        self._name = name
        self._password = password
        self._client = _client(url, {})

    def sign_in(self) -> None:
        """Get a bearer token.

        Raises:
            RefusedError: name or password are wrong.
        """
        answer = self._client.post("/api/session", json={"name": self._name, "password": self._password})
        if answer.status_code != 200:
            raise RefusedError("sign_in", f"the server refused {self._name}: {answer.text[:200]}")
        self._client.headers["authorization"] = f"Bearer {answer.json()['token']}"

    def give(self, path: str, *, files: Files | None = None, fields: Fields | None = None, **more: Any) -> Answer:
        """Send a form, and wait for the outcome of its command."""
        sent = {name: value for name, value in {**(fields or {}), **more}.items() if value is not None}
        answer = _answer(lambda: self._client.post(path, data=sent, files=list(files) if files else None))
        until = time.monotonic() + COMMAND_SECONDS
        while answer.body.get("state") == "waiting" and time.monotonic() < until:
            # The authority is busy; the command is kept and will be carried out.
            time.sleep(0.1)
            command = answer.body["command"]
            answer = _answer(lambda number=command: self._client.get(f"/api/commands/{number}"))
        return answer

    def give_all(self, forms: Iterable[tuple[str, Fields]]) -> list[Answer]:
        """Send forms that do not depend on each other as some people would at once; returns their answers in order."""
        with ThreadPoolExecutor(HANDS_AT_ONCE) as hands:
            return list(hands.map(lambda form: self.give(form[0], fields=form[1]), forms))

    def need(
        self, path: str, *, files: Files | None = None, fields: Fields | None = None, **more: Any
    ) -> dict[str, Any]:
        """Send a form that must be accepted; return the command's result.

        Raises:
            RefusedError: it was not.
        """
        return self._needed(path, self.give(path, files=files, fields=fields, **more))

    def need_all(self, forms: Sequence[tuple[str, Fields]]) -> None:
        """Send forms that must all be accepted, as `give_all` does.

        Raises:
            RefusedError: one was not.
        """
        for (path, _), answer in zip(forms, self.give_all(forms), strict=True):
            self._needed(path, answer)

    def _needed(self, path: str, answer: Answer) -> dict[str, Any]:
        if not answer.ok or answer.body.get("state") == "refused":
            raise RefusedError(answer.code or "demo", f"{path}: {answer.body}")
        return dict(answer.body.get("result") or answer.body)

    def see(self, path: str, **query: Any) -> dict[str, Any]:
        """Read a page's JSON."""
        answer = _answer(lambda: self._client.get(path, params=query))
        if not answer.ok:
            raise RetryableError(f"{path} answered {answer.status}")
        return answer.body

    def page(self, path: str) -> str:
        """Read a page as a browser gets it."""
        return self._client.get(path, headers={"accept": "text/html"}).text

    def close(self) -> None:
        """Leave."""
        self._client.close()


class Hand:
    """Somebody at a device. `url` is the device's ready address, with its token."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        token = parse_qs(parts.query)["token"][0]
        self._client = _client(f"{parts.scheme}://{parts.netloc}", {"x-nahuo-token": token})

    def do(self, path: str, **fields: Any) -> Answer:
        """Send a form."""
        sent = {name: str(value) for name, value in fields.items() if value is not None}
        return _answer(lambda: self._client.post(path, data=sent))

    def see(self, path: str, **query: Any) -> dict[str, Any]:
        """Read a page's JSON."""
        answer = _answer(lambda: self._client.get(path, params=query))
        if not answer.ok:
            raise RetryableError(f"{path} answered {answer.status}: {answer.body}")
        return answer.body

    def sign_in(self, person: str, pin: str) -> None:
        """Enter the PIN.

        Raises:
            RefusedError: it is wrong.
        """
        answer = self.do("/sign-in", person=person, pin=pin)
        if not answer.ok:
            raise RefusedError(answer.code or "sign_in", f"{person}: {answer.body}")

    def signal(self, on: bool) -> None:
        """Turn the device's signal on or off."""
        self.do("/control/link", enabled="1" if on else "0")

    def close(self) -> None:
        """Put the device away."""
        self._client.close()


def _client(url: str, headers: Mapping[str, str]) -> httpx.Client:
    """All are plain addresses of this machine: no authorities' certificates need to be read."""
    return httpx.Client(
        base_url=url, timeout=20, trust_env=False, verify=False, headers={"accept": "application/json", **headers}
    )


def _answer(ask: Any) -> Answer:
    try:
        answer = ask()
    except httpx.HTTPError as error:
        raise RetryableError(f"no answer: {error}") from error
    try:
        body = answer.json()
    except ValueError:
        body = {"text": answer.text[:300]}
    return Answer(status=answer.status_code, body=body if isinstance(body, dict) else {"rows": body})
