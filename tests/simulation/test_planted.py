"""Planted bugs: there are enough, each says what it does, the page names them all, and right code is not found."""

from __future__ import annotations

import pytest

from nahuo.sim.runs import run_one
from proof.planted import PAGE, find, read_kept
from proof.plants import LAYERS, PLANTS, Plant, planted
from sync_core import hub
from sync_core.hub import _judge_run

BY_NAME = {plant.name: plant for plant in PLANTS}
TRIED = ("own_work_is_sent_back", "piece_serial_is_kept_in_memory", "lost_remainder_of_a_hold")
"""The proof runs all; here some show that it finds."""


def test_there_are_enough_plants_in_every_layer() -> None:
    assert len(PLANTS) >= 40
    assert len(BY_NAME) == len(PLANTS)
    assert all(layer.plants for layer in LAYERS)
    assert all(plant.what.endswith(".") for plant in PLANTS)


def test_the_page_names_every_plant() -> None:
    text = PAGE.read_text("utf-8")
    assert [plant.name for plant in PLANTS if f"`{plant.name}`" not in text] == []


def test_of_the_plants_that_were_run_all_were_found() -> None:
    kept = read_kept()
    assert len(kept) >= 40
    assert [name for name, found in kept.items() if not found.seed] == []


def test_a_plant_is_taken_out_again() -> None:
    plant = BY_NAME["no_duplicate_check_in_the_hub"]
    with planted(plant):
        assert hub._judge_run is not _judge_run
    assert hub._judge_run is _judge_run


@pytest.mark.parametrize("name", TRIED)
def test_a_planted_bug_is_reached_and_found(name: str) -> None:
    plant = BY_NAME[name]
    kept = read_kept()[name]
    assert run_one(kept.seed).failure == ""
    found = find(plant, [kept.seed, *range(1, 30)])
    assert found.reached > 0
    assert found.seed


def test_right_code_planted_is_not_found() -> None:
    nothing = Plant(name="nothing", layer="none", what="Nothing.", apply=lambda patch, reached: reached())
    found = find(nothing, range(1, 4))
    assert (found.reached, found.seed, found.seeds) == (3, 0, 3)
