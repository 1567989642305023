"""Queries and pages: read a query body, match objects against it, and cut the result into pages.

What the documentation leaves open is decided here, in one place: ``~`` means "contains this
string", ``=~`` is a regular expression that may match anywhere, and ``!=`` also holds for an absent
value.
"""

from __future__ import annotations

import base64
import binascii
import bisect
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from cpln_flows.emulator.answers import BAD_REQUEST, Document, refuse
from cpln_flows.emulator.pattern import Pattern, PatternError
from cpln_flows.emulator.store import Key, Record, Store, scalar_text

SORTABLE = ("id", "name", "version", "description", "created", "lastModified")
_SUBJECTS = ("property", "rel", "tag")
_VALUELESS = ("exists", "!exists")
_MISSING = object()
TERM_LIMIT = 100
NAME_LIMIT = 512
# The number of sorted results that are kept while nothing changes.
_SORTED_KEPT = 32


def _less(left: object, right: object) -> bool:
    try:
        return float(str(left)) < float(str(right))
    except ValueError:
        return scalar_text(left) < scalar_text(right)


def _contains(left: object, right: object) -> bool:
    if isinstance(left, list):
        return scalar_text(right) in map(scalar_text, left)
    return scalar_text(right) in scalar_text(left)


_COMPARISONS: dict[str, Callable[[object, object], bool]] = {
    "=": lambda left, right: scalar_text(left) == scalar_text(right),
    "!=": lambda left, right: scalar_text(left) != scalar_text(right),
    "<": _less,
    ">": lambda left, right: _less(right, left),
    "<=": lambda left, right: not _less(right, left),
    ">=": lambda left, right: not _less(left, right),
    "~": lambda left, right: scalar_text(right) in scalar_text(left),
    "=~": lambda left, right: (
        right.found_in(scalar_text(left)) if isinstance(right, Pattern) else False
    ),
    "contains": _contains,
}


@dataclass(frozen=True, slots=True)
class Term:
    """One condition of a query."""

    op: str
    subject: str
    name: str
    value: object
    pattern: Pattern | None = None

    def matches(self, record: Record) -> bool:
        """Return whether an object satisfies the condition."""
        found = self._read(record)
        if self.op == "exists":
            return found is not _MISSING
        if self.op == "!exists":
            return found is _MISSING
        if found is _MISSING:
            return self.op == "!="
        return _COMPARISONS[self.op](found, self.value if self.pattern is None else self.pattern)

    def key(self, kind: str) -> Key | None:
        """Return the index of exactly the objects that satisfy the condition, if there is one."""
        if self.op != "=":
            return None
        if self.subject == "tag":
            return ("tag", self.name, scalar_text(self.value))
        if (
            kind == "command"
            and self.subject == "property"
            and self.name in ("type", "lifecycleStage")
        ):
            return ("property", self.name, scalar_text(self.value))
        return None

    def as_document(self) -> Document:
        """Return the condition as a response repeats it."""
        document: Document = {"op": self.op, self.subject: self.name}
        if self.op not in _VALUELESS:
            document["value"] = self.value
        return document

    def _read(self, record: Record) -> object:
        if self.subject == "tag":
            return (record.document.get("tags") or {}).get(self.name, _MISSING)
        if self.subject == "rel":
            return _related(record, self.name)
        return _property(record.document, self.name)


def _related(record: Record, rel: str) -> object:
    if rel == "gvc":
        return _MISSING if record.gvc is None else record.gvc
    spec = record.document.get("spec") or {}
    link = spec.get(f"{rel}Link", record.document.get(f"{rel}Link"))
    return link.rsplit("/", 1)[-1] if isinstance(link, str) else _MISSING


def _property(document: Document, path: str) -> object:
    found: object = document
    for name in path.split("."):
        if not isinstance(found, dict) or name not in found:
            return _MISSING
        found = found[name]
    return found


