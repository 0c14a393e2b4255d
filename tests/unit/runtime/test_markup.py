"""A text that is a tool call in some model's own notation is told from a report."""

from __future__ import annotations

import time

import pytest

from agent_runtime.markup import is_written_call, without_thoughts

OFFERED = ("ledger__append", "submit_report")
ARGS = '{"k": "tx"}'
CALL = f'{{"name": "ledger__append", "arguments": {ARGS}}}'

# The notation of each family of models, as the parsers of vLLM, SGLang and llama.cpp read it.
WRITTEN = {
    "Hermes, Qwen": f"<tool_call>\n{CALL}\n</tool_call>",
    "Hermes, two": f"<tool_call>\n{CALL}\n</tool_call>\n<tool_call>\n{CALL}\n</tool_call>",
    "Hermes without its end": f"<tool_call>\n{CALL}",
    "Hermes in a fence": f"```xml\n<tool_call>\n{CALL}\n</tool_call>\n```",
    "Hermes after words": f"I will append that now.\n\n<tool_call>{CALL}</tool_call>",
    "Qwen coder": "<tool_call>\n<function=ledger__append>\n<parameter=k>\ntx\n</parameter>\n"
    "</function>\n</tool_call>",
    "Qwen coder, bare": "<function=ledger__append>\n<parameter=k>\ntx\n</parameter>\n</function>",
    "Qwen coder, cut": "<function=ledger__append>\n<parameter=k>tx</parameter>",
    "Llama 3, tags": f"<function=ledger__append>{ARGS}</function>",
    "Llama 3, python tag": f'<|python_tag|>{{"name": "ledger__append", "parameters": {ARGS}}}',
    "Llama 3, JSON": f'{{"type": "function", "name": "ledger__append", "parameters": {ARGS}}}',
    "Llama 3, two": f"{CALL}; {CALL}",
    "Llama 4": '[ledger__append(k="tx")]',
    "Llama 4, marked": '<|python_start|>[ledger__append(k="tx")]<|python_end|>',
    "Pythonic": 'ledger__append(k="a (b) c", n=len([1, 2]))',
    "Gemma": '```tool_code\nprint(default_api.ledger__append(k="tx"))\n```',
    "Gemma 4": '<|tool_call>call:ledger__append{k:<|"|>tx<|"|>}<tool_call|>',
    "FunctionGemma": "<start_function_call>call:ledger__append{k:tx}<end_function_call>",
    "DeepSeek V3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>ledger__append"
    f"\n```json\n{ARGS}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "DeepSeek V3.1": f"<｜tool▁call▁begin｜>ledger__append<｜tool▁sep｜>{ARGS}<｜tool▁call▁end｜>",
    "DeepSeek V3.2": '<｜DSML｜function_calls>\n<｜DSML｜invoke name="ledger__append">\n'
    '<｜DSML｜parameter name="k" string="true">tx</｜DSML｜parameter>\n</｜DSML｜invoke>\n'
    "</｜DSML｜function_calls>",
    "Claude": '<function_calls>\n<invoke name="ledger__append">\n<parameter name="k">tx'
    "</parameter>\n</invoke>\n</function_calls>",
    "Claude, tool_use": "<tool_use>\n<name>ledger__append</name>\n"
    f"<input>{ARGS}</input>\n</tool_use>",
    "Mistral": f"[TOOL_CALLS][{CALL}]",
    "Mistral v11": f"[TOOL_CALLS]ledger__append[ARGS]{ARGS}",
    "Kimi K2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.ledger__append:0"
    f"<|tool_call_argument_begin|>{ARGS}<|tool_call_end|><|tool_calls_section_end|>",
    "GLM": "<tool_call>ledger__append\n<arg_key>k</arg_key>\n<arg_value>tx</arg_value>\n"
    "</tool_call>",
    "MiniMax": '<minimax:tool_call>\n<invoke name="ledger__append">\n<parameter name="k">tx'
    "</parameter>\n</invoke>\n</minimax:tool_call>",
    "MiniMax M1, Hunyuan": f"<tool_calls>\n{CALL}\n</tool_calls>",
    "gpt-oss": "<|channel|>commentary to=functions.ledger__append <|constrain|>json<|message|>"
    f"{ARGS}<|call|>",
    "gpt-oss, whole": "<|start|>assistant<|channel|>commentary to=functions.ledger__append "
    f"<|message|>{ARGS}",
    "Granite": f"<|tool_call|>[{CALL}]",
    "Phi-4 mini": f"<|tool_call|>[{CALL}]<|/tool_call|>",
    "Phi-4, FireFunction": f"functools[{CALL}]",
    "Command R": f'Action: ```json\n[{{"tool_name": "ledger__append", "parameters": {ARGS}}}]\n```',
    "Command A": f'<|START_ACTION|>[{{"tool_name": "ledger__append", "parameters": {ARGS}}}]'
    "<|END_ACTION|>",
    "InternLM": f"<|action_start|><|plugin|>{CALL}<|action_end|>",
    "LFM2": '<|tool_call_start|>[ledger__append(k="tx")]<|tool_call_end|>',
    "Apertus": f'<|tools_prefix|>[{{"ledger__append": {ARGS}}}]<|tools_suffix|>',
    "Nemotron": f"<TOOLCALL>[{CALL}]</TOOLCALL>",
    "Seed": "<seed:tool_call><function=ledger__append><parameter=k>tx</parameter></function>"
    "</seed:tool_call>",
    "LM Studio": f"[TOOL_REQUEST]{CALL}[END_TOOL_REQUEST]",
    "ReAct": f"Thought: I append.\nAction: ledger__append\nAction Input: {ARGS}",
    "JSON": CALL,
    "JSON in a fence": f"```json\n{CALL}\n```",
    "JSON after words": f"Calling the tool:\n{CALL}",
    "JSON, a list": f"[{CALL}, {CALL}]",
    "JSON as in the API": '{"tool_calls": [{"id": "c", "type": "function", "function": {"name": '
    '"ledger__append", "arguments": "{}"}}]}',
    "JSON, submit_report": '{"name": "submit_report", "arguments": {"outcome": "completed"}}',
}

