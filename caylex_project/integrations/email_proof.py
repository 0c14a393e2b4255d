"""Proving an address on the page of a link: six digits by mail."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import secrets

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import F

from caylex_project.accounts.end_users import normalise_email
from caylex_project.integrations.models import AuthLink, EmailCode, LinkVisit

DIGITS = 6
CODE_LIFE = datetime.timedelta(minutes=10)
MAX_TRIES = 5  # of one code
MAILS_PER_LINK = 3  # an hour, to one address on one link
MAILS_PER_ADDRESS = 20  # a day
SUBJECT = "Your code"
BODY = (
    "Your code is {code}. It is valid for 10 minutes.\n\n"
    "Somebody entered this address on a page that connects accounts to an assistant. If that was "
    "not you, ignore this message: nothing happens without the code.\n"
)

NO_MAIL = (
    "This service sends no mail, so it cannot check that an address is yours: its operator has to "
    "set EMAIL_URL."
)

log = structlog.get_logger(__name__)


class NoMail(Exception):
    """The service sends no mail; `str()` is a sentence for the page and for staff."""

    def __init__(self) -> None:
        super().__init__(NO_MAIL)


def needs_proof(visit: LinkVisit) -> bool:
    """True while the visitor still has to show that the address is theirs.

    A link that is bound to one address was sent there; a domain's link has to ask.
    """
    if visit.proven_at is not None:
        return False
    always = visit.link.project.prove_address
    return not visit.link.email or always


def send_code(visit: LinkVisit, *, address: str, now: datetime.datetime) -> None:
    """Mail a code to an address that the link is for.

    Nothing is sent, and nothing told, where the link is not for the address or too many mails
    were sent: the page gives one and the same answer. Raises EmailRefused for no address at all,
    and NoMail.
    """
    if not settings.SENDS_MAIL:
        raise NoMail
    email = normalise_email(address)
    if not fits(visit.link, email):
        return
    code = f"{secrets.randbelow(10**DIGITS):0{DIGITS}d}"
    with transaction.atomic():
        # One after the other for a link, so that the count holds.
        AuthLink.objects.select_for_update().get(pk=visit.link_id)
        if _too_many(visit.link, email, now):
            log.warning("connect.mails_limited", link=str(visit.link_id))
            return
        EmailCode.objects.filter(visit=visit, used_at=None).update(expires_at=now)
        row = EmailCode(
            visit=visit, link=visit.link, address=email, sent_at=now, expires_at=now + CODE_LIFE
        )
        row.digest = _digest(code, row)
        row.save(force_insert=True)
    _mail(email, code)


def check_code(visit: LinkVisit, *, code: str, now: datetime.datetime) -> bool:
    """Take a code; True where it is right, and then the visit's address is proven.

    Each try counts before it is compared, so that many at once get no more than MAX_TRIES.
    """
    row = visit.codes.filter(used_at=None, expires_at__gt=now).order_by("-sent_at").first()
    if row is None:
        return False
    counted = EmailCode.objects.filter(
        pk=row.pk, used_at=None, expires_at__gt=now, tries__lt=MAX_TRIES
    ).update(tries=F("tries") + 1)
    digits = "".join(code.split())
    if not counted or not hmac.compare_digest(_digest(digits, row), row.digest):
        return False
    with transaction.atomic():
        if not EmailCode.objects.filter(pk=row.pk, used_at=None).update(used_at=now):
            return False
        LinkVisit.objects.filter(pk=visit.pk).update(address=row.address, proven_at=now)
    visit.address, visit.proven_at = row.address, now
    return True


def fits(link: AuthLink, email: str) -> bool:
    """Tell whether a link is for an address; a domain compares whole, without its subdomains."""
    if link.email:
        return email == link.email
    return email.rpartition("@")[2] == link.email_domain


def _too_many(link: AuthLink, email: str, now: datetime.datetime) -> bool:
    hour, day = now - datetime.timedelta(hours=1), now - datetime.timedelta(days=1)
    sent = EmailCode.objects.filter(address=email)
    return (
        sent.filter(link=link, sent_at__gt=hour).count() >= MAILS_PER_LINK
        or sent.filter(sent_at__gt=day).count() >= MAILS_PER_ADDRESS
    )


def _digest(code: str, row: EmailCode) -> str:
    """Return the keyed digest of a code: six digits alone could be tried out."""
    key = settings.SECRET_KEY.encode()
    text = f"caylex e-mail code\0{row.pk}\0{row.address}\0{code}"
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _mail(email: str, code: str) -> None:
    message = EmailMessage(SUBJECT, BODY.format(code=code), to=[email])
    try:
        message.send()
    except OSError as error:
        log.error("connect.mail_failed", reason=type(error).__name__)
