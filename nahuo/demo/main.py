"""`nahuo demo`: the market day with hands, on one page; or, headless, played by a seed and counted again."""

from __future__ import annotations

import argparse
import asyncio
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import uvicorn

from clients.runtime.serve import new_token, open_listener
from nahuo.demo.day import Day
from nahuo.demo.outcome import count_day, write_json
from nahuo.demo.page import Plugs, Window, build_page
from nahuo.demo.scene import ADMIN, ADMIN_PASSWORD, DEVICE_NAMES, MERCHANT, MERCHANT_PASSWORD, PEOPLE, Scene, examples
from sync_core.errors import NahuoError, RefusedError

HEADLESS_ORDERS = 300
ROLES = (
    "server", "phone1", "phone1-label", "phone2", "phone2-label", "terminal", "terminal-label", "terminal-waybill",
)  # fmt: skip


def run(chosen: argparse.Namespace) -> int:
    """Run the demo that the command line asks for; return the exit code."""
    return _headless(chosen) if chosen.headless else _with_hands(chosen)


# --- headless ---------------------------------------------------------------------------------------------------------------


def _headless(chosen: argparse.Namespace) -> int:
    started = time.monotonic()

    def tell(words: str) -> None:
        print(f"{time.monotonic() - started:6.1f} s  {words}", flush=True)

    with tempfile.TemporaryDirectory(prefix="nahuo-day-") as folder, ThreadPoolExecutor(1) as aside:
        root = Path(folder)
        files = aside.submit(make_orders, root / "orders", orders=chosen.orders, seed=chosen.seed)
        scene = Scene(folder=root / "scene", ports=free_ports())
        day = Day(scene, seed=chosen.seed, tell=tell)
        failure: NahuoError | None = None
        try:
            scene.raise_curtain(tell)
            tell(f"{len(scene.actors)} processes are up")
            day.play(files.result())
        except NahuoError as error:
            failure = error
        finally:
            scene.drop_curtain()
        if failure is not None:
            print(f"nahuo: the day stopped: {failure}", file=sys.stderr)
            _show_logs(scene)
            return 1
        tell("everybody went home; counting again")
        outcome = count_day(scene, day.tally, seed=chosen.seed)
        outcome.seconds = time.monotonic() - started
        print(outcome.table(), flush=True)
        if chosen.json:
            write_json(outcome, chosen.json)
        missing = [
            name for name, value in outcome.figures.items() if not value and name not in ("ledger_fen_sum", "seed")
        ]
        if missing:
            print(f"not reached: {', '.join(missing)}", flush=True)
        if not outcome.ok:
            print(f"nahuo: broken: {', '.join(outcome.broken)}", file=sys.stderr)
            return 1
    return 0


