"""What providers refuse of a request, in their own words, and what is asked instead."""

from __future__ import annotations

import json
from typing import Any

from agent_runtime.adaptation import left_out_note
from agent_runtime.builtin_tools import submit_report
from agent_runtime.messages import Tool
from agent_runtime.prompt import NUDGE_EMPTY
from tests.real_models.answers import ACCOUNT, APPENDED, FAILED
from tests.real_models.exact import (
    JSON,
    SAYS_DONE,
    Case,
    calls,
    delta,
    end,
    plain,
    refusal,
    reply,
    words,
)

CALLS = reply(calls('{"k": "v"}'))


def refused(message: str, http: int = 400, **other: Any) -> Any:
    """A refusal in OpenAI's form."""
    error = {"message": message, "type": "invalid_request_error", "param": None, **other}
    return refusal(http, json.dumps({"error": error}).encode())


def tool(schema: dict[str, Any], *, name: str = "fake__append", description: str = "Add.") -> Tool:
    return Tool(
        name=name, description=description, schema=schema, server="fake", tool=name[6:] or name
    )


def sends(schema: dict[str, Any], parameters: dict[str, Any]) -> Case:
    """A tool with this schema goes out with these parameters."""
    return Case(
        answers=[SAYS_DONE],
        requests=1,
        tools=[tool(schema)],
        body={"0.tools.1.function.parameters": parameters},
    )


EMPTY = {"type": "object", "properties": {}}
TEXT = {"type": "string"}

# Schemas go out in the form that every provider takes.
SCHEMAS = {
    "an object without properties": sends({"type": "object"}, EMPTY),
    "the specification's tool without arguments": sends(
        {"type": "object", "additionalProperties": False}, {**EMPTY, "additionalProperties": False}
    ),
    "no schema at all": sends({}, EMPTY),
    "an array without items": sends(
        {"type": "object", "properties": {"a": {"type": "array"}}},
        {"type": "object", "properties": {"a": {"type": "array", "items": {}}}},
    ),
    "arrays and objects below": sends(
        {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "object"}}}},
        {"type": "object", "properties": {"a": {"type": "array", "items": EMPTY}}},
    ),
    "a type with null": sends(
        {"type": "object", "properties": {"a": {"type": ["array", "null"]}}},
        {"type": "object", "properties": {"a": {"type": ["array", "null"], "items": {}}}},
    ),
    "a tuple": sends(
        {"type": "object", "properties": {"a": {"type": "array", "items": [TEXT, True]}}},
        {"type": "object", "properties": {"a": {"type": "array", "items": {"anyOf": [TEXT, {}]}}}},
    ),
    "properties that are true": sends(
        {"type": "object", "properties": {"a": True}},
        {"type": "object", "properties": {"a": {}}},
    ),
    "keys of the document at the top": sends(
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "x", **EMPTY}, EMPTY
    ),
    "anyOf at the top": sends(
        {
            "anyOf": [
                {"type": "object", "properties": {"a": TEXT, "c": TEXT}, "required": ["a", "c"]},
                {"type": "object", "properties": {"b": TEXT, "c": TEXT}, "required": ["b", "c"]},
            ]
        },
        {"type": "object", "properties": {"a": TEXT, "c": TEXT, "b": TEXT}, "required": ["c"]},
    ),
    "allOf and a reference at the top": sends(
        {
            "$defs": {"A": {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}},
            "allOf": [{"$ref": "#/$defs/A"}, {"properties": {"b": TEXT}}],
        },
        {
            "$defs": {"A": {"type": "object", "properties": {"a": TEXT}, "required": ["a"]}},
            "type": "object",
            "properties": {"a": TEXT, "b": TEXT},
            "required": ["a"],
        },
    ),
    "not, if and enum at the top": sends(
        {**EMPTY, "not": {"required": ["a"]}, "if": {}, "then": {}, "enum": [{}]}, EMPTY
    ),
    "a required property that is not there": sends(
        {"type": "object", "properties": {"a": TEXT}, "required": ["a", "b", 5]},
        {"type": "object", "properties": {"a": TEXT, "b": {}}, "required": ["a", "b"]},
    ),
    "flags of draft 4": sends(
        {
            "type": "object",
            "properties": {"n": {"type": "number", "minimum": 1, "exclusiveMinimum": True}},
        },
        {"type": "object", "properties": {"n": {"type": "number", "exclusiveMinimum": 1}}},
    ),
    "properties of what is no object": sends(
        {"type": "object", "properties": {"a": {**TEXT, "properties": {}, "items": {}}}},
        {"type": "object", "properties": {"a": TEXT}},
    ),
    "a property named as a keyword": sends(
        {"type": "object", "properties": {"properties": TEXT, "$schema": TEXT, "items": TEXT}},
        {
            "type": "object",
            "properties": {"properties": TEXT, "_schema_631b0b": TEXT, "items": TEXT},
        },
    ),
    "keys that Anthropic refuses lead back to the tool's own": Case(
        answers=[
            reply(calls('{"filter_id__665d00": "7", "plain": "x"}')),
            SAYS_DONE,
        ],
        requests=2,
        ledger=[("append", {"filter[id]": "7", "plain": "x"})],
        tools=[
            tool(
                {
                    "type": "object",
                    "properties": {"filter[id]": TEXT, "plain": TEXT},
                    "required": ["filter[id]"],
                }
            )
        ],
        body={
            "0.tools.1.function.parameters": {
                "type": "object",
                "properties": {"filter_id__665d00": TEXT, "plain": TEXT},
                "required": ["filter_id__665d00"],
            },
            "0.tools.1.function.description": "Add.\n\nNames of parameters: filter_id__665d00 is "
            "filter[id].",
        },
    ),
    "a tool without a description": Case(
        answers=[SAYS_DONE],
        requests=1,
        tools=[tool(EMPTY, description=" ")],
        body={"0.tools.1.function.description": "fake__append"},
    ),
}

