"""LangGraph with its asynchronous PostgreSQL checkpointer, durability "sync".

A graph of one node that asks the model and one edge that comes back to it; a superstep, and so
a checkpoint on disk, is one step. With a tool there is a second node for the call, so that a
call has a checkpoint of its own, as in `langgraph.prebuilt`. State is a plain list of messages
with `operator.add`: cheaper than `add_messages`, which makes an object of each.
"""

import asyncio
import operator
import uuid
from typing import Annotated, Any, TypedDict

import common
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import END, START, StateGraph
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool


class State(TypedDict):
    """The transcript."""

    messages: Annotated[list[Any], operator.add]


def build(http: Any, saver: AsyncPostgresSaver, *, tool: bool) -> Any:
    """Return the compiled graph."""

    async def model(state: State) -> dict[str, Any]:
        message = await common.ask(http, state["messages"])
        return {"messages": [message, *([] if tool else common.result_of(message))]}

    async def call(state: State, config: RunnableConfig) -> dict[str, Any]:
        client = config["configurable"]["client"]
        return {"messages": await common.call_tool(client, state["messages"][-1])}

    def after_model(state: State) -> str:
        last = state["messages"][-1]
        if tool:
            return "call" if last.get("tool_calls") else END
        return "model" if last["role"] == "tool" else END

    graph = StateGraph(State)
    graph.add_node("model", model)
    graph.add_edge(START, "model")
    if tool:
        graph.add_node("call", call)
        graph.add_edge("call", "model")
    graph.add_conditional_edges("model", after_model, ["call" if tool else "model", END])
    return graph.compile(checkpointer=saver)


async def main() -> None:
    """Set up, and obey."""
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    async with (
        common.client_session() as http,
        AsyncConnectionPool(
            common.DATABASE, min_size=2, max_size=common.CONNECTIONS, kwargs=options
        ) as pool,
    ):
        saver = AsyncPostgresSaver(pool)  # type: ignore[arg-type]
        await saver.setup()
        graphs = {tool: build(http, saver, tool=tool) for tool in (False, True)}

        async def one(*, steps: int, tool: bool, delay: float) -> None:
            async with common.tool_session(tool) as client:
                config = {
                    "configurable": {"thread_id": str(uuid.uuid4()), "client": client},
                    "recursion_limit": 10_000,
                }
                await graphs[tool].ainvoke(
                    {"messages": common.opening(steps=steps, delay=delay)},
                    config,
                    durability="sync",
                )

        async def run(*, tasks: int, steps: int, tool: bool, delay: float) -> None:
            await asyncio.gather(*(one(steps=steps, tool=tool, delay=delay) for _ in range(tasks)))

        await common.obey(run)


asyncio.run(main())