@dataclass(frozen=True, slots=True)
class Query:
    """A query, checked and with its defaults filled in."""

    kind: str
    terms: tuple[Term, ...] = ()
    match: str = "all"
    fetch: str = "items"
    sort_by: str | None = None
    descending: bool = False

    def matches(self, record: Record) -> bool:
        """Return whether an object belongs to the result."""
        if self.match == "any" and self.terms:
            return any(term.matches(record) for term in self.terms)
        if self.match == "none":
            return not any(term.matches(record) for term in self.terms)
        return all(term.matches(record) for term in self.terms)

    def keys(self) -> list[Key]:
        """Return the indexes that narrow the search."""
        if self.match != "all":
            return []
        found = [term.key(self.kind) for term in self.terms]
        return [key for key in found if key is not None]

    def as_document(self) -> Document:
        """Return the query as a response repeats it."""
        spec: Document = {"match": self.match, "terms": [term.as_document() for term in self.terms]}
        if self.sort_by is not None:
            spec["sort"] = {"by": self.sort_by, "order": "desc" if self.descending else "asc"}
        return {"kind": self.kind, "fetch": self.fetch, "spec": spec}


def parse_query(kind: str, body: object, path: str = "") -> Query:
    """Parse the body of a ``-query`` request, or a query in the field ``path`` of a document."""
    at = f"{path}." if path else ""
    content = _mapping(body, path or "query")
    spec = _mapping(content.get("spec"), f"{at}spec")
    if content.get("kind", kind) != kind:
        raise refuse(BAD_REQUEST, f'"{at}kind" must be [{kind}]')
    match = _choice(spec.get("match", "all"), f"{at}spec.match", ("all", "any", "none"))
    fetch = _choice(content.get("fetch", "items"), f"{at}fetch", ("items", "links"))
    terms = spec.get("terms")
    if terms is not None and not isinstance(terms, list):
        raise refuse(BAD_REQUEST, f'"{at}spec.terms" must be an array')
    if len(terms or ()) > TERM_LIMIT:
        raise refuse(
            BAD_REQUEST, f'"{at}spec.terms" must contain less than or equal to {TERM_LIMIT} items'
        )
    parsed = tuple(
        _parse_term(term, f"{at}spec.terms[{index}]") for index, term in enumerate(terms or ())
    )
    if spec.get("sort") is None:
        return Query(kind, parsed, match, fetch)
    sort = _mapping(spec["sort"], f"{at}spec.sort")
    by = _choice(sort.get("by"), f"{at}spec.sort.by", SORTABLE)
    order = _choice(sort.get("order", "asc"), f"{at}spec.sort.order", ("asc", "desc"))
    return Query(kind, parsed, match, fetch, by, order == "desc")


def _mapping(value: object, path: str) -> Document:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refuse(BAD_REQUEST, f'"{path}" must be an object')
    return value


