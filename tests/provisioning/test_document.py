"""The provisioning file as text: every mistake is a sentence that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from caylex_project.control.provisioning.document import (
    MAX_FILE,
    Document,
    ProvisionRefused,
    parse_document,
    read_document,
)
from caylex_project.environment import BASE_DIR
from skills_app.parsing.strict_yaml import load_typed

SMALL = "tenant: acme\nproject: support\n"


def mistakes(text: str) -> list[str]:
    """The sentences with which the text is refused."""
    with pytest.raises(ProvisionRefused) as refused:
        parse_document(text)
    return refused.value.mistakes


def test_what_is_left_out_is_none() -> None:
    document = parse_document("\ufeff" + SMALL)

    assert (document.tenant, document.project, document.navigator) == ("acme", "support", None)
    assert (document.servers, document.credentials, document.skills) == ([], [], [])
    assert (document.limits, document.timezone, document.instructions) == (None, None, None)


def test_the_example_in_the_docs_is_a_document() -> None:
    text = (BASE_DIR / "docs" / "provisioning.md").read_text()
    example = text.split("```yaml\n")[1].split("```")[0]

    document = parse_document(example)

    assert document.navigator == "support-bot"
    assert document.servers[0].tools == {"append": "always_execute", "wipe": "disabled"}


def test_a_value_is_not_shown_by_the_document() -> None:
    document = parse_document(SMALL + "credentials: [{server: a, value: opensesame}]")

    assert "opensesame" not in repr(document)
    value = document.credentials[0].value
    assert value is not None
    assert value.get_secret_value() == "opensesame"


SERVER = "servers: [{name: a, url: 'http://a.example/', auth: {%s}}]"


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ("servrs: []", "servrs is not a key that can stand here; look for a misspelling."),
        ("servers: {}", "servers must be a list."),
        ("servers:", "servers must be a list."),
        ("servers: [a]", "servers[0] must be keys with values."),
        ("servers: [{name: a}]", "servers[0].url is required."),
        ("instructions: 5", "instructions must be text; put it in quotes."),
        ("navigator: yes", "navigator must be text; put it in quotes."),
        (
            "navigator: A",
            (
                "navigator: use 1 to 63 lower-case letters, digits, '-' and '_', starting and "
                "ending with a letter or digit."
            ),
        ),
        (
            "timezone: Mars/Base",
            "timezone: not a time zone that this machine knows; use an IANA name.",
        ),
        (
            "timezone: ../etc",
            "timezone: not a time zone that this machine knows; use an IANA name.",
        ),
        (
            SERVER % "kind: bearer, issuer: https://id.example",
            "servers[0].auth: issuer is for kind oauth2.",
        ),
        (
            SERVER % "kind: oauth2, client_id: abc",
            "servers[0].auth: client_id needs the issuer at which it is registered.",
        ),
        (
            SERVER % "kind: oauth2, client_secret_env: X",
            "servers[0].auth: client_secret_env needs a client_id.",
        ),
        (
            SERVER % "kind: basic",
            "servers[0].auth.kind: must be one of none, bearer, header, query, path, oauth2.",
        ),
        (
            SERVER % "kind: {a: b}",
            "servers[0].auth.kind: must be one of none, bearer, header, query, path, oauth2.",
        ),
        (SERVER % "level: tenant", "servers[0].auth.level: must be one of project, user."),
        (
            "servers: [{name: a, url: b, tools: {wipe: never}}]",
            "servers[0].tools: wipe must be one of always_execute, require_approval, disabled.",
        ),
        (
            "servers: [{name: a, url: b}, {name: a, url: c}]",
            "servers: two servers have the same name.",
        ),
        (
            "credentials: [{server: a}]",
            "credentials[0]: give exactly one of value, value_file and value_env.",
        ),
        (
            "credentials: [{server: a, value: opensesame, value_env: B}]",
            "credentials[0]: give exactly one of value, value_file and value_env.",
        ),
        (
            "credentials: [{server: a, value: opensesame,hidden}]",
            (
                "credentials[0] takes server, user_email, value, value_file, value_env; put the "
                "value in quotes."
            ),
        ),
        (
            "credentials: [{server: a, value: 12345678}]",
            "credentials[0].value must be text; put it in quotes.",
        ),
        (
            "credentials: [{server: a, value: opensesame, user_email: jane}]",
            "credentials[0].user_email: this is not an e-mail address.",
        ),
        (
            (
                "credentials: [{server: a, value: opensesame, user_email: J@x.example},"
                " {server: a, value: opensesame, user_email: j@x.example}]"
            ),
            "credentials: two credentials are for the same server and user.",
        ),
        ("skills: [5]", "skills[0].path must be text; put it in quotes."),
        (
            "skills: [{path: a, on_error: ignore}]",
            "skills[0].on_error: must be one of refuse, skip.",
        ),
        ("skills: [{on_error: skip}]", "skills[0].path is required."),
        (
            "skills: [{path: a, onerror: skip}]",
            "skills[0].onerror is not a key that can stand here",
        ),
        ("skills: ['']", "skills[0].path: string should have at least 1 character."),
        ("limits: {max_stepz: 1}", "limits.max_stepz is not a key that can stand here; look for a"),
        ("limits: {max_steps: many}", "limits.max_steps must be a whole number."),
        ("limits: {max_steps: true}", "limits.max_steps must be a whole number."),
        ("limits: {max_steps: 0}", "limits.max_steps: input should be greater than or equal to 1."),
        ("limits: {timeout_seconds: .nan}", "limits.timeout_seconds: input should be"),
        ("model: gpt-0", "model: not in CAYLEX_ALLOWED_MODELS; use one of "),
        ("project: other", "Line 3, column 1: this key is there twice."),
        ("model: &a b\nnavigator: *a", "Line 4, column 12: aliases are not allowed."),
        ("model: !!python/name:os.system a", "Line 3, column 8: tags (!) are not allowed."),
        ('instructions: "\\0"', "Line 3, column 15: control characters are not allowed."),
        ("a: [1", "Line 4, column 1: this is not valid YAML; text with special characters belongs"),
    ],
)
def test_a_mistake_is_a_sentence_that_names_the_key(more: str, sentence: str) -> None:
    [said] = mistakes(SMALL + more + "\n")

    assert said.startswith(sentence)
    assert said.endswith(".")


def test_all_mistakes_are_told_at_once() -> None:
    assert mistakes("tenant: A\nx: 1\nskills: a") == [
        (
            "tenant: use 1 to 63 lower-case letters, digits, '-' and '_', starting and ending with "
            "a letter or digit."
        ),
        "project is required.",
        "skills must be a list.",
        "x is not a key that can stand here; look for a misspelling.",
    ]


@pytest.mark.parametrize("text", ["", "a", "[]", "5", "null", "? [a]\n: b", "1: 2"])
def test_what_is_no_mapping_is_refused(text: str) -> None:
    assert len(mistakes(text)) == 1


@pytest.mark.parametrize(
    "value",
    [
        "[s3cretvalue, 'x]",
        "{s3cretvalue: 1}",
        "%s3cretvalue",
        "*s3cretvalue",
        "!s3cretvalue x",
        "[s3cretvalue]",
        "2026-01-01 s3cretvalue: x",
        '"s3cretvalue\\z"',
        "{x, s3cretvalue}",
        "a\n    s3cretvalue: 1",
    ],
)
def test_no_sentence_repeats_a_value(value: str) -> None:
    said = mistakes(SMALL + f"credentials:\n  - server: a\n    value: {value}\n")

    assert "s3cretvalue" not in "".join(said)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    cases = {
        tmp_path / "nowhere": "The file cannot be read: No such file or directory.",
        tmp_path: "The file cannot be read: Is a directory.",
        tmp_path / "binary": "The file is not a text in UTF-8.",
        tmp_path / "large": "The file is larger than 1,000,000 bytes.",
    }
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"#" * (MAX_FILE + 1))
    for path, sentence in cases.items():
        with pytest.raises(ProvisionRefused) as refused:
            read_document(path)
        assert refused.value.mistakes == [sentence]


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
names = st.sampled_from(
    [
        "tenant",
        "project",
        "servers",
        "credentials",
        "limits",
        "skills",
        "name",
        "url",
        "auth",
        "kind",
        "level",
        "tools",
        "value",
        "server",
        "user_email",
        "timezone",
        "model",
        "max_steps",
    ]
)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
NOISE = st.text(alphabet="abc:-[]{}&*!|>'\"\\#%@,?\n \t0x~.=_\u00fc\x00\x85\ud800", max_size=120)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(NOISE | st.dictionaries(names, trees, max_size=6).map(yaml.safe_dump), st.booleans())
def test_no_text_is_answered_with_another_error(text: str, framed: bool) -> None:
    try:
        document = parse_document(SMALL + text if framed else text)
    except ProvisionRefused as refused:
        sentences = list(refused.mistakes)
    else:
        assert isinstance(document, Document)
        sentences = ["None."]
    assert sentences
    assert all(each.endswith(".") and each.isprintable() for each in sentences)


def test_a_number_of_many_digits_is_text_and_costs_no_more_than_one() -> None:
    digits = ":".join(["1"] * 50_000)  # a number in base 60, as YAML 1.1 has it

    assert load_typed(f"a: {digits}") == {"a": digits}
    assert load_typed(f"a: {'9' * 101}") == {"a": "9" * 101}
    assert load_typed("a: 1:30\nb: 999\nc: 1.5\nd: no") == {"a": 90, "b": 999, "c": 1.5, "d": False}


def test_more_than_a_hundred_thousand_values_are_refused() -> None:
    (said,) = mistakes(SMALL + "a: [" + "1," * 100_000 + "]")

    assert said.endswith("more than 100,000 values.")
