"""Copy a data folder into one file while it is in use, prove the copy, and put it back.

SQLite files are copied by SQLite's own online backup, so a busy server or client is never stopped and the copy is one moment of
its database; every copy passes an integrity check. The file is a tar: `manifest.json` first, then the files it lists with their
SHA-256. After writing, the file is read back and every hash compared; only then does it get its name.

The install token is left out on purpose: it tells a restored folder from the original, so that both never speak under one number.
The outbox's twin is left out too: all it holds stands in the database and the key file, and the next start writes it anew. Files that a
repair set aside are copied byte by byte: they are damaged, and must not keep the sound database from being saved.
The copy holds private keys: the file is readable by its owner only.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final

from nahuo.data_folder import is_sqlite, look_at, read_only
from server.installation import AGAIN, NOT_FOR_BACKUP
from sync_core.errors import CorruptError, IncompatibleError, RefusedError
from sync_core.files import write_durably
from sync_core.replica import INSTALL_TOKEN
from sync_core.twin import TWIN

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
MANIFEST_BYTES_MAX: Final = 1024 * 1024
"""About 8,000 files; a data folder has ten."""
_LEFT_OUT: Final = (INSTALL_TOKEN, *NOT_FOR_BACKUP, "ballast", TWIN)
_SET_ASIDE: Final = "set-aside"
_LEFT_OUT_ENDINGS: Final = ("-wal", "-shm", "-journal", ".lock", ".new", ".partial", ".pid", ".log")
_BLOCK_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """What a backup file holds: {name: bytes} and whose data it is."""

    path: Path
    kind: str
    made_at_ms: int
    files: dict[str, int]


def make_backup(data: Path, to: Path) -> Backup:
    """Write the backup of `data` into the new file `to`, verified; return what it holds.

    Raises:
        RefusedError: `data` is none of ours, `to` exists already or lies in it, or its folder is not there.
        CorruptError: a database of it is damaged, or the written file does not read back.
    """
    folder = look_at(data)
    if to.exists():
        raise RefusedError("backup.exists", f"{to} exists already: name a new file")
    if not to.parent.is_dir():
        # A mistyped path, or a disk that is not there: a backup beside the data saves nobody.
        raise RefusedError("backup.no_folder", f"there is no folder {to.parent}: make it first, or name another file")
    if to.parent.resolve().is_relative_to(data.resolve()):
        raise RefusedError("backup.inside", f"{to} lies in {data}, beside what it is to save: name a file elsewhere")
    made_at_ms = time.time_ns() // 1_000_000
    partial = to.with_name(to.name + ".partial")
    try:
        with tempfile.TemporaryDirectory(prefix=".nahuo-backup-", dir=to.parent) as work:
            copies = [
                (name, _copy(name, source, Path(work) / str(n))) for n, (name, source) in enumerate(_chosen(data))
            ]
            files = {name: {"bytes": copy.stat().st_size, "sha256": _sha256(copy)} for name, copy in copies}
            manifest = {
                "format": FORMAT, "nahuo": version("nahuo"), "kind": folder.kind, "made_at_ms": made_at_ms, "files": files,
            }  # fmt: skip
            _write(partial, manifest, copies)
        checked = check_backup(partial)
        partial.replace(to)
        _sync_folder(to.parent)
    finally:
        partial.unlink(missing_ok=True)
    return Backup(path=to, kind=checked.kind, made_at_ms=made_at_ms, files=checked.files)


def check_backup(path: Path) -> Backup:
    """Return what a backup file holds, every hash compared.

    Raises:
        CorruptError: it is no backup of ours, or does not hold what its manifest says.
        IncompatibleError: a newer program made it.
    """
    with _opened(path) as tar:
        manifest = _read_manifest(tar)
        found: dict[str, int] = {}
        for member, file in _members(tar):
            listed = manifest["files"].get(member.name)
            if listed is None or member.name in found:
                raise CorruptError(f"{path.name} holds {member.name}, which its manifest does not list")
            if _hash_of(file) != listed["sha256"]:
                raise CorruptError(f"{member.name} in {path.name} is damaged")
            found[member.name] = member.size
        missing = sorted(set(manifest["files"]) - set(found))
        if missing:
            raise CorruptError(f"{path.name} lacks {', '.join(missing)}")
    return Backup(path=path, kind=manifest["kind"], made_at_ms=manifest["made_at_ms"], files=found)


def restore_backup(path: Path, data: Path, *, again: int = 0) -> Backup:
    """Put the backup `path` into the new or empty folder `data`; return what was restored.

    The restored server or device notices by its missing install token that it is not the original, and takes a new number. `again`: how
    many servers were restored from this backup or an older one before, which it does not know of: their numbers are passed over.

    Raises:
        RefusedError: `data` holds something already; nothing was changed.
        CorruptError, IncompatibleError: as `check_backup`; nothing was changed.
    """
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise RefusedError("restore.not_empty", f"{data} is not empty: restore into a new folder, then compare")
    backup = check_backup(path)
    data.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".nahuo-restore-", dir=data.parent) as work:
        inside = Path(work) / "data"
        inside.mkdir(mode=0o700)
        with _opened(path) as tar:
            _read_manifest(tar)
            for member, file in _members(tar):
                target = inside / member.name
                target.parent.mkdir(parents=True, exist_ok=True)
                with _private(target) as out:
                    while block := file.read(_BLOCK_BYTES):
                        out.write(block)
                    _sync(out)
        if again and backup.kind == "server":
            write_durably(inside / AGAIN, str(again).encode())
        if data.exists():
            data.rmdir()
        inside.rename(data)
    _sync_folder(data.parent)
    return backup


def _chosen(data: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(data.rglob("*")):
        name = path.relative_to(data).as_posix()
        left_out = path.name in _LEFT_OUT or (path.name.endswith(_LEFT_OUT_ENDINGS) and not _is_set_aside(name))
        if path.is_file() and not path.is_symlink() and not left_out:
            yield name, path


def _is_set_aside(name: str) -> bool:
    return PurePosixPath(name).parts[0] == _SET_ASIDE


def _copy(name: str, source: Path, to: Path) -> Path:
    """Copy one file; a database by SQLite's online backup, checked."""
    if _is_set_aside(name) or not is_sqlite(source):
        with source.open("rb") as file, _private(to) as out:
            while block := file.read(_BLOCK_BYTES):
                out.write(block)
        return to
    with _private(to):
        pass
    with read_only(source) as live, closing(sqlite3.connect(to)) as copy:
        # In one step: between two, whoever commits makes SQLite begin anew, and a server at work commits all the time.
        live.backup(copy)
        # One file without a WAL beside it; the owner switches back to WAL when it opens the file.
        copy.execute("PRAGMA journal_mode = DELETE")
        verdict = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if verdict != "ok":
        raise CorruptError(f"{source.name} is damaged ({verdict}): no backup was made")
    return to


