"""The adapter asks over the wire and gets whole answers."""

from __future__ import annotations

import asyncio
import json

import pytest

from agent_runtime.llm.chat_completions import ChatCompletionsModel
from agent_runtime.messages import (
    ModelAnswer,
    Tool,
    ToolRequest,
    Usage,
    assistant_message,
    tool_message,
    user_message,
)
from agent_runtime.ports import ModelRequest
from tests.support.model_server import (
    Cut,
    Hold,
    Pause,
    Reply,
    ScriptedModel,
    UntilRequests,
    ask,
    completion,
    delta,
    event,
    plain,
    say,
    stream,
)
from tests.unit.llm.conftest import KEY

REQUEST = ModelRequest(model="test/model", messages=[user_message("Hello")])
SEARCH = Tool(name="search", description="Find.", schema={"type": "object"})


async def test_a_streamed_answer_in_words(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(say("Good morning"))
    assert await model.complete(REQUEST) == ModelAnswer(
        message={"role": "assistant", "content": "Good morning"},
        text="Good morning",
        usage=Usage(input_tokens=10, output_tokens=5),
        model="test/model",
        request_id="gen-1",
    )


async def test_the_request_is_what_the_api_wants(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(say("ok"))
    await model.complete(ModelRequest(model="m", messages=REQUEST.messages, tools=[SEARCH]))
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["accept-encoding"] == "identity"
    assert "http-referer" not in request.headers
    assert request.json["stream"] is True
    assert request.json["tools"][0]["function"]["name"] == "search"


async def test_without_a_key_no_authorization_is_sent(server: ScriptedModel) -> None:
    server.script(say("ok"))
    model = ChatCompletionsModel(
        base_url=server.base_url + "/", api_key="", stall_seconds=5, referer="http://a", title="T"
    )
    await model.complete(REQUEST)
    await model.close()
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    assert "authorization" not in request.headers
    assert (request.headers["http-referer"], request.headers["x-title"]) == ("http://a", "T")


async def test_parallel_tool_calls(server: ScriptedModel, model: ChatCompletionsModel) -> None:
    server.script(ask(("search", {"q": "ä"}), ("search", {"q": "b"})))
    answer = await model.complete(REQUEST)
    assert answer.finish_reason == "tool_calls"
    assert answer.requests == (
        ToolRequest(call_id="call-0", name="search", arguments=json.dumps({"q": "ä"})),
        ToolRequest(call_id="call-1", name="search", arguments='{"q": "b"}'),
    )


async def test_reasoning_is_echoed_as_it_was_received(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "search"}}
    details = [{"type": "reasoning.text", "text": "Let ", "index": 0}]
    more = [{"type": "reasoning.text", "text": "me.", "signature": "Et8B==", "index": 0}]
    server.script(
        stream(
            delta(role="assistant", content="", reasoning="Let ", reasoning_details=details),
            delta(reasoning="me.", reasoning_details=more),
            delta(tool_calls=[call]),
            delta("tool_calls"),
        ),
        say("done"),
    )
    answer = await model.complete(REQUEST)
    messages = [*REQUEST.messages, assistant_message(answer.message), tool_message("c", "1")]
    await model.complete(ModelRequest(model="m", messages=messages))
    assert server.requests[1].json["messages"][1] == {
        "role": "assistant",
        "content": None,
        "reasoning": "Let me.",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "Let me.", "signature": "Et8B==", "index": 0}
        ],
        "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "search", "arguments": "{}"}}
        ],
    }


