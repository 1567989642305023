"""The base job template of a work pool that does what a saved manifest did before work pools. Pure.

What people change from one deployment to the next becomes a variable of the pool, with the saved
value as its default: image, sizes, identity, command, environment and labels. Everything else in
the manifest stays as it was written.
"""

from __future__ import annotations

import copy
import shlex
from collections.abc import Mapping
from typing import Any

from cpln_flows.manifest import images, limits
from cpln_flows.manifest.customization import Shortcuts, container_of, pod_of
from cpln_flows.manifest.document import text_at

COMMAND = "{{ command }}"
"""A placeholder for the command of a flow run, in a pool's manifest or until it is known."""

PREFECT_MAJOR = 3
DEFAULT_START_SECONDS = 60
"""The default that the fork stored as ``pod_watch_timeout_seconds``, and never enforced."""

_FLOW_RUN_COMMANDS = frozenset({"python -m prefect.engine", "prefect flow-run execute"})


def is_outdated(image: object) -> bool:
    """Whether an image is one of Prefect's own in which no flow run of Prefect 3 can start.

    Args:
        image: Name of an image, or whatever stands in its place.

    Example:
        >>> is_outdated("docker.io/prefecthq/prefect:2-latest"), is_outdated("//image/flows:2")
        (True, False)
    """
    major = images.prefect_major(image) if isinstance(image, str) else None
    return major is not None and major < PREFECT_MAJOR


def chosen_start_seconds(seconds: int | None) -> int | None:
    """Return how long a workload may take to become ready, unless it is the fork's default."""
    return None if seconds == DEFAULT_START_SECONDS else seconds


def flow_run_command(command: list[str] | None) -> str | None:
    """Return the command line of a flow run, if it differs from Prefect's own.

    >>> flow_run_command(["python", "-m", "prefect.engine"]) is None
    True
    >>> flow_run_command(["sh", "-c", "date; exec run"])
    "sh -c 'date; exec run'"
    """
    line = shlex.join(command or [])
    return None if not line or line in _FLOW_RUN_COMMANDS else line


def base_job_template(
    default: Mapping[str, Any], manifest: Mapping[str, Any], defaults: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a pool's template with this manifest and these defaults of its variables.

    Args:
        default: The template of a new pool.
        manifest: The manifest that ``lifted`` returned.
        defaults: Values of the pool's variables; those that are ``None`` are left out.
    """
    made: dict[str, Any] = copy.deepcopy(dict(default))
    made["job_configuration"]["job_manifest"] = copy.deepcopy(dict(manifest))
    properties = made["variables"]["properties"]
    for name, value in defaults.items():
        if value is not None:
            properties[name]["default"] = copy.deepcopy(value)
    return made


def lifted(
    manifest: Mapping[str, Any], shortcuts: Shortcuts
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a manifest with the pool's variables in place of their values, and these values.

    Args:
        manifest: Manifest of a Kubernetes Job, with shortcuts and patch applied.
        shortcuts: The shortcuts that were applied; labels and environment variables that are still
            there become the pool's.

    Example:
        >>> from cpln_flows.manifest.customization import base_job, customized
        >>> shortcuts = Shortcuts(image="acme:1", labels={"team": "data"}, command=[COMMAND])
        >>> made, values = lifted(customized(base_job(), shortcuts, []), shortcuts)
        >>> values["image"], values["labels"]
        ('acme:1', {'team': 'data'})
        >>> made["spec"]["template"]["spec"]["containers"][0]["image"]
        '{{ image }}'
    """
    made: dict[str, Any] = copy.deepcopy(dict(manifest))
    values = _lift_metadata(made, shortcuts)
    pod, container = pod_of(made), container_of(made)
    # These are fields of the Job, which prefect-cpln wrote into its pod.
    for key in ("parallelism", "completions"):
        if pod.get(key) == 1:
            del pod[key]
    values |= {
        "service_account_name": pod.get("serviceAccountName"),
        "image": container.get("image"),
    }
    pod["serviceAccountName"] = "{{ service_account_name }}"
    if is_outdated(values["image"]):
        values["image"] = None
    container["image"] = "{{ image }}"
    if container.get("args") in (None, [COMMAND]):
        container["args"] = COMMAND
    values |= _lift_environment(container, shortcuts) | lift_sizes(container)
    return made, {name: value for name, value in values.items() if value is not None}


def lift_sizes(container: dict[str, Any]) -> dict[str, Any]:
    """Put variables in place of the CPU and memory of a container, and return their values.

    A container without sizes gets what a job without sizes gets here: 500m and 512Mi, as in the
    fork.
    """
    resources = container.get("resources") or {}
    found = resources.get("limits") or {} if isinstance(resources, dict) else None
    if not isinstance(found, dict):
        return {}  # the conversion reports what is wrong with it
    (cpu, _), (memory, _) = limits.cpu(found.get("cpu")), limits.memory(found.get("memory"))
    amounts = dict(zip(("cpu", "memory"), limits.amounts(cpu, memory, relaxed=False), strict=True))
    values = {
        name: found[name] if found.get(name) is not None else amounts[name] for name in amounts
    }
    container["resources"] = resources | {
        "limits": found | {"cpu": "{{ cpu }}", "memory": "{{ memory }}"}
    }
    return {name: value if isinstance(value, str) else str(value) for name, value in values.items()}


def _lift_metadata(job: dict[str, Any], shortcuts: Shortcuts) -> dict[str, Any]:
    metadata = job.setdefault("metadata", {})
    if not isinstance(metadata, dict):
        return {}
    metadata.pop("namespace", None)  # the pool's variable decides where its jobs run
    labels = metadata.get("labels")
    kept = labels if isinstance(labels, dict) else {}
    of_block = {name: text for name, text in shortcuts.labels.items() if kept.get(name) == text}
    metadata["labels"] = {
        name: text for name, text in kept.items() if name not in of_block
    } or "{{ labels }}"
    metadata["generateName"] = "{{ name }}-"
    return {"labels": of_block or None, "name": shortcuts.name}


def _lift_environment(container: dict[str, Any], shortcuts: Shortcuts) -> dict[str, Any]:
    entries = container.get("env")
    if not isinstance(entries, list):
        return {}
    of_block = {
        name: {"name": name, "value": value}
        for name, value in shortcuts.env.items()
        if value is not None
    }
    found = {name: entry["value"] for name, entry in of_block.items() if entry in entries}
    container["env"] = [
        entry for entry in entries if text_at(entry, "name") not in found
    ] or "{{ env }}"
    return {"env": found or None}
