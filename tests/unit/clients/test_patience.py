"""How long a server was heard and told nothing: only time in which it could have told counts."""

from __future__ import annotations

from clients.runtime.patience import Patience

OLD, NEW = "warehouse/main/1", "warehouse/main/2"
SAID = {103: 4}
ENOUGH_MS = 1_000


def past(patience: Patience, *heard: tuple[int, int] | None, said: dict[int, int] | None = None) -> dict[int, int]:
    return [dict(patience.past(OLD, NEW, said=said or SAID, heard=span)) for span in heard][-1]


def test_what_was_heard_before_the_first_look_counts_for_nothing() -> None:
    patience = Patience(ENOUGH_MS)
    assert past(patience, (0, 5_000)) == {}
    assert past(patience, (0, 6_000)) == {}
    assert past(patience, (0, 6_001)) == SAID


def test_connections_add_up_and_the_time_between_them_does_not_count() -> None:
    patience = Patience(ENOUGH_MS)
    assert past(patience, None, (0, 0), (0, 900), None, None, (90_000, 90_000), (90_000, 90_100)) == {}
    assert past(patience, None) == {}
    assert past(patience, (90_000, 90_101)) == SAID
    assert past(patience, None) == SAID


def test_a_connection_that_falls_silent_does_not_count_on() -> None:
    patience = Patience(ENOUGH_MS)
    assert past(patience, (0, 0), *[(0, 600)] * 5) == {}


def test_what_is_said_meanwhile_has_its_time_after_what_was_said_before() -> None:
    patience = Patience(ENOUGH_MS)
    assert past(patience, (0, 0), (0, 900)) == {}
    assert past(patience, (0, 950), said={103: 5}) == {}
    assert past(patience, (0, 1_001), (0, 2_001), said={103: 6}) == SAID
    assert past(patience, (0, 2_002), said={103: 7}) == {103: 6}


def test_a_document_that_left_is_forgotten() -> None:
    patience = Patience(ENOUGH_MS)
    assert past(patience, (0, 0), (0, 1_001)) == SAID
    patience.forget(OLD)
    assert past(patience, (0, 1_002), (0, 2_002)) == {}
