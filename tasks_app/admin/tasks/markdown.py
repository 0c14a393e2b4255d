"""A report as HTML: what the agent wrote is Markdown, and nothing that it wrote is trusted."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import nh3
from django.conf import settings
from django.http.request import validate_host
from django.utils.safestring import SafeString, mark_safe
from markdown_it import MarkdownIt

MAX_CHARACTERS = 64_000  # what is beyond is in the source alone
_TAGS = {
    *("p", "h3", "ul", "ol", "li", "strong", "em", "code", "pre", "blockquote", "hr", "br", "a"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}

_ADDRESS = re.compile(r"https?://[^/\\?#%\s][^\\\s]*|mailto:[^/\\\s]+", re.IGNORECASE)

_parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")


def rendered(text: str) -> SafeString:
    """Return the HTML of a report: no HTML of its own, no images, links that lead outside only.

    A link to this service, or to wherever the page happens to be, keeps its text and loses its
    address. Its headings are all of one level, below that of the page's own.
    """
    tokens = _parser.parse(text[:MAX_CHARACTERS])
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = "h3"
    html = _parser.renderer.render(tokens, _parser.options, {})
    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes={"a": {"href"}, "ol": {"start"}},
        attribute_filter=_outside,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    return mark_safe(clean)  # noqa: S308  cleaned above


def _outside(tag: str, attribute: str, value: str) -> str | None:
    """Return the value, or None for an address that does not plainly name another host.

    A user name before the host is there to be taken for the host.
    """
    if attribute != "href":
        return value
    try:
        parts = urlsplit(value)
        host = (parts.hostname or "").rstrip(".")
    except ValueError:
        return None
    ours = [each for each in settings.ALLOWED_HOSTS if each != "*"]
    plain = _ADDRESS.fullmatch(value) is not None and "@" not in parts.netloc
    return value if plain and not validate_host(host, ours) else None
