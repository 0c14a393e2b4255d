"""End users: people within a project, known by their e-mail address."""

from __future__ import annotations

import uuid

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from caylex_project.accounts.models import EndUser, Project
from caylex_project.db.compiled_query import CompiledQuery

MAX_LENGTH = 254  # RFC 5321, as far as a mailbox can be delivered to

_KNOWN = CompiledQuery(
    lambda project, email: EndUser.objects.filter(project_id=project, email=email),
    project=uuid.UUID,
    email=str,
)


class EmailRefused(ValueError):
    """The text is no address that we take; `str()` is a sentence that is safe to show."""


def normalise_email(text: str) -> str:
    """Return the address in the lower case in which it is kept and compared.

    ASCII alone (an international domain in its `xn--` form), no quoted local part: those
    hold spaces and control characters, and the address is said to the agent.

    Raises EmailRefused.
    """
    if len(text) > MAX_LENGTH:
        raise EmailRefused(f"An e-mail address has at most {MAX_LENGTH} characters.")
    if not text.isascii() or '"' in text:
        raise EmailRefused(
            "An e-mail address is written in plain ASCII without quotes; an international "
            "domain in its xn-- form."
        )
    try:
        validate_email(text)
    except ValidationError:
        raise EmailRefused("This is not an e-mail address.") from None
    return text.lower()


def end_user(*, project: Project, email: str) -> EndUser:
    """Return the project's end user of that address, made on first use.

    Safe in a race: of two that insert, the second finds the first one's row.

    Raises EmailRefused.
    """
    address = normalise_email(email)
    row = _KNOWN.find(project=project.pk, email=address)
    return row or EndUser.objects.get_or_create(project=project, email=address)[0]
