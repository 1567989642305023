"""Create, read, change and delete objects of every kind.

Checks permissions and documents; does not use HTTP.
"""

from __future__ import annotations

import base64
import random
import secrets
import uuid
from dataclasses import dataclass

import orjson

from cpln_flows.emulator.answers import (
    BAD_REQUEST,
    CONFLICT,
    FORBIDDEN,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_MANY_REQUESTS,
    Document,
    refuse,
)
from cpln_flows.emulator.authentication import KEY_NAME_LENGTH, Authentication
from cpln_flows.emulator.clock import Clock, iso
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.deployments import Deployments
from cpln_flows.emulator.executors.volumesets import Volumesets
from cpln_flows.emulator.filled_in import filled_in
from cpln_flows.emulator.first_objects import FirstObjects
from cpln_flows.emulator.kinds import KINDS, ORG, Context, Kind, new_alias
from cpln_flows.emulator.lifecycle import Lifecycle
from cpln_flows.emulator.links import collection_link, link_list, org_link, qualify_all
from cpln_flows.emulator.patch import apply_patch
from cpln_flows.emulator.permissions import Permissions, Principal
from cpln_flows.emulator.query import Cursor, Pages, Query
from cpln_flows.emulator.store import Record, Store

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list or a query."""

    records: list[Record]
    next: Cursor | None


class Resources:
    """All objects, as a principal may view and change them."""

    def __init__(
        self,
        *,
        config: PlatformConfig,
        clock: Clock,
        store: Store,
        permissions: Permissions,
        authentication: Authentication,
        deployments: Deployments,
        lifecycle: Lifecycle,
        volumesets: Volumesets | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._store = store
        self._pages = Pages(store)
        self._permissions = permissions
        self._authentication = authentication
        self._deployments = deployments
        self._lifecycle = lifecycle
        self._volumesets = volumesets
        self._random = random.Random(config.seed)  # noqa: S311 - an alias, not a secret
        first = FirstObjects(config, clock, store)
        first.create()
        if (gvc := first.gvc()) is not None:
            self.create(Principal(None, is_superuser=True), KINDS["gvc"], None, gvc)

    def resume(self) -> None:
        """Go on with what a saved state held: workloads, and deletions that were not complete."""
        for record in self._store.records():
            if record.deleted:
                self._end_delete(record)
            elif record.kind == "workload":
                self._lifecycle.workload_changed(record)

    # Reading

    def find(self, principal: Principal, link: str, permission: str = "view") -> Record:
        """Find an object on which a principal has a permission."""
        record = self._store.get(link)
        if record is None:
            raise refuse(NOT_FOUND, f"{link} was not found")
        self.require(principal, permission, record)
        return record

    def require(self, principal: Principal, permission: str, record: Record) -> None:
        """Refuse what a principal is not permitted to do."""
        if self._permissions.allows(principal, permission, record):
            return
        if self._config.hidden_status == NOT_FOUND and not self._permissions.allows(
            principal, "view", record
        ):
            raise refuse(NOT_FOUND, f"{record.link} was not found")
        where = "in org" if record.kind == "org" else f"on {record.kind}"
        name = record.name if record.kind == "org" else record.link
        raise refuse(FORBIDDEN, f'the operation requires permission "{permission}" {where} {name}')

    def page(self, principal: Principal, scope: str, query: Query, cursor: Cursor | None) -> Page:
        """Return one page of a collection, with the objects that a principal may view."""
        now_ns = self._clock.time_ns()

        def shown(record: Record) -> bool:
            # No policy covers commands: whoever may view a workload may view its commands.
            may_view = record.kind == "command" or self._permissions.allows(
                principal, "view", record
            )
            return record.visible_ns <= now_ns and may_view

        return Page(
            *self._pages.page(scope, query, cursor, size=self._config.page_size, shown=shown)
        )

    def render(self, record: Record, *, reveal: bool = False) -> Document:
        """Return the document of an object as a response shows it."""
        if record.kind == "workload":
            status, health = self._deployments.status(record)
            return {**_shown(record.kind, record.document), "status": status, "health": health}
        if record.kind == "secret" and not reveal:
            return {key: value for key, value in record.document.items() if key != "data"}
        return record.document

    # Changing

    def create(self, principal: Principal, kind: Kind, gvc: str | None, body: Document) -> Record:
        """Create an object whose name must be free."""
        scope = self._scope(kind, gvc)
        name = body.get("name")
        if isinstance(name, str) and self._store.get(f"{scope}/{name}") is not None:
            raise refuse(CONFLICT, f"{kind.name} {name!r} already exists")
        return self._create(principal, kind, gvc, body)

    def put(
        self,
        principal: Principal,
        kind: Kind,
        gvc: str | None,
        body: Document,
        *,
        dry_run: bool = False,
    ) -> tuple[Document, Record | None, bool]:
        """Create or replace an object; return whether it was created."""
        scope = self._scope(kind, gvc)
        record = self._store.get(f"{scope}/{body.get('name')}")
        if record is None:
            if dry_run:
                draft = self._draft(principal, kind, gvc, body)
                return _shown(kind.name, draft.document), None, True
            created = self._create(principal, kind, gvc, body)
            return self.render(created), created, True
        self.require(principal, "edit", record)
        _refuse_while_deleted(record)
        content = {
            **kind.defaults,
            "description": record.name,
            "tags": {},
            **self._content(kind, gvc, body),
        }
        if self._config.put_tags == "merge":
            content["tags"] = {**record.document["tags"], **content["tags"]}
        document = {**_base(record.document), **content}
        self._change(record, kind, document, dry_run=dry_run)
        if dry_run:
            return _shown(kind.name, self._next_version(document)), record, False
        return self.render(record), record, False

    def patch(self, principal: Principal, record: Record, body: Document) -> Record:
        """Merge a patch into an object."""
        self.require(principal, "edit", record)
        _refuse_while_deleted(record)
        self._check_lock(record, body)
        kind = KINDS.get(record.kind, ORG)
        if kind.is_fixed:
            raise refuse(METHOD_NOT_ALLOWED, f"a {kind.name} cannot be changed")
        changes = {key: value for key, value in body.items() if key not in ("id", "version")}
        patched = apply_patch(record.document, changes)
        if len(orjson.dumps(patched)) > self._config.body_limit_bytes:
            raise refuse(
                BAD_REQUEST,
                f"{record.link} would be larger than {self._config.body_limit_bytes} bytes",
            )
        if patched.get("name") != record.name:
            raise refuse(BAD_REQUEST, '"name" may not be changed')
        document = {**_base(record.document), **self._content(kind, record.gvc, patched)}
        if kind.name == "serviceaccount":
            document["keys"] = self._keys_left(record, patched)
        self._change(record, kind, document)
        return record

    def delete(self, principal: Principal, record: Record) -> None:
        """Begin to delete an object; it can be read until the deletion is complete."""
        self.require(principal, "delete", record)
        if (
            record.kind not in KINDS
            or KINDS[record.kind].is_fixed
            or record.document.get("origin") == "builtin"
        ):
            raise refuse(BAD_REQUEST, f"unable to delete {record.link}: it belongs to the platform")
        if record.deleted:
            status = self._config.delete_again_status
            message = "is being deleted" if status == CONFLICT else "was not found"
            raise refuse(status, f"{record.link} {message}")
        if str((record.document.get("tags") or {}).get("cpln/protected", "")).lower() == "true":
            raise refuse(
                BAD_REQUEST,
                f"unable to delete {record.link}: it is protected by tag cpln/protected",
            )
        self._begin_delete(record)

    def add_key(self, principal: Principal, account: Record, description: str) -> Document:
        """Create a key of a service account; only this response shows the key."""
        self.require(principal, "addKey", account)
        middle = base64.urlsafe_b64encode(
            f"{self._config.org}.{account.name}.{secrets.token_hex(2)}".encode()
        )
        key = f"s{secrets.token_hex(12)}.{middle.decode().rstrip('=')}.{secrets.token_urlsafe(24)}"
        entry = {
            "name": key[:KEY_NAME_LENGTH],
            "description": description,
            "created": iso(self._clock.time_ns()),
        }
        keys = [*(account.document.get("keys") or ()), entry]
        self._store.replace(account, self._next_version({**account.document, "keys": keys}))
        self._authentication.add_key(key, account.link)
        return {**entry, "key": key}

    def _keys_left(self, account: Record, patched: Document) -> list[Document]:
        """Return the keys of a service account that a patch keeps.

        The dropped keys become invalid immediately.
        """
        given = patched.get("keys")
        left = (
            [key.get("name") for key in given if isinstance(key, dict)]
            if isinstance(given, list)
            else []
        )
        keys = account.document.get("keys") or ()
        for key in keys:
            if key["name"] not in left:
                self._authentication.drop_key(account.link, key["name"])
        return [key for key in keys if key["name"] in left]

    def _scope(self, kind: Kind, gvc: str | None) -> str:
        if kind.is_fixed or kind.is_scoped != (gvc is not None):
            raise refuse(METHOD_NOT_ALLOWED, f"a {kind.name} cannot be created here")
        if gvc is not None:
            parent = self._store.get(f"{collection_link(self._config.org, 'gvc')}/{gvc}")
            if parent is None:
                raise refuse(NOT_FOUND, f"gvc {gvc!r} was not found")
        return collection_link(self._config.org, kind.name, gvc)

    def _create(self, principal: Principal, kind: Kind, gvc: str | None, body: Document) -> Record:
        draft = self._draft(principal, kind, gvc, body)
        self._check_quota(kind)
        record = self._store.add(
            kind=kind.name,
            scope=draft.scope,
            name=draft.name,
            document=draft.document,
            gvc=gvc,
            wide_scope=draft.wide_scope,
        )
        if kind.name == "workload":
            self._lifecycle.workload_changed(record)
        return record

    def _check_quota(self, kind: Kind) -> None:
        most = self._config.workload_quota
        if kind.name != "workload" or most is None:
            return
        if len(self._store.in_scope(collection_link(self._config.org, kind.name))) >= most:
            message = f"quota exceeded: org {self._config.org} may have at most {most} workloads"
            raise refuse(TOO_MANY_REQUESTS, message)

    def _draft(self, principal: Principal, kind: Kind, gvc: str | None, body: Document) -> Record:
        """Return a new object as it would be stored, if the principal may create it."""
        scope = collection_link(self._config.org, kind.name, gvc)
        document = self._new_document(kind, gvc, body, scope)
        wide_scope = collection_link(self._config.org, kind.name) if kind.is_scoped else None
        draft = Record(
            0,
            kind.name,
            f"{scope}/{document['name']}",
            document["name"],
            scope,
            wide_scope,
            gvc,
            document,
        )
        self.require(principal, "create", draft)
        return draft

    def _new_document(self, kind: Kind, gvc: str | None, body: Document, scope: str) -> Document:
        content = self._content(kind, gvc, body)
        name = content["name"]
        now = iso(self._clock.time_ns())
        document: Document = {
            "kind": kind.name,
            "id": str(uuid.uuid4()),
            "version": 1,
            "created": now,
            "lastModified": now,
            "description": name,
            "tags": {},
            **kind.defaults,
            **content,
            "status": {},
            "links": self._links(kind, f"{scope}/{name}", gvc),
        }
        if kind.name == "gvc":
            document["alias"] = new_alias(self._random)
        return document

    def _content(self, kind: Kind, gvc: str | None, body: Document) -> Document:
        if body.get("kind", kind.name) != kind.name:
            raise refuse(BAD_REQUEST, f'"kind" must be [{kind.name}]')
        if kind.is_scoped and body.get("gvc", gvc) not in (
            gvc,
            f"{collection_link(self._config.org, 'gvc')}/{gvc}",
        ):
            raise refuse(BAD_REQUEST, f'"gvc" must be [{gvc}]')
        qualified = qualify_all(self._config.org, body, gvc=gvc)
        content = kind.normalise(qualified if isinstance(qualified, dict) else {})
        refusal = kind.check_document(content, Context(self._config, self._store, gvc)).refusal()
        if refusal is not None:
            raise refusal
        content = kind.complete(content, self._config)
        return {
            key: value
            for key, value in content.items()
            if not (key in ("description", "tags") and value is None)
        }

    def _change(
        self, record: Record, kind: Kind, document: Document, *, dry_run: bool = False
    ) -> None:
        for path in kind.immutable:
            if _read(document, path) != _read(record.document, path):
                field = path.rsplit(".", 1)[-1]
                raise refuse(
                    METHOD_NOT_ALLOWED, f"{kind.name.capitalize()} {field} may not be changed"
                )
        if dry_run:
            return
        self._store.replace(record, self._next_version(document))
        if record.kind == "workload":
            self._lifecycle.workload_changed(record)
        elif record.kind == "gvc":
            self._lifecycle.gvc_changed(self._store.in_scope(f"{record.link}/workload"))

    def _next_version(self, document: Document) -> Document:
        return {
            **document,
            "version": document["version"] + 1,
            "lastModified": iso(self._clock.time_ns()),
        }

    def _check_lock(self, record: Record, body: Document) -> None:
        for name in ("id", "version"):
            if name in body and body[name] != record.document[name]:
                raise refuse(
                    self._config.version_conflict_status,
                    f"{record.link} has {name} {record.document[name]}, not {body[name]}:"
                    " it was changed meanwhile",
                )

    def _begin_delete(self, record: Record) -> None:
        self._store.begin_delete(record)
        if record.kind == "workload":
            self._lifecycle.workload_deleted(record)
        if record.kind == "gvc":
            for kind in KINDS.values():
                if kind.is_scoped:
                    for child in self._store.in_scope(f"{record.link}/{kind.name}"):
                        if not child.deleted:
                            self._begin_delete(child)
        if self._config.delete_delay_seconds:
            self._clock.call_later(
                self._config.delete_delay_seconds, lambda: self._end_delete(record)
            )
        else:
            self._end_delete(record)

    def _end_delete(self, record: Record) -> None:
        self._store.remove(record)
        if record.kind == "workload":
            self._lifecycle.workload_gone(record)
        elif record.kind == "serviceaccount":
            self._authentication.drop_keys(record.link)
        elif record.kind == "volumeset" and self._volumesets is not None:
            self._volumesets.delete(self._config.org, str(record.gvc), record.name)

    def _links(self, kind: Kind, link: str, gvc: str | None) -> list[Document]:
        links = {"self": link, "org": org_link(self._config.org)}
        if gvc is not None:
            links["gvc"] = f"{collection_link(self._config.org, 'gvc')}/{gvc}"
        if kind.name == "gvc":
            links |= {"workload": f"{link}/workload", "identity": f"{link}/identity"}
        if kind.name == "workload":
            links["deployment"] = f"{link}/deployment"
        return link_list(**links)


def _base(document: Document) -> Document:
    """Return the fields that survive a replacement."""
    kept = (
        "kind",
        "id",
        "version",
        "created",
        "lastModified",
        "alias",
        "origin",
        "status",
        "links",
        "keys",
    )
    return {key: document[key] for key in kept if key in document}


def _shown(kind: str, document: Document) -> Document:
    if kind != "workload":
        return document
    return {**document, "spec": filled_in(document["spec"])}


def _read(document: Document, path: str) -> object:
    found: object = document
    for name in path.split("."):
        found = found.get(name, _MISSING) if isinstance(found, dict) else _MISSING
    return found


def _refuse_while_deleted(record: Record) -> None:
    if record.deleted:
        raise refuse(CONFLICT, f"{record.link} is being deleted")
