"""Files that only the user of the service may read: keys, and the SQLite database."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

FOLDER = 0o700
FILE = 0o600


def private_folder(path: Path) -> None:
    """Make a folder that nobody else may enter, or take the rights of others to it away."""
    path.mkdir(mode=FOLDER, exist_ok=True)
    _tighten(path, FOLDER)


def private_text(path: Path, text: str) -> None:
    """Write a new file that nobody else may read; leave one that is there. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        with open(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE), "w") as file:
            file.write(text)


def private_database(path: Path) -> None:
    """Make an empty SQLite file that nobody else may read, or take the rights of others away.

    SQLite gives the files beside it (`-wal`, `-shm`, `-journal`) the mode of the file itself.
    Raises OSError where the path is a folder, or the file can't be made.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    private_text(path, "")
    for each in (path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))):
        with contextlib.suppress(FileNotFoundError):
            _tighten(each, FILE)


def _tighten(path: Path, mode: int) -> None:
    """Take away what `mode` does not grant. A path of another user is left to that user."""
    found = path.stat().st_mode & 0o7777
    if found & ~mode:
        with contextlib.suppress(PermissionError):
            path.chmod(found & mode)
