"""The context windows of models: what the operator sets, the provider tells and runs have found."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from agent_runtime.context.window import Window, WindowSource
from tasks_app.models import ModelWindow

ASK_EVERY = datetime.timedelta(days=1)
LEARNED_HOLDS = datetime.timedelta(days=7)  # then a refusal may teach it again


@dataclass(slots=True, kw_only=True)
class Windows:
    """The windows that one process knows; `set_by_operator` is CAYLEX_CONTEXT_TOKENS by model."""

    set_by_operator: Callable[[str], int | None] = lambda _: None
    _known: dict[str, Window] = field(default_factory=dict)

    def of(self, model: str) -> Window:
        """Return the window in force for a model."""
        return self._known.get(model) or self._resolved(model, None, now=None)

    def note(self, rows: Iterable[ModelWindow], *, now: datetime.datetime) -> None:
        """Take in what the rows say."""
        for row in rows:
            self._known[row.model] = self._resolved(row.model, row, now=now)

    def _resolved(
        self, model: str, row: ModelWindow | None, *, now: datetime.datetime | None
    ) -> Window:
        """Return the operator's window, else the provider's, else the default.

        One that was learned holds where it is smaller, for LEARNED_HOLDS.
        """
        max_output = row.max_output if row else None
        tokens, source = self.set_by_operator(model), WindowSource.SETTING
        if tokens is None and row is not None and row.told:
            tokens, source = row.told, WindowSource.PROVIDER
        found = (
            Window(max_output=max_output)
            if tokens is None
            else Window(tokens=tokens, source=source, max_output=max_output)
        )
        if row is None or not row.learned or row.learned_at is None or now is None:
            return found
        if row.learned >= found.tokens or now - row.learned_at > LEARNED_HOLDS:
            return found
        return Window(tokens=row.learned, source=WindowSource.LEARNED, max_output=max_output)


def windows_of(models: Collection[str]) -> list[ModelWindow]:
    """Return what is kept of the windows of these models."""
    return list(ModelWindow.objects.filter(pk__in=models))


def keep_learned(*, model: str, tokens: int, now: datetime.datetime) -> list[ModelWindow]:
    """Keep a window that a run has found, for all processes; return the row."""
    values = {"learned": tokens, "learned_at": now}
    row, _ = ModelWindow.objects.update_or_create(pk=model, defaults=values)
    return [row]


def keep_told(
    *, windows: Mapping[str, Window], models: Collection[str], now: datetime.datetime
) -> list[ModelWindow]:
    """Keep what the provider told of these models; return their rows."""
    for model in models:
        window = windows.get(model)
        values = {
            "told": window.tokens if window else None,
            "max_output": window.max_output if window else None,
            "told_at": now,
        }
        ModelWindow.objects.update_or_create(pk=model, defaults=values)
    return windows_of(models)


def not_asked_lately(*, models: Collection[str], now: datetime.datetime) -> list[str]:
    """Return those of the models about which the provider was not asked within a day."""
    fresh = ModelWindow.objects.filter(pk__in=models, told_at__gt=now - ASK_EVERY)
    return sorted(set(models) - set(fresh.values_list("pk", flat=True)))
