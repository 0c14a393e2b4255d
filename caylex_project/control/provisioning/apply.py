"""Making it so: what the provisioning file names is made or updated."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from django.db import transaction

from agent_runtime.messages import Permission
from caylex_project.accounts.end_users import end_user
from caylex_project.accounts.keys import issue_navigator_key, issue_platform_token
from caylex_project.accounts.models import Navigator, NavigatorKey, PlatformToken, Project, Tenant
from caylex_project.control.provisioning.document import (
    CredentialPart,
    Document,
    OnError,
    ProvisionRefused,
    ServerPart,
)
from caylex_project.integrations.credentials import CredentialRefused, store_credential
from caylex_project.integrations.models import Server, ServerInstance, ToolPermission
from caylex_project.integrations.oauth_tokens import enter_client
from caylex_project.integrations.permissions import set_permissions
from caylex_project.integrations.server_validation import ServerRefused, check_server
from caylex_project.integrations.webhook_validation import WebhookRefused, check_webhook_url
from skills_app.models import Skill
from skills_app.operations import store_skill
from skills_app.parsing.folder import load_skill
from skills_app.parsing.skill_md import ParsedSkill, SkillRefused

OLD_SECRETS_LIVE = datetime.timedelta(hours=24)
MAX_VALUE_FILE = 10_000  # bytes


class SkippedSkill(NamedTuple):
    """A skill that does not load and that the file lets us leave out; `why` is a sentence."""

    path: str
    why: str


@dataclass(slots=True, kw_only=True)
class Provisioned:
    """What there is now. The two secrets are None where they were made before."""

    tenant: Tenant
    project: Project
    navigator: Navigator
    platform_access_token: str | None = field(default=None, repr=False)
    caylex_api_key: str | None = field(default=None, repr=False)
    servers: list[Server] = field(default_factory=list)
    skills: list[Skill] = field(default_factory=list)
    skipped: list[SkippedSkill] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def provision(
    document: Document,
    *,
    folder: Path,
    environ: Mapping[str, str],
    rotate_keys: bool,
    now: datetime.datetime,
) -> Provisioned:
    """Make or update what the document names, all or nothing; again, it changes nothing.

    `folder` is where relative paths start. A key that the document leaves out leaves what it
    stands for as it is.

    1. Read and check what lies outside the database: skills, addresses, values.
    2. In one transaction, with the tenant locked against a second run: tenant, project and
       navigator, then servers, credentials and skills, then the two secrets where the project
       has none yet or `rotate_keys` asks for new ones; the old ones then end after 24 hours.

    Raises ProvisionRefused.
    """
    mistakes: list[str] = []
    warnings: list[str] = []
    skills, skipped = _read_skills(document, folder, mistakes, warnings)
    warnings += _check_servers(document, mistakes) + _check_webhooks(document, mistakes)
    values = _read_values(document, folder, environ, mistakes)
    clients = _read_clients(document, environ, mistakes)
    if mistakes:
        raise ProvisionRefused(mistakes)
    with transaction.atomic():
        made = _accounts(document)
        made.warnings += warnings
        made.skipped = skipped
        instances = {each.name: _server(made, each, clients) for each in document.servers}
        _credentials(made, document, instances, values)
        made.skills = [store_skill(project=made.project, parsed=each).skill for each in skills]
        _secrets(made, rotate_keys=rotate_keys, now=now)
    return made


def _read_skills(
    document: Document, folder: Path, mistakes: list[str], warnings: list[str]
) -> tuple[list[ParsedSkill], list[SkippedSkill]]:
    """Return the skills that load and those to leave out; others are mistakes."""
    skills: dict[str, ParsedSkill] = {}
    skipped = []
    for index, each in enumerate(document.skills):
        where = f"skills[{index}]: {each.path}"
        try:
            parsed = load_skill(folder / each.path)
            if parsed.slug in skills:
                raise SkillRefused(f"a skill '{parsed.slug}' is listed before.")
        except SkillRefused as error:
            if each.on_error is OnError.REFUSE:
                mistakes.append(f"{where}: {error}")
            else:
                skipped.append(SkippedSkill(each.path, str(error)))
                warnings.append(f"{where} is skipped: {error}")
            continue
        warnings += [f"{where}: {note}" for note in parsed.notes]
        skills[parsed.slug] = parsed
    return list(skills.values()), skipped


def _check_servers(document: Document, mistakes: list[str]) -> list[str]:
    warnings = []
    for index, each in enumerate(document.servers):
        try:
            warning = check_server(
                url=each.url,
                auth_kind=each.auth.kind,
                auth_name=each.auth.name,
                auth_prefix=each.auth.prefix,
            )
        except ServerRefused as error:
            mistakes.append(f"servers[{index}].{error}")
        else:
            warnings += [f"servers[{index}].url: {warning}"] if warning else []
    return warnings


def _check_webhooks(document: Document, mistakes: list[str]) -> list[str]:
    warnings = []
    for index, each in enumerate(document.webhooks):
        try:
            warning = check_webhook_url(each.url)
        except WebhookRefused as error:
            mistakes.append(f"webhooks[{index}].url: {error}")
        else:
            warnings += [f"webhooks[{index}].url: {warning}"] if warning else []
    return warnings


def _read_values(
    document: Document, folder: Path, environ: Mapping[str, str], mistakes: list[str]
) -> list[str]:
    values = []
    for index, each in enumerate(document.credentials):
        try:
            values.append(_read_value(each, folder, environ))
        except ValueError as error:
            mistakes.append(f"credentials[{index}].{error}")
    return values


def _read_value(part: CredentialPart, folder: Path, environ: Mapping[str, str]) -> str:
    if part.value is not None:
        return part.value.get_secret_value()
    if part.value_env is not None:
        if part.value_env not in environ:
            # Not named: it may be the value itself, under the wrong key. So may the file's path.
            raise ValueError("value_env: the environment has no such variable.")
        return environ[part.value_env]
    assert part.value_file is not None
    try:
        with (folder / part.value_file).open("rb") as file:
            data = file.read(MAX_VALUE_FILE + 1)
    except OSError as error:
        raise ValueError(f"value_file: {error.strerror}.") from None
    if len(data) > MAX_VALUE_FILE:
        raise ValueError(f"value_file: larger than {MAX_VALUE_FILE:,} bytes.")
    try:
        return data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError("value_file: not a text in UTF-8.") from None


def _read_clients(
    document: Document, environ: Mapping[str, str], mistakes: list[str]
) -> dict[str, str]:
    """Return the secrets of OAuth clients by server; empty for a client without one."""
    secrets = {}
    for index, each in enumerate(document.servers):
        variable = each.auth.client_secret_env
        if variable is not None and not environ.get(variable):
            where = f"servers[{index}].auth.client_secret_env"
            mistakes.append(f"{where}: the environment has no such variable.")
        elif each.auth.client_id:
            secrets[each.name] = environ[variable] if variable is not None else ""
    return secrets


def _accounts(document: Document) -> Provisioned:
    tenant, _ = Tenant.objects.get_or_create(name=document.tenant)
    tenant = Tenant.objects.select_for_update().get(pk=tenant.pk)
    project, _ = Project.objects.get_or_create(tenant=tenant, name=document.project)
    if document.instructions is not None:
        project.instructions = document.instructions
    if document.timezone is not None:
        project.timezone = document.timezone
    if document.limits is not None:
        project.limits = document.limits.as_json()
    project.save(update_fields=["instructions", "timezone", "limits"])
    navigator, _ = Navigator.objects.get_or_create(
        project=project, name=document.navigator or document.project
    )
    if document.model is not None:
        navigator.model = document.model
        navigator.save(update_fields=["model"])
    return Provisioned(tenant=tenant, project=project, navigator=navigator)


def _server(made: Provisioned, part: ServerPart, clients: Mapping[str, str]) -> ServerInstance:
    named = part.model_fields_set
    values: dict[str, object] = {
        "url": part.url,
        "auth_kind": part.auth.kind,
        "auth_name": part.auth.name,
        "auth_prefix": part.auth.prefix,
        "oauth_issuer": part.auth.issuer,
        "oauth_scopes": part.auth.scopes,
    }
    if "repeatable" in named:
        values["repeatable_tools"] = sorted(set(part.repeatable))
    server, _ = Server.objects.update_or_create(tenant=made.tenant, name=part.name, defaults=values)
    instance, _ = ServerInstance.objects.update_or_create(
        server=server,
        project=made.project,
        defaults={"auth_level": part.auth.level},
    )
    if part.name in clients:
        enter_client(
            server=server,
            issuer=part.auth.issuer,
            client_id=part.auth.client_id,
            secret=clients[part.name],
        )
    if "tools" in named:
        _permissions(made.navigator, instance, part)
    made.servers.append(server)
    return instance


def _permissions(navigator: Navigator, instance: ServerInstance, part: ServerPart) -> None:
    """The file's list is the whole list: whatever is not in it is `always_execute`."""
    rows = ToolPermission.objects.filter(navigator=navigator, instance=instance)
    unlisted = rows.values_list("tool", flat=True)
    wanted = {**dict.fromkeys(unlisted, Permission.ALWAYS_EXECUTE), **part.tools}
    set_permissions(navigator=navigator, instance=instance, wanted=wanted)


