"""The API's addresses. Each has both slash forms: a redirect would lose a POST's body."""

from __future__ import annotations

from django.urls import path, re_path

from tasks_app.api.openapi.docs_page import docs, openapi
from tasks_app.api.views.base import UnknownView
from tasks_app.api.views.events import EventsView
from tasks_app.api.views.runs import CancelView, ContinueView, RerunView, RetryView
from tasks_app.api.views.sessions import TraceView, TranscriptView
from tasks_app.api.views.tasks import TasksView, TaskView

tasks = TasksView.as_view()
task = TaskView.as_view()
cancel = CancelView.as_view()
retry = RetryView.as_view()
go_on = ContinueView.as_view()
rerun = RerunView.as_view()
events = EventsView.as_view()
transcript = TranscriptView.as_view()
trace = TraceView.as_view()

urlpatterns = [
    path("v1/agent-task", tasks, name="agent-tasks"),
    path("v1/agent-task/", tasks),
    path("v1/agent-task/<str:task_id>", task, name="agent-task"),
    path("v1/agent-task/<str:task_id>/", task),
    path("v1/agent-task/<str:task_id>/cancel", cancel, name="agent-task-cancel"),
    path("v1/agent-task/<str:task_id>/cancel/", cancel),
    path("v1/agent-task/<str:task_id>/retry", retry, name="agent-task-retry"),
    path("v1/agent-task/<str:task_id>/retry/", retry),
    path("v1/agent-task/<str:task_id>/continue", go_on, name="agent-task-continue"),
    path("v1/agent-task/<str:task_id>/continue/", go_on),
    path("v1/agent-task/<str:task_id>/rerun", rerun, name="agent-task-rerun"),
    path("v1/agent-task/<str:task_id>/rerun/", rerun),
    path("v1/agent-task/<str:task_id>/events", events, name="agent-task-events"),
    path("v1/agent-task/<str:task_id>/events/", events),
    path("v1/agent-task/<str:task_id>/transcript", transcript, name="agent-task-transcript"),
    path("v1/agent-task/<str:task_id>/transcript/", transcript),
    path("v1/queries/query-logs/<str:session_id>/trace", trace, name="session-trace"),
    path("v1/queries/query-logs/<str:session_id>/trace/", trace),
    path("v1/docs/openapi.yaml", openapi, name="openapi"),
    path("v1/docs", docs, name="docs"),
    path("v1/docs/", docs),
    re_path(r"^", UnknownView.as_view()),
]
