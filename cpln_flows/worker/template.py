"""The manifest in a pool's template: its default, and how a run's values are filled in. Pure.

Prefect fills in placeholders before the run is known, and removes those that have no value yet. So
the values of a run are filled in here, by where they belong and not by placeholder. Templates that
were written for prefect-cpln are accepted as they are.
"""

from __future__ import annotations

import copy
import difflib
import re
import shlex
from collections.abc import Container, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from prefect.utilities.collections import get_from_dict

from cpln_flows.errors import ConfigurationError, Fault, ManifestError
from cpln_flows.manifest import conversion, limits
from cpln_flows.manifest.document import text_at
from cpln_flows.manifest.manifest import JobManifest

MAIN = "prefect-job"
OWN_VARIABLES = frozenset(
    {
        "command",
        "config",
        "cpu",
        "env",
        "finished_job_ttl",
        "image",
        "job_watch_timeout_seconds",
        "labels",
        "location",
        "memory",
        "name",
        "namespace",
        "org",
        "pod_watch_timeout_seconds",
        "service_account_name",
        "stream_output",
    }
)
"""Variables of this library's template and of Prefect's; for these, an empty string is no value."""

# Fields of a Job that prefect-cpln's template puts into the pod.
_MISPLACED = ("parallelism", "completions")
# Prefect merges these into the configuration even if a template does not declare them.
_ALWAYS_KNOWN = frozenset({"env"})


def default_manifest() -> dict[str, Any]:
    """Return the manifest of a new pool: a Kubernetes Job with one container."""
    resources = {"limits": {"cpu": "{{ cpu }}", "memory": "{{ memory }}"}}
    container = {
        "name": MAIN,
        "image": "{{ image }}",
        "args": "{{ command }}",
        "env": "{{ env }}",
        "resources": resources,
    }
    pod = {
        "restartPolicy": "Never",
        "serviceAccountName": "{{ service_account_name }}",
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"labels": "{{ labels }}", "generateName": "{{ name }}-"},
        "spec": {"ttlSecondsAfterFinished": "{{ finished_job_ttl }}", "template": {"spec": pod}},
    }


@dataclass(frozen=True)
class RunValues:
    """The values of one flow run for the manifest."""

    command: str
    env: Mapping[str, str]
    image: str
    yielding: frozenset[str] = frozenset()
    """Variables that come only from the worker; what the pool's author wrote for them wins."""
    late: Mapping[str, str] = field(default_factory=dict)
    """The values of the placeholders that are filled in late: name, namespace and org."""


def convert(manifest: Mapping[str, Any], values: RunValues, *, gvc: str) -> JobManifest:
    """Return the job of one flow run.

    Raises:
        ManifestError: The manifest cannot run on the platform. Every fault is named, with its path
            in the manifest.
    """
    document = filled(manifest, values)
    notes = _fill_amounts(document)
    converted = conversion.convert(document, gvc=gvc)
    if converted.job_type == "cron":
        wrong = (
            "must not be false: a container that starts by itself has no flow run; schedule the"
            " deployment instead"
        )
        raise ManifestError([Fault("spec.defaultOptions.suspend", wrong)])
    return replace(converted, notes=(*converted.notes, *notes))


def _fill_amounts(document: dict[str, Any]) -> list[Fault]:
    """Give the main container of a native manifest the amounts it lacks, and note that."""
    containers = _pod(document).get("containers")
    main = (
        containers[0]
        if document.get("kind") == "workload" and isinstance(containers, list) and containers
        else None
    )
    if not isinstance(main, dict):
        return []
    (cpu, no_cpu), (memory, no_memory) = (
        limits.cpu(main.get("cpu")),
        limits.memory(main.get("memory")),
    )
    missing = [key for key in ("cpu", "memory") if is_blank(main.get(key))]
    if not missing or any(
        wrong for key, wrong in (("cpu", no_cpu), ("memory", no_memory)) if key not in missing
    ):
        return []  # the conversion reports what is wrong with an amount
    tags = document.get("tags")
    relaxed = isinstance(tags, dict) and str(tags.get(limits.RELAXED_RATIO_TAG)).lower() == "true"
    main["cpu"], main["memory"] = limits.amounts(cpu, memory, relaxed=relaxed)
    said = (
        f"no {' and no '.join(missing)} is given, so the job gets {main['cpu']} of CPU and"
        f" {main['memory']} of memory"
    )
    return [Fault("spec.containers[0]", said)]


def filled(manifest: Mapping[str, Any], values: RunValues) -> dict[str, Any]:
    """Return a copy of a manifest with a run's values in its main container.

    What is malformed is left to the conversion.
    """
    document: dict[str, Any] = _with_late_values(copy.deepcopy(dict(manifest)), values.late)
    if isinstance(metadata := document.get("metadata"), dict):
        # Jobs of one specification share a workload, whatever their names.
        for key in ("name", "generateName"):
            metadata.pop(key, None)
    if document.get("kind") == "workload":
        document.pop("name", None)
    pod = _pod(document)
    for key in _MISPLACED:
        if pod.get(key) == 1:
            del pod[key]
    containers = pod.get("containers")
    if isinstance(containers, list) and containers and isinstance(containers[0], dict):
        containers[0] = _filled_container(
            containers[0], values, native=document.get("kind") == "workload"
        )
    return document


