"""Files of a skill that are kept aside: not text, or too large for an agent to read."""

from __future__ import annotations

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

UNKNOWN = "application/octet-stream"

# What the standard library's own table lacks in one of the versions of Python that we run on. The
# machine's files of types are not read: the same skill is the same wherever it is read.
_MORE = {
    ".7z": "application/x-7z-compressed",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".gz": "application/gzip",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".otf": "font/otf",
    ".parquet": "application/vnd.apache.parquet",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".ttf": "font/ttf",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".xsd": "application/xml",
}
_TYPES: Mapping[str, str] = {**mimetypes.MimeTypes(filenames=()).types_map[True], **_MORE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """A file that is kept aside. `data` is there as long as it is not stored.

    `size` is in bytes, `sha256` in hex; `media_type` goes by the name.
    """

    media_type: str
    size: int
    sha256: str
    data: bytes | None = field(default=None, repr=False, compare=False)

    @property
    def said(self) -> str:
        """What it is, in words for people and agents."""
        return f"{self.media_type}, {self.size:,} bytes"


def asset_of(path: str, data: bytes) -> Asset:
    """Return the file as one that is kept aside."""
    return Asset(
        media_type=media_type(path),
        size=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        data=data,
    )


def media_type(path: str) -> str:
    """Return the media type that a file's name says, `application/octet-stream` where none."""
    return _TYPES.get(PurePosixPath(path).suffix.lower(), UNKNOWN)
