"""The saved state of one platform: its JSON, and every check of what is read. Pure.

Tokens of service accounts are in it as digests; the platform's own token and the data of secrets
are in clear, or they could not be used again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from cpln_flows.emulator.answers import Document, RefusedError
from cpln_flows.emulator.checks import Problems
from cpln_flows.emulator.kinds import KINDS
from cpln_flows.emulator.links import collection_link
from cpln_flows.emulator.query import parse_query
from cpln_flows.emulator.schedule import InvalidScheduleError, parse_schedule
from cpln_flows.emulator.shapes import check_shape, shape_of

FORMAT = 1
_NAME = re.compile(r"(?!\.{1,2}$)[^/\x00]{1,255}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOKEN = re.compile(r"[!-~]{1,4096}")
_CUT = 100


class SavedStateError(ValueError):
    """A content that is not a state of the wanted organization; the message says what to do."""


@dataclass(frozen=True, slots=True)
class SavedObject:
    """One object.

    Attributes:
        gvc: Bare name of its GVC, for kinds that belong to one.
        document: Its document.
        deleted: Whether it was being deleted.
    """

    gvc: str | None
    document: Document = field(repr=False)
    deleted: bool = False

    def link(self, org: str) -> str:
        """Return the object's link."""
        return f"{self.scope(org)}/{self.document['name']}"

    def scope(self, org: str) -> str:
        """Return the link of the object's collection."""
        kind = self.document["kind"]
        return "/org" if kind == "org" else collection_link(org, kind, self.gvc)


@dataclass(frozen=True, slots=True)
class SavedKey:
    """One key of a service account, as its digest.

    Attributes:
        account: Link of the service account.
        name: Name of the key, which is its beginning.
        digest: Its SHA-256.
    """

    account: str
    name: str
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SavedState:
    """Everything that a platform keeps.

    Attributes:
        org: The organization.
        token: The platform's own token.
        keys: The keys of service accounts.
        objects: The objects, oldest first.
    """

    org: str
    token: str = field(repr=False)
    keys: tuple[SavedKey, ...] = ()
    objects: tuple[SavedObject, ...] = ()


def encode(state: SavedState) -> bytes:
    """Return a state as JSON."""
    content = {
        "format": FORMAT,
        "org": state.org,
        "token": state.token,
        "keys": [
            {"account": key.account, "name": key.name, "sha256": key.digest.hex()}
            for key in state.keys
        ],
        "objects": [
            {"gvc": each.gvc, "deleted": each.deleted, "document": each.document}
            for each in state.objects
        ],
    }
    return orjson.dumps(content, option=orjson.OPT_APPEND_NEWLINE)


def decode(content: bytes, org: str) -> SavedState:
    """Read the state of an organization.

    Args:
        content: The JSON.
        org: Name of the organization.

    Raises:
        SavedStateError: The content is damaged, has another format, or belongs to another
            organization.
    """
    try:
        found = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise _damaged(f"it is not JSON: {error}") from None
    if not isinstance(found, dict) or type(found.get("format")) is not int:
        raise _damaged('it is not an object with the number "format"')
    if found["format"] != FORMAT:
        raise SavedStateError(
            f"has format {found['format']}, and this version of the local platform reads format"
            f" {FORMAT} only. Use the version that saved it, or choose another folder"
        )
    owner = _text(found, "org", "")
    if owner != org:
        raise SavedStateError(
            f"belongs to organization {owner[:_CUT]!r}, not to {org!r}. Serve {owner[:_CUT]!r}, or"
            " choose another folder"
        )
    objects = tuple(_object(each, path) for each, path in _items(found, "objects"))
    keys = tuple(_key(each, path) for each, path in _items(found, "keys"))
    _check_links(org, objects, keys)
    token = _text(found, "token", "")
    if not _TOKEN.fullmatch(token):
        raise _damaged('"token" is not a token')
    return SavedState(org, token, keys, objects)


def _damaged(problem: str) -> SavedStateError:
    return SavedStateError(
        f"is damaged: {problem}. Restore it from a backup, or move it away to begin with an empty"
        " organization; the volumes stay"
    )


