"""What an artifact may show of a platform object. Pure.

References, numbers, booleans and words of the specification are shown. Whatever else somebody wrote
may be a secret, and no pattern can rule that out: tokens have too many shapes. So a string is
masked unless its place and its form show what it is. Names and structure stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from cpln_flows.model import identifiers

HIDDEN = "(masked: fill this in)"
"""Replaces a value that is not shown."""

_MOST_LEVELS = 32
_PART = r"[-._a-zA-Z0-9]{1,64}"
_NAME = re.compile(r"[-._/$a-zA-Z0-9]{1,120}")
_KINDS = (
    "agent|cloudaccount|dbcluster|domain|group|gvc|identity|image|ipset|location|memcachecluster|mk8s|policy|quota|secret"
    "|serviceaccount|spicedbcluster|user|volumeset|workload"
)
_LINK = re.compile(rf"(?:/|/org/{_PART})(?:/gvc/{_PART})?/(?:{_KINDS})/{_PART}")
_URI = re.compile(
    rf"(?:cpln://(?:identity|reference|secret|volumeset)/|scratch://){_PART}"
    r"(?:\.[-._a-zA-Z0-9]{1,120})?"
)
_SLUG = re.compile(r"[-a-z0-9]{1,120}(?:/[-a-zA-Z0-9]{1,120})?")
_BOOLEAN = re.compile(r"true|false", re.IGNORECASE)
_NUMBER = re.compile(r"-?[0-9]{1,6}(?:\.[0-9]{1,3})?")
"""A port, a count or some seconds; a longer sequence of digits may be a password."""
_TELLING = re.compile(
    "KEY|TOKEN|SECRET|PASS|PWD|PIN|CODE|CREDENTIAL|AUTH|SALT|SEED|OTP|^-[a-z]$", re.IGNORECASE
)
"""Variable names, and options before an argument, after which a number may be a password."""

_UUID = r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}"
_OWN_TAG = re.compile(
    rf"{_UUID}|[0-9]{{1,9}}|container|job"
    r"|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}-[0-9]{2}Z"
)
_OWN_TAGS: Mapping[str, re.Pattern[str]] = {
    identifiers.SPEC_HASH: re.compile("[0-9a-f]{1,64}"),
    identifiers.JOB_TYPE: re.compile("standard|cron"),
    identifiers.FLOW_RUN_ID: re.compile(_UUID),
}
_OWN_TAGS_PREFIX = "cpln-flows/"

_QUANTITY = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,3})?(?:m|[kKMGT]i?)?")
_CRON = re.compile(r"[-*/,0-9]{1,40}(?: [-*/,0-9]{1,40}){4}")
_IMAGE = re.compile(
    r"(?://image/|/org/[a-z0-9-]{1,64}/image/)?[a-z0-9]+(?:[._:-]{1,2}[a-z0-9]+){0,9}"
    r"(?:/[a-z0-9]+(?:[._-]{1,2}[a-z0-9]+){0,9}){0,5}"
    r"(?::[A-Za-z0-9_][-.A-Za-z0-9_]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_FORMS: Mapping[str, re.Pattern[str]] = {
    **dict.fromkeys(("kind", "name", "gvc", "targetKind", "location"), re.compile(_PART)),
    **dict.fromkeys(("cpu", "memory", "minCpu", "minMemory"), _QUANTITY),
    "schedule": _CRON,
    "image": _IMAGE,
    "permissions": re.compile(r"[a-z]{2,20}(?:\.[a-zA-Z]{2,20})?"),
}
"""The fields whose form alone shows that they hold no secret."""
_WORD = re.compile(
    "cron|standard|serverless|stateful|vm|dictionary|opaque|Forbid|Replace|Allow|Never|OnFailure|none|same-gvc|same-org"
    "|workload-list|http|http2|https|grpc|tcp|HTTP|HTTPS|retain|recycle|concurrency|cpu|memory|rps|latency|disabled"
    "|p50|p75|p99"
)
"""Defaults and choices of the specification."""
_NAMED_VALUES = frozenset(("env", "httpHeaders"))
_TAGS = frozenset(("annotations", "labels", "tags"))
_FREE = _NAMED_VALUES | _TAGS | {"args", "command", "data", "description", "extras", "value"}
"""The fields that hold free text: no word in them belongs to the specification."""
_LONGEST = 500


def shown(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an object of the platform, or a part of one, as an artifact may show it.

    >>> shown({"name": "DB_PASS", "value": "hush"})
    {'name': 'DB_PASS', 'value': '(masked: fill this in)'}
    >>> shown({"name": "DB_PASS", "value": "cpln://secret/db.password"})["value"]
    'cpln://secret/db.password'
    >>> container = {"image": "python", "args": ["-c", "run --password=hush"]}
    >>> masked = shown({"kind": "workload", "spec": {"containers": [container]}})
    >>> masked["spec"]["containers"][0]
    {'image': 'python', 'args': ['(masked: fill this in)', '(masked: fill this in)']}
    """
    found: dict[str, Any] = _mapping(document, "", 0)
    return found


