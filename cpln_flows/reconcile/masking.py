"""What of a workload's specification an artifact may show: nothing that a name, a flag or a form gives away. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

HIDDEN = "(not shown: it may be a secret)"
_REFERENCE = "cpln://"
_WORDS = (
    "KEY|TOKEN|SECRET|PASS|PWD|CREDENTIAL|CREDS|AUTH|PRIVATE|SIGNATURE|SIGNING|COOKIE|SESSION|DSN|CONN|JWT|BEARER|WEBHOOK|SALT"
    "|CERT|HMAC|ENCRYPT|LICENSE"
)
_SECRET = re.compile(_WORDS, re.IGNORECASE)
_FLAG = re.compile(rf"-{{1,2}}[\w-]*(?:{_WORDS})[\w-]*", re.IGNORECASE)
_URL_USER = re.compile(r"(://)[^/@\s]+@")
_ASSIGNED = re.compile(rf"([\w-]*(?:{_WORDS})[\w-]*\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s&;,]+)", re.IGNORECASE)
_AFTER_FLAG = re.compile(rf"(-{{1,2}}[\w-]*(?:{_WORDS})[\w-]*\s+)(\"[^\"]*\"|'[^']*'|[^\s;-][^\s;]*)", re.IGNORECASE)
_SCHEME = re.compile(r"\b((?:Bearer|Basic)\s+)[^\s\"']+", re.IGNORECASE)
_FORMS = re.compile(
    r"-----BEGIN|\beyJ[\w-]{10,}\.|\b(?:ghp|gho|ghs|github_pat|glpat|xox[abp]|pnu|pnb)[_-]\w{8,}|\bsk-\w{8,}|\bAKIA[0-9A-Z]{12,}"
    r"|//hooks\.|\b[0-9a-f]{32,}\b"
)
_LONG = re.compile(r"[\w+/=.~-]{24,}")


def without_secrets(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a workload's specification as an artifact may show it."""
    return {**spec, "containers": [_masked(container) for container in spec.get("containers") or ()]}


def shown(variable: Mapping[str, Any]) -> dict[str, Any]:
    """Return a variable, or a header, as an artifact may show it.

    >>> shown({"name": "DB_PASS", "value": "x"})["value"]
    '(not shown: it may be a secret)'
    >>> shown({"name": "DB_PASS", "value": "cpln://secret/db.password"})["value"]
    'cpln://secret/db.password'
    """
    name, value = str(variable.get("name")), str(variable.get("value", ""))
    if not value or value.startswith(_REFERENCE):
        return dict(variable)
    hidden = _SECRET.search(name) or _FORMS.search(value) or _URL_USER.search(value) or _is_random(value)
    return {**variable, "value": HIDDEN if hidden else _text(value)}


def _masked(node: Any) -> Any:
    match node:
        case str():
            return _text(node)
        case Mapping() if "name" in node and "value" in node:
            return shown(node)
        case Mapping():
            return {key: _masked(value) for key, value in node.items()}
        case Sequence():
            return _arguments(node)
        case _:
            return node


def _arguments(items: Sequence[Any]) -> list[Any]:
    """Return a list, in which what follows a flag such as ``--password`` is hidden."""
    flags = [None, *items][: len(items)]
    return [
        HIDDEN if isinstance(item, str) and isinstance(flag, str) and _FLAG.fullmatch(flag) else _masked(item)
        for flag, item in zip(flags, items, strict=True)
    ]


def _text(text: str) -> str:
    """Return a text, a program for instance, without what it gives away.

    >>> _text("psql --password=x postgres://me:x@db; run --verbose")
    'psql --password=(not shown: it may be a secret) postgres://(not shown: it may be a secret)@db; run --verbose'
    """
    if text.startswith(_REFERENCE):
        return text
    text = _URL_USER.sub(rf"\1{HIDDEN}@", text)
    text = _SCHEME.sub(rf"\1{HIDDEN}", text)
    text = _AFTER_FLAG.sub(rf"\1{HIDDEN}", text)
    return _ASSIGNED.sub(lambda found: found[1] + (found[2] if _REFERENCE in found[2] else HIDDEN), text)


def _is_random(value: str) -> bool:
    """Whether a value reads like no word that somebody has written: long, with capitals, small letters and digits."""
    kinds = (str.isupper, str.islower, str.isdigit)
    return bool(_LONG.fullmatch(value)) and all(any(map(kind, value)) for kind in kinds)
