"""YAML that people write, read strictly: no aliases, no doubled keys, no depth, no tags.

What reading costs is in the number of values, not in the bytes: 20,000 bytes are a millisecond as
one text and most of a second as 10,000 values. So the values are counted while they are read.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

MAX_DEPTH = 12
MAX_TEXT_NODES = 1_000  # keys, values, lists and mappings of a document that `load_text` reads
MAX_TYPED_NODES = 100_000  # likewise of one that `load_typed` reads
MAX_TYPED_SCALAR = 100  # characters; a longer value is text, never a number

# What PostgreSQL cannot keep and what has no place in a text that is shown or sent.
_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


class YamlRefused(ValueError):
    """The text is not YAML as we take it; `str()` is a sentence without any of its values."""


class NotYaml(YamlRefused):
    """The text is no YAML at all, or not as its author means it."""


class _StrictComposer(yaml.composer.Composer):
    """Refuses, with the place, what the YAML standard allows and we do not."""

    depth = 0
    nodes = 0
    most_nodes = MAX_TEXT_NODES

    def fetch_flow_collection_start(self, token: Any) -> None:
        """Refuse depth before the scanner looks ahead, which costs the square of the depth."""
        if self.flow_level == MAX_DEPTH:  # type: ignore[attr-defined]
            raise YamlRefused(f"{_place(self.get_mark())}: nested too deep.")  # type: ignore[attr-defined]
        super().fetch_flow_collection_start(token)  # type: ignore[misc]

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()  # type: ignore[attr-defined]
        if isinstance(event, yaml.events.AliasEvent):
            raise YamlRefused(f"{_place(event.start_mark)}: aliases are not allowed.")
        if getattr(event, "tag", None) is not None:
            raise YamlRefused(f"{_place(event.start_mark)}: tags (!) are not allowed.")
        if self.depth == MAX_DEPTH:
            raise YamlRefused(f"{_place(event.start_mark)}: nested too deep.")
        if self.nodes == self.most_nodes:
            raise YamlRefused(f"{_place(event.start_mark)}: more than {self.nodes:,} values.")
        self.nodes += 1
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.MappingNode):
            _check_keys(node)
        if isinstance(node, yaml.ScalarNode) and _UNFIT.search(node.value):
            raise YamlRefused(f"{_place(node.start_mark)}: control characters are not allowed.")
        return node


def _check_keys(node: yaml.MappingNode) -> None:
    seen = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise YamlRefused(f"{_place(key.start_mark)}: a key must be plain text.")
        if key.value in seen:
            raise YamlRefused(f"{_place(key.start_mark)}: this key is there twice.")
        seen.add(key.value)


class _TextLoader(_StrictComposer, yaml.BaseLoader):
    """Every scalar is the text as it was written: `no` is "no", 1.10 is "1.10"."""


class _TypedLoader(_StrictComposer, yaml.SafeLoader):
    """Numbers and truth values besides text; a date stays the text that it is."""

    most_nodes = MAX_TYPED_NODES

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Return the tag of a node. A number of many digits costs their square to make."""
        if kind is yaml.ScalarNode and len(value) > MAX_TYPED_SCALAR:
            return self.DEFAULT_SCALAR_TAG
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]


_LEFT_AS_TEXT = ("tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge")
_TypedLoader.yaml_implicit_resolvers = {
    first: [item for item in items if item[0] not in _LEFT_AS_TEXT]
    for first, items in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_text(text: str) -> Any:
    """Return the document with every scalar as text. Raises YamlRefused."""
    return _load(text, _TextLoader)


def load_typed(text: str) -> Any:
    """Return the document with numbers, truth values and nulls. Raises YamlRefused."""
    return _load(text, _TypedLoader)


def _load(text: str, loader: Any) -> Any:
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506 - strict subclasses of safe loaders
    except YamlRefused:
        raise
    except yaml.MarkedYAMLError as error:
        # Its own words may quote the text, and the text may hold a secret.
        raise NotYaml(
            f"{_place(error.problem_mark)}: this is not valid YAML; text with special "
            "characters belongs in quotes."
        ) from None
    except (yaml.YAMLError, ValueError, OverflowError):
        raise NotYaml("This is not valid YAML.") from None


def _place(mark: Any) -> str:
    return "Somewhere" if mark is None else f"Line {mark.line + 1}, column {mark.column + 1}"