def is_reference(text: str) -> bool:
    """Whether a string names a platform object, such as a secret, and nothing else.

    >>> is_reference("cpln://secret/db.password"), is_reference("//identity/etl")
    (True, True)
    >>> is_reference("cpln://secret/db hush")
    False
    """
    return bool(_URI.fullmatch(text) or _LINK.fullmatch(text))


def _mapping(found: Mapping[Any, Any], field: str, level: int) -> dict[str, Any]:
    if set(found) == {"$ref"}:
        return {"$ref": _block_reference(found["$ref"])}
    if field in _TAGS:
        return {
            _key(key, place): _tag(str(key), value)
            for place, (key, value) in enumerate(found.items())
        }
    telling = str(found.get("name", "")) if "value" in found else ""
    return {
        _key(key, place): _value(value, _field(field, str(key)), level + 1, telling)
        for place, (key, value) in enumerate(found.items())
    }


def _field(around: str, key: str) -> str:
    """Return the field that a value is judged by: its own, except inside a free field."""
    is_own = around not in _FREE or (around in _NAMED_VALUES and key in ("name", "value"))
    return key if is_own else around


def _sequence(found: Sequence[Any], field: str, level: int) -> list[Any]:
    """Return a list, each item of which may describe the next one, as ``--password`` does."""
    before = ["", *found]
    return [
        _value(item, field, level + 1, flag if isinstance(flag, str) else "")
        for flag, item in zip(before, found, strict=False)
    ]


def _value(found: Any, field: str, level: int, telling: str = "") -> Any:
    match found:
        case Mapping() if level <= _MOST_LEVELS:
            return _mapping(found, field, level)
        case list() | tuple() if level <= _MOST_LEVELS:
            return _sequence(found, field, level)
        case None | bool():
            is_shown = True
        case int() | float():
            is_shown = field not in _FREE or _is_number(str(found), telling)
        case str():
            is_shown = len(found) <= _LONGEST and _is_harmless(found, field, telling)
        case _:
            is_shown = False
    return found if is_shown else HIDDEN


def _is_harmless(text: str, field: str, telling: str) -> bool:
    if not text or is_reference(text) or _BOOLEAN.fullmatch(text):
        return True
    if field in _FREE:
        return _is_number(text, telling)
    if (form := _FORMS.get(field)) is not None:
        return form.fullmatch(text) is not None
    return (
        _WORD.fullmatch(text) is not None
        or _is_number(text, telling)
        or (field.endswith("CIDR") and _is_network(text))
    )


def _is_number(text: str, telling: str) -> bool:
    return _NUMBER.fullmatch(text) is not None and _TELLING.search(telling) is None


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return "%" not in text  # anything may follow it


def _tag(name: str, value: Any) -> Any:
    form = _OWN_TAGS.get(name) or (_OWN_TAG if name.startswith(_OWN_TAGS_PREFIX) else None)
    if form is not None and isinstance(value, str) and form.fullmatch(value):
        return value
    return _value(value, "tags", 0, name)


def _key(key: Any, place: int) -> str:
    return key if isinstance(key, str) and _NAME.fullmatch(key) else f"(masked name {place + 1})"


def _block_reference(found: Any) -> Any:
    """Return what a reference to a Prefect block holds: the document's id or its slug."""
    if isinstance(found, Mapping):
        return {
            _key(key, place): _block_reference(value)
            for place, (key, value) in enumerate(found.items())
        }
    return found if isinstance(found, str) and _SLUG.fullmatch(found) else HIDDEN