def _credentials(
    made: Provisioned,
    document: Document,
    named: Mapping[str, ServerInstance],
    values: list[str],
) -> None:
    mistakes = []
    rows = ServerInstance.objects.filter(project=made.project).select_related("server")
    connected = {each.server.name: each for each in rows} | dict(named)
    for index, (part, value) in enumerate(zip(document.credentials, values, strict=True)):
        instance = connected.get(part.server)
        if instance is None:
            known = ", ".join(sorted(connected)) or "none"
            mistakes.append(
                f"credentials[{index}].server: {part.server} is not connected to the project; "
                f"list it under servers (connected: {known})."
            )
            continue
        owner = end_user(project=made.project, email=part.user_email) if part.user_email else None
        try:
            store_credential(instance=instance, end_user=owner, value=value)
        except CredentialRefused as error:
            mistakes.append(f"credentials[{index}]: {error}")
    if mistakes:
        raise ProvisionRefused(mistakes)


def _secrets(made: Provisioned, *, rotate_keys: bool, now: datetime.datetime) -> None:
    """Make the project's token and the navigator's key, once, or anew when asked to.

    The token is tenant-wide but bears the project's name: a second project's file then has a
    working pair of its own, and rotating one project's leaves the other's alone. A secret that
    was revoked or has ended is not made again by itself.
    """
    name = f"provision {made.project.name}"
    tokens = PlatformToken.objects.filter(tenant=made.tenant, name=name)
    keys = NavigatorKey.objects.filter(navigator=made.navigator)
    old = [*tokens, *keys] if rotate_keys else []
    if rotate_keys or not tokens.exists():
        _, made.platform_access_token = issue_platform_token(tenant=made.tenant, name=name)
    if rotate_keys or not keys.exists():
        _, made.caylex_api_key = issue_navigator_key(navigator=made.navigator)
    for row in old:
        row.expire_by(now + OLD_SECRETS_LIVE)
