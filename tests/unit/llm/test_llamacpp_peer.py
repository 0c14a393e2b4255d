"""The adapter talks to a server that we did not write: llama.cpp with a small real model."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent_runtime.errors import ContextTooLong
from agent_runtime.llm.chat_completions import ChatCompletionsModel
from agent_runtime.messages import (
    Tool,
    assistant_message,
    system_message,
    tool_message,
    user_message,
)
from agent_runtime.ports import ModelRequest

pytestmark = pytest.mark.peer

SERVER = Path(__file__).with_name("llamacpp_server.py")
COUNT = Tool(
    name="count_tickets",
    description="Count support tickets.",
    schema={"type": "object", "properties": {"status": {"type": "string"}}},
)


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    folder = os.environ.get("CAYLEX_PEERS", "")
    python = Path(folder).resolve() / "venv" / "bin" / "python"
    if not folder or not python.exists():
        pytest.skip("needs llama.cpp: `make install-peers`, and CAYLEX_PEERS naming its folder")
    process = subprocess.Popen(
        [python, SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    with process:
        try:
            address = process.stdout.readline().strip()
            assert address.startswith("http://127.0.0.1:"), "llama.cpp did not start"
            yield f"{address}/v1"
        finally:
            process.kill()


@pytest.mark.timeout(300)
async def test_a_turn_with_a_tool_offered_and_one_with_its_result(base_url: str) -> None:
    model = ChatCompletionsModel(base_url=base_url, api_key="", stall_seconds=120)
    messages = [system_message("Answer briefly."), user_message("How many tickets are open?")]
    request = ModelRequest(model="smollm2", messages=messages, tools=[COUNT])
    first = await model.complete(request)
    call = {
        "id": "call_1",
        "type": "function",
        "function": {"name": COUNT.name, "arguments": '{"status": "open"}'},
    }
    messages += [
        assistant_message({"content": None, "tool_calls": [call]}),
        tool_message("call_1", '{"open": 7}'),
    ]
    second = await model.complete(ModelRequest(model="smollm2", messages=messages))
    await model.close()
    for answer in (first, second):
        assert answer.text.strip() or answer.requests
        assert answer.finish_reason in ("stop", "length", "tool_calls")
        assert answer.usage.input_tokens > 0
        assert 0 < answer.usage.output_tokens <= 32
        assert answer.usage.cost_usd is None
        assert answer.request_id.startswith("chatcmpl-")
        assert answer.model.endswith(".gguf")
    assert second.request_id != first.request_id


@pytest.mark.timeout(300)
async def test_a_transcript_beyond_its_context_is_refused_in_its_own_words(base_url: str) -> None:
    model = ChatCompletionsModel(base_url=base_url, api_key="", stall_seconds=120)
    request = ModelRequest(model="smollm2", messages=[user_message("word " * 20_000)])
    words = r"\(HTTP 400\): .*exceeds the available context size"
    with pytest.raises(ContextTooLong, match=words) as refusal:
        await model.complete(request)
    await model.close()
    assert refusal.value.window is None or 256 <= refusal.value.window < 20_000