def with_defaults(
    template: Mapping[str, Any],
    values: Mapping[str, Any],
    defaults: Mapping[str, str],
    environment: Container[str] = (),
) -> dict[str, Any]:
    """Return a pool's template whose manifest has no placeholders left that Prefect would lose.

    Prefect leaves out a placeholder without a value, and with it a part of a string, of a command
    line or of a variable. What is known only once the job is planned (the run's name, where it
    runs) gets a mark that ``filled`` replaces.

    Args:
        template: The pool's base job template.
        values: The values of one run. For this library's own variables, an empty one is no value.
        defaults: The values to use where none is given, by the name of their placeholder.
        environment: Names of the variables that can fill a placeholder such as ``{{ $HOME }}``.

    Raises:
        ConfigurationError: A placeholder has no value; the error names its path.
    """
    made: dict[str, Any] = copy.deepcopy(dict(template))
    properties = (made.get("variables") or {}).get("properties") or {}
    for name, found in properties.items():
        if isinstance(found, dict) and name in OWN_VARIABLES and is_blank(found.get("default", 0)):
            del found["default"]
    known = {
        name: found["default"]
        for name, found in properties.items()
        if isinstance(found, Mapping) and "default" in found
    }
    given = {
        name: value
        for name, value in {**known, **values}.items()
        if value is not None and not _is_unset(name, value)
    }
    configuration = made.get("job_configuration")
    if isinstance(configuration, dict):
        # The template of prefect-cpln itself leaves it out.
        if _is_left_out(configuration.get("job_manifest"), given):
            configuration["job_manifest"] = default_manifest()
        faults: list[str] = []
        declared = frozenset(properties) | OWN_VARIABLES | frozenset(given)
        filling = _Filling({**defaults, **given}, declared, environment, faults)
        configuration["job_manifest"] = filling.value(
            configuration["job_manifest"], "job_manifest", in_list=False
        )
        if faults:
            raise ConfigurationError(
                f"base job template: {'; '.join(faults)}; set the variable, or give it a default in"
                " the pool"
            )
    return made


