"""What servers answer: ends of answers, calls cut off or written as text, errors, odd bytes."""

from __future__ import annotations

import gzip
import json
from typing import Any

from agent_runtime.prompt import CUT_CALL, GO_ON, NUDGE_CALL, NUDGE_EMPTY
from tests.real_models.exact import (
    DONE,
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
from tests.unit.llm.conftest import KEY

HALF = "The first half of the rep"
NOTE = "\n\nNote of the engine: "
ACCOUNT = "The agent wrote no report; this account is the engine's. It stopped because "
APPENDED = (("append", {"k": "v"}),)
FAILED: dict[str, Any] = {"status": "FAILED", "reason": "error", "report": None, "final": False}


def incomplete(report: str, **other: Any) -> dict[str, Any]:
    return {
        "status": "INCOMPLETE",
        "reason": "agent_incomplete",
        "report": report,
        "final": False,
        **other,
    }


# A call that a limit, a filter or a fault cut off is not run; the truth is told to the model.
CUT_CALLS = {
    f"the arguments are cut off before they begin, {word}": Case(
        answers=[reply(calls("", word=word)), SAYS_DONE],
        requests=2,
        body={"1.messages.-1.content": CUT_CALL, "1.messages.-2.content": None},
    )
    for word in ("length", "max_tokens", "MAX_TOKENS", "model_length", "repetition_truncation")
} | {
    "the arguments are cut off in the middle": Case(
        answers=[reply(calls('{"k": "v', word="length")), SAYS_DONE],
        requests=2,
        body={"1.messages.-1.content": CUT_CALL},
    ),
    "a whole call before the cut is not run either": Case(
        answers=[reply(calls('{"k": "v"}', word="length")), SAYS_DONE],
        requests=2,
        body={"1.messages.-1.content": CUT_CALL},
    ),
    "the cut is between two calls": Case(
        answers=[reply(calls('{"k": "v"}', '{"k": ', word="length")), SAYS_DONE],
        requests=2,
        body={"1.messages.-1.content": CUT_CALL, "1.messages.-2.content": CUT_CALL},
    ),
    "a filter ends the answer at a call": Case(
        answers=[reply(calls("", word="content_filter"))],
        requests=1,
        **incomplete(
            f"{ACCOUNT}the agent could not finish: the model's provider ended the answer by a "
            f"filter or its policy (content_filter). No tool call succeeded. Tool calls that "
            f"failed: fake__append.{NOTE}the model's provider ended the answer by a filter or its "
            "policy (content_filter)."
        ),
    ),
    "a call with a fault for its end is asked for again": Case(
        answers=[reply(calls('{"k": "v"}', word="error")), SAYS_DONE], requests=2
    ),
    "a call that is cut off again and again ends the run": Case(
        answers=[*[reply(calls("", word="length"))] * 5, SAYS_DONE],
        requests=6,
        status="INCOMPLETE",
        reason="loop_detected",
        final=True,
    ),
    "eight calls in one cut answer are one mistake": Case(
        answers=[reply(calls(*[""] * 8, word="length")), SAYS_DONE],
        requests=2,
        body={"1.messages.-1.content": CUT_CALL},
    ),
    "an unknown reason: a whole call runs": Case(
        answers=[reply(calls('{"k": "v"}', word="banana")), SAYS_DONE],
        requests=2,
        ledger=APPENDED,
    ),
    "an unknown reason: a call without arguments does not": Case(
        answers=[reply(calls("", word="banana")), SAYS_DONE],
        requests=2,
        body={"1.messages.-1.content": CUT_CALL},
    ),
    "an unknown reason: half a call does not": Case(
        answers=[reply(calls('{"k": ', word="banana")), SAYS_DONE],
        requests=2,
        body={"1.messages.-1.content": CUT_CALL},
    ),
    "a call without arguments runs after a good end": Case(
        answers=[reply(calls("", word="tool_calls")), SAYS_DONE],
        requests=2,
        ledger=(("append", {}),),
    ),
    "the word stop ends a call in good order, too": Case(
        answers=[reply(calls('{"k": "v"}', word="stop")), SAYS_DONE],
        requests=2,
        ledger=APPENDED,
    ),
}

GOOD = [
    "stop",
    "tool_calls",
    "function_call",
    "end_turn",
    "eos",
    "eos_token",
    "stop_sequence",
    "tool_use",
    "complete",
    "STOP",
    "COMPLETE",
    "FINISH_REASON_STOP",
    "end-turn",
    "eosFound",
    "null",
]
CUT = [
    "length",
    "max_tokens",
    "MAX_TOKENS",
    "model_length",
    "max_output_tokens",
    "token_limit",
    "pause_turn",
]
FILTERED = [
    "content_filter",
    "SAFETY",
    "refusal",
    "RECITATION",
    "content-filter",
    "PROHIBITED_CONTENT",
    "BLOCKLIST",
    "SPII",
    "guardrail_intervened",
    "content_filtered",
    "sensitive",
    "ERROR_TOXIC",
]
BROKEN = [
    "error",
    "abort",
    "insufficient_system_resource",
    "network_error",
    "MALFORMED_FUNCTION_CALL",
    "UNEXPECTED_TOOL_CALL",
    "malformed_model_output",
    "load",
]

# Words that end an answer, each provider's own.
ENDS = {
    **{
        f"ends in good order: {word}": Case(answers=[reply(words("Done.", word))], requests=1)
        for word in GOOD
    },
    **{
        f"is cut and goes on: {word}": Case(
            answers=[reply(words(HALF, word)), reply(words("ort."))],
            requests=2,
            report=f"{HALF}ort.",
            body={"1.messages.-1.content": GO_ON, "1.messages.-2.content": HALF},
        )
        for word in CUT
    },
    **{
        f"is filtered: {word}": Case(
            answers=[reply(words(HALF, word))],
            requests=1,
            **incomplete(
                f"{HALF}{NOTE}the model's provider ended the answer by a filter or its policy "
                f"({word})."
            ),
        )
        for word in FILTERED
    },
    **{
        f"is broken and asked for again: {word}": Case(
            answers=[reply(words(HALF, word)), SAYS_DONE], requests=2, hides=(HALF,)
        )
        for word in BROKEN
    },
    "ends with an unknown word": Case(
        answers=[reply(words("Done.", "banana"))],
        requests=1,
        report=f"Done.{NOTE}the model's provider ended the answer with an unknown reason, "
        "'banana'.",
    ),
    "ends without a word": Case(answers=[reply(delta('{"content":"Done."}') + DONE)], requests=1),
    "the native word counts where the other is missing": Case(
        answers=[
            reply(
                b'data: {"choices":[{"index":0,"delta":{"content":"%s"},"finish_reason":null,'
                b'"native_finish_reason":"MAX_TOKENS"}]}\n\ndata: [DONE]\n\n' % HALF.encode()
            ),
            reply(words("ort.")),
        ],
        requests=2,
        report=f"{HALF}ort.",
    ),
    "refuses in the field for it": Case(
        answers=[
            reply(
                delta('{"role":"assistant","content":null,"refusal":"I\'m sorry, "}')
                + delta('{"refusal":"I can\'t help with that."}')
                + end()
            )
        ],
        requests=1,
        **incomplete("I'm sorry, I can't help with that."),
    ),
    "refuses in a completion that is not streamed": Case(
        answers=[
            reply(plain('{"role":"assistant","content":null,"refusal":"I will not."}'), kind=JSON)
        ],
        requests=1,
        **incomplete("I will not."),
    ),
    "is empty, then empty again": Case(
        answers=[reply(words("")), reply(words("\n\n"))],
        requests=2,
        status="INCOMPLETE",
        reason="no_final_report",
        report=f"{ACCOUNT}the agent ended without a final report. No tool call succeeded.",
        body={"1.messages.-1.content": NUDGE_EMPTY, "1.messages.-2.content": "(no answer)"},
    ),
}

CALL = '{"name": "fake__append", "arguments": {"k": "tx"}}'
WRITTEN = {
    "Hermes": f"<tool_call>\n{CALL}\n</tool_call>",
    "Qwen": "<tool_call>\n<function=fake__append>\n<parameter=k>\ntx\n</parameter>\n</function>\n"
    "</tool_call>",
    "DeepSeek": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>fake__append\n"
    '```json\n{"k": "tx"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>',
    "Claude": '<function_calls>\n<invoke name="fake__append">\n<parameter name="k">tx</parameter>'
    "\n</invoke>\n</function_calls>",
    "JSON in a fence": f"```json\n{CALL}\n```",
    "bare JSON": CALL,
    "with a preamble": f"I will append it.\n\n<tool_call>{CALL}</tool_call>",
}

# A tool call written as text is no report; a server that calls properly when told is used.
TEXTS = {
    **{
        f"a call written as text, {name}": Case(
            answers=[reply(words(text)), reply(calls('{"k": "v"}')), SAYS_DONE],
            requests=3,
            ledger=APPENDED,
            body={"1.messages.-1.content": NUDGE_CALL, "1.messages.-2.content": text},
        )
        for name, text in WRITTEN.items()
    },
    "a call written as text twice": Case(
        answers=[reply(words(WRITTEN["Hermes"]))] * 2,
        requests=2,
        status="INCOMPLETE",
        reason="no_final_report",
        report=f"{ACCOUNT}the agent ended without a final report. No tool call succeeded. Its last "
        f"words: {WRITTEN['Hermes']}",
    ),
    "nothing but a thought without its end": Case(
        answers=[reply(words("<think>I could append a row, but")), SAYS_DONE],
        requests=2,
        body={"1.messages.-1.content": NUDGE_EMPTY},
    ),
    "a thought before the report": Case(
        answers=[reply(words("<think>All is well.</think>\n\nDone."))], requests=1
    ),
    "prose that quotes a call": Case(
        answers=[reply(words(f"The log holds `{WRITTEN['Hermes']}`, which was never run."))],
        requests=1,
        report=f"The log holds `{WRITTEN['Hermes']}`, which was never run.",
    ),
    "a call of a tool that is not offered": Case(
        answers=[reply(words('<tool_call>{"name": "other", "arguments": {}}</tool_call>'))],
        requests=1,
        report='<tool_call>{"name": "other", "arguments": {}}</tool_call>',
    ),
}

BEGUN = delta('{"role":"assistant","content":"Half a rep"}')


def broken(data: bytes) -> Case:
    """An answer that ends in an error is asked for again, and nothing of it is kept."""
    return Case(answers=[reply(data), SAYS_DONE], requests=2, hides=("Half a rep", "FIRST"))


# Errors in the middle of a stream, and with a good status, in the shapes of many servers.
ERRORS = {
    "an object that is an error": broken(
        BEGUN + b'data: {"object":"error","message":"CUDA out of memory","code":50002}\n\n' + DONE
    ),
    "an event named error": broken(
        BEGUN + b'event: error\ndata: {"message":"upstream reset","status":502}\n\n' + DONE
    ),
    "an event named error without JSON": broken(
        BEGUN + b"event: error\ndata: upstream reset\n\n" + DONE
    ),
    "an event named error without data": broken(BEGUN + b"event: error\n\n" + DONE),
    "an object of the type error": broken(
        BEGUN + b'data: {"type":"error","message":"Overloaded"}\n\n' + DONE
    ),
    "an error under its key": broken(BEGUN + b'data: {"error":{"message":"x"}}\n\n' + DONE),
    "an error as a text": broken(BEGUN + b'data: {"error":"x"}\n\n' + DONE),
    "an error in a list": broken(
        BEGUN + b'data: [{"error":{"code":503,"message":"x","status":"UNAVAILABLE"}}]\n\n' + DONE
    ),
    "a detail": broken(BEGUN + b'data: {"detail":"Internal Server Error"}\n\n' + DONE),
    "a message with a code": broken(BEGUN + b'data: {"code":500,"message":"x"}\n\n' + DONE),
    "errors of Cloudflare": broken(
        BEGUN + b'data: {"success":false,"errors":[{"code":3040,"message":"Capacity"}]}\n\n' + DONE
    ),
    "an error of Baidu": broken(
        BEGUN + b'data: {"error_code":336100,"error_msg":"try again"}\n\n' + DONE
    ),
    "an error of MiniMax": broken(
        BEGUN
        + b'data: {"choices":null,"base_resp":{"status_code":1002,"status_msg":"rate"}}\n\n'
        + DONE
    ),
    "a bare line of JSON": broken(BEGUN + b'{"error":"unexpected EOF"}\n'),
    "in the choice": broken(
        BEGUN + b'data: {"choices":[{"index":0,"delta":{},"error":{"code":502}}]}\n\n' + DONE
    ),
    "a final error is final": Case(
        answers=[
            reply(
                BEGUN
                + b'event: error\ndata: {"message":"No such model","code":"model_not_found"}\n\n'
                + DONE
            )
        ],
        requests=1,
        error="The model provider does not know the model test/model or the address (code 404); "
        "check the model id and OPENROUTER_BASE_URL: No such model.",
        **FAILED,
    ),
    "chunks without choices are none": Case(
        answers=[
            reply(
                b'data: {"choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n'
                b'data: {"type":"ping"}\n\ndata: {"id":"x","object":"chat.completion.chunk"}\n\n'
                + words("Done.")
            )
        ],
        requests=1,
    ),
}

PLAIN = plain('{"role":"assistant","content":"Done."}')
BOM = b"\xef\xbb\xbf"

# What an answer is shows in its first bytes, whatever its headers say.
BYTES = {
    **{
        f"a stream under {kind or 'no type'}": Case(
            answers=[reply(words("Done."), kind=kind)], requests=1
        )
        for kind in ("text/plain", JSON, "", "application/octet-stream")
    },
    **{
        f"JSON under {kind or 'no type'}": Case(answers=[reply(PLAIN, kind=kind)], requests=1)
        for kind in ("text/event-stream", "text/plain", "")
    },
    "an error in JSON under text/event-stream": Case(
        answers=[reply(b'{"error":{"code":402,"message":"no credit KEEPME"}}')],
        requests=1,
        error="The model provider wants to be paid (code 402); add credit, or raise the key's "
        "limit: no credit KEEPME.",
        **FAILED,
    ),
    "comments before a stream under text/plain": Case(
        answers=[reply(b"\n: OPENROUTER PROCESSING\n\n" + words("Done."), kind="text/plain")],
        requests=1,
    ),
    "a page is no answer": Case(
        answers=[reply(b"<html>Sign in</html>", kind="text/html")] * 2,
        requests=2,
        error="The model provider sent something that is not a chat completion (text/html). Given "
        "up after 5 attempts in a row.",
        **FAILED,
    ),
    "a byte order mark before a stream": Case(
        answers=[reply(BOM + delta('{"role":"assistant","content":"FIRST "}') + words("second"))],
        requests=1,
        report="FIRST second",
    ),
    "a byte order mark before JSON": Case(answers=[reply(BOM + PLAIN, kind=JSON)], requests=1),
    "lines that end in CR alone": Case(
        answers=[reply(words("Done.").replace(b"\n", b"\r"))], requests=1
    ),
    "lines that end in CR LF": Case(
        answers=[reply(words("Done.").replace(b"\n", b"\r\n"))], requests=1
    ),
    "a content encoding of none": Case(
        answers=[reply(words("Done."), Content_Encoding="none")], requests=1
    ),
    "a refusal in compressed bytes": Case(
        answers=[refusal(400, gzip.compress(b'{"error":"x"}'), Content_Encoding="gzip")],
        requests=1,
        error="The model provider refused the request (HTTP 400): (compressed, not shown).",
        **FAILED,
    ),
    "a refusal in compressed bytes without the header": Case(
        answers=[refusal(400, gzip.compress(b'{"error":"x"}'))],
        requests=1,
        error="The model provider refused the request (HTTP 400): (compressed, not shown).",
        **FAILED,
    ),
    "content that changes its form in a stream": Case(
        answers=[
            reply(
                delta('{"role":"assistant","content":"FIRST "}')
                + delta('{"content":[{"type":"thinking","thinking":"hm"}]}')
                + delta('{"content":"second"}')
                + end()
            )
        ],
        requests=1,
        report="FIRST second",
    ),
    "content in parts, each of a few letters": Case(
        answers=[
            reply(
                delta('{"content":[{"type":"thinking","thinking":[{"type":"text","text":"h"}]}]}')
                * 1_100
                + delta('{"content":[{"type":"text","text":"Done"}]}')
                + delta('{"content":[{"type":"text","text":"."}]}')
                + end()
            )
        ],
        requests=1,
    ),
    "content that is one part": Case(
        answers=[
            reply(plain('{"role":"assistant","content":{"type":"text","text":"Done."}}'), kind=JSON)
        ],
        requests=1,
    ),
    "the model's key in a good answer": Case(
        answers=[
            reply(
                json.dumps(
                    {
                        "id": f"gen-{KEY}",
                        "model": KEY,
                        "choices": [
                            {
                                "message": {
                                    "content": f"Your key is {KEY}.",
                                    "reasoning": KEY.encode().hex(),
                                },
                                "finish_reason": "stop",
                            }
                        ],
                    }
                ).encode(),
                kind=JSON,
            )
        ],
        requests=1,
        report="Your key is [removed].",
        hides=(KEY, KEY.encode().hex()),
    ),
    "the model's key in two pieces of a stream": Case(
        answers=[reply(delta(json.dumps({"content": f"It is {KEY[:7]}"})) + words(f"{KEY[7:]}."))],
        requests=1,
        report="It is [removed].",
        hides=(KEY,),
    ),
}


def call_with(arguments: str) -> bytes:
    """A completion that is not streamed, with the JSON of a call's arguments."""
    call = f'{{"id":"call_1","function":{{"name":"fake__append","arguments":{arguments}}}}}'
    return plain(f'{{"role":"assistant","content":null,"tool_calls":[{call}]}}', "tool_calls")


# Arguments in forms that no reference describes.
ARGUMENTS = {
    **{
        f"{form} for no arguments": Case(
            answers=[reply(call_with(form), kind=JSON), SAYS_DONE],
            requests=2,
            ledger=(("append", {}),),
            body={"1.messages.-2.tool_calls.0.function.arguments": "{}"},
        )
        for form in ("[]", '"[]"', "null", '"null"', '""', "{}")
    },
    **{
        f"arguments as {form} are handed back": Case(
            answers=[reply(call_with(form), kind=JSON), SAYS_DONE],
            requests=2,
            sees=("The arguments are not a JSON object.",),
            body={
                "1.messages.-2.tool_calls.0.function.arguments": json.dumps(
                    {"unreadable_arguments": text}
                )
            },
        )
        for form, text in (("5", "5"), ("true", "true"), ("[1]", "[1]"), ('"[1]"', "[1]"))
    },
    "a call in the older form": Case(
        answers=[
            reply(
                plain(
                    '{"role":"assistant","content":null,"function_call":'
                    '{"name":"fake__append","arguments":"{\\"k\\": \\"v\\"}"}}',
                    "function_call",
                ),
                kind=JSON,
            ),
            SAYS_DONE,
        ],
        requests=2,
        ledger=APPENDED,
    ),
}

CASES = {**CUT_CALLS, **ENDS, **TEXTS, **ERRORS, **BYTES, **ARGUMENTS}
