"""Rows for tests: each factory makes what its row needs of the others."""

from __future__ import annotations

import datetime
from typing import Any

import factory
from django.utils import timezone
from factory.django import DjangoModelFactory

from caylex_project.accounts.models import EndUser, Navigator, Project, Tenant
from caylex_project.integrations.models import Server, ServerInstance, ToolPermission
from skills_app.models import Skill, SkillRevision
from tasks_app.models import AgentTask, Event, Step, ToolCall, Worker

LIMITS = {"schema": 1, "max_steps": 50, "max_tool_calls": None, "timeout_seconds": 3600}


class TenantFactory(DjangoModelFactory):
    class Meta:
        model = Tenant

    name = factory.Sequence(lambda n: f"tenant-{n}")


class ProjectFactory(DjangoModelFactory):
    class Meta:
        model = Project

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"project-{n}")


class NavigatorFactory(DjangoModelFactory):
    class Meta:
        model = Navigator

    project = factory.SubFactory(ProjectFactory)
    name = factory.Sequence(lambda n: f"navigator-{n}")


class EndUserFactory(DjangoModelFactory):
    class Meta:
        model = EndUser

    project = factory.SubFactory(ProjectFactory)
    email = factory.Sequence(lambda n: f"user-{n}@example.com")


class ServerFactory(DjangoModelFactory):
    class Meta:
        model = Server

    tenant = factory.SubFactory(TenantFactory)
    name = factory.Sequence(lambda n: f"server-{n}")
    url = "https://tools.example.com/mcp"


class ServerInstanceFactory(DjangoModelFactory):
    class Meta:
        model = ServerInstance

    project = factory.SubFactory(ProjectFactory)
    server = factory.SubFactory(ServerFactory, tenant=factory.SelfAttribute("..project.tenant"))


class ToolPermissionFactory(DjangoModelFactory):
    class Meta:
        model = ToolPermission

    instance = factory.SubFactory(ServerInstanceFactory)
    navigator = factory.SubFactory(
        NavigatorFactory, project=factory.SelfAttribute("..instance.project")
    )
    tool = "wipe"
    permission = "disabled"


class SkillFactory(DjangoModelFactory):
    """A project's skill; its first revision is made with it."""

    class Meta:
        model = Skill
        skip_postgeneration_save = True

    project = factory.SubFactory(ProjectFactory)
    slug = factory.Sequence(lambda n: f"skill-{n}")

    @factory.post_generation
    def revision(self: Any, create: bool, extracted: Any, **values: Any) -> None:
        """Make the current revision: `revision__body="…"` and so on."""
        if create:
            self.current = SkillRevision.objects.create(
                skill=self,
                number=1,
                digest="0" * 64,
                **{
                    "name": self.slug,
                    "description": "Does a thing.",
                    "body": "Do the thing.",
                    **values,
                },
            )
            self.save(update_fields=["current"])


class AgentTaskFactory(DjangoModelFactory):
    """A pending task that is due."""

    class Meta:
        model = AgentTask

    tenant = factory.SubFactory(TenantFactory)
    project = factory.SubFactory(ProjectFactory, tenant=factory.SelfAttribute("..tenant"))
    navigator = factory.SubFactory(NavigatorFactory, project=factory.SelfAttribute("..project"))
    end_user = factory.SubFactory(EndUserFactory, project=factory.SelfAttribute("..project"))
    prompt = "Do it."
    model = "scripted"
    limits = LIMITS
    created_at = factory.LazyFunction(timezone.now)
    next_attempt_at = factory.LazyAttribute(lambda task: task.created_at)


class WorkerFactory(DjangoModelFactory):
    """A living worker of another machine, so that no sweep takes it for a local corpse."""

    class Meta:
        model = Worker

    host = "elsewhere"
    machine = "another-machine"
    pid = 1
    pid_started = "1"
    version = "test"
    capacity = 10
    started_at = factory.LazyFunction(timezone.now)
    lease_until = factory.LazyAttribute(lambda w: w.started_at + datetime.timedelta(seconds=30))


class StepFactory(DjangoModelFactory):
    class Meta:
        model = Step

    task = factory.SubFactory(AgentTaskFactory)
    run_number = 1
    index = factory.Sequence(lambda n: n + 1)
    epoch = 1
    sequence = factory.Sequence(lambda n: n + 1)
    request = factory.LazyFunction(lambda: {"schema": 1, "notes": []})
    response = factory.LazyFunction(lambda: {"role": "assistant", "content": "words"})
    finish_reason = "stop"
    model = "scripted"
    usage = factory.LazyFunction(dict)
    started_at = factory.LazyFunction(timezone.now)
    completed_at = factory.LazyFunction(timezone.now)


class ToolCallFactory(DjangoModelFactory):
    class Meta:
        model = ToolCall

    step = factory.SubFactory(StepFactory)
    index = factory.Sequence(lambda n: n)
    call_id = factory.Sequence(lambda n: f"call_{n}")
    name = "fake__search"
    server = "fake"
    tool = "search"
    arguments = "{}"
    repeatable = False
    state = "planned"


class EventFactory(DjangoModelFactory):
    class Meta:
        model = Event

    task = factory.SubFactory(AgentTaskFactory)
    sequence = factory.Sequence(lambda n: n + 1)
    kind = "agent_task.created"
    at = factory.LazyFunction(timezone.now)
