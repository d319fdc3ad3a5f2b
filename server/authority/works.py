"""Works that stand side by side: each in a step of its own, so that one which fails stops no other (REL-R15).

The problem: what time decides, what the daily close settles and what waits for money are many things in one step; our bug about one of
them would undo all the others, every second, for ever. The method: all at once, because it is quicker; when that fails, one by one. The
one that fails is undone alone, told as the discrepancy `work_failed`, and left until a person settled that, commanded it again, or the
server started anew, perhaps with a better program; then it is tried again, and the discrepancy is settled when it went well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import bindparam, select
from sqlalchemy.exc import OperationalError

from server import schema_trade as st
from server.authority.batch import PLATFORM, Batch

FAILED: Final = "work_failed"
_OPEN: Final = select(st.discrepancy.c.key).where(
    st.discrepancy.c.code == bindparam("code_"), st.discrepancy.c.resolved_ms.is_(None)
)

log = logging.getLogger("nahuo.authority")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One of several works that do not depend on each other; `name` is the same at every try."""

    name: str
    subject: str
    do: Callable[[Batch], int]
    """Returns how much was done: things, or fen."""

    @property
    def key(self) -> str:
        """The key of the discrepancy that tells of its failure."""
        return f"{FAILED}|{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """What several works did, and how many of them failed or are set aside."""

    count: int = 0
    failed: int = 0


def do_each(b: Batch, works: Sequence[Work]) -> Done:
    """Do every work that is not set aside; what one of them breaks undoes that one only.

    Raises:
        OperationalError: the database could not write: no work is to blame, and the whole step is done again.
    """
    if not works:
        return Done()
    told = set(b.read(_OPEN, code_=FAILED).scalars())
    aside = set() if b.cause.startswith("command:") else told & b.store.failed_works
    trying = [work for work in works if work.key not in aside]
    set_aside = len(works) - len(trying)
    try:
        count = b.alone(lambda inner: sum(work.do(inner) for work in trying)) if trying else 0
    except OperationalError:
        raise
    except Exception:
        log.exception("one of %d works failed; doing them one by one", len(trying))
        done = _one_by_one(b, trying, told)
        return Done(count=done.count, failed=done.failed + set_aside)
    for work in trying:
        _went_well(b, work, told)
    return Done(count=count, failed=set_aside)


def _one_by_one(b: Batch, works: Sequence[Work], told: set[str]) -> Done:
    count = failed = 0
    for work in works:
        try:
            count += b.alone(work.do)
        except OperationalError:
            raise
        except Exception as error:  # our bug about this one must not stop the rest
            log.exception("%s failed", work.name)
            failed += 1
            b.store.failed_works.add(work.key)
            b.discrepancy(FAILED, work.subject, PLATFORM, key=work.key, work=work.name, error=str(error)[:200])
            b.reopen_discrepancy(work.key)
        else:
            _went_well(b, work, told)
    return Done(count=count, failed=failed)


def _went_well(b: Batch, work: Work, told: set[str]) -> None:
    if work.key in told:
        b.settle_discrepancy(work.key, "后来做成了 / it went well later")
        b.store.failed_works.discard(work.key)
