"""The real application on a real SQLite file, signed in as whoever a test needs. The writer and the authority run as in service."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
import uvicorn

from server.app import ServerSettings, create_app
from server.auth import Accounts, WebRole
from server.installation import init_server

PASSWORDS = {
    "admin": "admin-pass",
    "clerk": "clerk-pass",
    "owner": "owner-pass",
    "helper": "helper-pass",
    "rival": "rival-pass",
}
PLAIN_ORDERS = (
    "order_no,product_code,colour,size,quantity,title,receiver_name,receiver_phone,receiver_address,message\n"
    "880001,国大_3F-315_P65_8821#,奶白,M,1,连衣裙,王芳,13812344321,浙江省 杭州市 江干区 一号,\n"
    "880002,国大_2F-201_P40_77#,黑,L,2,衬衫,李雷,13900001111,广东省 广州市 白云区 二号,请不要吊牌\n"
    "880003,国大_2F-202_P30_78#,黑,L,1,衬衫,赵*,139****1111,***,\n"
)


@dataclass
class Browser:
    """A cookie jar of one person; posts forms with the token of the page, as a browser does."""

    client: httpx.Client
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str):  # type: ignore[no-untyped-def]
        return self._send("GET", path, headers=headers)

    def post(self, path: str, page: str | None = None, *, files=None, referer: str = "", **form):  # type: ignore[no-untyped-def]
        """Post a form with the token found on `page` (the path's own by default: the main page)."""
        token = self.token(page or "/me")
        headers = {"Referer": referer} if referer else {}
        return self._send("POST", path, data={"form_token": token, **form}, files=files, headers=headers)

    def token(self, page: str) -> str:
        found = re.search(r'name="form_token" value="([^"]+)"', self.get(page).text)
        assert found is not None, f"no form on {page}"
        return found[1]

    def sign_in(self, name: str, password: str):  # type: ignore[no-untyped-def]
        return self.post("/sign-in", "/sign-in", name=name, password=password)

    def done(self, path: str, page: str | None = None, **form):  # type: ignore[no-untyped-def]
        """Post and require that the command was carried out; returns the page that shows it."""
        answer = self.post(path, page, **form)
        assert answer.status_code == 303, answer.text
        shown = self.get(answer.headers["location"])
        assert 'class="notice ok"' in shown.text, re.sub(r"<[^>]+>", " ", shown.text)[:1500]
        return shown

    def _send(self, method: str, path: str, **rest):  # type: ignore[no-untyped-def]
        self.client.cookies.clear()
        for name, value in self.cookies.items():
            self.client.cookies.set(name, value)
        answer = self.client.request(method, path, follow_redirects=False, **rest)
        for cookie in answer.cookies.jar:
            self.cookies[cookie.name] = cookie.value or ""
        return answer


def make_folder(data: Path) -> None:
    """An installation with one account of every role; rival is another merchant's owner."""
    now_ms = time.time_ns() // 1_000_000
    server = init_server(data, now_ms=now_ms)
    accounts = Accounts(server.store.engine)
    accounts.create_tables()
    for name, role, organisation in (
        ("admin", WebRole.ADMIN, "platform"),
        ("clerk", WebRole.CLERK, "platform"),
        ("owner", WebRole.MERCHANT_OWNER, "M1"),
        ("helper", WebRole.MERCHANT_CLERK, "M1"),
        ("rival", WebRole.MERCHANT_OWNER, "M2"),
    ):
        accounts.add(
            name=name, shown_name=name, password=PASSWORDS[name], role=role, organisation=organisation, now_ms=now_ms
        )
    server.store.close()


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()


@contextmanager
def served(data: Path) -> Iterator[httpx.Client]:
    """The application over a real socket, and a client of it."""
    config = uvicorn.Config(
        create_app(ServerSettings(data=data)), log_level="warning", access_log=False, ws="websockets-sansio"
    )
    server = _Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        assert server.ready.wait(30)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            yield client
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The served installation's folder."""
    folder = tmp_path_factory.mktemp("server")
    make_folder(folder)
    return folder


@pytest.fixture(scope="module")
def client(data: Path) -> Iterator[httpx.Client]:
    with served(data) as client:
        yield client


@pytest.fixture(scope="module")
def people(client: httpx.Client) -> dict[str, Browser]:
    """Everybody signed in, each with his own cookies."""
    signed = {}
    for name, password in PASSWORDS.items():
        signed[name] = Browser(client)
        assert signed[name].sign_in(name, password).status_code == 303
    return signed


@pytest.fixture(scope="module")
def traded(people: dict[str, Browser]) -> dict[str, Browser]:
    """A platform with two merchants, a shop with orders, money, a courier, people: all made through the pages."""
    admin = people["admin"]
    for merchant, name in (("M1", "小鹿女装"), ("M2", "南风衣橱")):
        admin.done("/platform/merchants", id=merchant, name=name)
        admin.done(f"/platform/merchants/{merchant}/shops", shop=f"店{merchant}")
        admin.done(f"/platform/merchants/{merchant}/top-up", amount="1,000.50", key=f"bank-{merchant}", note="工行")
    admin.done("/platform/couriers", courier="圆通", prefix="YT", first="7700000001", last="7700009999", digits="10")
    admin.done("/platform/people", id="wang", name="小王", pin="2468")
    files = [("files", ("orders.csv", PLAIN_ORDERS.encode(), "text/csv"))]
    answer = people["owner"].post("/merchant/import", shop="店M1", files=files)
    assert answer.status_code == 303
    shown = people["owner"].get(answer.headers["location"]).text
    assert "新订单 3" in shown, re.sub(r"<[^>]+>", " ", shown)[:2000]
    return people
