"""What a server or an export contains: blocks, pools, deployments and runs that wait for agents.

The values are frozen. They are read from the JSON of Prefect's API, as the server answers it and as
people have exported it. Everything in an export is untrusted until it is parsed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from pydantic import AliasPath, BaseModel, ConfigDict, Field

AGENT = "prefect-agent"
"""Type of the pools that agents polled; Prefect 3 has none."""


class Record(BaseModel):
    """An object that Prefect has stored; fields that nothing here needs are ignored."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", hide_input_in_errors=True, populate_by_name=True
    )


class BlockType(Record):
    """The type of a block document."""

    slug: str


class Referred(Record):
    """Another document that a document refers to."""

    id: UUID
    name: str | None = None
    block_type: BlockType
    is_anonymous: bool = False


class Document(Record):
    """A block document.

    Attributes:
        slug: Slug of its type.
        name: Its name; the server makes one up for a document without a name.
        data: Its fields, with the documents that it refers to in place of references.
        references: The documents that it refers to, by field.
        checksum: Identifies the schema with which it was stored.
    """

    id: UUID | None = None
    slug: str = Field(validation_alias=AliasPath("block_type", "slug"))
    name: str = ""
    data: Mapping[str, Any] = Field(repr=False)
    references: Mapping[str, Mapping[str, Referred]] = Field(
        default_factory=dict, alias="block_document_references"
    )
    checksum: str | None = Field(
        default=None, validation_alias=AliasPath("block_schema", "checksum")
    )
    is_anonymous: bool = False

    def reference(self, field: str) -> Referred | None:
        """Return the document that a field refers to, if it refers to one."""
        return self.references.get(field, {}).get("block_document")


class Queue(Record):
    """A work queue."""

    name: str
    priority: int | None = None
    concurrency_limit: int | None = None
    is_paused: bool = False


class Pool(Record):
    """A work pool with its queues."""

    name: str
    type: str
    description: str | None = None
    template: Mapping[str, Any] = Field(alias="base_job_template", repr=False)
    is_paused: bool = False
    concurrency_limit: int | None = None
    queues: tuple[Queue, ...] = ()


class Deployment(Record):
    """A deployment."""

    id: UUID
    name: str
    flow_id: UUID
    flow_name: str = ""
    pool: str | None = Field(default=None, alias="work_pool_name")
    queue: str | None = Field(default=None, alias="work_queue_name")
    infrastructure_id: UUID | None = Field(default=None, alias="infrastructure_document_id")
    storage_id: UUID | None = Field(default=None, alias="storage_document_id")
    entrypoint: str | None = None
    job_variables: Mapping[str, Any] = Field(default_factory=dict, repr=False)

    @property
    def title(self) -> str:
        """Its display name: ``flow/deployment``."""
        return f"{self.flow_name}/{self.name}" if self.flow_name else self.name


class WaitingRun(Record):
    """A flow run that waits for an agent.

    Attributes:
        auto_scheduled: Whether it was created by a schedule.
    """

    id: UUID
    deployment_id: UUID | None = None
    pool: str | None = Field(default=None, alias="work_pool_name")
    auto_scheduled: bool = False


@dataclass(frozen=True)
class Saved:
    """Everything that was read.

    Attributes:
        documents: The block documents of this package's types.
        pools: All work pools.
        deployments: All deployments.
        waiting: The runs that wait in pools of agents.
        storages: The slugs of other blocks from which deployments get their code, by id.
        is_live: Whether a server was read rather than files.
        wrong: What could not be understood: its position, and the reason.
    """

    documents: tuple[Document, ...] = ()
    pools: tuple[Pool, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    waiting: tuple[WaitingRun, ...] = ()
    storages: Mapping[UUID, str] = field(default_factory=dict)
    is_live: bool = False
    wrong: tuple[tuple[str, str], ...] = ()

    def pool(self, name: str | None) -> Pool | None:
        """Return a work pool by its name."""
        return next((pool for pool in self.pools if pool.name == name), None)

    def document(self, document_id: UUID | None) -> Document | None:
        """Return a block document by its id."""
        return next(
            (document for document in self.documents if document_id and document.id == document_id),
            None,
        )