def make_orders(out: Path, *, orders: int, seed: int) -> list[Path]:
    """Write a morning's file pair by the examples' generator."""
    out.mkdir(parents=True)
    generator = examples() / "make_examples.py"
    subprocess.run(
        [sys.executable, str(generator), "--orders", str(orders), "--seed", str(seed), "--out", str(out)],
        check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return sorted(out.glob("ExportOrder*List*.csv"))


def _show_logs(scene: Scene) -> None:
    for actor in scene.actors:
        if actor.log.exists():
            tail = actor.log.read_text(errors="replace").strip()[-1500:]
            if tail:
                print(f"--- {actor.name}\n{tail}", file=sys.stderr)


def free_ports() -> dict[str, int]:
    """Return a free port for each process; taken together, so that no two are the same."""
    listeners = [open_listener("127.0.0.1", 0) for _ in ROLES]
    ports = {role: int(listener.getsockname()[1]) for role, listener in zip(ROLES, listeners, strict=True)}
    for listener in listeners:
        listener.close()
    return ports


# --- with hands ---------------------------------------------------------------------------------------------------------------


def _with_hands(chosen: argparse.Namespace) -> int:
    folder = chosen.data
    if chosen.fresh and folder.exists():
        if not (folder / "scene.json").exists() and any(folder.iterdir()):
            raise RefusedError(
                "demo.folder", f"{folder} is no demo's folder: remove it yourself, or choose another with --data"
            )
        shutil.rmtree(folder)
    ports = {role: chosen.port + 1 + index for index, role in enumerate(ROLES)}
    scene = Scene(folder=folder.resolve(), ports=ports, framed_by=f"http://127.0.0.1:{chosen.port}")
    listener = open_listener("127.0.0.1", chosen.port)
    print("starting a server, two phones, a terminal and four printers …", flush=True)
    try:
        if scene.raise_curtain(lambda words: print(f"  {words}", flush=True)):
            _first_morning(scene)
        asyncio.run(_serve(scene, listener, port=chosen.port))
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
        scene.drop_curtain()
    return 0


def _first_morning(scene: Scene) -> None:
    counts = scene.import_orders(sorted(examples().glob("ExportOrder*List*.csv")))
    scene.admin.need("/platform/routes/assign")
    print(f"  {counts['new']} orders imported, tasks are on their way to the phones", flush=True)


async def _serve(scene: Scene, listener: Any, *, port: int) -> None:
    token = new_token()
    signals = dict.fromkeys(scene.devices, True)
    pulling = asyncio.Lock()

    async def pull_signal(key: str, on: bool) -> None:
        await asyncio.to_thread(scene.hands[key].signal, on)
        signals[key] = on

    async def pull_server(on: bool) -> None:
        async with pulling:
            if on and not scene.server.is_running:
                await asyncio.to_thread(scene.restart_server)
            elif not on:
                await asyncio.to_thread(scene.server.kill)

    async def state() -> Mapping[str, Any]:
        return {"switches": {**signals, "server": scene.server.is_running}}

    windows = [
        Window(
            key="phone1",
            zh=DEVICE_NAMES["phone1"],
            en="Lin's phone",
            look="phone",
            address=_address(scene, "phone1"),
            has_signal=True,
        ),
        Window(
            key="phone2",
            zh=DEVICE_NAMES["phone2"],
            en="Mei's phone",
            look="phone",
            address=_address(scene, "phone2"),
            has_signal=True,
        ),
        Window(
            key="terminal",
            zh=DEVICE_NAMES["terminal"],
            en="warehouse terminal",
            look="terminal",
            address=_address(scene, "terminal"),
            has_signal=True,
        ),
        Window(
            key="merchant",
            zh="商家与平台",
            en="merchant and platform",
            look="desk",
            address=lambda: f"{scene.server_url}/sign-in",
            has_signal=False,
        ),
    ]
    printers = {
        f"{key}-{name}": scene.printer_folder(key, name)
        for key, device in scene.devices.items()
        for name in device.printers
    }
    pins = " · ".join(f"{name} PIN {pin}" for name, pin in PEOPLE.values())
    hint = f"{pins} · 商家 merchant {MERCHANT} / {MERCHANT_PASSWORD} · 平台 platform {ADMIN} / {ADMIN_PASSWORD}"
    app = build_page(
        windows, printers, Plugs(signal=pull_signal, server=pull_server, state=state), port=port, token=token, hint=hint
    )
    server = uvicorn.Server(
        uvicorn.Config(app, log_level="warning", access_log=False, lifespan="off", server_header=False)
    )
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, stopped.set)
    serving = asyncio.create_task(server._serve([listener]))
    print(
        f"\n  拿货演示 · open this page:  http://127.0.0.1:{port}/?token={token}\n\n  Ctrl-C ends all of it; a second start goes on.",
        flush=True,
    )
    await stopped.wait()
    server.should_exit = True
    await asyncio.wait({serving}, timeout=3)


def _address(scene: Scene, key: str) -> Callable[[], str]:
    return lambda: scene.devices[key].client.url
