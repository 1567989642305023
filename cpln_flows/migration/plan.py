"""What a migration would do: an item per object, with the small actions that migrate it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class DocumentRef:
    """A block document, identified by its type and name, which are the same on another server.

    The id is that of the server from which the document was read.
    """

    slug: str
    name: str
    id: UUID | None = None


@dataclass(frozen=True)
class SaveBlock:
    """Store a block document with the current schema.

    Attributes:
        ref: The document; it is created if the server does not have it.
        data: Its fields.
        references: Documents to which fields refer, by field.
    """

    ref: DocumentRef
    data: Mapping[str, Any] = field(repr=False)
    references: Mapping[str, DocumentRef] = field(default_factory=dict)


@dataclass(frozen=True)
class CreatePool:
    """Create a work pool of this package's type; leave an existing one as it is.

    Attributes:
        name: Name of the pool.
        template: Its base job template, without the reference to the token.
        config: The document that holds the token.
        description: Its description.
        concurrency_limit: How many runs the pool may have at once.
    """

    name: str
    template: Mapping[str, Any] = field(repr=False)
    config: DocumentRef | None = None
    description: str = ""
    concurrency_limit: int | None = None


@dataclass(frozen=True)
class UpdatePool:
    """Give a work pool another base job template."""

    name: str
    template: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class CreateQueue:
    """Create a queue in a pool as it was in another one; leave an existing one as it is."""

    pool: str
    name: str
    priority: int | None
    concurrency_limit: int | None
    is_paused: bool


@dataclass(frozen=True)
class UpdateDeployment:
    """Change fields of a deployment; keep its schedules, parameters and path.

    Attributes:
        id: The deployment.
        fields: Values by the names that Prefect's API has for the fields.
    """

    id: UUID
    fields: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class CancelRuns:
    """Cancel runs that were created by a schedule and that no agent will ever start."""

    ids: tuple[UUID, ...]


@dataclass(frozen=True)
class PausePool:
    """Pause a work pool."""

    name: str


@dataclass(frozen=True)
class WriteFile:
    """Replace the source text of a program.

    Attributes:
        path: The file.
        before: The text as it was read; a file that has changed since is left alone.
        after: The new text.
    """

    path: str
    before: str = field(repr=False)
    after: str = field(repr=False)


ServerAction = (
    SaveBlock | CreatePool | UpdatePool | CreateQueue | UpdateDeployment | CancelRuns | PausePool
)
Action = ServerAction | WriteFile


@dataclass(frozen=True)
class Item:
    """One object that was considered, and what becomes of it.

    Attributes:
        kind: Kind of the object: ``block``, ``work pool``, ``deployment``, ``program`` or
            ``setting``.
        name: Its name.
        becomes: What becomes of it, in a few words.
        changes: What changes, one sentence each.
        by_hand: What is left to do by hand, one sentence each.
        refused: Why it is left as it is, one sentence each.
        actions: The steps that migrate it, in order; each can be repeated.
        diff: For a program: the changed lines.
    """

    kind: str
    name: str
    becomes: str = "unchanged"
    changes: tuple[str, ...] = ()
    by_hand: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    actions: tuple[Action, ...] = ()
    diff: str = ""

    @property
    def verdict(self) -> str:
        """``refused``, ``by hand``, ``change`` or ``keep``."""
        if self.refused:
            return "refused"
        return "by hand" if self.by_hand else "change" if self.actions else "keep"


@dataclass(frozen=True)
class Plan:
    """Everything that a migration does, in order."""

    items: tuple[Item, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do by hand."""
        return not any(item.refused or item.by_hand for item in self.items)

    @property
    def has_actions(self) -> bool:
        """Whether ``--apply`` would do anything."""
        return any(item.actions for item in self.items)


def refused(kind: str, name: str, reasons: Sequence[str]) -> Item:
    """Return the item of an object that is left as it is."""
    return Item(kind, name, "refused", refused=tuple(reasons))
