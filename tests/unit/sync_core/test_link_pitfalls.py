"""The real link over a real socket, against a hub that breaks in the ways other engines did not outlive (docs/pitfalls.md)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from sync_core import limits, session, wire
from sync_core.errors import RefusedError, RetryableError
from sync_core.hub import Submission, commit_batch, refusal_message
from sync_core.link import Link, Phase
from sync_core.replica import INSTALL_TOKEN, NEW_KEY, Replica
from sync_core.session import READ_WRITE, Session, Side
from tests.toy import DOCUMENT, MemoryLog, chain, enrolled, opened, put

DEADLINE_S = 10.0


class Hub:
    """A hub over a MemoryLog on a real socket. `break_at` may drop the connection when an update comes, before it is committed."""

    def __init__(
        self, log: MemoryLog, break_at: Callable[[int], bool], *, hello: dict[str, object] | None = None
    ) -> None:
        self.log = log
        self._hello = hello
        self._talk: Session | None = None
        self.updates = 0
        self.connections = 0
        self._break_at = break_at

    def tell(self, document: str) -> None:
        """Something was committed; it goes out with the next answer."""
        assert self._talk is not None
        self._talk.committed(document, self.log.read_vector(document))

    async def serve(self, socket: ServerConnection) -> None:
        """One connection."""
        self.connections += 1
        talk = self._talk = Session(Side.HUB, now_ms=0)
        async for message in socket:
            assert isinstance(message, bytes)
            for event in talk.receive(message, now_ms=0):
                if not self._take(talk, event):
                    socket.transport.abort()
                    return
            for document, have in talk.wanted():
                talk.offer(document, self.log.read_missing(document, have, bytes_max=limits.UPDATE_BYTES_MAX))
            for frame in talk.take_frames():
                await socket.send(frame)

    def _take(self, talk: Session, event: session.Event) -> bool:
        match event:
            case session.AuthAsked(document=document):
                if self._hello is not None:
                    talk.say(document, {"hello": {"protocol": wire.PROTOCOL, **self._hello}})
                later = talk.grant(document, scope=READ_WRITE, local=self.log.read_vector(document), now_ms=0)
                return all(self._take(talk, one) for one in later)
            case session.Received(document=document, runs=runs):
                if runs:
                    self.updates += 1
                    if self._break_at(self.updates):
                        return False
                submission = Submission(document=document, runs=runs, sent_by=700, received_ms=1)
                outcome = commit_batch(self.log, [submission])[0]
                refusal = None if outcome.refusal is None else refusal_message(document, outcome.refusal)
                talk.settle(document, heads=outcome.heads, applied=outcome.applied, refusal=refusal)
            case _:
                pass
        return True


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[Replica]:
    replica = enrolled(tmp_path / "replica.db", 700, synchronous="OFF")
    replica.admit(DOCUMENT, [chain(0, DOCUMENT, [[opened(700)]])])
    yield replica
    replica.close()


def hub_log() -> MemoryLog:
    log = MemoryLog([700])
    opening = Submission(document=DOCUMENT, runs=(chain(0, DOCUMENT, [[opened(700)]]),), sent_by=0, received_ms=0)
    commit_batch(log, [opening])
    return log


@asynccontextmanager
async def linked(
    replica: Replica,
    hub: Hub,
    *,
    token: Callable[[], str] = lambda: "t",
    renumber: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[Link]:
    async def fetch() -> str:
        return token()

    async with serve(hub.serve, "127.0.0.1", 0, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        link = Link(
            replica, f"ws://127.0.0.1:{port}", token=fetch, documents=lambda: [DOCUMENT],
            renumber=renumber or _no_copy, schema=1,
        )  # fmt: skip
        running = asyncio.create_task(link.run())
        try:
            yield link
        finally:
            running.cancel()
            await asyncio.wait([running])


async def until(holds: Callable[[], bool], link: Link) -> None:
    """Wait for something the link or the replica will tell."""
    changed = asyncio.Event()
    link.on_change.append(changed.set)
    async with asyncio.timeout(DEADLINE_S):
        while not holds():
            changed.clear()
            await changed.wait()


async def test_p1_an_upload_that_failed_is_tried_again_without_another_write(replica: Replica) -> None:
    for n in range(5):
        replica.act(DOCUMENT, [put(n)], person="ann", at_ms=n)
    hub = Hub(hub_log(), lambda updates: updates <= 2)
    async with linked(replica, hub) as link:
        await until(lambda: replica.waiting().actions == 0, link)
    assert hub.connections >= 3
    assert hub.log.read_vector(DOCUMENT)[700] == 5


async def test_p4_a_word_of_another_that_cannot_be_taken_keeps_nobody_from_delivering_his_own(replica: Replica) -> None:
    """After a restore another device says other things under the numbers that are here: its chain ends here, the rest goes on."""
    log = MemoryLog([700, 701, 702])
    opening = chain(0, DOCUMENT, [[opened(700, 701, 702)]])
    other = chain(701, DOCUMENT, [[put(2, "jar2")], [put(3, "jar2")]])
    for run in (opening, other, chain(702, DOCUMENT, [[put(9, "jar9")]])):
        commit_batch(log, [Submission(document=DOCUMENT, runs=(run,), sent_by=0, received_ms=0)])
    replica.admit(DOCUMENT, [chain(701, DOCUMENT, [[put(1)]])])
    replica.act(DOCUMENT, [put(1, "jar7")], person="ann", at_ms=1)
    hub = Hub(log, lambda _update: False)
    async with linked(replica, hub) as link:
        await until(lambda: replica.waiting().actions == 0 and replica.state_vector(DOCUMENT).get(702) == 1, link)
        later = chain(701, DOCUMENT, [[put(4, "jar2")]], after=log.heads(DOCUMENT)[701])
        more = chain(702, DOCUMENT, [[put(5, "jar2")]], after=log.heads(DOCUMENT)[702])
        for run in (later, more):
            commit_batch(log, [Submission(document=DOCUMENT, runs=(run,), sent_by=0, received_ms=0)])
        hub.tell(DOCUMENT)
        replica.act(DOCUMENT, [put(6, "jar7")], person="ann", at_ms=1)
        await until(lambda: replica.waiting().actions == 0 and replica.state_vector(DOCUMENT).get(702) == 2, link)
        assert replica.state_vector(DOCUMENT)[701] == 1
        assert hub.connections == 1
        assert link.status.phase is Phase.LIVE


async def test_p1_a_token_that_could_not_be_fetched_is_asked_for_again(replica: Replica) -> None:
    replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    asked = 0

    def token() -> str:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise RetryableError("no signal")
        return "t"

    hub = Hub(hub_log(), lambda updates: False)
    async with linked(replica, hub, token=token) as link:
        await until(lambda: replica.waiting().actions == 0, link)
    assert asked == 3


class Unspeakable(Exception):
    """An exception that cannot even be put into words."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.fixture
