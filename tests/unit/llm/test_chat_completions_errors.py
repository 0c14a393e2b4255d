"""Whatever the provider does, the adapter answers or raises one of two faults, twice at most."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import tracemalloc
from collections.abc import Iterator

import pytest
import stamina

from agent_runtime.errors import ModelError, ModelRefused, ModelUnavailable
from agent_runtime.llm.chat_completions import ChatCompletionsModel
from agent_runtime.messages import user_message
from agent_runtime.ports import ModelRequest
from tests.support.model_server import (
    Cut,
    Hold,
    Pause,
    Repeat,
    Reply,
    ScriptedModel,
    completion,
    delta,
    event,
    plain,
    say,
    stream,
)
from tests.unit.llm.conftest import KEY

REQUEST = ModelRequest(model="test/model", messages=[user_message("Hello")])
ERROR = {"error": {"code": 429, "message": "slow down"}}
JSON = {"Content-Type": "application/json"}


@pytest.fixture(autouse=True)
def no_waiting() -> Iterator[None]:
    """Two tries as ever, without the wait between them."""
    with stamina.set_testing(True, attempts=2, cap=True):
        yield


async def fault(model: ChatCompletionsModel, request: ModelRequest = REQUEST) -> ModelError:
    with pytest.raises(ModelError) as caught:
        await model.complete(request)
    return caught.value


@pytest.mark.parametrize("status", [408, 409, 425, 429, 500, 502, 503, 529])
async def test_a_fault_of_the_world_is_tried_twice_and_raised(
    server: ScriptedModel, model: ChatCompletionsModel, status: int
) -> None:
    error = {"error": {"message": "try later"}}
    server.script(*[plain(error, status=status, retry_after="0")] * 3)
    raised = await fault(model)
    assert isinstance(raised, ModelUnavailable)
    assert f"(HTTP {status}): try later." in str(raised)
    assert raised.retry_after == 0.0
    assert len(server.requests) == 2


async def test_the_second_try_may_succeed(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(plain({}, status=503), say("Hi"))
    assert (await model.complete(REQUEST)).text == "Hi"
    assert server.requests[0].body == server.requests[1].body


@pytest.mark.parametrize("status", [301, 307, 400, 401, 402, 403, 404, 413, 422])
async def test_a_refusal_is_final_at_once(
    server: ScriptedModel, model: ChatCompletionsModel, status: int
) -> None:
    server.script(plain({"error": {"message": "no"}}, status=status, location=server.base_url))
    raised = await fault(model)
    assert isinstance(raised, ModelRefused)
    assert f"(HTTP {status})" in str(raised)
    assert len(server.requests) == 1


async def test_a_refused_key_is_told_without_the_providers_words(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(plain({"error": {"message": f"Incorrect key {KEY}"}}, status=401))
    assert str(await fault(model)) == (
        "The model provider refused the API key (HTTP 401); check OPENROUTER_API_KEY."
    )


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b'{"error": {"message": "too long"}}', "(HTTP 400): too long."),
        (b'{"error": "too long"}', "(HTTP 400): too long."),
        (b'{"detail": "too long"}', "(HTTP 400): too long."),
        (b"too\nlong", "(HTTP 400): too long."),
        (b"<html>Bad gateway</html>", "(HTTP 400)."),
        (b"\xff\x00", "(HTTP 400): \ufffd."),
        (b"[" * 70_000, "…."),
        (b"", "(HTTP 400)."),
    ],
)
async def test_the_providers_words_are_shown_in_short(
    server: ScriptedModel, model: ChatCompletionsModel, body: bytes, sentence: str
) -> None:
    server.script(Reply([body], 400))
    raised = str(await fault(model))
    assert raised.startswith("The model provider refused the request (HTTP 400)")
    assert raised.endswith(sentence)
    assert len(raised) < 400


async def test_a_long_wait_is_raised_and_not_slept(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(plain(ERROR, status=429, retry_after="6"), say("not asked for"))
    raised = await fault(model)
    assert isinstance(raised, ModelUnavailable)
    assert raised.retry_after == 6.0
    assert len(server.requests) == 1


async def test_a_wait_of_an_age_is_cut_to_a_quarter_of_an_hour(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(plain(ERROR, status=503, retry_after="Fri, 31 Dec 2100 23:59:59 GMT"))
    raised = await fault(model)
    assert isinstance(raised, ModelUnavailable)
    assert raised.retry_after == 900.0


async def test_a_date_to_try_again_at_counts_from_the_date_of_the_answer(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    """Whatever the clock of this machine says."""
    error = plain(
        ERROR,
        status=429,
        date="Mon, 23 Nov 2020 12:00:00 GMT",
        retry_after="Mon, 23 Nov 2020 12:01:30 GMT",
    )
    server.script(error)
    raised = await fault(model)
    assert isinstance(raised, ModelUnavailable)
    assert raised.retry_after == 90.0


@pytest.mark.parametrize(
    ("body", "kind", "tries"),
    [
        (ERROR, ModelUnavailable, 2),
        ({"error": {"message": "who knows"}}, ModelUnavailable, 2),
        ({"error": {"code": 401, "message": "no"}}, ModelRefused, 1),
        ({"error": {"code": "402", "message": "no"}}, ModelRefused, 1),
        ({"error": {"type": "invalid_request_error"}}, ModelRefused, 1),
        ({"choices": [{"error": {"code": 503}, "message": {"content": ""}}]}, ModelUnavailable, 2),
    ],
)
async def test_an_error_with_a_good_status_is_classified_by_its_code(
    server: ScriptedModel,
    model: ChatCompletionsModel,
    body: dict[str, object],
    kind: type[ModelError],
    tries: int,
) -> None:
    server.script(*[plain(body)] * 3)
    assert type(await fault(model)) is kind
    assert len(server.requests) == tries


@pytest.mark.parametrize(
    ("chunk", "kind"),
    [
        ({**delta("error", content=""), **ERROR}, ModelUnavailable),
        ({"error": {"code": 402, "message": "no credit"}}, ModelRefused),
        (delta("error"), ModelUnavailable),
        (b'error: {"error": {"code": 400, "message": "no"}}\n\n', ModelRefused),
    ],
)
async def test_an_error_in_mid_stream_ends_it(
    server: ScriptedModel, model: ChatCompletionsModel, chunk: dict[str, object] | bytes, kind: type
) -> None:
    server.script(*[stream(delta(content="Half an ans"), chunk, Hold())] * 2)
    raised = await fault(model)
    assert type(raised) is kind
    assert "Half" not in str(raised)
    assert await asyncio.to_thread(server.hung_up.wait, 10)


@pytest.mark.parametrize(
    "reply",
    [
        stream(delta(content="Hi"), done=False),
        stream(delta(content="Hi"), Cut()),
        stream(delta(content="Hi"), b'data: {"choices": [{"del', done=False),
        stream(done=False),
        Reply([b'{"choices": [', Cut()], headers=JSON),
        Reply([b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{}", Cut()], raw=True),
        Reply([b"HTTP/1.1 200", Cut()], raw=True),
        Reply([Cut()], raw=True),
    ],
)
async def test_a_cut_answer_is_tried_again(
    server: ScriptedModel, model: ChatCompletionsModel, reply: Reply
) -> None:
    server.script(reply, reply)
    raised = await fault(model)
    assert isinstance(raised, ModelUnavailable)
    assert "cut off" in str(raised) or "broke" in str(raised)
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "reply",
    [
        stream(b"data: {broken\n\n"),
        stream(b"data: [1]\n\n"),
        stream(b"data: " + b"[" * 50_000 + b"\n\n"),
        stream({"choices": []}),
        stream(),
        plain({"choices": []}),
        plain({}),
        plain([]),
        Reply([b"<html></html>"], headers={"Content-Type": "text/html"}),
        Reply([b"{}"], headers={**JSON, "Content-Encoding": "gzip"}),
        Reply([b"HTTP/1.1 204 No Content\r\n\r\n"], raw=True),
        Reply([b"not HTTP at all\r\n\r\n", Cut()], raw=True),
        Reply([b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", Cut()], raw=True),
    ],
)
async def test_a_garbled_answer_is_tried_again(
    server: ScriptedModel, model: ChatCompletionsModel, reply: Reply
) -> None:
    server.script(reply, reply)
    assert isinstance(await fault(model), ModelUnavailable)
    assert len(server.requests) == 2


async def test_a_page_instead_of_an_answer_is_named(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    page = Reply([b"<html></html>"], headers={"Content-Type": "text/html; charset=utf-8"})
    server.script(page, page)
    assert str(await fault(model)) == (
        "The model provider sent something that is not a chat completion (text/html)."
    )


@pytest.mark.parametrize("reply", [Reply([Hold()]), stream(delta(content="H"), Hold())])
async def test_a_stall_is_noticed(server: ScriptedModel, reply: Reply) -> None:
    server.script(reply, reply)
    model = ChatCompletionsModel(base_url=server.base_url, api_key="", stall_seconds=0.2)
    assert str(await fault(model)) == "The model provider sent nothing for 0.2 seconds."
    await model.close()
    assert len(server.requests) == 2


async def test_a_trickle_does_not_outlast_the_time_limit(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(stream(*[part for _ in range(600) for part in (b": \n\n", Pause(0.1))]))
    raised = await fault(model, ModelRequest(model="m", messages=[], timeout=0.5))
    assert isinstance(raised, ModelUnavailable)
    assert str(raised) == "The model did not answer within 0.5 seconds."
    assert await asyncio.to_thread(server.hung_up.wait, 10)
    assert len(server.requests) == 1


async def test_nobody_at_the_address_is_a_fault_of_the_world(model: ChatCompletionsModel) -> None:
    with ScriptedModel() as gone:
        pass
    away = ChatCompletionsModel(base_url=gone.base_url, api_key=KEY, stall_seconds=5)
    raised = await fault(away)
    await away.close()
    assert isinstance(raised, ModelUnavailable)
    assert str(raised) == "The model provider could not be reached (ClientConnectorError)."


async def test_a_name_that_does_not_exist_is_a_fault_of_the_world() -> None:
    away = ChatCompletionsModel(base_url="http://nobody.invalid/v1", api_key=KEY, stall_seconds=5)
    assert "could not be reached" in str(await fault(away))
    await away.close()


async def test_cancelling_hangs_up_at_once(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(stream(delta(content="Hi"), Hold()), say("not asked for"))
    asking = asyncio.create_task(model.complete(REQUEST))
    while not server.requests:
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await asyncio.to_thread(server.hung_up.wait, 10)
    assert len(server.requests) == 1


async def test_cancelling_between_two_tries_asks_no_more(
    server: ScriptedModel, model: ChatCompletionsModel, caplog: pytest.LogCaptureFixture
) -> None:
    server.script(plain(ERROR, status=429, retry_after="5"), say("not asked for"))
    with stamina.set_testing(False):
        asking = asyncio.create_task(model.complete(REQUEST))
        while "stamina.retry_scheduled" not in caplog.text:
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert len(server.requests) == 1


async def test_the_wait_between_two_tries_is_short_and_as_long_as_the_provider_says(
    server: ScriptedModel, model: ChatCompletionsModel, caplog: pytest.LogCaptureFixture
) -> None:
    with stamina.set_testing(False):
        server.script(plain(ERROR, status=429, retry_after="0.25"), say("Hi"))
        await model.complete(REQUEST)
        assert "'wait_for': 0.25" in caplog.text
        caplog.clear()
        server.script(plain(ERROR, status=429), say("Hi"))
        await model.complete(REQUEST)
    waits = [float(each) for each in re.findall(r"'wait_for': ([0-9.]+)", caplog.text)]
    assert len(waits) == 1
    assert 0.3 <= waits[0] <= 1.0


@pytest.mark.parametrize(
    "reply",
    [
        Reply([Repeat(b" " * 100_000, 1_000)], headers=JSON),
        stream(Repeat(b"x" * 100_000, 1_000)),
        stream(Repeat(event(delta(content="x" * 100_000)), 1_000)),
    ],
)
async def test_an_answer_of_a_hundred_megabytes_is_dropped_early(
    server: ScriptedModel, model: ChatCompletionsModel, reply: Reply
) -> None:
    server.script(reply, reply)
    tracemalloc.start()
    raised = await fault(model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(raised, ModelUnavailable)
    assert str(raised) == "The model provider's answer is larger than any answer may be."
    assert peak < 60_000_000
    assert await asyncio.to_thread(server.hung_up.wait, 10)


async def test_the_key_is_in_no_fault_and_no_log(
    server: ScriptedModel,
    model: ChatCompletionsModel,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    echo = {"error": {"message": f"Bearer {KEY} sent", "metadata": {"raw": KEY}}}
    bad = Reply([f"HTTP/1.1 {KEY}\r\n\r\n".encode(), Cut()], raw=True)
    kind = Reply([b"{}"], headers={"Content-Type": KEY})
    for reply in (plain(echo, status=400), plain(echo, status=500), plain(echo), bad, kind):
        server.script(reply, reply)
        raised = await fault(model)
        assert KEY not in f"{raised!r} {raised.__cause__!r}"
        assert raised.__cause__ is None
        server._script.clear()
    shown = capfd.readouterr()
    assert KEY not in caplog.text + shown.out + shown.err
    assert "stamina.retry_scheduled" in caplog.text


async def test_half_a_character_and_nul_reach_nobody(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    server.script(stream(delta(content="a\x00\ud800"), delta(x="\x1b"), delta("stop")))
    answer = await model.complete(REQUEST)
    assert answer.message == {"role": "assistant", "content": "a\ufffd", "x": ""}
    json.dumps(answer.message, ensure_ascii=False).encode()


async def test_numbers_that_are_not_finite_reach_nobody(
    server: ScriptedModel, model: ChatCompletionsModel
) -> None:
    body = json.dumps(completion({"content": "Hi", "x": 1}))
    server.script(Reply([body.replace('"x": 1', '"x": [NaN, 1e999]').encode()], headers=JSON))
    assert (await model.complete(REQUEST)).message["x"] == [None, None]