NESTED = {
    "type": "object",
    "properties": {
        "pattern": {"type": "string", "pattern": "^a"},
        "c": {"const": 1},
        "r": {"$ref": "#/$defs/R"},
        "o": {"oneOf": [{"type": "null"}, {"type": "string", "minLength": 1}]},
    },
    "$defs": {"R": {"type": "object", "properties": {"r": {"$ref": "#/$defs/R"}}}},
    "additionalProperties": False,
}


def teaches(message: str, body: dict[str, Any], absent: tuple[str, ...] = (), **error: Any) -> Case:
    """One refusal in these words, and the second request is right and taken."""
    return Case(
        answers=[refused(message, **error), SAYS_DONE],
        requests=2,
        tools=[tool(NESTED), tool(EMPTY, name="fake__read")],
        body=body,
        absent=absent,
    )


TOOL_1 = "1.tools.1.function.parameters"
NOTE_APPEND = left_out_note(frozenset(("fake__append",)))
NOTE_READ = left_out_note(frozenset(("fake__read",)))

# A refusal that names a keyword, a tool or a length of a description is answered by leaving it out.
REFUSED_TOOLS = {
    "Gemini: unknown names": teaches(
        'Invalid JSON payload received. Unknown name "const" at '
        "'tools[0].function_declarations[1].parameters.properties[1].value': Cannot find field.\n"
        'Invalid JSON payload received. Unknown name "additionalProperties" at '
        "'tools[0].function_declarations[1].parameters': Cannot find field.",
        {f"{TOOL_1}.properties.c": {"enum": [1]}, f"{TOOL_1}.properties.pattern.pattern": "^a"},
        (f"{TOOL_1}.additionalProperties",),
        code=400,
        status="INVALID_ARGUMENT",
    ),
    "Gemini: not to be set": teaches(
        "GenerateContentRequest.tools[0].function_declarations[1].parameters.additionalProperties: "
        "should not be set for TYPE_OBJECT",
        {f"{TOOL_1}.properties.c": {"const": 1}},
        (f"{TOOL_1}.additionalProperties",),
    ),
    "Gemini: references": teaches(
        "Unknown name \"$ref\" at 'tools[0].function_declarations[1].parameters': No such field",
        {
            f"{TOOL_1}.properties.r": {"type": "object", "properties": {"r": {}}},
        },
        (f"{TOOL_1}.$defs",),
    ),
    "OpenAI: not permitted": teaches(
        "Invalid schema for function 'fake__append': In context=('properties', 'o'), 'oneOf' is "
        "not permitted.",
        {f"{TOOL_1}.properties.o": {"type": "string", "minLength": 1}},
        code="invalid_function_parameters",
    ),
    "Cerebras: unsupported fields": teaches(
        "Unsupported JSON schema fields: {'minLength', 'items'}",
        {f"{TOOL_1}.properties.o.oneOf.1": TEXT},
        (f"{TOOL_1}.properties.o.oneOf.1.minLength",),
    ),
    "Fireworks: a keyword and not a property of its name": teaches(
        "JSON Schema not supported: could not understand the instance {'pattern': '^a'}",
        {f"{TOOL_1}.properties.pattern": TEXT},
    ),
    "a property's name is no keyword": Case(
        answers=[
            refused("Invalid schema for function 'fake__append': properties.pattern is too odd."),
            SAYS_DONE,
        ],
        requests=2,
        tools=[tool(NESTED), tool(EMPTY, name="fake__read")],
        body={
            "1.tools.1.function.name": "fake__read",
            "1.tools.2.function.name": "read_result",
            "1.messages.-1": {"role": "user", "content": NOTE_APPEND},
        },
        absent=["1.tools.3"],
    ),
    "OpenAI: a tool by its name": Case(
        answers=[
            refused(
                "Invalid schema for function 'fake__append': In context=(), object schema missing "
                "properties.",
                param="tools[1].function.parameters",
            ),
            SAYS_DONE,
        ],
        requests=2,
        tools=[tool(EMPTY), tool(EMPTY, name="fake__read")],
        body={
            "1.tools.1.function.name": "fake__read",
            "1.tools.2.function.name": "read_result",
            "1.messages.-1": {"role": "user", "content": NOTE_APPEND},
        },
        absent=["1.tools.3"],
    ),
    "Anthropic: a tool by its place": Case(
        answers=[
            refusal(
                400,
                b'{"type":"error","error":{"type":"invalid_request_error","message":"tools.1.custom'
                b".input_schema: JSON schema is invalid. It must match JSON Schema draft "
                b'2020-12."}}',
            ),
            SAYS_DONE,
        ],
        requests=2,
        tools=[tool(EMPTY), tool(EMPTY, name="fake__read")],
        body={"1.tools.1.function.name": "fake__read", "1.tools.2.function.name": "read_result"},
        absent=["1.tools.3"],
    ),
    "Gemini: a tool by its place, in a list": Case(
        answers=[
            refusal(
                400,
                b'[{"error":{"code":400,"message":"* GenerateContentRequest.tools[0].'
                b"function_declarations[2].parameters.properties[x].items: missing field."
                b'","status":"INVALID_ARGUMENT"}}]',
            ),
            SAYS_DONE,
        ],
        requests=2,
        tools=[tool(EMPTY), tool(EMPTY, name="fake__read")],
        body={
            "1.tools.1.function.name": "fake__append",
            "1.tools.2.function.name": "read_result",
            "1.messages.-1": {"role": "user", "content": NOTE_READ},
        },
        absent=["1.tools.3"],
    ),
    "Mistral: a tool by its place, in a path": Case(
        answers=[
            refusal(
                422,
                b'{"object":"error","message":{"detail":[{"type":"value_error","loc":["body",'
                b'"tools",2,"function","parameters"],"msg":"Value error","input":{"fake__append":'
                b'1}}]},"type":"invalid_request_error"}',
            ),
            SAYS_DONE,
        ],
        requests=2,
        tools=[tool(EMPTY), tool(EMPTY, name="fake__read")],
        body={"1.tools.1.function.name": "fake__append", "1.tools.2.function.name": "read_result"},
        absent=["1.tools.3"],
    ),
    "a keyword first, and then the tool": Case(
        answers=[
            refused("Invalid schema for function 'fake__append': 'oneOf' is not permitted."),
            refused("Invalid schema for function 'fake__append': 'oneOf' is not permitted."),
            SAYS_DONE,
        ],
        requests=3,
        tools=[tool(NESTED), tool(EMPTY, name="fake__read")],
        body={
            "1.tools.1.function.name": "fake__append",
            "2.tools.1.function.name": "fake__read",
            "2.tools.2.function.name": "read_result",
            "2.messages.-1.content": NOTE_APPEND,
        },
    ),
    "the tool stays left out and is told of once": Case(
        answers=[
            refused("Invalid schema for function 'fake__append': no."),
            reply(
                delta(
                    '{"tool_calls":[{"index":0,"id":"c1","function":{"name":"fake__read",'
                    '"arguments":"{}"}}]}'
                )
                + end("tool_calls")
            ),
            SAYS_DONE,
        ],
        requests=3,
        ledger=[("read", {})],
        tools=[tool(EMPTY), tool(EMPTY, name="fake__read")],
        body={
            "2.tools.1.function.name": "fake__read",
            "2.tools.2.function.name": "read_result",
            "2.messages.2.content": NOTE_APPEND,
            "2.messages.-1.role": "tool",
        },
        absent=["2.tools.3", "2.messages.5"],
    ),
    "a built-in tool is never left out": Case(
        answers=[refused("Invalid schema for function 'submit_report': no.")],
        requests=1,
        tools=[submit_report],
        error="The model provider refused the request (HTTP 400): Invalid schema for function "
        "'submit_report': no.",
        **FAILED,
    ),
    "a description that is too long": Case(
        answers=[
            refused(
                "Invalid 'tools[1].function.description': string too long. Expected a string with "
                "maximum length 1024, but got a string with length 3000 instead.",
                param="tools[1].function.description",
                code="string_above_max_length",
            ),
            SAYS_DONE,
        ],
        requests=2,
        tools=[tool(EMPTY, description="x" * 3_000)],
        body={
            "0.tools.1.function.description": "x" * 3_000,
            "1.tools.1.function.description": "x" * 1_023 + "…",
        },
    ),
    "too many tools": Case(
        answers=[
            refused(
                "Invalid 'tools': array too long. Expected an array with maximum length 128, but "
                "got an array with length 150 instead.",
                param="tools",
                code="array_above_max_length",
            )
        ],
        requests=1,
        error="The model provider refused the request (HTTP 400): Invalid 'tools': array too long. "
        "Expected an array with maximum length 128, but got an array with length 150 instead. The "
        "provider does not take so many tools at once: connect fewer servers to the project, or "
        "disable some of their tools for its navigator.",
        **FAILED,
    ),
    "no tools at all": Case(
        answers=[refused("registry.ollama.ai/library/gemma:2b does not support tools")],
        requests=1,
        error="The model provider refused the request (HTTP 400): registry.ollama.ai/library/"
        "gemma:2b does not support tools. The model, or its server as set up, takes no tool calls: "
        "docs/models.md says what to set.",
        **FAILED,
    ),
    "a refusal that teaches nothing": Case(
        answers=[refused("Nope.")],
        requests=1,
        error="The model provider refused the request (HTTP 400): Nope.",
        **FAILED,
    ),
    "a refusal that never ends": Case(
        answers=[refused(f"Invalid schema for function 'fake__t{n}': no.") for n in range(20)],
        requests=9,
        tools=[tool(EMPTY, name=f"fake__t{n}") for n in range(20)],
        error="The model provider refused the request (HTTP 400): Invalid schema for function "
        "'fake__t8': no.",
        **FAILED,
    ),
}


