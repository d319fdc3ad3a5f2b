"""A picker's running client and what other pages, other programs and other users of the same device may do to it: nothing (REL-G18).

The client is a real process on a real port; every request is written byte by byte over a socket of its own. After each the replica holds
what it held before, and no answer ever carries the launch's token.
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from nahuo.demo.processes import Actor
from tests.unit.clients.market import DEVICE, ROUTE, assigned, open_bench, opened

NOBODY = 65_534
SECONDS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A running client: its folder, port and token, and the token of its launch before."""

    data: Path
    port: int
    token: str
    old_token: str

    def held(self) -> list[tuple[str, list[object]]]:
        """Everything a hostile request could change: the log, the outbox, the settings, the print jobs."""
        with closing(sqlite3.connect(f"file:{self.data / 'replica.db'}?mode=ro", uri=True)) as conn:
            names = [
                row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
            ]
            return [(name, conn.execute(f'SELECT * FROM "{name}"').fetchall()) for name in names]

    def ask(self, sent: str | bytes) -> bytes:
        """What is answered to these bytes, until the client closes or is silent."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS) as asked:
            asked.sendall(sent.encode("latin-1") if isinstance(sent, str) else sent)
            with suppress(OSError):  # it may have been closed already
                asked.shutdown(socket.SHUT_WR)
            answer = b""
            while piece := asked.recv(65_536):
                answer += piece
            return answer


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("pages")
    data = folder / "phone"
    bench = open_bench(data, client="field")
    bench.say(ROUTE, opened(**{f"n{DEVICE}": "picker"}))
    bench.say(ROUTE, assigned(1))
    bench.node.close()
    arguments = ["field", "--data", str(data), "--server", "http://127.0.0.1:9", "--port", "0"]
    actor = Actor(name="field", arguments=arguments, log=folder / "field.log")
    tokens = []
    for _ in range(2):
        actor.stop()
        actor.start()
        actor.wait()
        tokens.append(parse_qs(urlsplit(actor.url).query)["token"][0])
    client = Client(data=data, port=int(urlsplit(actor.url).port or 0), token=tokens[1], old_token=tokens[0])
    until = time.monotonic() + SECONDS
    while not dict(client.held())["task_receipt"]:  # it notes by itself since when it has the task
        assert time.monotonic() < until
        time.sleep(0.05)
    yield client
    assert actor.is_running, "a hostile request ended the client"
    log = (folder / "field.log").read_text()
    assert "Traceback" not in log
    actor.stop()


FORM = ("Content-Type: application/x-www-form-urlencoded",)
UPGRADE = (
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)
BODY = "enabled=0&tasks=T1-1"

Headers = tuple[str, ...]
HOSTILE: list[tuple[str, str, str, Headers]] = [
    # (what, method, path, headers): HOST is ours, TOKEN this launch's, OLD the one before, PORT ours; {c} the cookie.
    ("a rebound name", "GET", "/tasks", ("Host: evil.example:PORT", "{c}")),
    ("a rebound name that begins as ours", "GET", "/tasks", ("Host: 127.0.0.1.evil.example:PORT", "{c}")),
    ("a rebound name that ends as ours", "GET", "/tasks", ("Host: evil.example@127.0.0.1:PORT", "{c}")),
    ("a rebound name with a dot", "GET", "/tasks", ("Host: localhost.:PORT", "{c}")),
    ("the address in other words", "GET", "/tasks", ("Host: 2130706433:PORT", "{c}")),
    ("the address of all", "GET", "/tasks", ("Host: 0.0.0.0:PORT", "{c}")),
    ("the address of version 6", "GET", "/tasks", ("Host: [::1]:PORT", "{c}")),
    ("no port", "GET", "/tasks", ("Host: 127.0.0.1", "{c}")),
    ("another port", "GET", "/tasks", ("Host: 127.0.0.1:1", "{c}")),
    ("no host", "GET", "/tasks", ("{c}",)),
    ("an empty host", "GET", "/tasks", ("Host:", "{c}")),
    ("two hosts", "GET", "/tasks", ("HOST", "Host: evil.example", "{c}")),
    ("a rebound name that changes something", "POST", "/control/link", ("Host: evil.example:PORT", "Origin: http://evil.example:PORT", "{c}", *FORM)),
    ("a forwarded host", "GET", "/tasks", ("Host: evil.example", "X-Forwarded-Host: 127.0.0.1:PORT", "{c}")),
    ("an absolute address of another name", "GET", "http://evil.example/tasks", ("Host: evil.example", "{c}")),
    ("no token", "GET", "/tasks", ("HOST",)),
    ("no token, the style sheet", "GET", "/static/frame.css", ("HOST",)),
    ("no token, the pulse", "GET", "/pulse", ("HOST",)),
    ("a wrong token", "GET", "/tasks?token=" + "0" * 32, ("HOST",)),
    ("half the token", "GET", "/tasks", ("HOST", "X-Nahuo-Token: HALF")),
    ("the token in upper case", "GET", "/tasks", ("HOST", "X-Nahuo-Token: UPPER")),
    ("the token and more", "GET", "/tasks", ("HOST", "X-Nahuo-Token: TOKENx")),
    ("the token of the launch before", "GET", "/tasks?token=OLD", ("HOST",)),
    ("the launch before, by header", "POST", "/control/link", ("HOST", "X-Nahuo-Token: OLD", *FORM)),
    ("the launch before, by cookie", "POST", "/control/link", ("HOST", "Origin: http://127.0.0.1:PORT", "Cookie: nahuo_PORT=OLD", *FORM)),
    ("another port's cookie", "GET", "/tasks", ("HOST", "Cookie: nahuo_1=TOKEN")),
    ("a cookie without a name", "GET", "/tasks", ("HOST", "Cookie: TOKEN")),
    ("the token as a bearer", "GET", "/tasks", ("HOST", "Authorization: Bearer TOKEN")),
    ("a token in a form's address", "POST", "/control/link?token=TOKEN", ("HOST", "Origin: http://127.0.0.1:PORT", *FORM)),
    ("a foreign form", "POST", "/control/link", ("HOST", "Origin: https://evil.example", "{c}", *FORM)),
    ("a form of a sandbox", "POST", "/control/link", ("HOST", "Origin: null", "{c}", *FORM)),
    ("a form without an origin", "POST", "/control/link", ("HOST", "{c}", *FORM)),
    ("a form of another port", "POST", "/control/link", ("HOST", "Origin: http://127.0.0.1:1", "{c}", *FORM)),
    ("a form of the other name", "POST", "/control/link", ("HOST", "Origin: http://localhost:PORT", "{c}", *FORM)),
    ("two origins", "POST", "/control/link", ("HOST", "Origin: http://127.0.0.1:PORT", "Origin: https://evil.example", "{c}", *FORM)),
    ("a cross-site form that has our origin", "POST", "/control/link", ("HOST", "Origin: http://127.0.0.1:PORT", "Sec-Fetch-Site: cross-site", "{c}", *FORM)),
    ("a same-site form", "POST", "/control/link", ("HOST", "Origin: http://127.0.0.1:PORT", "Sec-Fetch-Site: same-site", "{c}", *FORM)),
    ("a form that says none", "POST", "/control/link", ("HOST", "Origin: http://127.0.0.1:PORT", "Sec-Fetch-Site: none", "{c}", *FORM)),
    ("a foreign page with the token", "POST", "/control/link", ("HOST", "Origin: https://evil.example", "X-Nahuo-Token: TOKEN", *FORM)),
    ("a cross-site purchase", "POST", "/buy", ("HOST", "Origin: https://evil.example", "{c}", *FORM)),
    ("a change by GET", "GET", "/control/link?enabled=0", ("HOST", "X-Nahuo-Token: TOKEN")),
    ("a purchase by GET", "GET", "/buy?tasks=T1-1", ("HOST", "X-Nahuo-Token: TOKEN")),
    ("a change by HEAD", "HEAD", "/control/link?enabled=0", ("HOST", "X-Nahuo-Token: TOKEN")),
    ("another method", "PUT", "/control/link", ("HOST", "X-Nahuo-Token: TOKEN", *FORM)),
    ("a method turned around", "GET", "/control/link?enabled=0", ("HOST", "X-HTTP-Method-Override: POST", "X-Nahuo-Token: TOKEN")),
    ("the question before a cross-site request", "OPTIONS", "/control/link", ("HOST", "Origin: https://evil.example", "Access-Control-Request-Method: POST")),
    ("a trace", "TRACE", "/", ("HOST", "X-Nahuo-Token: TOKEN")),
    ("a WebSocket of another site", "GET", "/pulse", ("HOST", "Origin: https://evil.example", "{c}", *UPGRADE)),
    ("a WebSocket without a token", "GET", "/sync", ("HOST", *UPGRADE)),
    ("a WebSocket with all it needs", "GET", "/pulse", ("HOST", "Origin: http://127.0.0.1:PORT", "{c}", *UPGRADE)),
    ("an event stream of another name", "GET", "/pulse", ("Host: evil.example:PORT", "Accept: text/event-stream", "{c}")),
    ("an event stream without a token", "GET", "/pulse", ("HOST", "Accept: text/event-stream", "Origin: https://evil.example")),
    ("a plain-text form", "POST", "/buy", ("HOST", "X-Nahuo-Token: TOKEN", "Content-Type: text/plain")),
    ("a JSON form", "POST", "/buy", ("HOST", "X-Nahuo-Token: TOKEN", "Content-Type: application/json")),
    ("a form of parts", "POST", "/buy", ("HOST", "X-Nahuo-Token: TOKEN", "Content-Type: multipart/form-data; boundary=x")),
    ("a form of no type", "POST", "/buy", ("HOST", "X-Nahuo-Token: TOKEN")),
    ("out of the folder", "GET", "/static/..%2f..%2fnode.py", ("HOST", "X-Nahuo-Token: TOKEN")),
    ("out of the folder by dots", "GET", "/static/../../node.py", ("HOST", "X-Nahuo-Token: TOKEN")),
    ("out of the folder by a backslash", "GET", "/static/..%5c..%5cnode.py", ("HOST", "X-Nahuo-Token: TOKEN")),
    ("the replica by its path", "GET", "/static//etc/passwd", ("HOST", "X-Nahuo-Token: TOKEN")),
    ("two lengths", "POST", "/control/link", ("HOST", "X-Nahuo-Token: TOKEN", *FORM, "Content-Length: 20", "Content-Length: 0")),
    ("length and chunks", "POST", "/control/link", ("HOST", "X-Nahuo-Token: TOKEN", *FORM, "Transfer-Encoding: chunked")),
    ("an odd transfer", "POST", "/control/link", ("HOST", "X-Nahuo-Token: TOKEN", *FORM, "Transfer-Encoding: xchunked")),
    ("a header on two lines", "GET", "/tasks", ("HOST", "X-Nahuo-Token: \r\n TOKENx")),
    ("a space before the colon", "GET", "/tasks", ("HOST", "X-Nahuo-Token : TOKEN")),
    ("a header of 70 KiB", "GET", "/tasks", ("HOST", "X: " + "x" * 70_000)),
    ("another protocol", "GET", "/tasks", ("HOST", "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__")),
]  # fmt: skip


def _written(client: Client, method: str, path: str, headers: Headers, body: str) -> str:
    names = {
        "HOST": f"Host: 127.0.0.1:{client.port}", "{c}": f"Cookie: nahuo_{client.port}={client.token}",
    }  # fmt: skip
    lines = [names.get(header, header) for header in headers]
    if method == "POST" and not any(line.startswith("Content-Length") for line in lines):
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(
        [f"{method} {path} HTTP/1.1", *lines, "Connection: close"]
        if "Upgrade" not in str(lines)
        else [f"{method} {path} HTTP/1.1", *lines]
    )
    for name, value in (
        ("PORT", str(client.port)), ("TOKEN", client.token), ("OLD", client.old_token), ("HALF", client.token[:16]),
        ("UPPER", client.token.upper() + "A"),
    ):  # fmt: skip
        head = head.replace(name, value)
    return head + "\r\n\r\n" + (body if method == "POST" else "")


@pytest.mark.parametrize(("what", "method", "path", "headers"), HOSTILE, ids=[row[0] for row in HOSTILE])
def test_a_hostile_request_is_refused_and_changes_nothing(
    client: Client, what: str, method: str, path: str, headers: Headers
) -> None:
    before = client.held()
    answer = client.ask(_written(client, method, path, headers, BODY))
    status = int(answer.split(b" ", 2)[1]) if answer else 0
    assert status in (0, 400, 401, 403, 404, 405, 413, 422, 431), answer[:200]
    assert client.token.encode() not in answer
    assert b"access-control-allow" not in answer.lower()
    assert client.held() == before
    assert _link(client) != "off"


def test_there_are_enough_of_them(client: Client) -> None:
    assert len(HOSTILE) >= 40
    assert len({row[0] for row in HOSTILE}) == len(HOSTILE)


def test_the_same_requests_by_the_person_in_front_of_it_do_change_something(client: Client) -> None:
    """Else the table would prove nothing."""
    own = (
        f"Host: 127.0.0.1:{client.port}",
        f"Origin: http://127.0.0.1:{client.port}",
        "{c}",
        "Sec-Fetch-Site: same-origin",
        *FORM,
    )
    try:
        assert client.ask(_written(client, "POST", "/control/link", own, "enabled=0")).split(b" ", 2)[1] in (
            b"200",
            b"303",
        )
        assert _link(client) == "off"
    finally:
        client.ask(_written(client, "POST", "/control/link", own, "enabled=1"))
    assert _link(client) != "off"


@pytest.mark.parametrize("size", [70_000, 20_000_000])
def test_an_oversized_form_is_refused_also_from_the_owner(client: Client, size: int) -> None:
    before = client.held()
    headers = ("HOST", "X-Nahuo-Token: TOKEN", *FORM, f"Content-Length: {size}")
    sent = _written(client, "POST", "/buy", headers, "").encode() + b"tasks=" + b"T" * min(size - 6, 1_000_000)
    try:
        answer = client.ask(sent)
    except ConnectionError:
        answer = b""
    assert not answer or int(answer.split(b" ", 2)[1]) in (400, 413, 422), answer[:200]
    assert client.held() == before


def test_two_requests_in_one_are_two_requests(client: Client) -> None:
    """What stands behind a refused request's end is judged by itself, and refused by itself."""
    before = client.held()
    inner = _written(client, "POST", "/control/link", ("HOST", *FORM), BODY)
    outer = _written(client, "POST", "/control/link", ("HOST", "Origin: https://evil.example", "{c}", *FORM), inner)
    answer = client.ask(outer.replace("Connection: close\r\n", "") + inner)
    statuses = [int(part.split(b" ", 1)[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert statuses
    assert set(statuses) <= {400, 401, 403}
    assert client.held() == before
    assert _link(client) != "off"


def test_another_users_program_on_the_device_gets_nothing(client: Client) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become another user: run the tests as root to see this one")
    before = client.held()
    code = (
        "import encodings.idna, os, socket\n"
        f"os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        "try:\n"
        f"    open({str(client.data / 'replica.db')!r}, 'rb').read(1); print('file')\n"
        "except OSError: pass\n"
        f"with socket.create_connection(('127.0.0.1', {client.port}), timeout=10) as asked:\n"
        f"    asked.sendall({_written(client, 'POST', '/control/link', ('HOST', 'Origin: http://127.0.0.1:PORT', *FORM), BODY).encode()!r})\n"
        "    print(asked.recv(65536).split(b' ', 2)[1].decode())\n"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True, cwd="/")
    assert told.stdout.split() == ["401"]
    assert client.held() == before
    assert _link(client) != "off"


def _link(client: Client) -> str:
    answer = client.ask(
        _written(client, "GET", "/pulse", ("HOST", "X-Nahuo-Token: TOKEN", "Accept: application/json"), "")
    )
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["link"])
