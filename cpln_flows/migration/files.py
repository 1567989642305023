"""Read exported JSON and YAML: answers of Prefect's API that people saved to files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cpln_flows.errors import ConfigurationError
from cpln_flows.manifest import yaml_text
from cpln_flows.migration.blocks import CLASSES
from cpln_flows.migration.saved import Deployment, Document, Pool, Saved
from cpln_flows.model.display import shown

SUFFIXES = frozenset({".json", ".yaml", ".yml"})
_MOST_BYTES = 64 * 2**20
_LISTS = ("block_documents", "deployments", "work_pools")


def read(paths: Sequence[Path]) -> Saved:
    """Read exported files; keep the position of whatever cannot be understood.

    Args:
        paths: JSON or YAML files, each with one document, a list of documents, or named lists.

    Raises:
        ConfigurationError: A file cannot be read.
    """
    saved = Saved()
    for path in paths:
        for place, entry in _entries(path):
            saved = _with(saved, place, entry)
    return saved


def _entries(path: Path) -> Iterator[tuple[str, Any]]:
    found = _decoded(path)
    if isinstance(found, Mapping) and any(isinstance(found.get(name), list) for name in _LISTS):
        found = [entry for name in _LISTS for entry in found.get(name) or ()]
    entries = found if isinstance(found, list) else [found]
    yield from ((f"{path}[{index}]", entry) for index, entry in enumerate(entries))


def _decoded(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigurationError(
                f"{path}: it is longer than {_MOST_BYTES // 2**20} MiB; export less at once"
            )
        if path.suffix == ".json":
            return json.loads(content)
        documents = yaml_text.load(content)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: is neither JSON nor YAML: {error}") from None
    return documents[0] if len(documents) == 1 else documents


def _with(saved: Saved, place: str, entry: Any) -> Saved:
    kind = _kind(entry)
    name = entry.get("name") if isinstance(entry, Mapping) else None
    where = f"{place} {shown(name)}" if isinstance(name, str) else place
    if kind is None:
        return replace(
            saved,
            wrong=(
                *saved.wrong,
                (where, "is not a block document, work pool or deployment of Prefect"),
            ),
        )
    try:
        record = kind.model_validate(entry)
    except ValidationError as error:
        return replace(saved, wrong=(*saved.wrong, (where, _said(error))))
    if isinstance(record, Document):
        return (
            replace(saved, documents=(*saved.documents, record))
            if record.slug in CLASSES
            else saved
        )
    if isinstance(record, Pool):
        return replace(saved, pools=(*saved.pools, record))
    return replace(saved, deployments=(*saved.deployments, record))


def _said(error: ValidationError) -> str:
    """Return what is wrong with the fields of an entry, without values that may be secrets."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, each['loc']))}: {each['msg'].split(',')[0]}" for each in found
    )


def _kind(entry: Any) -> type[Document | Pool | Deployment] | None:
    if not isinstance(entry, Mapping):
        return None
    if "base_job_template" in entry:
        return Pool
    if "block_type" in entry:
        return Document
    return Deployment if "flow_id" in entry and "name" in entry else None
