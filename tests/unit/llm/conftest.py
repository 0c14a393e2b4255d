"""A scripted server and an adapter that talks to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from agent_runtime.llm.chat_completions import ChatCompletionsModel
from tests.support.model_server import ScriptedModel

KEY = "sk-test-0123456789"


@pytest.fixture
def server() -> Iterator[ScriptedModel]:
    with ScriptedModel() as scripted:
        yield scripted


@pytest.fixture
async def model(server: ScriptedModel) -> AsyncIterator[ChatCompletionsModel]:
    adapter = ChatCompletionsModel(base_url=server.base_url, api_key=KEY, stall_seconds=20)
    yield adapter
    await adapter.close()
