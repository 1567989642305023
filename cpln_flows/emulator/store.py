"""Every object of the platform, with the indexes that keep lists and queries fast.

The store makes no decisions. A document is never changed in place: a change is a new document
(``Store.replace``), so a holder of the old document may keep it. Records carry a sequence number
that only grows. Lists and cursors rely on it, so a page never repeats or skips an object because
another was added or deleted.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from cpln_flows.emulator.answers import Document

Key = tuple[str, ...]

_INDEXED_PROPERTIES = {"command": ("type", "lifecycleStage"), "policy": ("targetKind",)}


def scalar_text(value: object) -> str:
    """Format a tag's or a property's value as queries compare it.

    ``True`` and ``"true"`` are the same.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


@dataclass(slots=True)
class Record:
    """One stored object and where it belongs.

    ``scope`` is the link of its collection; ``wide_scope`` that of the organization-wide list, for
    kinds of a GVC.
    """

    sequence: int
    kind: str
    link: str
    name: str
    scope: str
    wide_scope: str | None
    gvc: str | None
    document: Document
    visible_ns: int = 0
    deleted: bool = False
    keys: tuple[Key, ...] = field(default=())

    @property
    def id(self) -> str:
        """The object's own id."""
        return str(self.document["id"])

    @property
    def version(self) -> int:
        """The object's version."""
        return int(self.document["version"])


class Store:
    """The objects by link, by collection, by tag, and by properties used in queries.

    ``revision`` changes with every change of any object, of which ``on_change`` is then told.
    """

    def __init__(self) -> None:
        self.on_change: Callable[[Record], None] | None = None
        self._by_link: dict[str, Record] = {}
        self._by_sequence: dict[int, Record] = {}
        self._index: dict[Key, list[int]] = {}
        self._sequences = itertools.count(1)
        self.revision: int = 0

    def get(self, link: str) -> Record | None:
        """Find an object by its link."""
        return self._by_link.get(link)

    def add(
        self,
        *,
        kind: str,
        scope: str,
        name: str,
        document: Document,
        gvc: str | None = None,
        wide_scope: str | None = None,
        visible_ns: int = 0,
    ) -> Record:
        """Store a new object; the caller has made sure that its link is free."""
        record = Record(
            sequence=next(self._sequences),
            kind=kind,
            link=f"{scope}/{name}",
            name=name,
            scope=scope,
            wide_scope=wide_scope,
            gvc=gvc,
            document=document,
            visible_ns=visible_ns,
        )
        self._by_link[record.link] = record
        self._by_sequence[record.sequence] = record
        record.keys = _keys(record)
        for key in record.keys:
            self._index.setdefault(key, []).append(record.sequence)
        self._changed(record)
        return record

    def replace(self, record: Record, document: Document) -> None:
        """Give an object its new document."""
        record.document = document
        self._changed(record)
        keys = _keys(record)
        if keys == record.keys:
            return
        old, new = set(record.keys), set(keys)
        for key in old - new:
            self._drop_key(key, record.sequence)
        for key in new - old:
            bisect.insort(self._index.setdefault(key, []), record.sequence)
        record.keys = keys

    def begin_delete(self, record: Record) -> None:
        """Mark an object as one that is being deleted."""
        record.deleted = True
        self._changed(record)

    def remove(self, record: Record) -> None:
        """Forget an object; harmless if it is already forgotten."""
        if self._by_sequence.pop(record.sequence, None) is None:
            return
        self._changed(record)
        del self._by_link[record.link]
        for key in record.keys:
            self._drop_key(key, record.sequence)

    def records(self) -> list[Record]:
        """List all objects of all kinds, oldest first."""
        return list(self._by_sequence.values())

    def in_scope(self, scope: str) -> list[Record]:
        """List a collection, oldest first."""
        return list(self.walk(scope, [], after=None, newest_first=False))

    def walk(
        self, scope: str, keys: Sequence[Key], *, after: int | None, newest_first: bool
    ) -> Iterator[Record]:
        """Iterate over a collection in order of creation, from a given place; ``keys`` narrow it.

        Only the shortest of the indexes that ``keys`` name is read: the caller still compares each
        object.
        """
        indexes = [self._index.get((scope, *key), []) for key in keys] or [
            self._index.get((scope,), [])
        ]
        for sequence in _from(min(indexes, key=len), after, newest_first=newest_first):
            record = self._by_sequence.get(sequence)
            if record is not None:
                yield record

    def find(
        self, scope: str, keys: Sequence[Key], wanted: Callable[[Record], bool]
    ) -> Record | None:
        """Find the oldest object of a collection that satisfies ``wanted``."""
        return next(
            (
                each
                for each in self.walk(scope, keys, after=None, newest_first=False)
                if wanted(each)
            ),
            None,
        )

    def _changed(self, record: Record) -> None:
        self.revision += 1
        if self.on_change is not None:
            self.on_change(record)

    def _drop_key(self, key: Key, sequence: int) -> None:
        sequences = self._index[key]
        del sequences[bisect.bisect_left(sequences, sequence)]
        if not sequences:
            del self._index[key]


def _from(sequences: list[int], after: int | None, *, newest_first: bool) -> list[int]:
    if newest_first:
        end = len(sequences) if after is None else bisect.bisect_left(sequences, after)
        return sequences[:end][::-1]
    start = 0 if after is None else bisect.bisect_right(sequences, after)
    return sequences[start:]


def _keys(record: Record) -> tuple[Key, ...]:
    scopes = (record.scope,) if record.wide_scope is None else (record.scope, record.wide_scope)
    tags = record.document.get("tags") or {}
    values: list[Key] = [(), *(("tag", name, scalar_text(value)) for name, value in tags.items())]
    values += [
        ("property", name, scalar_text(record.document[name]))
        for name in _INDEXED_PROPERTIES.get(record.kind, ())
        if name in record.document
    ]
    return tuple((scope, *value) for scope in scopes for value in values)
