"""The manifest in a pool's template: its default, and how one run's values come into it. Pure.

Prefect fills placeholders before the run is known, and removes those that have no value yet; what a run brings along is put in
here, by where it belongs and not by placeholder. Templates that were written for prefect-cpln are taken as they are.
"""

from __future__ import annotations

import copy
import difflib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cpln_flows.errors import ConfigurationError, Fault, ManifestError
from cpln_flows.model import conversion
from cpln_flows.model.manifest import JobManifest

MAIN = "prefect-job"

# Fields of a Job that prefect-cpln's template says of the pod.
_MISPLACED = ("parallelism", "completions")
# Prefect merges these into the configuration although a template does not declare them.
_ALWAYS_KNOWN = frozenset({"env"})


def default_manifest() -> dict[str, Any]:
    """Return the manifest of a new pool: a Kubernetes Job with one container."""
    resources = {"limits": {"cpu": "{{ cpu }}", "memory": "{{ memory }}"}}
    container = {"name": MAIN, "image": "{{ image }}", "args": "{{ command }}", "env": "{{ env }}", "resources": resources}
    pod = {"restartPolicy": "Never", "serviceAccountName": "{{ service_account_name }}", "containers": [container]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": "{{ labels }}", "generateName": "{{ name }}-"},
        "spec": {"ttlSecondsAfterFinished": "{{ finished_job_ttl }}", "template": {"spec": pod}},
    }


@dataclass(frozen=True)
class RunValues:
    """What one flow run brings into the manifest."""

    command: str
    env: Mapping[str, str]
    image: str


def convert(manifest: Mapping[str, Any], values: RunValues, *, gvc: str) -> JobManifest:
    """Return the job of one flow run.

    Raises:
        ManifestError: It cannot be run on the platform; every fault is named, with its path in the manifest.
    """
    converted = conversion.convert(filled(manifest, values), gvc=gvc)
    if converted.job_type == "cron":
        wrong = "must not be false: a container that starts by itself has no flow run; schedule the deployment instead"
        raise ManifestError([Fault("spec.defaultOptions.suspend", wrong)])
    return converted


def filled(manifest: Mapping[str, Any], values: RunValues) -> dict[str, Any]:
    """Return a copy of a manifest with a run's values in its main container; what is malformed is left to the conversion."""
    document = copy.deepcopy(dict(manifest))
    if isinstance(metadata := document.get("metadata"), dict):
        for key in ("name", "generateName"):  # jobs of one specification share a workload, whatever their names
            metadata.pop(key, None)
    if document.get("kind") == "workload":
        document.pop("name", None)
    pod = _pod(document)
    for key in _MISPLACED:
        if pod.get(key) == 1:
            del pod[key]
    containers = pod.get("containers")
    if isinstance(containers, list) and containers and isinstance(containers[0], dict):
        containers[0] = _filled_container(containers[0], values, native=document.get("kind") == "workload")
    return document


def given_name(manifest: Mapping[str, Any]) -> str | None:
    """Return the name that the manifest itself gives to its jobs, if it does."""
    metadata = manifest.get("metadata")
    places = (manifest, metadata if isinstance(metadata, Mapping) else {})
    found = (place.get(key) for place in places for key in ("name", "generateName"))
    return next((name.strip("-") for name in found if isinstance(name, str) and name.strip("-")), None)


def check_variables(template: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse job variables that the pool does not have, which Prefect leaves out without a word.

    Raises:
        ConfigurationError: There is one; the text names it and what may have been meant.
    """
    known = set((template.get("variables") or {}).get("properties") or {}) | _ALWAYS_KNOWN
    unknown = sorted({key.split(".", 1)[0] for key in values} - known)
    if not unknown:
        return
    said = [f"{name!r}{_meant(name, known)}" for name in unknown]
    raise ConfigurationError(
        f"job_variables: the work pool has no variable {', '.join(said)}; it has {', '.join(sorted(known))}. Correct the"
        " deployment, or declare it in the pool's base job template"
    )


def _meant(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f" (is {close[0]!r} meant?)" if close else ""


def _pod(document: dict[str, Any]) -> dict[str, Any]:
    spec = document.get("spec")
    if document.get("kind") != "workload" and isinstance(spec, dict):
        template = spec.get("template")
        spec = template.get("spec") if isinstance(template, dict) else None
    return spec if isinstance(spec, dict) else {}


def _filled_container(container: dict[str, Any], values: RunValues, *, native: bool) -> dict[str, Any]:
    found = {key: value for key, value in container.items() if value is not None}
    found.setdefault("image", values.image)
    found["env"] = _environment(found.get("env"), values.env)
    command, args = _words(found.pop("command", None)), _words(found.pop("args", None))
    args = args if args is not None else shlex.split(values.command) if not (native and command) else None
    if command:
        # The platform takes one executable, Kubernetes a list.
        found["command"] = command[0] if native else command
        args = [*command[1:], *(args or [])] if native else args
    if args:
        found["args"] = args
    return found


def _words(value: Any) -> Any:
    """Return a command line as the list that it means; a list as it is."""
    return shlex.split(value) if isinstance(value, str) else value


def _environment(own: Any, env: Mapping[str, str]) -> Any:
    """Lay the run's variables over the manifest's, which may be a list of names and values or an object."""
    if isinstance(own, Mapping):
        own = [{"name": name, "value": value} for name, value in own.items() if value is not None]
    if own is not None and not isinstance(own, list):
        return own
    kept = [entry for entry in own or [] if not (isinstance(entry, Mapping) and entry.get("name") in env)]
    return [*kept, *({"name": name, "value": value} for name, value in sorted(env.items()))]
