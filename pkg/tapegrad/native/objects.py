"""The folder where compiled kernels are kept: safe against damage, races and other users.

A file is named by its key and holds a checksum of everything after it, so a truncated, damaged or
renamed file is noticed before any of it can run; it is then compiled again and replaced. Files
appear whole or not at all (written beside, then renamed). A folder in which others may write is
not used. Whatever goes wrong here costs time, never a result.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import struct
import time
import warnings
from dataclasses import dataclass

__all__ = ["ObjectStore", "StoredObject", "folder_problem"]

_MAGIC = b"TAPEGRAD-OBJECT1"
_SUFFIX = ".tgo"
_DIGEST = 32
_DAY = 86400.0


@dataclass(frozen=True)
class StoredObject:
    """Object code with the function it defines and the names it takes from the process."""

    code: bytes
    symbol: str
    undefined: tuple[str, ...]


def folder_problem(path: str) -> str | None:
    """Why native code from this folder must not be run; None if only we can write there.

    The folder must be ours or the administrator's and closed to others, and nobody may be able to
    swap it: no folder above it may be open to all, unless it is sticky as /tmp is.
    """
    if os.name != "posix":
        return None  # on Windows the folder is inside the profile, which has its own access list
    real = os.path.realpath(path)
    try:
        own = os.stat(real)
        if own.st_uid not in (os.geteuid(), 0):
            return "it belongs to another user"
        if own.st_mode & 0o022:
            return "others may write to it"
        above = os.path.dirname(real)
        while True:
            mode = os.stat(above).st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                return f"anybody may write to {above}"
            if above == os.path.dirname(above):
                return None
            above = os.path.dirname(above)
    except OSError as error:
        return str(error)


class ObjectStore:
    """Object code by key in one folder; an empty path stores nothing."""

    def __init__(self, root: str, limit: int) -> None:
        self.root = root
        self.folder = os.path.join(root, "objects") if root else ""
        self.limit = limit
        self.state = "not used yet" if root else "off"
        self._usable: bool | None = None if root else False
        self._stores = 0
        self._warned = False

    def usable(self) -> bool:
        """Whether the folder is there (or could be made) and is safe; decided once."""
        if self._usable is None:
            self._usable = self._open()
        return self._usable

    def _open(self) -> bool:
        self._usable = False  # should a warning be an error, that is known all the same
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
        except OSError as error:
            self.state = f"kernels are kept in memory only: {error}"
            self._warn(str(error), "a folder that you can write to")
            return False
        problem = folder_problem(self.folder) or folder_problem(self.root)
        if problem is not None:
            self.state = f"not used: {problem}"
            self._warn(problem, "a folder that only you can write to")
            return False
        self.state = "in use"
        return True

    def _warn(self, problem: str, wanted: str) -> None:
        """Once: what is compiled is lost with the process, and why."""
        if self._warned:
            return
        self._warned = True
        warnings.warn(
            f"tapegrad does not keep compiled kernels in {self.root}: {problem}. Every process will compile its own. "
            f"Choose {wanted} with TAPEGRAD_CACHE_DIR (empty to keep nothing, without this warning).",
            RuntimeWarning,
            stacklevel=2,
        )

    def where(self) -> str:
        """What becomes of new objects, as the end of a sentence."""
        if not self.root:
            return "each process does it again, since TAPEGRAD_CACHE_DIR is empty"
        if not self.usable() or self._warned:
            return f"each process does it again, since {self.root} cannot be used"
        return f"it happens once, they are kept in {self.root}"

    def _path(self, key: str) -> str:
        return os.path.join(self.folder, key + _SUFFIX)

    def get(self, key: str) -> StoredObject | None:
        """The object kept under a key, or None; a file that is not what it should be counts as none."""
        if not self.usable():
            return None
        path = self._path(key)
        try:
            with open(path, "rb") as file:
                data = file.read()
                written = os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        found = _decode(key, data)
        # The time of last use, to the day: a warm start should not write to the disk.
        if found is not None and time.time() - written > _DAY:
            with contextlib.suppress(OSError):
                os.utime(path)
        return found

    def has(self, key: str) -> bool:
        """Whether there is a file for this key; `get` says whether it is good."""
        return self.usable() and os.path.exists(self._path(key))

    def put(self, key: str, value: StoredObject) -> bool:
        """Keep an object; False if the folder does not allow it."""
        if not self.usable() or not self.write(self._path(key), _encode(key, value)):
            return False
        if self._stores % 64 == 0:
            self.trim()
        self._stores += 1
        return True

    def write(self, path: str, data: bytes) -> bool:
        """Write a file that others see whole or not at all."""
        import tempfile

        temporary = ""
        try:
            handle, temporary = tempfile.mkstemp(suffix=".tmp", dir=os.path.dirname(path))
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            os.replace(temporary, path)
        except OSError as error:
            self.state = f"read only ({error.strerror})"
            if temporary:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
            self._warn(error.strerror or str(error), "a folder that you can write to")
            return False
        return True

    def trim(self) -> None:
        """Remove the objects longest out of use until the rest takes 80 % of the limit."""
        entries = []
        now = time.time()
        with contextlib.suppress(OSError), os.scandir(self.folder) as files:
            for entry in files:
                with contextlib.suppress(OSError):
                    info = entry.stat(follow_symlinks=False)
                    if entry.name.endswith(".tmp") and now - info.st_mtime > 3600:
                        os.unlink(entry.path)  # left by a process that was killed
                    elif entry.name.endswith(_SUFFIX):
                        entries.append((info.st_mtime, info.st_size, entry.path))
        total = sum(size for _, size, _ in entries)
        if total <= self.limit:
            return
        for _, size, path in sorted(entries):
            if total <= self.limit * 0.8:
                break
            with contextlib.suppress(OSError):
                os.unlink(path)
                total -= size

    def clear(self) -> int:
        """Remove all objects; returns how many there were."""
        count = 0
        if self.usable():
            for name in os.listdir(self.folder):
                if name.endswith((_SUFFIX, ".tmp")):
                    with contextlib.suppress(OSError):
                        os.unlink(os.path.join(self.folder, name))
                        count += name.endswith(_SUFFIX)
        return count


def _encode(key: str, value: StoredObject) -> bytes:
    names = "\n".join((value.symbol, *value.undefined)).encode()
    body = struct.pack("<I", len(names)) + names + value.code
    return _MAGIC + _checksum(key, body) + body


def _decode(key: str, data: bytes) -> StoredObject | None:
    start = len(_MAGIC) + _DIGEST
    body = data[start:]
    if data[: len(_MAGIC)] != _MAGIC or data[len(_MAGIC) : start] != _checksum(key, body):
        return None
    length = struct.unpack_from("<I", body)[0]
    symbol, *undefined = body[4 : 4 + length].decode().split("\n")
    return StoredObject(body[4 + length :], symbol, tuple(undefined))


def _checksum(key: str, body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_DIGEST, person=b"tapegrad", key=key.encode()).digest()
