"""Planted bugs: there are enough, each says what it does, the page names them all, and right code is not found."""

from __future__ import annotations

import pytest

from nahuo.sim.runs import run_one
from proof.planted import PAGE, SHORT_CPU_SECONDS, choose, find, find_share, page, read_kept
from proof.plants import HARMLESS, LAYERS, PLANTS, Plant, planted
from proof.report import ROOT
from sync_core import hub
from sync_core.hub import _judge_run

GAPS = ROOT / "docs" / "known-gaps.md"
BY_NAME = {plant.name: plant for plant in PLANTS}
TRIED = ("an_offer_counts_as_delivered", "the_queue_forgets_at_a_restart", "a_file_is_imported_twice")
"""The proof runs all; here some show that it finds, each by another check: at once, at rest about paper, at rest about the desk."""


def test_there_are_enough_plants_in_every_layer() -> None:
    assert len(PLANTS) >= 60
    assert len(BY_NAME) == len(PLANTS)
    assert all(any(not plant.harmless for plant in layer.plants) for layer in LAYERS)
    assert all(plant.what.endswith(".") for plant in (*PLANTS, *HARMLESS))


def test_every_plant_was_found_on_a_seed_of_its_own_or_is_named_as_a_gap() -> None:
    kept = read_kept()
    missing = [plant.name for plant in PLANTS if plant.name not in kept or not kept[plant.name].seed]
    gaps = GAPS.read_text("utf-8")
    assert [name for name in missing if f"`{name}`" not in gaps] == []
    assert len(PLANTS) - len(missing) >= 55
    assert [name for name, found in kept.items() if found.seed and not found.reached] == []
    assert [plant.name for plant in HARMLESS if plant.name not in kept or kept[plant.name].seed] == []


def test_the_page_is_what_was_kept() -> None:
    assert PAGE.read_text("utf-8") == page(read_kept())


def test_the_short_form_takes_one_of_each_layer_and_keeps_to_its_time() -> None:
    kept = read_kept()
    chosen = choose(kept)
    assert {plant.layer for plant in chosen} == {
        plant.layer for plant in PLANTS if plant.name in kept and kept[plant.name].seed
    }
    assert sum(kept[plant.name].cpu_seconds for plant in chosen) <= SHORT_CPU_SECONDS


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
    nothing = Plant(name="nothing", layer="none", what="Nothing.", apply=lambda patch: patch.reached())
    found = find(nothing, range(1, 4))
    assert (found.reached, found.seed, found.tried) == (3, 0, 3)


def test_a_harmless_plant_runs_and_hurts_nobody() -> None:
    (found,) = find_share([(HARMLESS[0].name, range(1, 3))])
    assert found.reached > 0
    assert found.seed == 0
