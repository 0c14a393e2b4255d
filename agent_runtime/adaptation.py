"""What a model's provider does not take, as a value that a run keeps.

Requests are made from the transcript, which never changes; an adaptation says what to leave out
or to write otherwise for the provider at hand. The system prompt's words are never touched.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any, Self

SHORTEST_DESCRIPTION = 100  # characters; a limit that a refusal names is not believed below it


class Shape(StrEnum):
    """How messages are written for a provider that does not take them as they are."""

    TEXT_CONTENT = "text_content"  # content is a text: never null, never a list of parts
    ALTERNATE = "alternate"  # no two user messages in a row, none right after a tool's result
    SYSTEM_AS_USER = "system_as_user"  # the system prompt at the head of the first user message
    TOOL_NAMES = "tool_names"  # a tool's result names its tool
    SHORT_IDS = "short_ids"  # ids of tool calls have nine letters and digits (Mistral)


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """Each part is empty where nothing is to be adapted.

    `parameters` of the request are left out, `fields` of the assistant's messages and of the
    tool calls in them, `keywords` of the tools' schemas, and whole `tools` by their offered
    names. `longest_description` is in characters, for each tool.
    """

    parameters: frozenset[str] = frozenset()
    fields: frozenset[str] = frozenset()
    keywords: frozenset[str] = frozenset()
    tools: frozenset[str] = frozenset()
    shapes: frozenset[Shape] = frozenset()
    longest_description: int | None = None

    def __or__(self, other: Adaptation) -> Adaptation:
        """Return what either of two adaptations says."""
        limits = [each for each in (self.longest_description, other.longest_description) if each]
        return Adaptation(
            parameters=self.parameters | other.parameters,
            fields=self.fields | other.fields,
            keywords=self.keywords | other.keywords,
            tools=self.tools | other.tools,
            shapes=self.shapes | other.shapes,
            longest_description=min(limits, default=None),
        )

    def without_parameters(self) -> Adaptation:
        """Return all of it but the parameters."""
        return replace(self, parameters=frozenset())

    def __bool__(self) -> bool:
        return self != NOTHING

    def as_json(self) -> dict[str, Any]:
        """Return what is stored; parts that say nothing are left out."""
        stored: dict[str, Any] = {}
        for each in fields(self):
            value = getattr(self, each.name)
            if value:
                stored[each.name] = sorted(value) if isinstance(value, frozenset) else value
        return stored

    @classmethod
    def of_json(cls, stored: Mapping[str, Any]) -> Self:
        """Return what was stored. Unknown parts and shapes, of a newer release, are left out."""
        names = ("parameters", "fields", "keywords", "tools")
        known = frozenset(Shape)
        return cls(
            **{name: frozenset(stored.get(name, ())) for name in names},
            shapes=frozenset(Shape(each) for each in stored.get("shapes", ()) if each in known),
            longest_description=stored.get("longest_description"),
        )


NOTHING = Adaptation()


def left_out_note(names: frozenset[str]) -> str:
    """Return what the model is told of tools that its provider does not take."""
    return (
        "These tools are not offered any more, because the model's provider refused their "
        f"description: {', '.join(sorted(names))}. Go on without them, and say so in the report "
        "where the task needed them."
    )
