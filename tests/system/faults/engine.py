"""The engine, with shorter waits and with a task that kills: what `settings.CAYLEX_ENGINE` names.

Importing it changes the worker processes alone. `FAULTS_POISON` is a word: the process that is
about to ask the model about a task whose prompt holds it ends on the spot.
"""

from __future__ import annotations

import os

from agent_runtime.llm.chat_completions import ChatCompletionsModel
from agent_runtime.messages import ModelAnswer
from agent_runtime.ports import ModelRequest
from tasks_app.worker.engine import Engine, install
from tasks_app.worker.journal import outcomes
from tasks_app.worker.process import supervisor

__all__ = ["Engine", "install"]

KILLED = 9


class PoisonedModel(ChatCompletionsModel):
    """A model whose client crashes the process for some prompts."""

    async def complete(self, request: ModelRequest) -> ModelAnswer:
        """Ask, or end the process as a crash would."""
        if os.environ["FAULTS_POISON"].encode() in request.messages[1].wire:
            os._exit(KILLED)
        return await super().complete(request)


def _shorten_waits(seconds: float) -> None:
    setattr(outcomes, "BACKOFF_SECONDS", (seconds,))  # noqa: B010


def _shorten_pauses(seconds: float) -> None:
    """Let the parent start the dead again without the long pauses."""
    defaults = supervisor.Supervisor.__init__.__kwdefaults__
    assert defaults is not None
    defaults["pauses"] = (0.0, seconds)


if "FAULTS_POISON" in os.environ:
    from tasks_app.worker import resources

    setattr(resources, "ChatCompletionsModel", PoisonedModel)  # noqa: B010
    _shorten_pauses(0.2)

if "FAULTS_WAIT" in os.environ:
    _shorten_waits(float(os.environ["FAULTS_WAIT"]))
