"""Decide what becomes of work pools. Pure.

Pools that were made on the pages of the fork are put right, and infrastructure blocks become pools.
A template is only changed where something in it is wrong on Prefect 3; whatever else people have
written into it stays.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from cpln_flows.blocks import CplnInfrastructure, published_pool
from cpln_flows.blocks.pool_template import (
    chosen_start_seconds,
    flow_run_command,
    is_outdated,
    lift_sizes,
)
from cpln_flows.blocks.published_pool import POOL_TYPE
from cpln_flows.manifest.customization import container_of, pod_of
from cpln_flows.manifest.document import describe
from cpln_flows.migration import blocks
from cpln_flows.migration.plan import CreatePool, DocumentRef, Item, SaveBlock, UpdatePool, refused
from cpln_flows.migration.saved import Document, Pool, Saved

KIND = "work pool"
_MISPLACED = ("parallelism", "completions")
_SIZES = ("cpu", "memory")


def name_of(document: Document, saved: Saved) -> str:
    """Return the name of the pool that an infrastructure block becomes.

    It is the name of the block, unless a pool of another type has that name.
    """
    name = f"infrastructure-{str(document.id)[:8]}" if document.is_anonymous else document.name
    taken = saved.pool(name)
    return name if taken is None or taken.type == POOL_TYPE else f"{name}-{POOL_TYPE}"


def published(document: Document, saved: Saved, concurrency_limit: int | None = None) -> Item:
    """Return the plan for the pool that an infrastructure block becomes.

    Args:
        document: The block.
        saved: Everything that was read.
        concurrency_limit: How many runs the agents' pool allowed, if its deployments used this
            block.
    """
    name, source = name_of(document, saved), blocks.title(document)
    if wrong := blocks.faults(document):
        return refused(KIND, name, [f"the block {source} is refused: {reason}" for reason in wrong])
    action, before = _creation(document, name, concurrency_limit)
    if (existing := saved.pool(name)) is not None:
        return _existing(existing, action, source)
    changes = [f"is made of {source}", *_notes(document)]
    if concurrency_limit is not None:
        changes.append(f"keeps the concurrency limit of its agents, {concurrency_limit}")
    return Item(KIND, name, "created", tuple(changes), actions=(*before, action))


def decide(pool: Pool) -> Item:
    """Return what becomes of a pool of this package's type."""
    if wrong := [
        f"base_job_template: {reason}; make the pool again" for reason in _misshapen(pool.template)
    ]:
        return refused(KIND, pool.name, wrong)
    template, changes = put_right(pool.template, published_pool.default_template())
    if not changes:
        return Item(KIND, pool.name)
    return Item(KIND, pool.name, "put right", changes, actions=(UpdatePool(pool.name, template),))


def _misshapen(template: Mapping[str, Any]) -> list[str]:
    """Return which parts of a template are not objects although they have to be."""
    variables = template.get("variables", {})
    found = {"job_configuration": template.get("job_configuration"), "variables": variables}
    for part in ("properties", "definitions"):
        inner = variables.get(part, {}) if isinstance(variables, Mapping) else {}
        found[f"variables.{part}"] = inner
        if isinstance(inner, Mapping):
            found |= {f"variables.{part}.{name}": value for name, value in inner.items()}
    return [
        f"{path}: expected an object, found {describe(value)}"
        for path, value in found.items()
        if not isinstance(value, dict)
    ]


