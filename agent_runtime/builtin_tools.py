"""The tools that the runtime itself answers."""

from __future__ import annotations

from collections.abc import Mapping

from agent_runtime.messages import Tool

LOAD_SKILL = "load_skill"
READ_SKILL_FILE = "read_skill_file"
READ_RESULT = "read_result"
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
read_result = Tool(
    name=READ_RESULT,
    description=(
        "Read on in a tool result of this task that was cut or is no longer shown. Returns a page "
        "of 20,000 characters from `offset` on. With `find`, returns five places of that text with "
        "their offsets; without a handle it searches all results of the task."
    ),
    schema={
        "type": "object",
        "properties": {
            "handle": {
                "type": "string",
                "description": "The result's handle, as in r1-12-0.",
                "maxLength": 40,
            },
            "offset": {
                "type": "integer",
                "description": "Characters to skip; 0 unless given.",
                "minimum": 0,
            },
            "find": {
                "type": "string",
                "description": "A plain text to look for, in any case of letters.",
                "minLength": 1,
                "maxLength": 1000,
            },
        },
        "additionalProperties": False,
    },
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