async def test_a_server_that_does_not_stream_is_understood(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    body = completion({"role": "assistant", "content": "Hi"}, id=None)
    server.script(plain(body, x_request_id="req-7"))
    answer = await model.complete(REQUEST)
    assert (answer.text, answer.request_id) == ("Hi", "req-7")


async def test_leading_blanks_and_comments_are_no_answer_yet(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    body = json.dumps(completion({"content": "Hi"})).encode()
    server.script(
        Reply([b"\n\n  ", body], headers={"Content-Type": "application/json; charset=utf-8"}),
        stream(b": OPENROUTER PROCESSING\n\n", delta(content="Ho"), delta("stop")),
    )
    assert (await model.complete(REQUEST)).text == "Hi"
    assert (await model.complete(REQUEST)).text == "Ho"


async def test_comments_keep_a_slow_answer_alive(server: ScriptedModel) -> None:
    waiting = [part for _ in range(6) for part in (b": wait\n\n", Pause(0.2))]
    server.script(stream(*waiting, delta(content="Hi"), delta("stop")))
    model = ChatCompletionsModel(base_url=server.base_url, api_key="", stall_seconds=0.8)
    assert (await model.complete(REQUEST)).text == "Hi"
    await model.close()
    assert len(server.requests) == 1


async def test_a_character_cut_in_two_by_the_stream_is_whole_again(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    text = event(delta(content="ä€😀"))
    raw = json.dumps(delta(content="ä€😀"), ensure_ascii=False).encode()
    pieces = [b"data: " + raw[:-30], raw[-30:] + b"\n\n"]
    halves = [delta(content="\ud83d"), delta(content="\ude00")]
    server.script(stream(text, *pieces, *halves, delta("stop")))
    assert (await model.complete(REQUEST)).text == "ä€😀ä€😀😀"


async def test_an_answer_without_its_last_mark_counts_when_it_was_finished(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(stream(delta(content="Hi"), delta("length"), done=False))
    answer = await model.complete(REQUEST)
    assert (answer.text, answer.finish_reason) == ("Hi", "length")


async def test_a_stream_held_open_after_its_end_does_not_hold_us(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(stream(delta(content="Hi"), delta("stop"), b"data: [DONE]\n\n", Hold()))
    async with asyncio.timeout(15):
        assert (await model.complete(REQUEST)).text == "Hi"


async def test_a_connection_is_kept_for_the_next_request(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(say("one"), plain(completion({"content": "two"})), say("three"))
    for _ in range(3):
        await model.complete(REQUEST)
    assert [each.connection for each in server.requests] == [1, 1, 1]


async def test_a_kept_connection_that_was_closed_meanwhile_is_no_try(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    body = json.dumps(completion({"content": "Hi"})).encode()
    closed = Reply([head % len(body), body, Cut()], raw=True)  # promises to keep, and closes
    server.script(closed, closed, closed, plain({"error": "busy"}, status=503), closed)
    for _ in range(3):
        assert (await model.complete(REQUEST)).text == "Hi"
    assert (await model.complete(REQUEST)).text == "Hi"  # after one real fault
    assert len(server.requests) == 5


@pytest.mark.parametrize("size", [1_000, 3_000_000])
async def test_a_transcript_of_any_size_arrives_whole(
    server: ScriptedModel, model: ChatCompletionsModel, size: int
) -> None:
    server.script(say("ok"))
    await model.complete(ModelRequest(model="m", messages=[user_message("ä" * size)]))
    assert server.requests[0].json["messages"][0]["content"] == "ä" * size
    assert "transfer-encoding" not in server.requests[0].headers


async def test_three_hundred_calls_run_at_once_on_one_client() -> None:
    count = 300
    reply = stream(UntilRequests(count), delta(content="Hi"), delta("stop"))
    with ScriptedModel(answer=lambda _: reply) as server:
        model = ChatCompletionsModel(base_url=server.base_url, api_key=KEY, stall_seconds=60)
        answers = await asyncio.gather(*[model.complete(REQUEST) for _ in range(count)])
        await model.close()
    assert [each.text for each in answers] == ["Hi"] * count
    assert len({each.connection for each in server.requests}) == count


def test_each_event_loop_has_connections_of_its_own(server: ScriptedModel) -> None:
    server.script(say("one"), say("two"))
    model = ChatCompletionsModel(base_url=server.base_url, api_key=KEY, stall_seconds=5)

    async def once() -> str:
        text = (await model.complete(REQUEST)).text
        await model.close()
        return text

    assert (asyncio.run(once()), asyncio.run(once())) == ("one", "two")


@pytest.mark.parametrize(
    "base_url", ["", "ftp://host/v1", "http://", "http://me:secret@host/v1", "http://[/v1"]
)
def test_an_address_that_cannot_be_used_is_refused_at_once(base_url: str) -> None:
    with pytest.raises(ValueError, match="OPENROUTER_BASE_URL") as caught:
        ChatCompletionsModel(base_url=base_url, api_key="", stall_seconds=5)
    assert "secret" not in str(caught.value)


def test_the_key_is_in_no_repr_and_a_broken_one_is_refused() -> None:
    model = ChatCompletionsModel(base_url="http://host/v1", api_key=KEY, stall_seconds=5)
    assert repr(model) == "ChatCompletionsModel('host')"
    with pytest.raises(ValueError, match="OPENROUTER_API_KEY") as caught:
        ChatCompletionsModel(base_url="http://host/v1", api_key="sk-\nsecret", stall_seconds=5)
    assert "secret" not in str(caught.value)