def without_blanks(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a run's values without the empty ones of this library's own variables.

    Prefect's pages send these for fields that were left blank.
    """
    return {name: value for name, value in values.items() if not _is_unset(name, value)}


def is_blank(value: object) -> bool:
    """Whether a value is ``None``, or a blank string."""
    return value is None or (isinstance(value, str) and not value.strip())


def _is_unset(name: str, value: object) -> bool:
    return name in OWN_VARIABLES and isinstance(value, str) and is_blank(value)


def _is_left_out(manifest: object, given: Mapping[str, Any]) -> bool:
    """Whether a template has no manifest, or only a placeholder for one that is not given."""
    whole = _PLACEHOLDER.fullmatch(manifest.strip()) if isinstance(manifest, str) else None
    return manifest is None or (whole is not None and whole[1] not in given)


@dataclass(frozen=True)
class _Filling:
    """Fills in the placeholders that Prefect would lose, and notes those that have no value."""

    values: Mapping[str, Any]
    declared: frozenset[str]
    environment: Container[str]
    faults: list[str]

    def value(self, found: Any, path: str, *, in_list: bool) -> Any:
        if isinstance(found, dict):
            return {
                key: self.value(value, f"{path}.{key}", in_list=False)
                for key, value in found.items()
            }
        if isinstance(found, list):
            return [
                self.value(value, f"{path}[{index}]", in_list=True)
                for index, value in enumerate(found)
            ]
        return self.text(found, path, in_list=in_list) if isinstance(found, str) else found

    def text(self, found: str, path: str, *, in_list: bool) -> str:
        if path.endswith(_NAMES):
            return found
        whole = _PLACEHOLDER.fullmatch(found.strip())
        if whole is None or in_list or path.endswith(_VALUE):
            return _PLACEHOLDER.sub(lambda match: self.filled(match, path), found)
        return self.field(whole, found, path)

    def field(self, whole: re.Match[str], found: str, path: str) -> str:
        """Return a placeholder that is a whole field.

        Prefect gives the field the type of the placeholder's value, or leaves the field out.
        """
        name = whole[1]
        if name in _LATE and self.of(name) is None:
            return _mark(name)
        if (
            name.startswith((_OF_PREFECT, _OF_ENVIRONMENT))
            or re.split(r"[.\[]", name)[0] in self.declared
        ):
            return found if not name.startswith(_OF_ENVIRONMENT) else self.filled(whole, path)
        self.faults.append(f"{path}: the placeholder {found.strip()} names no variable of the pool")
        return found

    def filled(self, match: re.Match[str], path: str) -> str:
        name = match[1]
        if name.startswith(_OF_PREFECT):
            return match[0]  # a block or a variable of Prefect
        if name.startswith(_OF_ENVIRONMENT):
            if name.removeprefix(_OF_ENVIRONMENT) not in self.environment:
                self.faults.append(
                    f"{path}: the worker's environment has no variable for the placeholder"
                    f" {match[0]}"
                )
            return match[0]
        value = self.of(name)
        if isinstance(value, dict | list):
            return match[0]
        if value is None and name in _LATE:
            return _mark(name)
        if value is None:
            self.faults.append(f"{path}: the placeholder {match[0]} has no value")
        return str(value)

    def of(self, name: str) -> Any:
        return get_from_dict(dict(self.values), name, None)


_PLACEHOLDER = re.compile(r"\{\{\s*([\w.\[\]$-]+)\s*\}\}")
_OF_PREFECT, _OF_ENVIRONMENT = "prefect.", "$"
_NAMES = (".metadata.name", ".metadata.generateName", "job_manifest.name")
"""Fields whose value is not used, because each job gets a name of its own."""
_VALUE = ".value"
"""The field of a variable that Prefect would silently leave empty."""
_LATE = frozenset({"name", "namespace", "org"})
"""Values that are known only once the job is planned, whoever gave them."""
_MARK = re.compile(r"\{\{ :(\w+) \}\}")


def _mark(name: str) -> str:
    """Return the mark for a late value; Prefect would remove one of its own placeholders."""
    return f"{{{{ :{name} }}}}"


def _with_late_values(found: Any, late: Mapping[str, str]) -> Any:
    if isinstance(found, dict):
        return {key: _with_late_values(value, late) for key, value in found.items()}
    if isinstance(found, list):
        return [_with_late_values(value, late) for value in found]
    return (
        _MARK.sub(lambda match: late.get(match[1], match[0]), found)
        if isinstance(found, str)
        else found
    )


def given_name(manifest: Mapping[str, Any]) -> str | None:
    """Return the name that the manifest itself gives to its jobs, if there is one."""
    metadata = manifest.get("metadata")
    places = (manifest, metadata if isinstance(metadata, Mapping) else {})
    found = (place.get(key) for place in places for key in ("name", "generateName"))
    return next(
        (name.strip("-") for name in found if isinstance(name, str) and name.strip("-")), None
    )


def check_variables(template: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """Refuse job variables that the pool does not have, which Prefect would silently leave out.

    Raises:
        ConfigurationError: There is one. The error names it, and which one may have been meant.
    """
    known = set((template.get("variables") or {}).get("properties") or {}) | _ALWAYS_KNOWN
    unknown = sorted({key.split(".", 1)[0] for key in values} - known)
    if not unknown:
        return
    said = [f"{name!r}{_meant(name, known)}" for name in unknown]
    raise ConfigurationError(
        f"job_variables: the work pool has no variable {', '.join(said)}; it has"
        f" {', '.join(sorted(known))}. Correct the deployment, or declare it in the pool's base job"
        " template"
    )


def _meant(name: str, known: set[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _pod(document: dict[str, Any]) -> dict[str, Any]:
    spec = document.get("spec")
    if document.get("kind") != "workload" and isinstance(spec, dict):
        template = spec.get("template")
        spec = template.get("spec") if isinstance(template, dict) else None
    return spec if isinstance(spec, dict) else {}


def _filled_container(
    container: dict[str, Any], values: RunValues, *, native: bool
) -> dict[str, Any]:
    found = {key: value for key, value in container.items() if value is not None}
    if is_blank(found.get("image")):
        found["image"] = values.image
    found["env"] = _environment(found.get("env"), values)
    command, args = _words(found.pop("command", None)), _words(found.pop("args", None))
    args = (
        args
        if args is not None
        else shlex.split(values.command)
        if not (native and command)
        else None
    )
    if command:
        # The platform takes one executable, Kubernetes a list.
        found["command"] = command[0] if native else command
        args = [*command[1:], *(args or [])] if native else args
    if args:
        found["args"] = args
    return found


def _words(value: Any) -> Any:
    """Return a command line as a list, ``None`` if it is empty; return a list as it is."""
    return (shlex.split(value) if isinstance(value, str) else value) or None


def _environment(own: Any, values: RunValues) -> Any:
    """Lay the run's variables over the manifest's.

    The latter may be a list of names and values, or an object.
    """
    if isinstance(own, Mapping):
        own = [{"name": name, "value": value} for name, value in own.items() if value is not None]
    if own is not None and not isinstance(own, list):
        return own
    written = {text_at(entry, "name") for entry in own or []}
    env = {
        name: value for name, value in values.env.items() if name not in written & values.yielding
    }
    kept = [entry for entry in own or [] if text_at(entry, "name") not in env]
    return [*kept, *({"name": name, "value": value} for name, value in sorted(env.items()))]
