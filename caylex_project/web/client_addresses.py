"""Addresses of clients, as they are written in headers and by servers."""

from __future__ import annotations

import ipaddress


def parsed_address(text: str) -> str | None:
    """Return an IP address in its usual form, without a port; None where there is none."""
    text = text.strip()
    if text.startswith("["):
        text, bracket, _ = text[1:].partition("]")
        if not bracket:
            return None
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    if "%" in text:  # an interface's name, which no database takes
        return None
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