def _choice(value: object, path: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise refuse(BAD_REQUEST, f'"{path}" must be one of [{", ".join(allowed)}]')
    return str(value)


def _parse_term(content: object, path: str) -> Term:
    term = _mapping(content, path)
    op = _choice(term.get("op", "="), f"{path}.op", (*_COMPARISONS, *_VALUELESS))
    subjects = [subject for subject in _SUBJECTS if subject in term]
    if len(subjects) != 1:
        raise refuse(BAD_REQUEST, f'"{path}" must contain exactly one of [property, rel, tag]')
    (subject,) = subjects
    if not isinstance(term[subject], str):
        raise refuse(BAD_REQUEST, f'"{path}.{subject}" must be a string')
    if op not in _VALUELESS and term.get("value") is None:
        raise refuse(BAD_REQUEST, f'"{path}.value" is required')
    if isinstance(term.get("value"), dict | list):
        raise refuse(BAD_REQUEST, f'"{path}.value" must be one of [string, number, boolean]')
    if len(term[subject]) > NAME_LIMIT:
        raise refuse(
            BAD_REQUEST,
            f'"{path}.{subject}" length must be less than or equal to {NAME_LIMIT} characters long',
        )
    value = term.get("value")
    return Term(op, subject, term[subject], value, _pattern(value, path) if op == "=~" else None)


def _pattern(value: object, path: str) -> Pattern:
    try:
        return Pattern(scalar_text(value))
    except PatternError as error:
        raise refuse(BAD_REQUEST, f'"{path}.value" is not a regular expression: {error}') from error


@dataclass(frozen=True, slots=True)
class Cursor:
    """The start of the next page: after the last object of this page.

    ``query`` is absent for plain lists.
    """

    query: Document | None
    key: object
    sequence: int

    def encode(self) -> str:
        """Encode the cursor for a link."""
        content = orjson.dumps([self.query, self.key, self.sequence])
        return base64.urlsafe_b64encode(content).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Decode the cursor of a link."""
        try:
            query, key, sequence = orjson.loads(
                base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            )
            return cls(query, key, int(sequence))
        except (ValueError, TypeError, binascii.Error) as error:
            raise refuse(BAD_REQUEST, '"next" is not a cursor of this list') from error


class Pages:
    """Cuts collections into pages.

    In order of creation, the walk stops with the page. Any other order has to examine every object
    first. The sorted result is kept while nothing changes, so that reading all pages of a long list
    stays linear.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._revision = -1
        self._sorted: dict[tuple[str, bytes], list[_Place]] = {}

    def page(
        self,
        scope: str,
        query: Query,
        cursor: Cursor | None,
        *,
        size: int,
        shown: Callable[[Record], bool],
    ) -> tuple[list[Record], Cursor | None]:
        """Return one page, and the cursor of the next page if there is one."""
        walk = self._walk(scope, query, cursor)
        found = list(
            itertools.islice(
                (each for each in walk if query.matches(each) and shown(each)), size + 1
            )
        )
        if len(found) <= size:
            return found, None
        found.pop()
        return found, Cursor(None, _sort_key(found[-1], query.sort_by), found[-1].sequence)

    def _walk(self, scope: str, query: Query, cursor: Cursor | None) -> Iterable[Record]:
        if query.sort_by in (None, "created"):
            after = None if cursor is None else cursor.sequence
            return self._store.walk(scope, query.keys(), after=after, newest_first=query.descending)
        places = self._places(scope, query)
        if cursor is not None and not isinstance(
            cursor.key, int if query.sort_by == "version" else str
        ):
            raise refuse(BAD_REQUEST, '"next" is not a cursor of this query')
        low, high = 0, len(places)
        if cursor is not None and query.descending:
            high = bisect.bisect_left(places, (cursor.key, cursor.sequence), key=_order)
        elif cursor is not None:
            low = bisect.bisect_right(places, (cursor.key, cursor.sequence), key=_order)
        indexes = range(high - 1, low - 1, -1) if query.descending else range(low, high)
        return (places[index][2] for index in indexes)

    def _places(self, scope: str, query: Query) -> list[_Place]:
        if self._revision != self._store.revision:
            self._sorted.clear()
            self._revision = self._store.revision
        key = (scope, orjson.dumps(query.as_document()))
        found = self._sorted.get(key)
        if found is None:
            records = self._store.walk(scope, query.keys(), after=None, newest_first=False)
            found = sorted(
                (_sort_key(record, query.sort_by), record.sequence, record) for record in records
            )
            while len(self._sorted) >= _SORTED_KEPT:
                del self._sorted[next(iter(self._sorted))]
            self._sorted[key] = found
        return found


_Place = tuple[Any, int, Record]


def _order(place: _Place) -> tuple[Any, int]:
    return place[:2]


def _sort_key(record: Record, by: str | None) -> Any:
    if by is None:
        return None
    found = record.document.get(by)
    return found if by == "version" else str(found or "")
