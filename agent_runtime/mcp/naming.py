"""Names under which tools are offered to the model.

Models take `[A-Za-z0-9_-]{1,64}`, Gemini's with a letter or an underscore at the beginning;
servers call their tools anything. The name depends on the set of tools alone, never on the order
in which servers list them, so that a resumed run offers the same names.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection

MAX_NAME = 64
ODD = re.compile(r"[^A-Za-z0-9_-]")


def offered_names(*, tools: Collection[tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Map each offered name to its (server, tool).

    A name is `{server}__{tool}`; one that is too long or that two tools would share ends in a
    digest of both names instead. Should a name still be taken, the first in order keeps it.
    """
    plain = {each: _plain(f"{each[0]}__{each[1]}") for each in set(tools)}
    uses = Counter(plain.values())
    names: dict[str, tuple[str, str]] = {}
    for each in sorted(plain):
        name = plain[each]
        if uses[name] > 1 or len(name) > MAX_NAME:
            digest = hashlib.sha256("\0".join(each).encode(errors="replace")).hexdigest()[:8]
            name = f"{name[: MAX_NAME - 9]}_{digest}"
        names.setdefault(name, each)
    return names


def _plain(name: str) -> str:
    name = ODD.sub("_", name)
    return name if name[0].isalpha() or name[0] == "_" else f"_{name}"
