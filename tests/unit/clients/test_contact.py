"""The phone says before and after that it was offline too long or did too much, and goes on working (REL-R10)."""

from __future__ import annotations

import pytest

from sync_core.facts import Json
from sync_core.identity import Ed25519Signer
from sync_core.payload import canonical_json
from tests.unit.clients.market import DEVICE, Bench

DAY_MS = 24 * 3_600_000
SERVER = Ed25519Signer(bytes(range(32)))


def certificate(*, device: int = DEVICE, by: Ed25519Signer = SERVER, actions: int = 10, fen: int = 100_000) -> Json:
    body: dict[str, Json] = {
        "device": device, "given_ms": 1, "lasts_ms": 7 * DAY_MS, "actions": actions, "fen": fen,
    }  # fmt: skip
    return {"body": body, "signature": by.sign(b"nahuo certificate " + canonical_json(body)).hex()}


@pytest.fixture
def phone(field: Bench) -> Bench:
    field.node.contact.take(certificate())
    return field


async def word(bench: Bench) -> str:
    bench.node.contact.look(live=False)
    return str((await bench.get("/pulse"))["contact"])


async def test_rel_r10_a_phone_past_its_end_warns_and_goes_on_working(phone: Bench) -> None:
    assert await word(phone) == ""
    phone.clock.advance(6 * DAY_MS)
    assert await word(phone) == ""
    phone.clock.advance(1)
    assert await word(phone) == "soon"
    phone.clock.advance(DAY_MS)
    assert await word(phone) == "ended"
    phone.sign_in()
    async with phone.browser(accept="text/html") as browser:
        assert "离线太久" in (await browser.get("/waiting")).text
    bought = await phone.post("/buy", tasks="T1-1", late_shown="1")
    assert bought["ok"], bought


async def test_rel_r10_a_wrong_date_ends_nothing_and_a_reboot_counts_by_the_wall(phone: Bench) -> None:
    phone.clock.wall += 400 * DAY_MS
    assert await word(phone) == ""
    phone.clock.boot_name, phone.clock.steady = "boot-2", 0
    assert await word(phone) == "ended"
    phone.node.contact.take(certificate())
    assert await word(phone) == "", "renewed at the contact"


@pytest.mark.parametrize("quota", [{"actions": 1}, {"fen": 12_000}])
async def test_rel_r10_the_quota_is_what_the_server_has_not_acknowledged(field: Bench, quota: dict[str, int]) -> None:
    field.node.contact.take(certificate(actions=quota.get("actions", 10), fen=quota.get("fen", 100_000)))
    assert (await field.post("/buy", tasks="T1-1", confirm="1", price="60"))["ok"]
    said = await word(field)
    assert said == ("quota_soon" if "actions" in quota else "")
    two = await field.post("/buy", tasks="T2-1", confirm="1", price="60.01")
    assert two["ok"], two
    assert await word(field) == "quota"
    with field.transaction() as conn:
        conn.execute("UPDATE writer SET acked = seq WHERE device = ?", (DEVICE,))
    assert await word(field) == ""


async def test_rel_r10_a_link_that_stays_up_is_contact(phone: Bench) -> None:
    for _ in range(10):
        phone.clock.advance(DAY_MS)
        phone.node.contact.look(live=True)
    assert await word(phone) == ""


async def test_rel_r10_only_the_servers_key_signs_a_certificate_and_only_for_this_device(phone: Bench) -> None:
    phone.clock.advance(8 * DAY_MS)
    forged: tuple[Json, ...] = (
        certificate(by=Ed25519Signer(b"x" * 32)), certificate(device=999), None, {}, {"body": {}}, {"body": {"device": DEVICE}},
    )  # fmt: skip
    for one in forged:
        phone.node.contact.take(one)
        assert await word(phone) == "ended"
