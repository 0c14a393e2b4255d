"""What may be said of a server when it is saved."""

from __future__ import annotations

from typing import Any

import pytest

from caylex_project.integrations.models import AuthKind
from caylex_project.integrations.server_validation import ServerRefused, check_server

URL = "http://127.0.0.1:8902/mcp"


def check(url: str = URL, kind: str = "none", name: str = "", prefix: str = "") -> Any:
    """Check with fewer words."""
    return check_server(url=url, auth_kind=AuthKind(kind), auth_name=name, auth_prefix=prefix)


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"kind": "bearer"},
        {"kind": "header", "name": "X-Api-Key"},
        {"kind": "header", "name": "Authorization", "prefix": "Token "},
        {"kind": "query", "name": "api_key", "url": f"{URL}?v=1"},
        {"kind": "path", "name": "key", "url": "http://127.0.0.1:8902/s/{key}/mcp"},
    ],
)
def test_a_plain_server_is_taken(said: dict[str, str]) -> None:
    assert check(**said) is None


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"kind": "bearer", "name": "X"}, "auth.name: kind bearer takes no name; leave it out."),
        ({"kind": "header"}, "auth.name: kind header needs a name."),
        ({"kind": "query"}, "auth.name: kind query needs a name."),
        ({"kind": "header", "name": "X Y"}, "auth.name: this cannot be the name for kind header."),
        ({"kind": "header", "name": "Host"}, "auth.name: Host is not free for a credential."),
        (
            {"kind": "header", "name": "Mcp-Session-Id"},
            "auth.name: Mcp-Session-Id is not free for a credential.",
        ),
        (
            {"kind": "bearer", "prefix": "x"},
            "auth.prefix: kind bearer takes no prefix; leave it out.",
        ),
        (
            {"kind": "header", "name": "X", "prefix": "a\nb"},
            "auth.prefix: use at most 100 printable ASCII characters, not starting with a space.",
        ),
        (
            {"kind": "query", "name": "v", "url": f"{URL}?v=1"},
            "url: leave out the parameter v; the credential is it.",
        ),
        (
            {"url": "http://127.0.0.1/{key}"},
            "url: braces have no meaning with auth kind none.",
        ),
        ({"url": f"{URL}#part"}, "url: leave out the part after '#'; it is never sent."),
        ({"url": "ftp://127.0.0.1/"}, "url: The address must start with http:// or https://."),
        (
            {"url": "http://user:pass@127.0.0.1/"},
            "url: The address must not hold a user name or password.",
        ),
    ],
)
def test_a_mistake_is_said(said: dict[str, str], sentence: str) -> None:
    with pytest.raises(ServerRefused) as refused:
        check(**said)
    assert str(refused.value) == sentence


@pytest.mark.parametrize(
    "url",
    [
        URL,
        "http://127.0.0.1/{key}/{key}",
        "http://127.0.0.1/{key}/{other}",
        "http://127.0.0.1/mcp?k={key}",
        "http://{key}.example.com/mcp",
        "http://127.0.0.1/{ key}",
        "http://[{key}",
    ],
)
def test_a_path_credential_has_exactly_one_place_in_the_path(url: str) -> None:
    with pytest.raises(ServerRefused):
        check(url=url, kind="path", name="key")


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/mcp",
        "http://169.254.169.254/latest",
        "http://2130706433/",
        "http://[::ffff:127.0.0.1]/",
        "http://127.0.0.1:22/",
    ],
)
def test_an_address_that_we_may_not_connect_to_is_refused(url: str) -> None:
    with pytest.raises(ServerRefused) as refused:
        check(url=url)
    assert str(refused.value).startswith("url: ")
