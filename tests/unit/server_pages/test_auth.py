"""Sign-in: passwords, sessions, throttle. Time is passed in; no clock is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from sqlalchemy import select

from server import auth
from server.auth import Accounts, SignedIn, Throttled, WebRole, WrongPassword
from server.auth_schema import auth_session
from server.store import open_store
from sync_core.errors import RefusedError

NOW = 1_800_000_000_000
MINUTE = 60_000


@pytest.fixture
def accounts(tmp_path: Path) -> Iterator[Accounts]:
    store = open_store(tmp_path / "nahuo.db")
    made = Accounts(store.engine, PasswordHasher(time_cost=1, memory_cost=64, parallelism=1))
    made.create_tables()
    made.add(
        name="Li", shown_name="李", password="right-pass", role=WebRole.MERCHANT_OWNER, organisation="M1", now_ms=NOW
    )
    yield made
    store.close()


def sign_in(
    accounts: Accounts, password: str = "right-pass", *, name: str = "li", address: str = "a", now_ms: int = NOW
) -> SignedIn | WrongPassword | Throttled:
    return accounts.sign_in(name, password, address=address, now_ms=now_ms)


def signed_in(accounts: Accounts) -> SignedIn:
    opened = sign_in(accounts)
    assert isinstance(opened, SignedIn)
    return opened


def test_the_right_password_opens_a_session_and_names_are_not_case_sensitive(accounts: Accounts) -> None:
    opened = sign_in(accounts, name=" LI ")
    assert isinstance(opened, SignedIn)
    assert opened.account.organisation == "M1"
    found = accounts.session(opened.token, now_ms=NOW)
    assert found is not None
    assert found.form_token == opened.form_token


@pytest.mark.parametrize(
    ("name", "password"),
    [("li", "wrong-pass"), ("nobody", "right-pass"), ("li", ""), ("li", "x" * 10_000), ("li", "\ud800bad")],
)
def test_a_wrong_pair_is_refused_without_saying_which_half(accounts: Accounts, name: str, password: str) -> None:
    assert sign_in(accounts, password, name=name) == WrongPassword()


def test_the_database_holds_no_token_and_no_password(accounts: Accounts) -> None:
    opened = signed_in(accounts)
    with accounts._engine.connect() as conn:
        stored = bytes(conn.execute(select(auth_session.c.token_digest)).scalar_one())
        row = conn.exec_driver_sql("select password_hash from auth_account").scalar_one()
    assert opened.token.encode() not in stored
    assert row.startswith("$argon2id$")


def test_sign_out_kills_the_session_on_the_server(accounts: Accounts) -> None:
    opened = signed_in(accounts)
    accounts.sign_out(opened.token)
    assert accounts.session(opened.token, now_ms=NOW) is None


def test_an_idle_session_expires_and_use_keeps_it(accounts: Accounts) -> None:
    opened = signed_in(accounts)
    almost = NOW + auth.SESSION_IDLE_MS - 1
    assert accounts.session(opened.token, now_ms=almost) is not None
    assert accounts.session(opened.token, now_ms=almost + auth.SESSION_IDLE_MS) is not None
    assert accounts.session(opened.token, now_ms=almost + 2 * auth.SESSION_IDLE_MS + 1) is None
    assert accounts.session(opened.token, now_ms=NOW) is None, "gone for good"


def test_a_session_ends_after_a_week_however_much_it_is_used(accounts: Accounts) -> None:
    opened = signed_in(accounts)
    now_ms = NOW
    while now_ms <= NOW + auth.SESSION_ABSOLUTE_MS:
        assert accounts.session(opened.token, now_ms=now_ms) is not None
        now_ms += auth.SESSION_IDLE_MS // 2
    assert accounts.session(opened.token, now_ms=now_ms) is None


def test_five_wrong_guesses_close_the_door_for_that_address_only(accounts: Accounts) -> None:
    for _ in range(auth.FAILURES_ACCOUNT_ADDRESS_MAX):
        assert sign_in(accounts, "wrong-pass") == WrongPassword()
    refused = sign_in(accounts)
    assert refused == Throttled(wait_ms=auth.THROTTLE_WINDOW_MS), "the right password is not even looked at"
    assert isinstance(sign_in(accounts, address="b"), SignedIn), "the owner gets in from elsewhere"
    assert isinstance(sign_in(accounts, now_ms=NOW + auth.THROTTLE_WINDOW_MS), SignedIn), "and here after the window"


def test_one_address_cannot_try_many_accounts(accounts: Accounts) -> None:
    for number in range(auth.FAILURES_ADDRESS_MAX):
        assert sign_in(accounts, "wrong-pass", name=f"name{number}") == WrongPassword()
    assert isinstance(sign_in(accounts), Throttled)


def test_many_addresses_cannot_try_one_account(accounts: Accounts) -> None:
    for number in range(auth.FAILURES_ACCOUNT_MAX):
        assert sign_in(accounts, "wrong-pass", address=f"a{number}") == WrongPassword()
    assert isinstance(sign_in(accounts, address="fresh"), Throttled)


def test_a_success_forgets_the_guesses_before_it(accounts: Accounts) -> None:
    for _ in range(auth.FAILURES_ACCOUNT_ADDRESS_MAX - 1):
        sign_in(accounts, "wrong-pass")
    assert isinstance(sign_in(accounts), SignedIn)
    assert sign_in(accounts, "wrong-pass") == WrongPassword()


def test_an_ended_account_is_out_at_once(accounts: Accounts) -> None:
    opened = signed_in(accounts)
    accounts.end(opened.account.id, now_ms=NOW)
    assert accounts.session(opened.token, now_ms=NOW) is None
    assert sign_in(accounts) == WrongPassword()


def test_a_new_password_ends_all_sessions(accounts: Accounts) -> None:
    opened = signed_in(accounts)
    accounts.set_password(opened.account.id, "other-pass")
    assert accounts.session(opened.token, now_ms=NOW) is None
    assert sign_in(accounts) == WrongPassword()
    assert isinstance(sign_in(accounts, "other-pass"), SignedIn)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": "li"}, "account.taken"),
        ({"name": "x"}, "account.name"),
        ({"password": "short"}, "account.password"),
        ({"organisation": "platform"}, "account.role"),
        ({"role": WebRole.ADMIN}, "account.role"),
    ],
)
def test_bad_accounts_are_refused(accounts: Accounts, change: dict[str, object], code: str) -> None:
    wanted = {
        "name": "new",
        "shown_name": "",
        "password": "long-enough",
        "role": WebRole.MERCHANT_CLERK,
        "organisation": "M1",
    }
    with pytest.raises(RefusedError) as refused:
        accounts.add(**{**wanted, **change}, now_ms=NOW)  # type: ignore[arg-type]
    assert refused.value.code == code


def test_junk_tokens_open_nothing(accounts: Accounts) -> None:
    for token in ("", "x", "x" * 43, "x" * 5000, "\ud800" * 43):
        assert accounts.session(token, now_ms=NOW) is None