REPORTS = {
    "plain": "I appended two rows.",
    "a tool named": "I called ledger__append twice; both calls succeeded.",
    "markup of another tool": '<tool_call>{"name": "other__tool", "arguments": {}}</tool_call>',
    "a name that goes on": '<tool_call>{"name": "ledger__append_all", "arguments": {}}</tool_call>',
    "quoted": f"The log holds `<tool_call>{CALL}</tool_call>`, which was never run.",
    "quoted at the beginning": f"<tool_call>{CALL}</tool_call>\n\nThat is what the log holds.",
    "quoted twice": f"It wrote <tool_call>{CALL}</tool_call>, then <tool_call>{CALL}</tool_call>",
    "quoted at the end of a long text": "word " * 100 + f"<tool_call>{CALL}</tool_call>",
    "a fence in the middle": f"Sent:\n```json\n{CALL}\n```\nIt was answered with 200.",
    "a report in JSON": '{"name": "Jane", "parameters": {"a": 1}}',
    "figures by tool": '{"ledger__append": {"count": 3}}',
    "a tool described": '{"name": "ledger__append", "description": "Add.", "parameters": {}}',
    "code": 'Use it so: ledger__append(k="tx")',
    "code that goes on": 'ledger__append(k="tx") adds a row.',
    "a transcript": f"Action: ledger__append\nAction Input: {ARGS}\nObservation: ok\nDone.",
    "comparisons": "a < b and c > d; ledger__append was not called",
    "empty": "",
}


@pytest.mark.parametrize("text", WRITTEN.values(), ids=WRITTEN)
def test_a_call_written_as_text_is_one(text: str) -> None:
    assert is_written_call(text, offered=OFFERED)
    assert is_written_call(f"\n{text}\n", offered=OFFERED)
    assert not is_written_call(text, offered=("other__append",))


@pytest.mark.parametrize("text", REPORTS.values(), ids=REPORTS)
def test_a_report_is_none(text: str) -> None:
    assert not is_written_call(text, offered=OFFERED)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>Hm.</think>\n\nDone.", "Done."),
        ("<think>a</think><think>b</think>Done.", "Done."),
        ("<thinking>Hm.</thinking>Done.", "Done."),
        ("[THINK]Hm.[/THINK]Done.", "Done."),
        ("◁think▷Hm.◁/think▷Done.", "Done."),
        ("<think>Hm, what now", ""),
        ("<think></think>", ""),
        ("Done. <think>is a tag</think>", "Done. <think>is a tag</think>"),
        ("Done.", "Done."),
    ],
)
def test_thoughts_before_the_words_are_left_out(text: str, left: str) -> None:
    assert without_thoughts(text) == left


@pytest.mark.parametrize(
    "piece",
    [
        "<tool_call>",
        "<",
        "[",
        "{",
        "ledger__append(",
        '{"name": "',
        "<|tool_call|>",
        "\n",
        "<think>",
    ],
)
def test_odd_texts_take_no_age(piece: str) -> None:
    def seconds(times: int) -> float:
        text = "ledger__append " + piece * times
        began = time.process_time()
        is_written_call(text, offered=OFFERED)
        without_thoughts(text)
        return time.process_time() - began

    assert seconds(8_000) < 1.0
