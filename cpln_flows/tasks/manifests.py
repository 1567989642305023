"""Tasks that apply or delete many objects, as ``cpln apply`` and ``cpln delete`` do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
from prefect import get_run_logger
from prefect.artifacts import acreate_table_artifact
from prefect.context import FlowRunContext

from cpln_flows.api import companions, workloads
from cpln_flows.api.client import CplnClient
from cpln_flows.api.objects import find
from cpln_flows.blocks.credentials import CplnCredentials
from cpln_flows.errors import ApiError, ConfigurationError, CplnError, JobTimeoutError
from cpln_flows.logger import Journal
from cpln_flows.manifest import objects, yaml_text
from cpln_flows.manifest.difference import differences
from cpln_flows.manifest.objects import PlatformObject
from cpln_flows.model.identifiers import Area
from cpln_flows.model.links import WorkloadRef
from cpln_flows.settings import CplnSettings
from cpln_flows.tasks.connection import client_of, place
from cpln_flows.tasks.reporting import reporting

ARTIFACT = "cpln-apply"
_SUFFIXES = frozenset({".yaml", ".yml", ".json"})
_LOOK_SECONDS = 5.0
_GOOD_LOOKS = 3
_MOST_FILES = 1000

Manifests = str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]
Row = dict[str, str]


@reporting(Area.WORKLOAD)
async def apply_manifests(
    cpln_credentials: CplnCredentials,
    manifests: Manifests,
    *,
    org: str | None = None,
    gvc: str | None = None,
    dry_run: bool = False,
    ready_seconds: float | None = None,
) -> list[Row]:
    """Create or update objects of the platform, in the order in which they refer to each other.

    Args:
        cpln_credentials: The credentials to authenticate with.
        manifests: A string in YAML or JSON with one or more documents; a file, or a folder of
            files, as a ``Path``; or objects.
        org: Organization, as a name or a link. Default: ``CPLN_ORG``.
        gvc: GVC of the workloads, identities and volumesets that name none. Default: ``CPLN_GVC``.
        dry_run: Whether to report what would be done without doing it.
        ready_seconds: How long to wait for the workloads to become ready, in seconds. Default: do
            not wait.

    Returns:
        A row for each object: ``kind``, ``name``, ``action`` (created, updated or unchanged; in a
        dry run create, update or unchanged) and ``fields``, which lists those that differ. In a
        flow run, the rows are stored as the table artifact ``cpln-apply`` too.

    Raises:
        ManifestError: A document is not an object of the platform, or it is unknown where it
            belongs. Nothing was changed.
        CplnError: The platform refused the objects that the error names. The others were applied.
        JobTimeoutError: A workload did not become ready.

    Example:
        ```python
        from pathlib import Path

        from cpln_flows import CplnCredentials, apply_manifests

        folder = Path("deployments")
        apply_manifests(CplnCredentials(), folder, org="my-org", gvc="my-gvc", dry_run=True)
        ```
    """
    wanted = _read(manifests, org, gvc)
    rows: list[Row] = []
    refused: list[str] = []
    async with client_of(cpln_credentials) as client:
        for item in wanted:
            try:
                rows.append(await _apply(client, item, dry_run=dry_run))
            except ApiError as error:
                refused.append(f"{item.kind} {item.name}: {error.summary}")
                rows.append(_row(item, "refused", [error.summary]))
        await _publish(rows)
        if refused:
            raise CplnError(
                "some objects were refused, the others were made: " + "; ".join(refused)
            )
        if ready_seconds is not None and not dry_run:
            for item in wanted:
                if item.kind == "workload":
                    await _until_ready(client, WorkloadRef.parse(item.path), ready_seconds)
    return rows


@reporting(Area.CLEANUP)
async def delete_manifests(
    cpln_credentials: CplnCredentials,
    manifests: Manifests,
    *,
    org: str | None = None,
    gvc: str | None = None,
    dry_run: bool = False,
) -> list[Row]:
    """Delete the objects that manifests name, in the reverse order of ``apply_manifests``.

    Args:
        cpln_credentials: The credentials to authenticate with.
        manifests: As for ``apply_manifests``.
        org: Organization, as a name or a link. Default: ``CPLN_ORG``.
        gvc: GVC of the objects that name none. Default: ``CPLN_GVC``.
        dry_run: Whether to report what would be done without doing it.

    Returns:
        A row for each object, with the ``action`` deleted, delete (in a dry run) or absent.

    Raises:
        ManifestError: A document is not an object of the platform. Nothing was deleted.
        ApiError: The platform refused a deletion.
    """
    rows = []
    async with client_of(cpln_credentials) as client:
        for item in reversed(_read(manifests, org, gvc)):
            if dry_run:
                action = "delete" if await find(client, item.path) is not None else "absent"
            else:
                action = "deleted" if await companions.delete(client, item.path) else "absent"
            rows.append(_row(item, action))
    await _publish(rows)
    return rows


def _read(manifests: Manifests, org: str | None, gvc: str | None) -> list[PlatformObject]:
    settings = CplnSettings.load()
    organization, named = place(org, gvc, settings)
    return objects.placed(_documents(manifests), org=organization, gvc=named or settings.gvc)


def _documents(manifests: Manifests) -> Iterator[tuple[str, Mapping[str, Any]]]:
    match manifests:
        case Path():
            for path in _files(manifests):
                with path.open("rb") as file:
                    content = file.read(yaml_text.MOST_BYTES + 1)
                yield from (
                    (str(path), document) for document in objects.parse(content, source=str(path))
                )
        case str():
            yield from (("text", document) for document in objects.parse(manifests, source="text"))
        case Mapping():
            yield "object", manifests
        case _:
            yield from (
                (f"object {number}", document) for number, document in enumerate(manifests, 1)
            )


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in _SUFFIXES and file.is_file())
    if not 0 < len(found) <= _MOST_FILES:
        raise ConfigurationError(
            f"manifests: expected 1 to {_MOST_FILES} YAML or JSON files in {path},"
            f" found {len(found)}"
        )
    return found


async def _apply(client: CplnClient, one: PlatformObject, *, dry_run: bool) -> Row:
    live = await find(client, one.path)
    written, there = _compared(one), _with_whole_links(live or {}, one)
    fields = [] if live is None else [difference.path for difference in differences(written, there)]
    # A secret is always written, because its values cannot be compared.
    if live is not None and not fields and one.kind != "secret":
        return _row(one, "unchanged")
    if dry_run:
        return _row(one, "create" if live is None else "update", fields)
    await client.put(one.collection, one.body)
    return _row(one, "created" if live is None else "updated", fields)


def _compared(one: PlatformObject) -> dict[str, Any]:
    """Return the fields of an object that can be compared: not its GVC, nor values of secrets."""
    hidden = {"gvc", "data"} if one.kind == "secret" else {"gvc"}
    found: dict[str, Any] = _with_whole_links(
        {key: value for key, value in one.body.items() if key not in hidden}, one
    )
    return found


def _with_whole_links(value: Any, one: PlatformObject) -> Any:
    """Return an object whose links name the organization.

    A link such as ``//gvc/dev`` leaves it out, and the platform may write it in full.
    """
    if isinstance(value, Mapping):
        return {key: _with_whole_links(inner, one) for key, inner in value.items()}
    if isinstance(value, list):
        return [_with_whole_links(inner, one) for inner in value]
    if isinstance(value, str) and value.startswith("//"):
        return f"/org/{one.collection.split('/')[2]}/{value.removeprefix('//')}"
    return value


def _row(one: PlatformObject, action: str, fields: Sequence[str] = ()) -> Row:
    return {"kind": one.kind, "name": one.name, "action": action, "fields": ", ".join(fields)}


async def _publish(rows: list[Row]) -> None:
    journal = Journal(get_run_logger())
    for row in rows:
        journal.info(Area.WORKLOAD, f"{row['kind']} {row['name']}: {row['action']}")
    if FlowRunContext.get() is not None and rows:
        await acreate_table_artifact(
            rows, key=ARTIFACT, description="Objects of Control Plane, and what happened to each."
        )


async def _until_ready(client: CplnClient, ref: WorkloadRef, seconds: float) -> None:
    """Wait until a workload is ready at all of its locations.

    As in ``cpln apply --ready``, it has to be ready in three looks in a row.
    """
    good = 0
    with anyio.move_on_after(seconds):
        while good < _GOOD_LOOKS:
            here = await workloads.deployments(client, ref)
            good = good + 1 if here and all(deployment.status.ready for deployment in here) else 0
            if good < _GOOD_LOOKS:
                await anyio.sleep(_LOOK_SECONDS if good == 0 else _LOOK_SECONDS / _GOOD_LOOKS)
        return
    reports = [
        f"{deployment.name}: {deployment.report()}"
        for deployment in await workloads.deployments(client, ref)
        if not deployment.status.ready
    ]
    said = "; ".join(reports) or "it has no deployment"
    raise JobTimeoutError(f"workload {ref.path} was not ready within {seconds:g} s: {said}")
