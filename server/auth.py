"""Who is signed in: passwords (argon2id), sessions, the throttle on guessing, tokens against forged forms.

A session is a random token in a cookie (or a bearer header of a program); the database holds only its SHA-256, so a stolen
copy of the database signs nobody in. The token that guards forms is derived from the session's, so it needs no storage.
Wrong guesses are counted per account and address together (nobody can lock another person out from elsewhere), per account,
and per address. Every function takes `now_ms`; none reads a clock.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from dataclasses import dataclass
from enum import StrEnum

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import Connection, Engine, RowMapping, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from server.auth_schema import auth_account, auth_failure, auth_metadata, auth_session
from sync_core.errors import RefusedError

MINUTE_MS = 60_000
SESSION_IDLE_MS = 12 * 60 * MINUTE_MS
"""A clerk's shift; after it, the password again."""
SESSION_ABSOLUTE_MS = 7 * 24 * 60 * MINUTE_MS
SEEN_STEP_MS = MINUTE_MS
"""A session's last use is written at most once a minute: a page view costs no commit."""
THROTTLE_WINDOW_MS = 15 * MINUTE_MS
FAILURES_ACCOUNT_ADDRESS_MAX = 5
FAILURES_ACCOUNT_MAX = 30
FAILURES_ADDRESS_MAX = 40
PASSWORD_CHARACTERS_MIN = 8
PASSWORD_CHARACTERS_MAX = 200
PLATFORM = "platform"

_HASHES_AT_ONCE = threading.BoundedSemaphore(2)
"""One argon2 hash takes 64 MiB; forty page threads must not take them all at once."""


class WebRole(StrEnum):
    """Who uses the pages (D20); floor roles live on devices, not here."""

    ADMIN = "admin"
    CLERK = "clerk"
    MERCHANT_OWNER = "merchant_owner"
    MERCHANT_CLERK = "merchant_clerk"


