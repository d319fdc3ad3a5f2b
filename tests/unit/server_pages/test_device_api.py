"""Enrolment, tokens, keys and renumbering over HTTP, by a device with its own Ed25519 key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from clients.field import main as field
from clients.runtime.serve import Launch
from server.api import devices
from sync_core.identity import Ed25519Signer, token_message
from tests.unit.server_pages.conftest import Browser


@pytest.fixture(autouse=True)
def _count_enrolments_from_nothing() -> None:
    devices.ENROLMENTS.forget()


class Device:
    """A device's side of the HTTP questions."""

    def __init__(self, client: httpx.Client, seed: int) -> None:
        self.client, self.signer, self.number = client, Ed25519Signer(bytes([seed]) * 32), 0

    def enrol(self, code: str, **more: str) -> httpx.Response:
        """Redeem a code as an older client does, which does not say what program it is, unless `more` says so."""
        body = {"code": code, "public_key": self.signer.public_key.hex(), "alg": "ed25519", **more}
        answer = self.client.post("/api/enrol", json=body)
        self.number = answer.json().get("number", self.number)
        return answer

    def ask_token(
        self, *, number: int | None = None, nonce: str | None = None, signer: Ed25519Signer | None = None
    ) -> httpx.Response:
        nonce = nonce if nonce is not None else str(self.client.get("/api/device/nonce").json()["nonce"])
        number = self.number if number is None else number
        signature = (signer or self.signer).sign(token_message(self.number, nonce)).hex()
        return self.client.post("/api/device/token", json={"device": number, "nonce": nonce, "signature": signature})

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.ask_token().json()['token']}"}


def make_code(admin: Browser, role: str, **more: str) -> str:
    page = admin.post("/platform/devices/codes", role=role, name=f"a {role}", people="wang", **more)
    found = re.search(r'class="code mono">([0-9A-Z]{5} [0-9A-Z]{5})<', page.text)
    assert found is not None, page.text[:500]
    return found[1]


def enrolled(people: dict[str, Browser], seed: int, role: str) -> Device:
    people["admin"].client.cookies.clear()
    device = Device(people["admin"].client, seed)
    assert device.enrol(make_code(people["admin"], role)).status_code == 200
    return device


def test_a_code_enrols_one_device_and_the_same_device_may_ask_again(traded: dict[str, Browser]) -> None:
    code = make_code(traded["admin"], "picker")
    device, thief = Device(traded["admin"].client, 1), Device(traded["admin"].client, 2)
    first: dict[str, Any] = device.enrol(code.lower().replace(" ", "-")).json()
    assert first["number"] >= 100
    assert first["role"] == "picker"
    assert first["organisation"] == "platform"
    assert bytes.fromhex(first["server_key"])
    assert device.enrol(code).json()["number"] == first["number"], "the answer got lost on the way"
    refused = thief.enrol(code)
    assert refused.status_code == 403
    assert refused.json()["code"] == "enrol.used"


def test_a_device_is_called_as_its_code_was_and_like_named_ones_are_told_apart(traded: dict[str, Browser]) -> None:
    one, other = (enrolled(traded, seed, "picker") for seed in (41, 42))
    page = traded["admin"].get("/platform/devices").text
    assert "<b>a picker</b>" in page
    assert "<b>vm</b>" not in page, "not by the machine's own name"
    for device in (one, other):
        assert f"停用 a picker（{device.number}）？" in page or f"Revoke a picker（{device.number}）?" in page


@pytest.mark.parametrize(
    ("role", "wrong", "right"), [("warehouse", "field", "warehouse"), ("picker", "warehouse", "field"), ("runner", "warehouse", "field")]
)  # fmt: skip
def test_a_code_for_the_other_program_is_refused_and_stays_good(
    traded: dict[str, Browser], role: str, wrong: str, right: str
) -> None:
    code = make_code(traded["admin"], role)
    device = Device(traded["admin"].client, 43)
    refused = device.enrol(code, program=wrong)
    assert (refused.status_code, refused.json()["code"]) == (403, "enrol.program")
    assert all(f"nahuo {right}" in refused.json()[language] for language in ("zh", "en"))
    taken = device.enrol(code, program=right)
    assert (taken.status_code, taken.json()["role"]) == (200, role)


def test_the_client_says_which_program_it_is(
    traded: dict[str, Browser], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, url = make_code(traded["admin"], "warehouse"), str(traded["admin"].client.base_url)
    assert field.run(Launch(data=tmp_path, server=url, enroll=code)) == 1
    assert re.search(r"run `nahuo warehouse`.*\[enrol.program\]", capsys.readouterr().err)
    assert Device(traded["admin"].client, 44).enrol(code, program="warehouse").status_code == 200


def test_wrong_codes_are_refused_and_guessing_is_slowed_down(traded: dict[str, Browser]) -> None:
    device = Device(traded["admin"].client, 3)
    answers = [device.enrol("AAAAA AAAAA") for _ in range(40)]
    assert answers[0].status_code == 403
    assert "再做一个" in answers[0].json()["zh"]
    assert answers[-1].status_code == 429


def test_a_token_needs_the_devices_own_signature_over_our_nonce(traded: dict[str, Browser]) -> None:
    device = enrolled(traded, 4, "picker")
    assert device.ask_token().status_code == 200
    for wrong in (
        device.ask_token(signer=Ed25519Signer(b"x" * 32)),
        device.ask_token(nonce="AAAA"),
        device.ask_token(number=0),
        device.ask_token(number=99_999),
    ):
        assert wrong.status_code == 401
        assert wrong.json()["code"] == "token.signature"


def test_d18_only_a_warehouse_terminal_gets_keys_and_none_after_it_was_revoked(traded: dict[str, Browser]) -> None:
    picker, terminal = enrolled(traded, 5, "picker"), enrolled(traded, 6, "warehouse")
    order = traded["owner"].get("/api/orders?search=880001").json()["orders"][0]["id"]
    asked = {"parcels": [order.replace("O", "P"), "P0"]}
    terminal.client.cookies.clear()
    keys = terminal.client.post("/api/keys", json=asked, headers=terminal.headers())
    assert keys.status_code == 200
    assert [len(key) for key in keys.json()["keys"].values()] == [64]
    assert picker.client.post("/api/keys", json=asked, headers=picker.headers()).status_code == 403
    assert picker.client.post("/api/keys", json=asked).status_code == 403
    headers = terminal.headers()
    traded["admin"].done(f"/platform/devices/{terminal.number}/revoke")
    assert terminal.client.post("/api/keys", json=asked, headers=headers).status_code == 403


def test_a_restored_device_gets_another_number_by_its_token_only(traded: dict[str, Browser]) -> None:
    device = enrolled(traded, 7, "picker")
    body = {"public_key": Ed25519Signer(b"n" * 32).public_key.hex(), "alg": "ed25519"}
    assert device.client.post("/api/device/renumber", json=body).status_code == 401
    answer = device.client.post("/api/device/renumber", json=body, headers=device.headers())
    assert answer.status_code == 200, answer.text
    assert answer.json()["number"] > device.number