def answer_with(message: str) -> Any:
    """A completion that calls fake__append, with more keys in its message."""
    call = (
        '"tool_calls":[{"id":"call_1","type":"function","function":{"name":"fake__append",'
        '"arguments":"{\\"k\\": \\"v\\"}"}}]'
    )
    return reply(
        plain(f'{{"role":"assistant","content":null,{call},{message}}}', "tool_calls"), kind=JSON
    )


# What is echoed has a form that its maker takes back; what is refused is left out for the run.
ECHOES = {
    "an empty message": Case(
        answers=[reply(words("")), SAYS_DONE],
        requests=2,
        body={
            "1.messages.-2": {"role": "assistant", "content": "(no answer)"},
            "1.messages.-1.content": NUDGE_EMPTY,
        },
    ),
    "blank content beside a call": Case(
        answers=[reply(delta('{"content":"\\n\\n"}') + calls('{"k": "v"}')), SAYS_DONE],
        requests=2,
        ledger=APPENDED,
        body={"1.messages.-2.content": None},
    ),
    "nulls of a gateway": Case(
        answers=[
            answer_with(
                '"annotations":null,"audio":null,"function_call":null,"refusal":null,'
                '"provider_specific_fields":null,"reasoning_details":[]'
            ),
            SAYS_DONE,
        ],
        requests=2,
        ledger=APPENDED,
        body={
            "1.messages.-2": {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {"name": "fake__append", "arguments": '{"k": "v"}'},
                    }
                ],
            }
        },
    ),
    "reasoning and signatures go back unchanged": Case(
        answers=[
            answer_with(
                '"reasoning_content":"hm","reasoning_details":[{"type":"reasoning.encrypted",'
                '"data":"AA==","id":"r1","index":0}],"extra_content":{"google":'
                '{"thought_signature":"sig"}},"x":{"deep":null}'
            ),
            SAYS_DONE,
        ],
        requests=2,
        ledger=APPENDED,
        body={
            "1.messages.-2.reasoning_content": "hm",
            "1.messages.-2.reasoning_details": [
                {"type": "reasoning.encrypted", "data": "AA==", "id": "r1", "index": 0}
            ],
            "1.messages.-2.extra_content": {"google": {"thought_signature": "sig"}},
            "1.messages.-2.x": {"deep": None},
        },
    ),
    "Groq: reasoning": Case(
        answers=[
            answer_with('"reasoning":"hm"'),
            refused(
                "'messages.2' : for 'role:assistant' the following must be satisfied[('messages.2' "
                ": property 'reasoning' is unsupported, did you mean 'role'?)]"
            ),
            CALLS,
            SAYS_DONE,
        ],
        requests=4,
        ledger=[*APPENDED, *APPENDED],
        body={"1.messages.2.reasoning": "hm"},
        absent=["2.messages.2.reasoning", "3.messages.2.reasoning"],
    ),
    "Mistral: extra inputs": Case(
        answers=[
            answer_with('"reasoning_content":"hm","provider_specific_fields":{"a":1},"kept":1'),
            refusal(
                422,
                b'{"object":"error","message":{"detail":[{"type":"extra_forbidden","loc":["body",'
                b'"messages",2,"assistant","reasoning_content"],"msg":"Extra inputs are not '
                b'permitted","input":"hm"},{"type":"extra_forbidden","loc":["body","messages",2,'
                b'"assistant","provider_specific_fields"],"msg":"Extra inputs are not permitted",'
                b'"input":{"kept":1}}]},"type":"invalid_request_error","param":null,"code":null}',
            ),
            SAYS_DONE,
        ],
        requests=3,
        ledger=APPENDED,
        body={"2.messages.2.kept": 1},
        absent=["2.messages.2.reasoning_content", "2.messages.2.provider_specific_fields"],
    ),
    "a field of a call": Case(
        answers=[
            reply(
                delta(
                    '{"tool_calls":[{"index":0,"id":"c1","extra_content":{"s":1},"function":'
                    '{"name":"fake__append","arguments":"{}"}}]}'
                )
                + end("tool_calls")
            ),
            refused("Unknown parameter: 'messages[2].tool_calls[0].extra_content'."),
            SAYS_DONE,
        ],
        requests=3,
        ledger=[("append", {})],
        absent=["2.messages.2.tool_calls.0.extra_content"],
    ),
    "DeepSeek: what must be passed back stays": Case(
        answers=[
            answer_with('"reasoning_content":"hm"'),
            refused("The `reasoning_content` in the thinking mode must be passed back to the API."),
        ],
        requests=2,
        ledger=APPENDED,
        body={"1.messages.2.reasoning_content": "hm"},
        error="The model provider refused the request (HTTP 400): The `reasoning_content` in the "
        "thinking mode must be passed back to the API.",
        **FAILED
        | {
            "report": f"{ACCOUNT}the task failed: The model provider refused the request (HTTP "
            "400): The `reasoning_content` in the thinking mode must be passed back to the API. "
            "Tool calls that succeeded: fake__append."
        },
    ),
    "Anthropic: a signature of another provider": Case(
        answers=[
            answer_with('"reasoning_details":[{"type":"reasoning.text","signature":"x"}]'),
            refusal(
                400,
                b'{"error":{"message":"Provider returned error","code":400,"metadata":{"raw":"'
                b'{\\"message\\":\\"messages.1.content.0: Invalid `signature` in `thinking` block'
                b'\\"}","provider_name":"Amazon Bedrock"}}}',
            ),
            SAYS_DONE,
        ],
        requests=3,
        ledger=APPENDED,
        absent=["2.messages.2.reasoning_details"],
    ),
    "Ollama: null content": Case(
        answers=[CALLS, refused("invalid message content type: <nil>"), SAYS_DONE],
        requests=3,
        ledger=APPENDED,
        body={"1.messages.2.content": None, "2.messages.2.content": ""},
    ),
    "content in parts": Case(
        answers=[
            reply(
                delta(
                    '{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"a"}]}'
                )
                + calls('{"k": "v"}')
            ),
            refused("messages.2.content: Input should be a valid string", http=422),
            SAYS_DONE,
        ],
        requests=3,
        ledger=APPENDED,
        body={
            "1.messages.2.content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "a"},
            ],
            "2.messages.2.content": "a",
        },
    ),
    "a template that wants roles to alternate": Case(
        answers=[
            refused("Invalid schema for function 'fake__append': no."),
            refused(
                "While executing CallExpression at line 47: Jinja Exception: After the optional "
                "system message, conversation roles must alternate user and assistant roles except "
                "for tool calls and results.",
                http=500,
                code=500,
            ),
            SAYS_DONE,
        ],
        requests=3,
        tools=[tool(EMPTY), tool(EMPTY, name="fake__read")],
        body={"2.messages.-1.content": f"Do it.\n\n{NOTE_APPEND}"},
        absent=["2.messages.2"],
    ),
    "Mistral: a user after a tool": Case(
        answers=[
            CALLS,
            refused("Invalid schema for function 'fake__read': no."),
            refusal(
                400,
                b'{"object":"error","message":"Unexpected role \'user\' after role \'tool\'","type"'
                b':"invalid_request_message_order","param":null,"code":"3230"}',
            ),
            SAYS_DONE,
        ],
        requests=4,
        ledger=APPENDED,
        tools=[tool({"type": "object"}), tool(EMPTY, name="fake__read")],
        body={
            "3.messages.3.role": "tool",
            "3.messages.4": {"role": "assistant", "content": "(The tool's result was read.)"},
            "3.messages.5": {"role": "user", "content": NOTE_READ},
        },
    ),
    "a template without a system role": Case(
        answers=[
            refusal(
                400,
                b'{"object":"error","message":"System role not supported","type":"BadRequestError",'
                b'"param":null,"code":400}',
            ),
            SAYS_DONE,
        ],
        requests=2,
        body={"1.messages.0.role": "user"},
        absent=["1.messages.1"],
        sees=("You are an autonomous agent", "\\n\\nDo it."),
    ),
    "Gemini: the name of a result's tool": Case(
        answers=[
            CALLS,
            refused(
                "* GenerateContentRequest.contents[2].parts[0].function_response.name: Name cannot "
                "be empty."
            ),
            SAYS_DONE,
        ],
        requests=3,
        ledger=APPENDED,
        body={"2.messages.3.name": "fake__append"},
    ),
    "Mistral: ids of nine letters": Case(
        answers=[
            CALLS,
            refusal(
                400,
                b'{"object":"error","message":"Tool call id was call_1 but must be a-z, A-Z, 0-9, '
                b'with a length of 9.","type":"invalid_function_call","code":"3280"}',
            ),
            SAYS_DONE,
        ],
        requests=3,
        ledger=APPENDED,
        body={
            "2.messages.2.tool_calls.0.id": "rKSxKBV4V",
            "2.messages.3.tool_call_id": "rKSxKBV4V",
        },
    ),
}

