"""The forgetful disk keeps what was synced and nothing it need not keep; a recording is what really happened."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from proof.recording import DAMAGES, Disk, Step, cannot_record, read_steps, record

SYNCED = [
    Step(what="make", name="a", file=1),
    Step(what="write", file=1, at=0, data=b"x" * 1024),
    Step(what="sync", file=1),
    Step(what="sync_names"),
]


def after(steps: list[Step], damage: str, seed: int = 1) -> dict[str, bytes]:
    disk = Disk()
    for step in steps:
        disk.play(step)
    return disk.cut(random.Random(seed), damage)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_was_synced_is_there_after_every_damage(damage: str) -> None:
    assert after(SYNCED, damage) == {"a": b"x" * 1024}


def test_bytes_without_a_sync_may_be_gone_whole_or_torn_by_sectors() -> None:
    steps = [*SYNCED, Step(what="write", file=1, at=0, data=b"y" * 1024)]
    assert after(steps, "nothing") == {"a": b"x" * 1024}
    assert after(steps, "everything") == {"a": b"y" * 1024}
    seen = {after(steps, "torn", seed)["a"] for seed in range(60)}
    assert b"x" * 512 + b"y" * 512 in seen
    assert b"y" * 512 + b"x" * 512 in seen


def test_a_new_name_is_gone_when_only_its_file_was_synced() -> None:
    assert after(SYNCED[:3], "nothing") == {}


def test_a_rename_and_a_removal_may_both_be_undone_without_the_folders_sync() -> None:
    assert after([*SYNCED, Step(what="rename", name="a", to="b")], "nothing") == {"a": b"x" * 1024}
    assert after([*SYNCED, Step(what="unlink", name="a")], "nothing") == {"a": b"x" * 1024}
    assert after([*SYNCED, Step(what="unlink", name="a"), Step(what="sync_names")], "nothing") == {}


def test_calls_of_two_threads_are_put_together_and_failed_ones_left_out() -> None:
    def text(name: str) -> str:
        return "".join(f"\\x{byte:02x}" for byte in name.encode())

    trace = [
        f'7 openat(AT_FDCWD, "{text("/d/a")}", O_RDWR|O_CREAT, 0644) = 3',
        f'7 pwrite64(3, "{text("hello")}", 5, 2 <unfinished ...>',
        f'8 openat(AT_FDCWD, "{text("/m")}", O_WRONLY|O_APPEND) = 4',
        "7 <... pwrite64 resumed>) = 5",
        "8 fdatasync(3) = -1 EIO (Input/output error)",
        '8 write(4, "' + text('{"n": 1}\n') + '", 9) = 9',
        "8 fdatasync(3) = 0",
        f'8 unlink("{text("/d/a")}") = 0',
    ]
    steps = list(read_steps(trace, data=Path("/d"), marks=Path("/m")))
    assert [step.what for step in steps] == ["make", "write", "mark", "sync", "unlink"]
    assert (steps[1].at, steps[1].data, steps[2].said) == (2, b"hello", {"n": 1})


def test_a_recording_played_to_its_end_is_the_folder_byte_for_byte(tmp_path: Path) -> None:
    why = cannot_record()
    if why:
        pytest.skip(why)
    steps = record("proof.core_device", tmp_path, "2")
    left = after(steps, "everything")
    assert {"replica.db", "device.key", "install.token"} <= set(left)
    for name, data in left.items():
        assert (tmp_path / "data" / name).read_bytes() == data, name
