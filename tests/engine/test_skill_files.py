"""What an agent gets to read of a skill whose files are not all text."""

from __future__ import annotations

import uuid

from agent_runtime.builtin_tools import load_skill, read_skill_file
from agent_runtime.messages import Call, CallState, Tool, ToolRequest, ToolResult
from agent_runtime.testing import FakeTools
from skills_app.operations import SkillText, store_skill
from skills_app.parsing.upload import load_upload
from tasks_app.worker.database import Database
from tasks_app.worker.execution.toolbox import Toolbox
from tasks_app.worker.resources import _read_skill
from tests.skills.test_upload import GOOD, packed
from tests.support.engine_rows import no_results
from tests.support.factories import ProjectFactory

PICTURE = b"\x89PNG\xffpicture-canary"
TOO_LARGE = b"text-canary " * 20_000


async def answer(toolbox: Toolbox, tool: Tool, **arguments: str) -> ToolResult:
    """Call a tool of the runtime itself."""
    request = ToolRequest(call_id="1", name=tool.name, arguments="")
    return await toolbox.call(
        Call(
            key="a",
            index=0,
            request=request,
            arguments={"id": "s", **arguments},
            tool=tool,
            state=CallState.STARTED,
        )
    )


async def test_the_agent_is_told_what_is_kept_aside_and_no_byte_of_it_reaches_it(
    database: Database,
) -> None:
    def store() -> uuid.UUID:
        files = (("assets/logo.png", PICTURE), ("big.txt", TOO_LARGE))
        revision = store_skill(project=ProjectFactory(), parsed=load_upload(packed(*GOOD, *files)))
        return revision.pk

    revision = await database.run(store)

    async def read_skill(skill_id: str, path: str | None) -> SkillText | None:
        return await database.run(_read_skill, revision, path)

    toolbox = Toolbox(
        servers=FakeTools(), read_skill=read_skill, read_result=no_results, has_skills=True
    )

    loaded = await answer(toolbox, load_skill)
    picture = await answer(toolbox, read_skill_file, path="assets/logo.png")
    large = await answer(toolbox, read_skill_file, path="big.txt")
    text = await answer(toolbox, read_skill_file, path="refs/style.md")
    none = await answer(toolbox, read_skill_file, path="assets/none.png")

    assert loaded.text.endswith(
        "\n- assets/logo.png (image/png, 19 bytes)\n- big.txt (text/plain, 240,000 bytes)"
    )
    aside = "is kept aside: it is not text, or it is too large. You cannot read it."
    assert (picture.state, picture.text) == (
        CallState.FAILED,
        f"assets/logo.png (image/png, 19 bytes) {aside}",
    )
    assert (large.state, large.text) == (
        CallState.FAILED,
        f"big.txt (text/plain, 240,000 bytes) {aside}",
    )
    assert (text.state, text.text) == (CallState.SUCCEEDED, "Short.")
    assert (none.state, none.text) == (CallState.FAILED, "There is no such file in this skill.")
    assert "canary" not in "".join(each.text for each in (loaded, picture, large, text, none))