# Each id is one of the transcript's own, in the form that every provider takes.
IDS = {
    "ids that begin anew in each turn": Case(
        answers=[reply(calls('{"k": "v"}', call_id="call_0"))] * 3 + [SAYS_DONE],
        requests=4,
        ledger=APPENDED * 3,
        body={
            "3.messages.2.tool_calls.0.id": "call_0",
            "3.messages.3.tool_call_id": "call_0",
            "3.messages.4.tool_calls.0.id": "5Vtf80XTV",
            "3.messages.5.tool_call_id": "5Vtf80XTV",
            "3.messages.6.tool_calls.0.id": "81btkJtgP",
            "3.messages.7.tool_call_id": "81btkJtgP",
        },
    ),
    "an id that is too long": Case(
        answers=[reply(calls('{"k": "v"}', call_id="call_" + "x" * 41)), SAYS_DONE],
        requests=2,
        ledger=APPENDED,
        body={
            "1.messages.2.tool_calls.0.id": "XKwQ57UPj",
            "1.messages.3.tool_call_id": "XKwQ57UPj",
        },
    ),
    "an id with odd characters": Case(
        answers=[reply(calls('{"k": "v"}', call_id="call|fc/1")), SAYS_DONE],
        requests=2,
        ledger=APPENDED,
        body={
            "1.messages.2.tool_calls.0.id": "XKwQ57UPj",
            "1.messages.3.tool_call_id": "XKwQ57UPj",
        },
    ),
    "an id of Kimi's": Case(
        answers=[reply(calls('{"k": "v"}', call_id="functions.fake__append:0")), SAYS_DONE],
        requests=2,
        ledger=APPENDED,
        body={
            "1.messages.2.tool_calls.0.id": "functions.fake__append:0",
            "1.messages.3.tool_call_id": "functions.fake__append:0",
        },
    ),
    "an id that carries a signature": Case(
        answers=[
            reply(calls('{"k": "v"}', call_id="call_a__thought__" + "Ab+/=" * 100)),
            SAYS_DONE,
        ],
        requests=2,
        ledger=APPENDED,
        body={
            "1.messages.2.tool_calls.0.id": "call_a__thought__" + "Ab+/=" * 100,
            "1.messages.3.tool_call_id": "call_a__thought__" + "Ab+/=" * 100,
        },
    ),
}

