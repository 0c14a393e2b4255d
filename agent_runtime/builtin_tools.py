"""The tools that the runtime itself answers."""

from __future__ import annotations

from collections.abc import Mapping

from agent_runtime.messages import Tool

LOAD_SKILL = "load_skill"
READ_SKILL_FILE = "read_skill_file"
SUBMIT_REPORT = "submit_report"


def _object(**properties: Mapping[str, object]) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


_ID = {"type": "string", "description": "The skill's id, from the list of skills."}

load_skill = Tool(
    name=LOAD_SKILL,
    description="Load a skill: returns its instructions, which you then follow.",
    schema=_object(id=_ID),
    repeatable=True,
)
read_skill_file = Tool(
    name=READ_SKILL_FILE,
    description="Read a text file of a skill that you loaded.",
    schema=_object(
        id=_ID,
        path={"type": "string", "description": "The file's path inside the skill's folder."},
    ),
    repeatable=True,
)
submit_report = Tool(
    name=SUBMIT_REPORT,
    description=(
        "End the task with its final report. Call it alone, once, when you have done all that "
        "you can: what was done, what was not, and why."
    ),
    schema=_object(
        outcome={
            "type": "string",
            "enum": ["completed", "incomplete"],
            "description": "incomplete when something that was asked for could not be done.",
        },
        report={"type": "string", "minLength": 1, "description": "Self-contained text."},
    ),
    repeatable=True,
)