def long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten minutes between attempts, a fiftieth of a second while somebody works."""
    monkeypatch.setattr(limits, "BACKOFF_MS_MIN", 600_000)
    monkeypatch.setattr(limits, "BACKOFF_MS_MAX", 600_000)
    monkeypatch.setattr(limits, "BACKOFF_WORKING_MS_MAX", 20)


@pytest.mark.usefixtures("long_pauses")
async def test_whoever_works_on_a_device_does_not_wait_for_its_longest_pause(replica: Replica) -> None:
    tried = asyncio.Queue[None]()

    def no_signal() -> str:
        tried.put_nowait(None)
        raise RetryableError("no signal")

    async with linked(replica, Hub(hub_log(), lambda _: False), token=no_signal), asyncio.timeout(DEADLINE_S):
        for said in range(3):
            await tried.get()
            await asyncio.sleep(0.1)
            assert tried.empty(), "nobody worked"
            replica.act(DOCUMENT, [put(said)], person="ann", at_ms=said)
        await tried.get()


@pytest.mark.usefixtures("long_pauses")
@pytest.mark.parametrize("done", ["tap", "switch"])
async def test_what_happens_while_an_attempt_hangs_is_not_forgotten_in_the_pause_behind_it(
    replica: Replica, done: str
) -> None:
    tried = asyncio.Queue[None]()
    fails = asyncio.Event()

    async def hang() -> str:
        tried.put_nowait(None)
        await fails.wait()
        raise RetryableError("the server does not answer")

    link = Link(replica, "ws://127.0.0.1:9", token=hang, documents=list, renumber=_no_copy, schema=1)
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(DEADLINE_S):
            await tried.get()
            if done == "tap":
                replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
            else:
                link.switch(False)
                link.switch(True)
            fails.set()
            await tried.get()
    finally:
        running.cancel()
        await asyncio.wait([running])


async def _no_copy() -> None:
    raise AssertionError("nobody is a copy here")


async def test_p2_an_error_nobody_can_put_into_words_wedges_neither_the_link_nor_its_end(replica: Replica) -> None:
    replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    asked = 0

    def token() -> str:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise Unspeakable
        return "t"

    hub = Hub(hub_log(), lambda updates: False)
    async with linked(replica, hub, token=token) as link:
        await until(lambda: replica.waiting().actions == 0, link)
        assert link.status.phase is Phase.LIVE


async def test_p26_a_refused_device_asks_once_a_connection_and_waits_longer_each_time(replica: Replica) -> None:
    replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    log = hub_log()
    commit_batch(
        log,
        [Submission(document=DOCUMENT, runs=(chain(700, DOCUMENT, [[put(9)], [put(8)]]),), sent_by=700, received_ms=0)],
    )
    hub = Hub(log, lambda updates: False)
    frames = 0
    real = wire.decode_frame

    def counting(data: bytes) -> wire.Frame:
        nonlocal frames
        frames += 1
        return real(data)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "decode_frame", counting)
        renumbered = asyncio.Event()

        async def renumber() -> None:
            renumbered.set()
            raise RetryableError("the server gives no number now")

        async with serve(hub.serve, "127.0.0.1", 0, compression=None) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            link = Link(
                replica,
                f"ws://127.0.0.1:{port}",
                token=_token,
                documents=lambda: [DOCUMENT],
                renumber=renumber,
                schema=1,
            )
            running = asyncio.create_task(link.run())
            async with asyncio.timeout(DEADLINE_S):
                await renumbered.wait()
            running.cancel()
            await asyncio.wait([running])
    assert frames < 20
    assert replica.waiting().actions == 1


async def _token() -> str:
    return "t"


@pytest.mark.parametrize(("code", "wishes"), [("enrol.numbers", True), ("device.revoked", False)])
async def test_a_device_that_gets_no_new_key_is_not_kept_from_delivering_by_asking_for_it(
    replica: Replica, code: str, wishes: bool
) -> None:
    asked: list[int] = []

    async def refuse() -> None:
        asked.append(1)
        raise RefusedError(code, "no")

    replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    hub = Hub(hub_log(), lambda _: False, hello={"new_key": True})
    async with linked(replica, hub, renumber=refuse) as link:
        await until(lambda: replica.waiting().actions == 0, link)
        replica.act(DOCUMENT, [put(2)], person="ann", at_ms=2)
        link.notify()
        await until(lambda: replica.waiting().actions == 0, link)
    assert hub.log.read_vector(DOCUMENT)[700] == 2
    assert len(asked) == 1
    assert replica.wants_key is wishes


async def test_nothing_goes_out_under_the_old_key_while_the_answer_about_the_new_one_is_out(replica: Replica) -> None:
    """The server may have changed it: what came under the old key then would wait for a supervisor, and be said again as well."""
    answers = [RetryableError("the answer was lost"), RefusedError("token", "too old"), RetryableError("no signal")]

    async def ask() -> None:
        if answers:
            raise answers.pop(0)
        replica.give_up_key()

    replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    with replica.transaction():
        replica.set_setting(NEW_KEY, {"file": "device-1.key"})
    hub = Hub(hub_log(), lambda _: False)
    phases: list[tuple[Phase, int]] = []
    async with linked(replica, hub, renumber=ask) as link:
        link.on_change.append(lambda: phases.append((link.status.phase, hub.connections)))
        await until(lambda: replica.waiting().actions == 0, link)
    assert answers == []
    assert (Phase.REFUSED, 0) in phases
    assert hub.connections == 1


async def test_a_copy_of_a_device_that_was_revoked_delivers_what_it_has_and_mints_nothing(replica: Replica) -> None:
    """A backup from before the change of keys is put back: nobody gives it a number, and its work is not lost."""

    async def refuse() -> None:
        raise RefusedError("device.revoked", "no")

    replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    (replica.path.parent / INSTALL_TOKEN).unlink()
    assert replica.is_copy
    hub = Hub(hub_log(), lambda _: False)
    async with linked(replica, hub, renumber=refuse) as link:
        await until(lambda: replica.waiting().actions == 0, link)
    assert hub.log.read_vector(DOCUMENT)[700] == 1
    with pytest.raises(RefusedError, match="copied device"):
        replica.act(DOCUMENT, [put(2)], person="ann", at_ms=2)


@pytest.mark.parametrize("takes_work", [True, False])
async def test_a_device_delivers_under_its_old_key_before_it_asks_for_the_new_one(
    replica: Replica, monkeypatch: pytest.MonkeyPatch, takes_work: bool
) -> None:
    """Also what a hub that was put back from a backup has lost; but work that is never taken does not keep it from its key."""
    monkeypatch.setattr(limits, "KEY_WAITS_MS_MAX", 60_000 if takes_work else 50)
    had: list[int] = []

    async def take_key() -> None:
        had.append(hub.log.read_vector(DOCUMENT).get(700, 0))
        replica.give_up_key()

    replica.act(DOCUMENT, [put(1)], person="ann", at_ms=1)
    replica.acknowledged(DOCUMENT, replica.state_vector(DOCUMENT), whole=True, at_ms=1)
    replica.act(DOCUMENT, [put(2)], person="ann", at_ms=2)
    replica.ask_for_key()
    hub = Hub(hub_log(), lambda _: not takes_work and not had)
    async with linked(replica, hub, renumber=take_key) as link:
        await until(lambda: bool(had) and replica.waiting().actions == 0, link)
    assert had == [2 if takes_work else 0]
