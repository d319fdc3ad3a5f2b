"""How long a server was heard and told nothing: only time in which it could have told counts."""

from __future__ import annotations

from clients.runtime.patience import Patience

OLD, NEW = "warehouse/main/1", "warehouse/main/2"
SAID = {103: 4}


def waited_ms(patience: Patience, *heard: tuple[int, int] | None, said: dict[int, int] | None = None) -> int:
    return [patience.waited_ms(OLD, NEW, said=said or SAID, heard=span) for span in heard][-1]


def test_what_was_heard_before_the_first_look_counts_for_nothing() -> None:
    patience = Patience()
    assert waited_ms(patience, (0, 5_000)) == 0
    assert waited_ms(patience, (0, 6_500)) == 1_500


def test_connections_add_up_and_the_time_between_them_does_not_count() -> None:
    patience = Patience()
    assert waited_ms(patience, None, (0, 0), (0, 400), None, None, (90_000, 90_000), (90_000, 90_100)) == 500
    assert waited_ms(patience, None) == 500


def test_a_connection_that_falls_silent_does_not_count_on() -> None:
    patience = Patience()
    assert waited_ms(patience, (0, 0), (0, 300), (0, 300), (0, 300)) == 300


def test_more_that_was_said_begins_anew() -> None:
    patience = Patience()
    assert waited_ms(patience, (0, 0), (0, 900)) == 900
    assert waited_ms(patience, (0, 950), said={103: 5}) == 0
    assert waited_ms(patience, (0, 1_000), said={103: 5}) == 50


def test_a_document_that_left_is_forgotten() -> None:
    patience = Patience()
    waited_ms(patience, (0, 0), (0, 900))
    patience.forget(OLD)
    assert waited_ms(patience, (0, 1_000)) == 0
