"""The phones of a herd in one process: each asks for its token, connects and delivers; one that is turned away comes again.

`python -m bench.lean_herd`. Lean sessions on real sockets (bench.lean); everything is written and signed before the clock starts.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import WebSocketException

from bench.engine import bought, chain, signer
from bench.lean import Lean
from bench.players import Answer, answer_lines, now_ns
from sync_core import limits
from sync_core.gate import Run
from sync_core.identity import token_message

WAIT_SECONDS = 300
PHONES_AN_ADDRESS = 200
ASKING_AT_ONCE = 16


class Phones:
    """All phones of this process."""

    def __init__(self) -> None:
        self._runs: list[Run] = []
        self._documents: list[str] = []
        self._members: list[Lean] = []
        self._asking = ThreadPoolExecutor(ASKING_AT_ONCE)
        self._retries = 0

    async def do(self, do: str, said: Answer) -> Answer:
        """Carry one request out."""
        async with asyncio.timeout(WAIT_SECONDS):
            match do:
                case "write":
                    return self._write(**said)
                case "return":
                    return await self._return(**said)
                case "close":
                    await asyncio.gather(*(member.close() for member in self._members))
                    return {}
                case _:
                    raise ValueError(f"a herd does not know how to {do}")

    def _write(self, numbers: list[int], documents: list[str], envelopes: int) -> Answer:
        """Every phone bought so many pieces without a signal."""
        self._documents = documents
        for place, (number, document) in enumerate(zip(numbers, documents, strict=True)):
            actions = [[bought(n, number)] for n in range(1, envelopes + 1)]
            self._runs.append(chain(number, document, actions, key=signer(place)))
        return {"envelopes": envelopes * len(numbers)}

    async def _return(self, url: str) -> Answer:
        """All at once; seconds until the last acknowledgement."""
        start = now_ns()
        await asyncio.gather(*(self._deliver(url, place) for place in range(len(self._runs))))
        return {"seconds": (now_ns() - start) / 1e9, "retries": self._retries}

    async def _deliver(self, url: str, place: int) -> None:
        run, attempt = self._runs[place], 0
        address = f"127.0.{place // PHONES_AN_ADDRESS + 1}.1"
        loop = asyncio.get_running_loop()
        while True:
            try:
                token = await loop.run_in_executor(self._asking, _token, url, address, place, run.device)
                member = Lean(url, token, self._documents[place], address=address)
                await member.open()
                await member.send(run)
                await member.until_acked(run.last_seq)
            except (OSError, WebSocketException, http.client.HTTPException):
                attempt += 1
                self._retries += 1
                top = min(limits.BACKOFF_MS_MAX, limits.BACKOFF_MS_MIN * 2 ** min(attempt, 8))
                await asyncio.sleep(random.uniform(limits.BACKOFF_MS_MIN, top) / 1000)
            else:
                self._members.append(member)
                return


def _token(url: str, address: str, place: int, number: int) -> str:
    parts = urlsplit(url)
    door = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60, source_address=(address, 0))
    try:
        nonce = str(_ask(door, "GET", "/api/device/nonce", None)["nonce"])
        signature = signer(place).sign(token_message(number, nonce)).hex()
        asked = {"device": number, "nonce": nonce, "signature": signature}
        return str(_ask(door, "POST", "/api/device/token", asked)["token"])
    finally:
        door.close()


def _ask(door: http.client.HTTPConnection, method: str, path: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    door.request(method, path, body=data, headers={"content-type": "application/json"})
    answer = door.getresponse()
    told = answer.read()
    if answer.status != 200:
        raise OSError(f"the server answered {answer.status}")
    return dict(json.loads(told))


if __name__ == "__main__":
    asyncio.run(answer_lines(Phones().do))