PARAMETERS = {
    "stream_options": Case(
        answers=[
            refusal(
                422,
                b'{"detail":[{"type":"extra_forbidden","loc":["body","stream_options"],"msg":'
                b'"Extra inputs are not permitted","input":{"include_usage":true}}]}',
            ),
            CALLS,
            SAYS_DONE,
        ],
        requests=3,
        ledger=APPENDED,
        body={"0.stream_options": {"include_usage": True}, "1.stream": True},
        absent=["1.stream_options", "2.stream_options"],
    ),
    "streaming": Case(
        answers=[
            refused("Unsupported value: 'stream' does not support true with this model."),
            reply(plain('{"role":"assistant","content":"Done."}'), kind=JSON),
        ],
        requests=2,
        body={"1.stream": False},
        absent=["1.stream_options"],
    ),
}

TOO_LONG = "This model's maximum context length is 200000 tokens. However, you requested 200100."
FULL = "the context does not fit the model's window any more: The request does not fit the context "


def full(code: str, detail: str, done: str) -> dict[str, Any]:
    return {
        "status": "INCOMPLETE",
        "reason": "context_full",
        "report": f"{ACCOUNT}{FULL}window of the model test/model ({code}): {detail}. {done}",
        "final": False,
    }


# A transcript that does not fit ends the run with an account of what was done.
LENGTH = {
    "too long after three calls": Case(
        answers=[
            *[reply(calls('{"k": "v"}', call_id=f"c{n}")) for n in range(3)],
            refused(TOO_LONG, code="context_length_exceeded"),
        ],
        requests=4,
        ledger=APPENDED * 3,
        **full("HTTP 400", TOO_LONG[:-1], "Tool calls that succeeded: fake__append (3)."),
    ),
    "too long in a stream": Case(
        answers=[
            CALLS,
            reply(
                b'data: {"error":{"message":"Trying to keep the first 9000 tokens when context the '
                b'overflows."}}\n\n'
            ),
        ],
        requests=2,
        ledger=APPENDED,
        **full(
            "code 502",
            "Trying to keep the first 9000 tokens when context the overflows",
            "Tool calls that succeeded: fake__append.",
        ),
    ),
    "too long at once": Case(
        answers=[refused("prompt is too long: 213462 tokens > 200000 maximum")],
        requests=1,
        **full(
            "HTTP 400",
            "prompt is too long: 213462 tokens > 200000 maximum",
            "Nothing had been done.",
        ),
    ),
    "too long, by llama.cpp's status": Case(
        answers=[
            refusal(
                500,
                b'{"error":{"code":500,"message":"the request exceeds the available '
                b'context size","type":"server_error"}}',
            )
        ],
        requests=1,
        **full(
            "HTTP 500",
            "the request exceeds the available context size",
            "Nothing had been done.",
        ),
    ),
    "too many bytes": Case(
        answers=[refusal(413, b'{"error":{"message":"Request exceeds the maximum size"}}')],
        requests=1,
        error="The request is too large for the model provider (HTTP 413): Request exceeds the "
        "maximum size.",
        **FAILED,
    ),
}

CASES = {
    **SCHEMAS,
    **REFUSED_TOOLS,
    **ECHOES,
    **IDS,
    **PARAMETERS,
    **LENGTH,
}
