"""Frontmatter that is not valid YAML because a text lacks its quotes, as other clients take it.

The standard's guide for clients asks for this ("Handling malformed YAML"): the most common mistake
is a colon in a text, `description: Use this when: the user asks`.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import yaml

from skills_app.parsing.strict_yaml import NotYaml, load_text

MAX_ENTRIES = 200  # that are looked at one by one

_ENTRY = re.compile(r"( *)([A-Za-z0-9_.-]+):[ \t]+(\S.*)")
_NO_PLAIN_TEXT = tuple("\"'{|>&*!#")  # a quote, mapping, block, anchor, alias, tag or comment


def load_frontmatter(text: str) -> tuple[Any, tuple[str, ...]]:
    """Return the document with every scalar as text, and the keys whose text lacked its quotes.

    Raises YamlRefused.
    """
    try:
        return load_text(text), ()
    except NotYaml as refused:
        quoted, keys = _with_blocks(text)
        if not keys:
            raise
        try:
            return load_text(quoted), keys
        except NotYaml:
            raise refused from None  # it names a place in what the author wrote


def _with_blocks(text: str) -> tuple[str, tuple[str, ...]]:
    """Return the text with each plain value that is no YAML as a block, and the keys of these."""
    lines, out, keys = deque(text.split("\n")), list[str](), list[str]()
    left = MAX_ENTRIES
    while lines:
        match = _ENTRY.fullmatch(lines[0])
        if match is None or not left:
            out.append(lines.popleft())
            continue
        left -= 1
        indent, key, value = match.groups()
        entry = [lines.popleft()]
        while lines and _goes_on(lines[0], indent):
            entry.append(lines.popleft())
        if not value.startswith(_NO_PLAIN_TEXT) and not _is_yaml(entry):
            words = [value, *map(str.strip, entry[1:])]
            entry = [f"{indent}{key}: >-", *(f"{indent}  {each}" for each in words)]
            keys.append(key)
        out += entry
    return "\n".join(out), tuple(keys)


def _goes_on(line: str, indent: str) -> bool:
    """Tell whether a line belongs to the entry above it, whose key stands at that indent."""
    return not line.strip() or line.startswith(f"{indent} ")


def _is_yaml(lines: list[str]) -> bool:
    try:
        for _ in yaml.parse("\n".join(lines), Loader=yaml.BaseLoader):
            pass
    except yaml.YAMLError:
        return False
    return True
