"""Start a client: choose what stands behind the ports, open the replica, enrol once, serve."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from starlette.routing import BaseRoute

from clients.runtime import web
from clients.runtime.device_key import DeviceKey
from clients.runtime.enrol import enrol, renumber
from clients.runtime.inbox import Inbox, prepare_inbox
from clients.runtime.node import Node, drop_ballast
from clients.runtime.printing import SpoolPrinters
from clients.runtime.repair import keep_twin, open_or_repair, restore_key
from clients.runtime.serve import Launch, build_app, new_token, open_listener, serve
from clients.runtime.shared_pages import Shared
from clients.runtime.shared_pages import routes as shared_routes
from clients.runtime.shown import day
from clients.runtime.system import AesUnsealer, HttpDoor, HubLink, SystemClock
from clients.runtime.web import Frame
from printer.spool import PrinterName
from sync_core.errors import CorruptError, DiskFullError, NahuoError, RefusedError
from sync_core.identity import Signer
from sync_core.link import Link
from sync_core.replica import Replica
from sync_core.storage import CORRUPT_WORDS, plain_error
from trade.projections import MARKET_DAY

DATABASE: Final = "replica.db"
SERVERS_KEY: Final = "server.key"
"""In a server's folder a device's install token would take the place of the server's, which then takes itself for a restored copy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """What tells the two clients apart. `build` adds screens and what the node watches."""

    word: str
    printers: Sequence[PrinterName]
    inbox_kinds: Sequence[str]
    home: str
    build: Callable[[Node], tuple[Frame, list[BaseRoute]]]


def build_routes(client: Client, node: Node, *, signer: Signer, server: str) -> list[BaseRoute]:
    """Return all addresses of a client on a node, the shared ones included."""
    with node.replica.transaction() as conn:
        web.prepare(conn)
        web.forget_old_actions(conn, node.clock.wall_ms())
        prepare_inbox(conn)
    frame, own = client.build(node)
    inbox = Inbox(node, frame, client.inbox_kinds)
    node.needs_person = inbox.unread
    shared = Shared(
        frame=frame,
        signer=signer,
        server=server,
        program=client.word,
        printer_names=client.printers,
        inbox=inbox,
        home=client.home,
    )
    return [*shared_routes(shared), *own]


def run_client(client: Client, launch: Launch) -> int:
    """Run a client until SIGTERM or SIGINT; return 0, or 1 with a plain sentence when it cannot start."""
    suspect = False
    while True:
        try:
            asyncio.run(_run(client, launch, suspect=suspect))
        except _DamagedError as error:
            # The same link and the same port: the person's page comes back by itself.
            launch, suspect = replace(launch, port=error.port, token=error.token), True
            continue
        except NahuoError as error:
            print(f"{error} [{error.code}]", file=sys.stderr, flush=True)
            return 1
        except OSError as error:
            plain = plain_error(error)
            if plain is None:
                raise
            print(f"{plain} [{plain.code}]", file=sys.stderr, flush=True)
            return 1
        except KeyboardInterrupt:
            pass
        return 0


class _DamagedError(CorruptError):
    """The database turned out to be damaged while it was in use: close everything, repair it, go on at the same address."""

    def __init__(self, port: int, token: str) -> None:
        super().__init__(CORRUPT_WORDS)
        self.port = port
        self.token = token


