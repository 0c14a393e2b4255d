"""The books that the two servers keep: JSON lines in a file, each written before it counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Book:
    """A file that grows by lines. One process writes it."""

    def __init__(self, *, path: Path) -> None:
        self._file = path.open("a", buffering=1)

    def write(self, **line: Any) -> None:
        """Append a line; it is in the file when this returns."""
        self._file.write(json.dumps(line) + "\n")


def read_book(path: Path) -> list[Mapping[str, Any]]:
    """Return the lines of a book."""
    return [json.loads(line) for line in path.read_text().splitlines()]
