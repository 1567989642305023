"""What a migration would do: an item for each thing that was looked at, with the small actions that bring it over. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID


@dataclass(frozen=True)
class DocumentRef:
    """A block document by its type and name, which it keeps on another server; its id is that of the server it was read from."""

    slug: str
    name: str
    id: UUID | None = None


@dataclass(frozen=True)
class SaveBlock:
    """Store a block document with the schema of today.

    Attributes:
        ref: The document; it is made if the server has none.
        data: Its fields.
        references: Documents that take the places of fields.
    """

    ref: DocumentRef
    data: Mapping[str, Any] = field(repr=False)
    references: Mapping[str, DocumentRef] = field(default_factory=dict)


@dataclass(frozen=True)
class CreatePool:
    """Make a work pool of this package's type; one that exists is left as it is.

    Attributes:
        name: Name of the pool.
        template: Its base job template, but for the reference to the token.
        config: The document that holds the token.
        description: Its description.
        concurrency_limit: How many runs it may have at once.
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
    """Make a queue in a pool as it was in another; one that exists is left as it is."""

    pool: str
    name: str
    priority: int | None
    concurrency_limit: int | None
    is_paused: bool


@dataclass(frozen=True)
class UpdateDeployment:
    """Change fields of a deployment; its schedules, parameters and path stay.

    Attributes:
        id: The deployment.
        fields: What Prefect's API calls them, and their values.
    """

    id: UUID
    fields: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class CancelRuns:
    """Cancel runs that a schedule has made and no agent will ever start."""

    ids: tuple[UUID, ...]


@dataclass(frozen=True)
class PausePool:
    """Pause a work pool."""

    name: str


@dataclass(frozen=True)
class WriteFile:
    """Replace the text of a program.

    Attributes:
        path: The file.
        before: Its text as it was read; one that has changed since is left alone.
        after: Its text then.
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
    """One thing that was looked at, and what becomes of it.

    Attributes:
        kind: What it is: ``block``, ``work pool``, ``deployment``, ``program`` or ``setting``.
        name: Its name.
        becomes: What it becomes, in a few words.
        changes: What changes, a sentence each.
        by_hand: What is left to do by hand, a sentence each.
        refused: Why nothing was done about it, a sentence each.
        actions: What brings it over, in order; each can be repeated.
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
    """What a migration does, in order."""

    items: tuple[Item, ...] = ()

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to do by hand."""
        return not any(item.refused or item.by_hand for item in self.items)

    @property
    def has_actions(self) -> bool:
        """Whether there is anything that ``--apply`` does."""
        return any(item.actions for item in self.items)


def refused(kind: str, name: str, reasons: Sequence[str]) -> Item:
    """Return the item of something that nothing is done about."""
    return Item(kind, name, "refused", refused=tuple(reasons))
