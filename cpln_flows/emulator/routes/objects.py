"""The routes of collections and objects.

They list, query, create, put, read, patch, delete and reveal objects, and add keys.
"""

from __future__ import annotations

from collections.abc import Sequence

from cpln_flows.emulator.answers import (
    CREATED,
    NO_CONTENT,
    NOT_FOUND,
    OK,
    Answer,
    Document,
    json_answer,
    refuse,
    text_answer,
)
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.kinds import Kind
from cpln_flows.emulator.links import collection_link, link_list
from cpln_flows.emulator.permissions import Principal, permission_schema
from cpln_flows.emulator.query import Cursor, Query, parse_query
from cpln_flows.emulator.resources import Resources
from cpln_flows.emulator.routes.call import Call


class ObjectRoutes:
    """The paths of objects, except those that only workloads have."""

    def __init__(self, config: PlatformConfig, resources: Resources) -> None:
        self._config = config
        self._resources = resources

    def collection(self, call: Call, principal: Principal, kind: Kind, gvc: str | None) -> Answer:
        """Answer for ``/org/O/<kind>`` and ``/org/O/gvc/G/<kind>``."""
        if gvc is not None:
            self._resources.find(principal, f"{collection_link(self._config.org, 'gvc')}/{gvc}")
        if call.method == "GET":
            return self.list(call, principal, kind.name)
        if call.method == "POST":
            record = self._resources.create(principal, kind, gvc, call.document())
            return created(self._config, record.link, self._resources.render(record))
        if call.method == "PUT":
            return self._put(call, principal, kind, gvc, call.document())
        raise call.not_allowed()

    def list(self, call: Call, principal: Principal, item_kind: str) -> Answer:
        """Answer a GET of a collection: a list, or a further page of a query."""
        token = call.params.get("next")
        cursor = Cursor.decode(token) if token else None
        if cursor is not None and cursor.query is not None:
            return self._results(call.path, principal, parse_query(item_kind, cursor.query), cursor)
        page = self._resources.page(principal, call.path, Query(item_kind), cursor)
        return json_answer(
            {
                "kind": "list",
                "itemKind": item_kind,
                "items": [self._resources.render(record) for record in page.records],
                "links": _page_links(call.path, page.next),
            }
        )

    def query(self, call: Call, principal: Principal, item_kind: str) -> Answer:
        """Answer a POST of a query."""
        if call.method != "POST":
            raise call.not_allowed()
        scope = call.path.removesuffix("/-query")
        return self._results(scope, principal, parse_query(item_kind, call.document()), None)

    def schema(self, call: Call, kind: str) -> Answer:
        """Answer for ``/org/O/<kind>/-schema/permissions``.

        For the organization the path is ``/org/-schema/permissions``.
        """
        if call.method != "GET":
            raise call.not_allowed()
        return json_answer(permission_schema(kind))

    def one(self, call: Call, principal: Principal, kind: Kind | None, gvc: str | None) -> Answer:
        """Answer for one object; ``kind`` is absent for the organization itself."""
        if call.method == "PUT" and kind is not None:
            name = call.path.rsplit("/", 1)[-1]
            body = call.document()
            if body.get("name", name) != name:
                raise refuse(400, f'"name" must be [{name}]')
            return self._put(call, principal, kind, gvc, {**body, "name": name})
        if call.method == "GET":
            return json_answer(self._resources.render(self._resources.find(principal, call.path)))
        if call.method == "PATCH":
            record = self._resources.find(principal, call.path, "edit")
            return json_answer(
                self._resources.render(self._resources.patch(principal, record, call.document()))
            )
        if call.method == "DELETE":
            self._resources.delete(principal, self._resources.find(principal, call.path, "delete"))
            status = self._config.delete_status
            return text_answer("" if status == NO_CONTENT else "Accepted", status)
        raise call.not_allowed()

    def reveal(self, call: Call, principal: Principal, link: str) -> Answer:
        """Answer for ``/org/O/secret/N/-reveal``."""
        if call.method != "GET":
            raise call.not_allowed()
        return json_answer(
            self._resources.render(self._resources.find(principal, link, "reveal"), reveal=True)
        )

    def add_key(self, call: Call, principal: Principal, link: str) -> Answer:
        """Answer for ``/org/O/serviceaccount/N/-addKey``."""
        if call.method != "POST":
            raise call.not_allowed()
        account = self._resources.find(principal, link, "addKey")
        description = call.document().get("description") or ""
        if not isinstance(description, str):
            raise refuse(400, '"description" must be a string')
        return json_answer(self._resources.add_key(principal, account, description))

    def _put(
        self, call: Call, principal: Principal, kind: Kind, gvc: str | None, body: Document
    ) -> Answer:
        dry_run = call.params.get("dryRun", "").lower() == "true"
        document, record, is_new = self._resources.put(principal, kind, gvc, body, dry_run=dry_run)
        if dry_run or not is_new or record is None:
            return json_answer(document, OK)
        return created(self._config, record.link, document)

    def _results(
        self, scope: str, principal: Principal, query: Query, cursor: Cursor | None
    ) -> Answer:
        page = self._resources.page(principal, scope, query, cursor)
        following = page.next and Cursor(query.as_document(), page.next.key, page.next.sequence)
        items: Sequence[object] = (
            [record.link for record in page.records]
            if query.fetch == "links"
            else [self._resources.render(record) for record in page.records]
        )
        return json_answer(
            {
                "kind": "queryresult",
                "itemKind": query.kind,
                "items": items,
                "links": _page_links(scope, following),
                "query": query.as_document(),
            }
        )


def created(config: PlatformConfig, link: str, document: Document) -> Answer:
    """Answer that an object was created."""
    headers = (("location", link),)
    if config.post_body == "json":
        return json_answer(document, CREATED, headers)
    return text_answer("Created", CREATED, headers)


def not_found(path: str) -> Exception:
    """Return the refusal of an unknown path."""
    return refuse(NOT_FOUND, f"{path} was not found")


def _page_links(scope: str, following: Cursor | None) -> list[Document]:
    if following is None:
        return link_list(self=scope)
    return link_list(self=scope, next=f"{scope}?next={following.encode()}")