async def _run(client: Client, launch: Launch, *, suspect: bool = False) -> None:
    clock = SystemClock()
    if (launch.data / SERVERS_KEY).exists():
        raise RefusedError("serve.folder", f"{launch.data} is a server's folder: name another with --data")
    launch.data.mkdir(parents=True, exist_ok=True)
    replica = _open_replica(launch, clock, suspect=suspect)
    damaged = asyncio.Event()
    replica.on_damage = damaged.set
    door: HttpDoor | None = None
    try:
        _check_program(replica, client)
        restore_key(launch.data, replica)
        signer = DeviceKey(launch.data, replica)
        keep_twin(replica, launch.data)
        server = _server_of(replica, launch)
        door = HttpDoor(server, signer, replica)
        printers = SpoolPrinters(replica, clock, client.printers)
        _choose_printers(printers, client, launch)
        link = Link(
            replica,
            door.websocket_url,
            token=door.token,
            documents=lambda: node.wanted_documents(),
            renumber=lambda: renumber(replica, signer, door),
            schema=MARKET_DAY.schema,
            tells=lambda: {"free_mib": node.room_mib()},
        )
        hub_link = HubLink(link, replica)
        door.is_on = lambda: hub_link.enabled
        node = Node(
            folder=launch.data,
            replica=replica,
            clock=clock,
            printers=printers,
            link=hub_link,
            door=door,
            unsealer=AesUnsealer(),
        )
        door.on_certificate = node.contact.take
        link.on_change.append(node.link_changed)
        if launch.enroll is not None and replica.number is None:
            await enrol(replica, signer, door, launch.enroll, program=client.word)
        listener = open_listener(launch.host, launch.port)
        port = listener.getsockname()[1]
        token = launch.token or new_token()
        app = build_app(
            build_routes(client, node, signer=signer, server=server),
            port=port,
            token=token,
            framed_by=launch.framed_by,
            plain=replica.plain,
        )
        ready = f"{client.word} client ready http://127.0.0.1:{port}/?token={token}"
        # As on the server: modules and screens live as long as the process, and a full collection would hold a tap up.
        gc.freeze()
        await serve(node, app, listener, ready=ready, damaged=damaged)
        if damaged.is_set():
            raise _DamagedError(port, token)
    finally:
        if door is not None:
            with suppress(RuntimeError):
                await door.close()
        replica.close()


def _open_replica(launch: Launch, clock: SystemClock, *, suspect: bool) -> Replica:
    """Open the replica, repaired when it is damaged; on a full disk give the ballast up first, so that the day can go on.

    `suspect`: damage was met while it was in use, so every page and index is looked at.
    """

    def open_it() -> Replica:
        now_ms = clock.wall_ms()
        stamp = f"{day(now_ms)}-{now_ms}"
        return open_or_repair(
            launch.data / DATABASE,
            MARKET_DAY,
            synchronous=launch.synchronous,
            stamp=stamp,
            now_ms=now_ms,
            suspect=suspect,
        )

    try:
        return open_it()
    except DiskFullError:
        if not drop_ballast(launch.data):
            raise
        return open_it()


def _check_program(replica: Replica, client: Client) -> None:
    """The other program would show pages that stay empty, and print nothing of what waits.

    Raises:
        RefusedError: this device was enrolled for the other one.
    """
    role = (replica.setting("certificate") or {}).get("role")
    right = "warehouse" if role == "warehouse" else "field"
    if role is not None and client.word != right:
        raise RefusedError(
            "serve.program",
            f"this folder is another device's: start it with `nahuo {right}`, or name another with --data",
        )


def _server_of(replica: Replica, launch: Launch) -> str:
    """Return the server's address: that of the launch, else the one kept from the enrolment.

    Raises:
        RefusedError: there is none yet.
    """
    server = launch.server or replica.setting("server")
    if not server:
        raise RefusedError("serve.server", "name the server once: --server http://address:port")
    if not str(server).startswith(("http://", "https://")):
        raise RefusedError("serve.server", f"a server's address begins with http:// or https://, not {server}")
    with replica.transaction():
        replica.set_setting("server", str(server))
    return str(server)


def _choose_printers(printers: SpoolPrinters, client: Client, launch: Launch) -> None:
    """Use the printers the launch names; a waybill printer that is not named stays as it was."""
    named = {
        "label": (launch.printer, launch.language),
        "waybill": (launch.waybill_printer, launch.waybill_language),
    }
    for name in client.printers:
        address, language = named[name]
        if address:
            printers.choose(name, address, language)