PLATFORM_ROLES = frozenset({WebRole.ADMIN, WebRole.CLERK})
MERCHANT_ROLES = frozenset({WebRole.MERCHANT_OWNER, WebRole.MERCHANT_CLERK})


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Somebody who may sign in on the pages, for one organisation: `platform` or a merchant's id."""

    id: int
    name: str
    shown_name: str
    role: WebRole
    organisation: str
    ended: bool = False

    @property
    def of_platform(self) -> bool:
        """True for the platform's own people."""
        return self.role in PLATFORM_ROLES


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """A session: whose it is, and the token that every form of it must carry."""

    account: Account
    token: str
    form_token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongPassword:
    """The pair of name and password does not exist; it is not said which of the two is wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttled:
    """Too many wrong guesses; the next one counts again after `wait_ms`."""

    wait_ms: int


class Accounts:
    """Accounts and sessions over the server's database; safe from any thread."""

    def __init__(self, engine: Engine, hasher: PasswordHasher | None = None) -> None:
        self._engine = engine
        self._hasher = hasher or PasswordHasher()
        self._nobody = self._hash(secrets.token_urlsafe(16))

    def create_tables(self) -> None:
        """Make the tables that are missing."""
        auth_metadata.create_all(self._engine)

    def are_there(self) -> bool:
        """Tell whether anybody has an account yet."""
        with self._engine.connect() as conn:
            return conn.execute(select(auth_account.c.id).limit(1)).first() is not None

    def add(
        self, *, name: str, shown_name: str, password: str, role: WebRole, organisation: str, now_ms: int
    ) -> Account:
        """Add an account.

        Raises:
            RefusedError: `account.name`, `account.taken`, `account.password`, `account.role`.
        """
        name = name.strip().lower()
        shown_name = shown_name.strip() or name
        check_name(name, shown_name)
        if (role in PLATFORM_ROLES) != (organisation == PLATFORM):
            raise RefusedError("account.role", "角色与所属不符。 This role does not belong to that organisation.")
        check_password(password)
        row = {
            "name": name,
            "shown_name": shown_name,
            "password_hash": self._hash(password),
            "role": role.value,
            "organisation": organisation,
            "created_ms": now_ms,
        }
        try:
            with self._engine.begin() as conn:
                conn.execute(insert(auth_account).values(**row))
        except IntegrityError as error:
            raise RefusedError("account.taken", "这个名字已有人用。 This name is taken.") from error
        found = self.named(name)
        assert found is not None
        return found

    def named(self, name: str) -> Account | None:
        """Return the account of that name, ended ones too."""
        with self._engine.connect() as conn:
            row = conn.execute(select(auth_account).where(auth_account.c.name == name.strip().lower())).first()
        return None if row is None else _account(row._mapping)

    def of_organisation(self, organisation: str | None = None) -> list[Account]:
        """Return all accounts, or those of one organisation, by name."""
        query = select(auth_account).order_by(auth_account.c.organisation, auth_account.c.name)
        if organisation is not None:
            query = query.where(auth_account.c.organisation == organisation)
        with self._engine.connect() as conn:
            return [_account(row._mapping) for row in conn.execute(query)]

    def set_password(self, account: int, password: str) -> None:
        """Change a password and end every session of the account.

        Raises:
            RefusedError: `account.password`.
        """
        check_password(password)
        hashed = self._hash(password)
        with self._engine.begin() as conn:
            conn.execute(update(auth_account).where(auth_account.c.id == account).values(password_hash=hashed))
            conn.execute(delete(auth_session).where(auth_session.c.account == account))

    def end(self, account: int, *, now_ms: int) -> None:
        """End an account: its sessions die now, it signs in no more."""
        with self._engine.begin() as conn:
            conn.execute(update(auth_account).where(auth_account.c.id == account).values(ended_ms=now_ms))
            conn.execute(delete(auth_session).where(auth_session.c.account == account))

    def sign_in(self, name: str, password: str, *, address: str, now_ms: int) -> SignedIn | WrongPassword | Throttled:
        """Open a session, or say why not. A throttled guess is not even looked at."""
        name = name.strip().lower()[:200]
        with self._engine.connect() as conn:
            wait_ms = _throttle_wait_ms(conn, name, address, now_ms)
            row = conn.execute(select(auth_account).where(auth_account.c.name == name)).first()
        if wait_ms > 0:
            return Throttled(wait_ms=wait_ms)
        stored = self._nobody if row is None else str(row._mapping["password_hash"])
        right = self._verify(stored, password) and row is not None and row._mapping["ended_ms"] is None
        with self._engine.begin() as conn:
            conn.execute(delete(auth_failure).where(auth_failure.c.at_ms < now_ms - THROTTLE_WINDOW_MS))
            if not right or row is None:
                conn.execute(insert(auth_failure).values(name=name, address=address, at_ms=now_ms))
                return WrongPassword()
            token = secrets.token_urlsafe(32)
            conn.execute(
                insert(auth_session).values(
                    token_digest=_digest(token),
                    account=row._mapping["id"],
                    created_ms=now_ms,
                    seen_ms=now_ms,
                    address=address,
                )
            )
            conn.execute(delete(auth_session).where(auth_session.c.created_ms < now_ms - SESSION_ABSOLUTE_MS))
            conn.execute(delete(auth_failure).where(auth_failure.c.name == name, auth_failure.c.address == address))
        if self._hasher.check_needs_rehash(stored):
            self._rehash(int(row._mapping["id"]), password)
        return SignedIn(account=_account(row._mapping), token=token, form_token=form_token(token))

    def session(self, token: str, *, now_ms: int) -> SignedIn | None:
        """Return the living session of a token; an idle or old one is gone for good."""
        if not 20 <= len(token) <= 100:
            return None
        digest = _digest(token)
        joined = auth_session.join(auth_account, auth_session.c.account == auth_account.c.id)
        query = select(auth_account, auth_session.c.created_ms.label("opened_ms"), auth_session.c.seen_ms).select_from(
            joined
        )
        with self._engine.connect() as conn:
            row = conn.execute(query.where(auth_session.c.token_digest == digest)).first()
        if row is None or row._mapping["ended_ms"] is not None:
            return None
        seen_ms, opened_ms = row._mapping["seen_ms"], row._mapping["opened_ms"]
        if now_ms - seen_ms > SESSION_IDLE_MS or now_ms - opened_ms > SESSION_ABSOLUTE_MS:
            self.sign_out(token)
            return None
        if now_ms - seen_ms >= SEEN_STEP_MS:
            with self._engine.begin() as conn:
                conn.execute(update(auth_session).where(auth_session.c.token_digest == digest).values(seen_ms=now_ms))
        return SignedIn(account=_account(row._mapping), token=token, form_token=form_token(token))

    def sign_out(self, token: str) -> None:
        """End a session; its token opens nothing any more."""
        with self._engine.begin() as conn:
            conn.execute(delete(auth_session).where(auth_session.c.token_digest == _digest(token)))

    def _hash(self, password: str) -> str:
        with _HASHES_AT_ONCE:
            return self._hasher.hash(password)

    def _verify(self, stored: str, password: str) -> bool:
        if len(password) > PASSWORD_CHARACTERS_MAX:
            return False
        try:
            with _HASHES_AT_ONCE:
                return self._hasher.verify(stored, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False

    def _rehash(self, account: int, password: str) -> None:
        hashed = self._hash(password)
        with self._engine.begin() as conn:
            conn.execute(update(auth_account).where(auth_account.c.id == account).values(password_hash=hashed))


def check_name(name: str, shown_name: str = "") -> None:
    """Refuse a name that nobody can sign in with, or that no page can show.

    Raises:
        RefusedError: `account.name`.
    """
    if not 2 <= len(name) <= 60 or len(shown_name) > 60 or not name.isprintable():
        raise RefusedError("account.name", "名字要 2 到 60 个字。 A name has 2 to 60 characters.")


def check_password(password: str) -> None:
    """Refuse a password that is too short or too long.

    Raises:
        RefusedError: `account.password`.
    """
    if not PASSWORD_CHARACTERS_MIN <= len(password) <= PASSWORD_CHARACTERS_MAX:
        raise RefusedError(
            "account.password",
            f"密码至少 {PASSWORD_CHARACTERS_MIN} 位。 A password has at least {PASSWORD_CHARACTERS_MIN} characters.",
        )


def form_token(session_token: str) -> str:
    """Return the token that every form of this session carries; nobody can make it without the session's."""
    return hmac.new(session_token.encode(), b"nahuo form", hashlib.sha256).hexdigest()


def same(left: str, right: str) -> bool:
    """Compare two secrets in constant time; any text may come."""
    return hmac.compare_digest(left.encode(errors="replace"), right.encode(errors="replace"))


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="replace")).digest()


def _account(values: RowMapping) -> Account:
    return Account(
        id=int(values["id"]),
        name=str(values["name"]),
        shown_name=str(values["shown_name"]),
        role=WebRole(values["role"]),
        organisation=str(values["organisation"]),
        ended=values["ended_ms"] is not None,
    )


def _throttle_wait_ms(conn: Connection, name: str, address: str, now_ms: int) -> int:
    since = auth_failure.c.at_ms > now_ms - THROTTLE_WINDOW_MS
    of_name, of_address = auth_failure.c.name == name, auth_failure.c.address == address
    wait_ms = 0
    for which, at_most in (
        ((of_name, of_address), FAILURES_ACCOUNT_ADDRESS_MAX),
        ((of_name,), FAILURES_ACCOUNT_MAX),
        ((of_address,), FAILURES_ADDRESS_MAX),
    ):
        count, first_ms = conn.execute(select(func.count(), func.min(auth_failure.c.at_ms)).where(since, *which)).one()
        if count >= at_most:
            wait_ms = max(wait_ms, first_ms + THROTTLE_WINDOW_MS - now_ms)
    return wait_ms