def put_right(
    template: Mapping[str, Any], default: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return a template in which flow runs of Prefect 3 start, and what was changed in it.

    Args:
        template: A pool's base job template.
        default: The template of a new pool.
    """
    made: dict[str, Any] = copy.deepcopy(dict(template))
    properties = made.setdefault("variables", {}).setdefault("properties", {})
    changes = _missing_manifest(made["job_configuration"], properties)
    manifest = made["job_configuration"]["job_manifest"]
    changes += [
        *_image(properties, manifest),
        *_sizes(properties, manifest, default),
        *_places(manifest),
    ]
    changes += _config(made, properties, default)
    if changes and _default_of(properties, "pod_watch_timeout_seconds") != chosen_start_seconds(
        _default_of(properties, "pod_watch_timeout_seconds")
    ):
        del properties["pod_watch_timeout_seconds"]["default"]
        changes.append(
            "pod_watch_timeout_seconds: its default was never enforced, and is left to the worker's"
            " setting"
        )
    return made, tuple(changes)


def _missing_manifest(configuration: dict[str, Any], properties: Mapping[str, Any]) -> list[str]:
    """Add a manifest to a template without one, or with a placeholder that no variable fills."""
    found = configuration.get("job_manifest")
    if found is not None and not (isinstance(found, str) and found.strip("{} ") not in properties):
        return []
    configuration["job_manifest"] = copy.deepcopy(
        published_pool.default_template()["job_configuration"]["job_manifest"]
    )
    return ["job_manifest: that of a new pool; there was none"]


def _image(properties: dict[str, Any], manifest: object) -> list[str]:
    changes = []
    if is_outdated(found := _default_of(properties, "image")):
        del properties["image"]["default"]
        changes.append(f"image: {found} is one of Prefect 2; runs get that of Prefect 3")
    container = container_of(manifest) if isinstance(manifest, dict) else {}
    if is_outdated(found := container.get("image")):
        container["image"] = "{{ image }}"
        changes.append(
            f"job_manifest: the image {found} is one of Prefect 2; runs get that of the pool's"
            " variable"
        )
    return changes


def _sizes(properties: dict[str, Any], manifest: object, default: Mapping[str, Any]) -> list[str]:
    """Turn CPU and memory into variables of the pool where its jobs have no values for them.

    A placeholder that no variable fills counts as no value.
    """
    container = (
        container_of(manifest)
        if isinstance(manifest, dict) and manifest.get("kind") == "Job"
        else {}
    )
    resources = container.get("resources") or {}
    limits = (resources.get("limits") or {}) if isinstance(resources, dict) else None
    if not container or not isinstance(limits, dict):
        return []
    for name in _SIZES:
        if limits.get(name) == f"{{{{ {name} }}}}" and name not in properties:
            del limits[name]
    if all(limits.get(name) for name in _SIZES):
        return []
    values = lift_sizes(container)
    for name, value in values.items():
        properties.setdefault(
            name, copy.deepcopy(default["variables"]["properties"][name]) | {"default": value}
        )
    sizes = ", ".join(f"{name} {properties[name].get('default')}" for name in values)
    return [f"cpu and memory: variables of the pool, with the sizes that its jobs had: {sizes}"]


def _places(manifest: object) -> list[str]:
    if not isinstance(manifest, dict):
        return []
    changes, pod, metadata = [], pod_of(manifest), manifest.get("metadata")
    if moved := [key for key in _MISPLACED if pod.get(key) == 1]:
        for key in moved:
            del pod[key]
        changes.append(
            f"job_manifest: {' and '.join(moved)} stood in the pod; a job runs one container at a"
            " time anyway"
        )
    if isinstance(metadata, dict) and metadata.pop("namespace", None) is not None:
        changes.append(
            "job_manifest: metadata.namespace had no effect; the variable namespace determines"
            " where jobs run"
        )
    return changes


def _config(
    made: dict[str, Any], properties: dict[str, Any], default: Mapping[str, Any]
) -> list[str]:
    """Give the pool the current schema of the token's configuration, in which it is a secret."""
    definitions = made["variables"].setdefault("definitions", {})
    old = [
        name
        for name, found in definitions.items()
        if isinstance(found, Mapping)
        and found.get("block_type_slug") == blocks.CONFIG
        and not found.get("secret_fields")
    ]
    if not old or "config" not in properties:
        return []
    kept = {key: value for key, value in properties["config"].items() if key == "default"}
    properties["config"] = copy.deepcopy(default["variables"]["properties"]["config"]) | kept
    for name in old:
        del definitions[name]
    definitions.update(copy.deepcopy(default["variables"]["definitions"]))
    return ["config: the token is a secret on Prefect's pages"]


def _default_of(properties: Mapping[str, Any], name: str) -> Any:
    found = properties.get(name)
    return found.get("default") if isinstance(found, Mapping) else None


def _existing(pool: Pool, action: CreatePool, source: str) -> Item:
    if pool.description == action.description or _without_token(pool.template) == _without_token(
        action.template
    ):
        return Item(KIND, pool.name)
    reason = (
        f"exists, and was not made of {source}: rename one of the two, or publish the block under"
        " another name"
    )
    return refused(KIND, pool.name, [f"{reason} with publish_as_work_pool"])


def _without_token(template: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = copy.deepcopy(dict(template))
    config = ((made.get("variables") or {}).get("properties") or {}).get("config")
    if isinstance(config, dict):
        config.pop("default", None)
    return made


def _creation(
    document: Document, name: str, concurrency_limit: int | None
) -> tuple[CreatePool, tuple[SaveBlock, ...]]:
    reference, before = _token(document, name)
    block = CplnInfrastructure.model_validate(
        {key: value for key, value in document.data.items() if key != "config"}
    )
    template = published_pool.template(block, None)
    about = published_pool.description(document.name)
    return CreatePool(name, template, reference, about, concurrency_limit), before


def _token(document: Document, name: str) -> tuple[DocumentRef | None, tuple[SaveBlock, ...]]:
    """Return the document with a block's token, and what to save before.

    A token that is written into the block itself gets a document of its own.
    """
    if found := document.reference("config"):
        return DocumentRef(found.block_type.slug, found.name or "", found.id), ()
    config = document.data.get("config")
    token = config.get("token") if isinstance(config, Mapping) else None
    if not token:
        return None, ()
    ref = DocumentRef(blocks.INFRASTRUCTURE_CONFIG, name)
    return ref, (SaveBlock(ref, {"token": token}),)


def _notes(document: Document) -> list[str]:
    image, command = document.data.get("image"), flow_run_command(document.data.get("command"))
    notes = []
    if is_outdated(image):
        notes.append(f"image: {image} is one of Prefect 2; runs get that of Prefect 3")
    elif image:
        notes.append(f"image: {image} stays; check that it has Prefect 3")
    if command is not None:
        notes.append(
            "command: that of the block takes the place of the one that runs a flow; clear it if"
            " flows are to run"
        )
    return notes