def _items(content: Mapping[str, object], name: str) -> Iterable[tuple[Document, str]]:
    listed = content.get(name)
    if not isinstance(listed, list):
        raise _damaged(f'"{name}" is not an array')
    for index, each in enumerate(listed):
        path = f"{name}[{index}]"
        if not isinstance(each, dict):
            raise _damaged(f'"{path}" is not an object')
        yield each, path


def _text(content: Mapping[str, object], name: str, path: str) -> str:
    value = content.get(name)
    if not isinstance(value, str):
        raise _damaged(f'"{path}{name}" is not a string')
    return value


def _key(content: Document, path: str) -> SavedKey:
    digest = _text(content, "sha256", f"{path}.")
    if not _DIGEST.fullmatch(digest):
        raise _damaged(f'"{path}.sha256" is not a digest')
    account, name = _text(content, "account", f"{path}."), _text(content, "name", f"{path}.")
    return SavedKey(account, name, bytes.fromhex(digest))


def _object(content: Document, path: str) -> SavedObject:
    document, gvc, deleted = (content.get(name) for name in ("document", "gvc", "deleted"))
    if not isinstance(document, dict):
        raise _damaged(f'"{path}.document" is not an object')
    kind = document.get("kind")
    if kind != "org" and kind not in KINDS:
        raise _damaged(f'"{path}.document.kind" is not a kind')
    is_scoped = kind in KINDS and KINDS[kind].is_scoped
    if is_scoped != isinstance(gvc, str) or (is_scoped and not _NAME.fullmatch(str(gvc))):
        raise _damaged(f'"{path}.gvc" does not fit the kind')
    if not isinstance(deleted, bool):
        raise _damaged(f'"{path}.deleted" is not a boolean')
    problem = _problem(kind, document)
    if problem:
        raise _damaged(f'"{path}.document" is no {kind}: {problem}')
    return SavedObject(gvc, document, deleted)


def _problem(kind: str, document: Document) -> str:
    """Return what would break the platform, not what it would refuse today.

    Rules and switches may have changed since the object was created.
    """
    problems = Problems()
    check_shape(problems, document, shape_of(kind))
    name, version = document.get("name"), document.get("version")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        problems.add("name", "is required")
    if not isinstance(document.get("id"), str):
        problems.add("id", "is required")
    if type(version) is not int or version < 1:
        problems.add("version", "must be a positive number")
    if not problems.messages and kind in _MORE:
        _MORE[kind](problems, document)
    return problems.messages[0] if problems.messages else ""


def _check_workload(problems: Problems, document: Document) -> None:
    spec = document.get("spec") or {}
    containers = spec.get("containers") or ()
    if not containers or any(not each.get("name") or not each.get("image") for each in containers):
        problems.add("spec.containers", "must be containers with names and images")
    if spec.get("type") == "cron":
        try:
            parse_schedule(str((spec.get("job") or {}).get("schedule")))
        except InvalidScheduleError:
            problems.add("spec.job.schedule", "must be a schedule")


def _check_policy(problems: Problems, document: Document) -> None:
    target_kind = document.get("targetKind")
    if target_kind not in KINDS and target_kind != "org":
        problems.add("targetKind", "must be a kind")
        return
    try:
        parse_query(target_kind, document.get("targetQuery"), "targetQuery")
    except RefusedError:
        problems.add("targetQuery", "must be a query")


def _check_account(problems: Problems, document: Document) -> None:
    keys = document.get("keys") or []
    if not isinstance(keys, list) or not all(
        isinstance(key, dict) and isinstance(key.get("name"), str) for key in keys
    ):
        problems.add("keys", "must be an array of keys")


_MORE = {
    "workload": _check_workload,
    "policy": _check_policy,
    "serviceaccount": _check_account,
}


def _check_links(org: str, objects: Iterable[SavedObject], keys: Iterable[SavedKey]) -> None:
    links: set[str] = set()
    for each in objects:
        link = each.link(org)
        if link in links:
            raise _damaged(f"{link} is in it twice")
        links.add(link)
    for key in keys:
        if key.account not in links:
            raise _damaged("it has a key of a service account that is not in it")
