"""A day at a support desk, as rows: what the pictures show."""

from __future__ import annotations

import datetime
import json
from decimal import Decimal
from typing import Any

from agent_runtime.outcome import StopReason
from caylex_project.accounts.models import EndUser, Navigator, Project, Tenant
from tasks_app.models import AgentTask, Step, ToolCall
from tests.support.factories import (
    AgentTaskFactory,
    EndUserFactory,
    NavigatorFactory,
    ProjectFactory,
    StepFactory,
    TenantFactory,
    ToolCallFactory,
    WorkerFactory,
)

REPORT = """# Recurring issues last week

Reviewed **142 tickets**. Three issues came up again and again:

1. **Sign-in links that expire** (38 tickets): the link lives five minutes, the mail takes longer.
2. **Exports cut at 1,000 rows** (21 tickets), always from the old report page.
3. **Invoices to the wrong address** (9 tickets), all of customers that moved this month.

| issue | tickets | share |
|---|---|---|
| sign-in links | 38 | 27 % |
| exports | 21 | 15 % |
| invoices | 9 | 6 % |

I could not read the *billing* notes: that server did not answer. The draft is in the
[shared folder](https://example.com/drafts/88).
"""
PROMPTS = (
    "Review last week's support tickets and draft a summary of recurring issues.",
    "Update the CRM with yesterday's calls.",
    "Write the Monday report for the shops in the north.",
    "Check all open invoices against the bank statement.",
    "Sort the new applications and answer the incomplete ones.",
)
PEOPLE = ("jane@example.com", "omar@example.com", "li.wei@example.com", "ruth@example.com")


class Scene:
    """The tasks of one day until `now`."""

    def __init__(self, now: datetime.datetime) -> None:
        self.now = now
        self.tenant: Tenant = TenantFactory(name="northwind")
        self.project: Project = ProjectFactory(tenant=self.tenant, name="support")
        self.navigator: Navigator = NavigatorFactory(project=self.project, name="desk")
        self.people: list[EndUser] = [
            EndUserFactory(project=self.project, email=email) for email in PEOPLE
        ]
        self.worker = WorkerFactory(
            host="tasks-1",
            pid=4117,
            started_at=now,
            lease_until=now + datetime.timedelta(days=1),
            held=2,
        )

    def task(self, number: int, *, ago: float, **fields: Any) -> AgentTask:
        """Make a task that was submitted `ago` seconds ago."""
        created = self.now - datetime.timedelta(seconds=ago)
        task: AgentTask = AgentTaskFactory(
            **{
                "tenant": self.tenant,
                "project": self.project,
                "navigator": self.navigator,
                "end_user": self.people[number % len(self.people)],
                "prompt": PROMPTS[number % len(PROMPTS)],
                "model": "anthropic/claude-opus-4.8",
                "created_at": created,
                **fields,
            }
        )
        return task

    def ended(self, number: int, *, ago: float, took: float, **fields: Any) -> AgentTask:
        """Make a task that has ended; completed where nothing else is said."""
        begun = self.now - datetime.timedelta(seconds=ago - 3)
        given = {
            "status": "COMPLETED",
            "stop_reason": StopReason.FINAL_REPORT.value,
            "report": REPORT,
            "started_at": begun,
            "completed_at": begun + datetime.timedelta(seconds=took),
            "steps_completed": 4 + number % 7,
            "tool_calls_made": 6 + number % 11,
            "cost_usd": Decimal("0.0421") * (1 + number % 9),
            **fields,
        }
        return self.task(number, ago=ago, **given)

    def step(self, task: AgentTask, index: int, *, at: float, took: float, words: str = "") -> Step:
        """Make a step `at` seconds after the task's start."""
        assert task.started_at is not None
        begun = task.started_at + datetime.timedelta(seconds=at)
        step: Step = StepFactory(
            task=task,
            index=index,
            sequence=index * 10,
            model=task.model,
            finish_reason="tool_calls",
            response={"role": "assistant", "content": words},
            usage={"input_tokens": 2_100 * index, "output_tokens": 240, "cost_usd": 0.0132 * index},
            started_at=begun,
            completed_at=begun + datetime.timedelta(seconds=took),
        )
        return step

    def call(self, step: Step, index: int, tool: str, *, took: float, **fields: Any) -> ToolCall:
        """Make a call that was sent when its step was through."""
        server, _, name = tool.partition(": ")
        end = step.completed_at + datetime.timedelta(seconds=took)
        given = {
            "server": server,
            "tool": name,
            "name": f"{server}__{name}",
            "arguments": json.dumps({"query": "created last week", "page": index + 1}),
            "state": "succeeded",
            "result": json.dumps({"found": 142, "tickets": [{"id": 81, "title": "Link expired"}]}),
            "started_at": step.completed_at,
            "completed_at": end,
            **fields,
        }
        call: ToolCall = ToolCallFactory(step=step, index=index, **given)
        return call

    def play(self) -> tuple[AgentTask, AgentTask]:
        """Make the whole day; return the task that has ended and the one that runs."""
        for number in range(60):
            ago = 600 + number * 1_380
            self.ended(number, ago=ago, took=40 + number * 13 % 260, **_odd(number))
        done = self.ended(
            0,
            ago=420,
            took=118,
            steps_completed=4,
            tool_calls_made=5,
            input_tokens=21_034,
            cached_input_tokens=14_300,
            output_tokens=960,
            cost_usd=Decimal("0.1320"),
        )
        first = self.step(done, 1, at=0, took=14, words="I look for last week's tickets.")
        self.call(first, 0, "tickets: search", took=9)
        self.call(first, 1, "tickets: search", took=12)
        second = self.step(done, 2, at=27, took=11)
        self.call(second, 0, "tickets: read_many", took=21)
        gone = {"state": "unknown_outcome", "result": "The server did not answer in time."}
        self.call(second, 1, "billing: notes", took=30, **gone)
        third = self.step(done, 3, at=69, took=16)
        self.call(third, 0, "drive: save_draft", took=6)
        self.step(done, 4, at=92, took=25, words=REPORT)
        busy = self.task(
            3,
            ago=64,
            status="RUNNING",
            worker=self.worker,
            started_at=self.now - datetime.timedelta(seconds=61),
            steps_completed=1,
            tool_calls_made=1,
            sequence=5,
        )
        step = self.step(busy, 1, at=0, took=12, words="First the bank statement.")
        open_call = {"state": "started", "result": None, "completed_at": None}
        self.call(step, 0, "bank: statement", took=0, **open_call)
        for number in range(3):
            self.task(number, ago=12 + number * 3)
        self.task(
            1,
            ago=200,
            attempt=2,
            waiting_reason="HTTP 429: the model's provider asks for a pause.",
            next_attempt_at=self.now + datetime.timedelta(seconds=40),
        )
        return done, busy


def _odd(number: int) -> dict[str, Any]:
    if number % 13 == 5:
        return {
            "status": "FAILED",
            "stop_reason": "error",
            "report": None,
            "error": "The model provider wants to be paid (HTTP 402); add credit, or raise the "
            "key's limit.",
        }
    if number % 11 == 7:
        return {"status": "INCOMPLETE", "stop_reason": "max_steps"}
    return {}