def _write(path: Path, manifest: dict[str, Any], copies: list[tuple[str, Path]]) -> None:
    with _private(path) as out:
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
            text = json.dumps(manifest, indent=1, sort_keys=True).encode()
            head = tarfile.TarInfo(MANIFEST)
            head.size = len(text)
            tar.addfile(head, io.BytesIO(text))
            for name, copy in copies:
                member = tarfile.TarInfo(name)
                member.size, member.mode = copy.stat().st_size, 0o600
                with copy.open("rb") as file:
                    tar.addfile(member, file)
        _sync(out)


def _opened(path: Path) -> tarfile.TarFile:
    try:
        return tarfile.open(path, mode="r:")
    except FileNotFoundError as error:
        raise RefusedError("backup.missing", f"there is no file {path}") from error
    except tarfile.TarError as error:
        raise CorruptError(f"{path.name} is no backup of Nahuo: {error}") from error


def _read_manifest(tar: tarfile.TarFile) -> dict[str, Any]:
    manifest: Any = None
    try:
        head = tar.next()
        file = tar.extractfile(head) if head is not None and head.name == MANIFEST else None
        if file is not None:
            manifest = json.loads(file.read(MANIFEST_BYTES_MAX))
    except (tarfile.TarError, ValueError) as error:
        raise CorruptError(f"the manifest cannot be read: {error}") from error
    match manifest:
        case {"format": int(number)} if number > FORMAT:
            raise IncompatibleError("a newer program made this backup: update this one")
        case {"format": 1, "kind": str(), "made_at_ms": int(), "files": dict(files)} if all(
            _is_safe(name) and isinstance(listed, dict) and isinstance(listed.get("sha256"), str)
            for name, listed in files.items()
        ):
            return dict(manifest)
        case _:
            raise CorruptError("the file holds no manifest of ours")


def _members(tar: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, Any]]:
    try:
        while (member := tar.next()) is not None:
            file = tar.extractfile(member) if member.isreg() and _is_safe(member.name) else None
            if file is None:
                raise CorruptError(f"{member.name} is no plain file of a backup")
            yield member, file
    except tarfile.TarError as error:
        raise CorruptError(f"the file is damaged: {error}") from error


def _is_safe(name: str) -> bool:
    path = PurePosixPath(name)
    return bool(name) and not path.is_absolute() and ".." not in path.parts and "\\" not in name


def _private(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), "wb")


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hash_of(file: Any) -> str:
    total = hashlib.sha256()
    try:
        while block := file.read(_BLOCK_BYTES):
            total.update(block)
    except tarfile.TarError as error:
        raise CorruptError(f"the file ends too early: {error}") from error
    return total.hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return _hash_of(file)
