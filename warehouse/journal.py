"""Files of JSON lines that grow at their end, and survive a process that dies while it writes.

The log of the published folder and the history of the builds are such files. A line exists from its
line end on: what a dead writer left behind it is no line yet, and the next writer removes it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER_MODE = 0o750  # what is published is for its owner and the group, whatever the umask
LOG_MODE = 0o640


def make_folder(path: Path) -> None:
    """Make a folder for its owner and the group; one that is there stays as it is.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.mkdir()
    except FileExistsError:
        if not path.is_dir():
            raise
    else:
        set_mode(path, FOLDER_MODE)


def set_mode(path: Path, mode: int) -> None:
    """Give a file or folder just this mode, where the file system has modes.

    A folder keeps handing its group on (setgid).

    Raises:
        OSError: it cannot be done.
    """
    found = stat.S_IMODE(path.stat().st_mode)
    with suppress(PermissionError):  # it is our own, so it is the file system that will not
        path.chmod(mode | found & stat.S_ISGID)


def open_log(path: Path, flags: int) -> int:
    """Open a file that is made when missing, for its owner to write and the group to read.

    Returns:
        The descriptor.

    Raises:
        OSError: it cannot be opened.
    """
    try:
        file = os.open(path, flags | os.O_CREAT | os.O_EXCL, LOG_MODE)
    except FileExistsError:
        return os.open(path, flags | os.O_CREAT, LOG_MODE)
    set_mode(path, LOG_MODE)
    return file


def read_lines(path: Path) -> list[bytes]:
    """The lines of a file, without one that lacks its end; none when there is no file.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return []
    return content.split(b"\n")[:-1]


def stamp(path: Path) -> object:
    """A value that is another one whenever a file is; None when there is no file.

    Costs one stat, so that it can be asked for with each request.

    Raises:
        OSError: the file cannot be looked at.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def append(path: Path, entry: Mapping[str, Any]) -> None:
    """Add a line and bring it to the disk; all of it or nothing.

    Several processes may append at once: each waits for the one before.

    Args:
        path: the file; made when missing, and so is its folder.
        entry: what JSON can hold.

    Raises:
        OSError: the disk is full or broken; the file is as it was before.
    """
    # A name of a file may hold bytes that are no UTF-8, which readers would refuse.
    content = f"{json.dumps(entry, ensure_ascii=False)}\n".encode(errors="replace")
    make_folder(path.parent)
    file = open_log(path, os.O_RDWR | os.O_APPEND)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = _cut_torn_line(file)
        try:
            if os.write(file, content) != len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
            os.fsync(file)
        except BaseException:
            os.ftruncate(file, before)
            raise
    finally:
        os.close(file)
    if before == 0:  # the name of a new file is in its folder
        sync(path.parent)


def _cut_torn_line(file: int) -> int:
    """Take away a last line without its end, left by a dead writer; the size of what stays."""
    size = os.fstat(file).st_size
    if size == 0 or os.pread(file, 1, size - 1) == b"\n":
        return size
    whole = os.pread(file, size, 0).rfind(b"\n") + 1
    os.ftruncate(file, whole)
    return whole


def sync(path: Path) -> None:
    """Bring a file, or the names in a folder, to the disk.

    Raises:
        OSError: it cannot be done.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
