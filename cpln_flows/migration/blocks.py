"""Decide what becomes of a saved block: stored again with the current schema, or refused by name.

Nothing that the environment fills in where a job runs is written down here: a document that left
its organization open leaves it open. A document is validated as a block, with made-up places,
before any decision about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from prefect.blocks.core import Block
from pydantic import ValidationError

from cpln_flows.blocks import (
    CplnConfig,
    CplnCredentials,
    CplnInfrastructure,
    CplnInfrastructureConfig,
    CplnJob,
)
from cpln_flows.blocks.pool_template import is_outdated
from cpln_flows.blocks.saved import without_empty
from cpln_flows.errors import ConfigurationError, ManifestError
from cpln_flows.manifest import customization
from cpln_flows.migration.plan import DocumentRef, Item, SaveBlock, refused
from cpln_flows.migration.saved import Document
from cpln_flows.model import field_errors

KIND = "block"
CONFIG, INFRASTRUCTURE_CONFIG = "control-plane-configuration", "control-plane-infrastructure-config"
CREDENTIALS, JOB, INFRASTRUCTURE = (
    "control-plane-credentials",
    "cpln-job",
    "control-plane-infrastructure",
)

CLASSES: Mapping[str, type[Block]] = {
    CONFIG: CplnConfig,
    INFRASTRUCTURE_CONFIG: CplnInfrastructureConfig,
    CREDENTIALS: CplnCredentials,
    JOB: CplnJob,
    INFRASTRUCTURE: CplnInfrastructure,
}
"""The types that are migrated; types that others refer to come first."""

_OPEN: Mapping[str, tuple[str, ...]] = {
    CONFIG: ("token",),
    INFRASTRUCTURE_CONFIG: ("token",),
    CREDENTIALS: ("config",),
    JOB: ("credentials", "org", "namespace", "location"),
    INFRASTRUCTURE: (
        "name",
        "config",
        "org",
        "namespace",
        "location",
        "service_account_name",
        "image",
    ),
}
"""Fields that have no meaning if they are empty."""
_NESTED: Mapping[tuple[str, str], str] = {
    (CREDENTIALS, "config"): CONFIG,
    (JOB, "credentials"): CREDENTIALS,
    (INFRASTRUCTURE, "config"): INFRASTRUCTURE_CONFIG,
}
_SCHEMA = "gets the schema of cpln-flows"
_MASKING_SCHEMA = "gets the schema of cpln-flows, in which the token is a secret"
_CONFIGS = frozenset({CONFIG, INFRASTRUCTURE_CONFIG})
_OF_PREFECT = "block_type_slug"
_PLACES = {"org": "some-org", "namespace": "some-gvc"}
_TOKEN = {"token": "some-token"}


def title(document: Document) -> str:
    """Return the display name of a document: ``type/name``."""
    return f"{document.slug}/{document.name or 'without a name'}"


def decide(document: Document) -> Item:
    """Return what becomes of a document."""
    if wrong := faults(document):
        return refused(KIND, title(document), wrong)
    data, changes = todays(document)
    references = {
        name: reference
        for name in document.references
        if (reference := _reference(document, name)) is not None
    }
    is_current = document.checksum == CLASSES[document.slug]._calculate_schema_checksum()  # noqa: SLF001 - Prefect's own way
    if not is_current:
        changes = (
            _MASKING_SCHEMA if document.slug in _CONFIGS else _SCHEMA,
            *changes,
            *_emptied(document, data),
        )
    if document.is_anonymous or not changes:
        return Item(KIND, title(document))
    ref = DocumentRef(document.slug, document.name, document.id)
    return Item(
        KIND, title(document), "stored again", changes, actions=(SaveBlock(ref, data, references),)
    )


def faults(document: Document) -> tuple[str, ...]:
    """Return why no version of the library can have written a document, or why it cannot run."""
    if wrong := [*_unknown(document.slug, document.data, ""), *_masked(document.data, "")]:
        return tuple(wrong)
    try:
        instance(document)
    except ConfigurationError as error:
        return (str(error),)
    except ManifestError as error:
        return tuple(map(str, error.faults))
    return ()


def instance(document: Document) -> Block:
    """Return a document as a block, with made-up places and token where it leaves them open.

    Raises:
        ConfigurationError: The document is not a block of its type.
        ManifestError: The platform cannot run its manifest.
    """
    block_class = CLASSES[document.slug]
    try:
        made = block_class.model_validate(_completed(document.slug, document.data))
    except ValidationError as error:
        wrong = field_errors.configuration_error(
            document.slug, error, known=block_class.model_fields
        )
        raise ConfigurationError(str(wrong).removeprefix(f"{document.slug}: ")) from None
    if isinstance(made, CplnJob):
        made.manifest()
    if isinstance(made, CplnInfrastructure):
        made.preview()
    return made


def todays(document: Document) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the fields of a document in their current form, and what changes.

    Fields that refer to other documents are left out.
    """
    kept = {name: value for name, value in document.data.items() if name not in document.references}
    data = _plain(document.slug, kept)
    changes = []
    if document.slug == INFRASTRUCTURE:
        if is_outdated(data.get("image")):
            changes.append(
                f"image: {data.pop('image')} is one of Prefect 2; the job gets that of Prefect 3"
            )
        operations = customization.operations(data.get("customizations"))
        if data.get("customizations", []) != operations:
            data["customizations"] = operations
            changes.append("customizations: stored as a list of operations")
    return data, tuple(changes)


def _emptied(document: Document, data: Mapping[str, Any]) -> tuple[str, ...]:
    emptied = sorted(
        document.data.keys() - data.keys() - document.references.keys() - {_OF_PREFECT}
    )
    return (
        (f"{', '.join(emptied)}: empty, and left to the environment of the job",) if emptied else ()
    )


def _plain(slug: str, data: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = without_empty(dict(data), *_OPEN[slug])
    found.pop(_OF_PREFECT, None)
    for name, value in found.items():
        nested = _NESTED.get((slug, name))
        if nested is not None and isinstance(value, Mapping):
            found[name] = _plain(nested, value)
    return found


def _reference(document: Document, name: str) -> DocumentRef | None:
    found = document.reference(name)
    return None if found is None else DocumentRef(found.block_type.slug, found.name or "", found.id)


def _unknown(slug: str, data: Mapping[str, Any], path: str) -> Sequence[str]:
    """Return the fields that no version has."""
    known = CLASSES[slug].model_fields
    found = [
        f"{path}{name}: is not a field of {slug}"
        for name in data
        if name not in known and name != _OF_PREFECT
    ]
    for name, value in data.items():
        if (nested := _NESTED.get((slug, name))) is not None and isinstance(value, Mapping):
            found += _unknown(nested, value, f"{path}{name}.")
    return found


def _masked(data: Mapping[str, Any], path: str) -> Iterator[str]:
    """Yield a fault for each token that is only the mask with which a server shows a secret."""
    for name, value in data.items():
        if isinstance(value, Mapping):
            yield from _masked(value, f"{path}{name}.")
        elif name == "token" and isinstance(value, str) and value and not value.strip("*"):
            yield (
                f"{path}token: is the mask of a secret; export the block with its secrets, or read"
                " the server itself"
            )


def _completed(slug: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with made-up values for those that only a job's environment knows."""
    found = _plain(slug, data)
    for name, value in found.items():
        nested = _NESTED.get((slug, name))
        if nested is not None and isinstance(value, Mapping):
            found[name] = _completed(nested, value)
    if slug in _CONFIGS:
        return _TOKEN | found
    return _PLACES | found if slug in {JOB, INFRASTRUCTURE} else found
