"""Volumes and where they are mounted.

A secret or a ConfigMap becomes a secret of the platform, a claim becomes a volumeset with the name
of the claim, and scratch space becomes ``scratch://NAME``. The platform mounts a whole secret as a
directory with its keys, or one key as a file. A selection of keys, or a ``subPath``, therefore
becomes one mount for each file.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cpln_flows.manifest import limits
from cpln_flows.manifest.document import Reader
from cpln_flows.manifest.kubernetes import fields, variables
from cpln_flows.model.display import shown

_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_SCRATCH = "scratch://"
_SECRET = "cpln://secret/"  # noqa: S105 - the form of an address
_WRITABLE = frozenset({"/tmp", "/var/log"})  # noqa: S108 - names, not files


@dataclass(frozen=True)
class Volume:
    """The counterpart of a volume on the platform.

    Attributes:
        uri: Address of the whole volume, or ``None`` if it has only single files or was refused.
        files: Addresses of single files by their paths in the volume, if it has only these.
        mounts: Number of containers that mount it.
    """

    uri: str | None
    files: Mapping[str, str] = field(default_factory=dict)
    mounts: int = 0

    @property
    def is_refused(self) -> bool:
        """Whether it was refused, and the fault recorded."""
        return self.uri is None and not self.files

    @property
    def is_scratch(self) -> bool:
        """Whether it is empty when the job starts."""
        return self.uri is not None and self.uri.startswith(_SCRATCH)


_REFUSED = Volume(None)


def volumes_of(pod: Reader) -> dict[str, Volume]:
    """Read the volumes of a pod.

    The result includes refused volumes, so that their mounts do not become faults too.
    """
    found: dict[str, Volume] = {}
    mounts = _mounting_containers(pod)
    for volume in pod.children("volumes"):
        name = volume.text("name", required=True) or ""
        if name in found:
            volume.fault("name", f"{shown(name)} is also the name of another volume")
        elif name and not _NAME.fullmatch(name):
            volume.fault(
                "name",
                "expected at most 63 lowercase letters, digits and inner dashes,"
                f" found {shown(name)}",
            )
        made = _volume(volume, name)
        found[name] = Volume(made.uri, made.files, mounts[name])
        volume.finish()
    return found


def _mounting_containers(pod: Reader) -> Counter[str]:
    """Count the containers that mount each volume; malformed parts are reported elsewhere."""
    counted: Counter[str] = Counter()
    for part in ("containers", "initContainers"):
        for container in _objects(pod.raw(part)):
            names = [mount.get("name") for mount in _objects(container.get("volumeMounts"))]
            counted.update({name for name in names if isinstance(name, str)})
    return counted


def _objects(found: object) -> list[Mapping[str, object]]:
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []


def _volume(volume: Reader, name: str) -> Volume:
    fields.apply(volume, fields.VOLUME)
    kinds: Mapping[str, Callable[[Reader], Volume]] = {
        "configMap": lambda source: _files(source, variables.secret(source, "name")),
        "emptyDir": lambda source: _scratch(source, name),
        "ephemeral": lambda source: _scratch_of_claim(source, name),
        "persistentVolumeClaim": _claim,
        "projected": _projected,
        "secret": lambda source: _files(source, variables.secret(source, "secretName")),
    }
    # An empty object names a kind as well.
    given = [kind for kind in kinds if volume.raw(kind) is not None]
    if not given:
        if not any(volume.raw(kind) is not None for kind in fields.VOLUME):
            volume.fault("", f"expected one of {', '.join(sorted(kinds))}")
        return _REFUSED
    if len(given) > 1:
        volume.fault("", f"expected one kind, found {' and '.join(given)}")
    source = volume.child(given[0])
    made = kinds[given[0]](source)
    source.finish()
    return made


def _scratch(source: Reader, name: str) -> Volume:
    fields.apply(source, fields.EMPTY_DIR)
    return Volume(f"{_SCRATCH}{name}")


def _scratch_of_claim(source: Reader, name: str) -> Volume:
    if source.raw("volumeClaimTemplate") is not None:
        source.note(
            "volumeClaimTemplate", "becomes a scratch volume, whose size and class cannot be set"
        )
    return Volume(f"{_SCRATCH}{name}")


def _claim(source: Reader) -> Volume:
    name = variables.secret(source, "claimName")
    fields.apply(source, fields.CLAIM)
    if name is None:
        return _REFUSED
    source.note(
        "claimName",
        f"becomes the volumeset {name!r}, which must exist, with the file system `shared`",
    )
    return Volume(f"cpln://volumeset/{name}")


def _files(source: Reader, name: str | None) -> Volume:
    """Read a secret or a ConfigMap: all of it, or the selected keys."""
    fields.apply(source, fields.FILES)
    files: dict[str, str] = {}
    for item in source.children("items"):
        key, path = variables.secret_key(item, "key"), item.text("path", required=True)
        fields.apply(item, fields.FILE)
        if path is not None and (wrong := _path_fault(path)):
            item.fault("path", wrong)
        elif key is not None and path is not None:
            files[posixpath.normpath(path)] = f"{_SECRET}{name}.{key}"
        item.finish()
    if name is None:
        return _REFUSED
    return Volume(None, files) if source.raw("items") else Volume(f"{_SECRET}{name}")


def _path_fault(path: str) -> str | None:
    if not path or path.startswith("/") or ".." in path.split("/"):
        return f"expected a path within the volume, without '..', found {shown(path)}"
    return None


def _projected(volume: Reader) -> Volume:
    """Read a volume of several sources: merge their files, or take a single source as it is."""
    fields.apply(
        volume, {key: rule for key, rule in fields.FILES.items() if key.startswith("default")}
    )
    found: list[Volume] = []
    for source in volume.children("sources"):
        fields.apply(source, fields.SOURCE)
        for kind in ("secret", "configMap"):
            if source.raw(kind) is not None:
                part = source.child(kind)
                found.append(_files(part, variables.secret(part, "name")))
                part.finish()
        source.finish()
    if len(found) == 1:
        return found[0]
    if any(single.uri is not None for single in found):
        volume.fault(
            "sources",
            "two secrets cannot be mounted at one path; select their keys with items, or mount them"
            " separately",
        )
        return _REFUSED
    return Volume(None, {path: uri for single in found for path, uri in single.files.items()})


def mounts_of(container: Reader, volumes: Mapping[str, Volume]) -> list[dict[str, str]]:
    """Return the volume mounts of a container in the platform's form."""
    found: list[dict[str, str]] = []
    for mount in container.children("volumeMounts"):
        name, path = mount.text("name", required=True), mount.text("mountPath", required=True)
        part = mount.text("subPath") or None
        volume = volumes.get(name) if name is not None else _REFUSED
        if volume is None:
            mount.fault("name", f"there is no volume {shown(name)} in the pod")
            volume = _REFUSED
        if volume.is_refused:
            mount.accept(*fields.MOUNT)
        else:
            fields.apply(
                mount,
                fields.MOUNT if volume.uri and not volume.uri.startswith(_SECRET) else _OF_SECRETS,
            )
        mount.finish()
        if path is not None:
            found += _places(mount, volume, path.rstrip("/") or "/", part)
    if wrong := limits.mounts([mount["path"] for mount in found]):
        container.fault("volumeMounts", wrong)
    return found


_READ_ONLY = fields.Rule(
    "noted", "a secret is read-only anyway", (True, False, "Disabled", "Enabled", "IfPossible")
)
_OF_SECRETS: fields.Rules = {
    **fields.MOUNT,
    "readOnly": _READ_ONLY,
    "recursiveReadOnly": _READ_ONLY,
}


def _places(mount: Reader, volume: Volume, path: str, part: str | None) -> list[dict[str, str]]:
    if wrong := limits.mount(path):
        if volume.is_scratch and volume.mounts == 1 and path in _WRITABLE:
            mount.note("mountPath", f"is omitted: a container can write to {path} anyway")
            return []
        mount.fault("mountPath", wrong)
    if part is not None and (wrong := _path_fault(part)):
        mount.fault("subPath", wrong)
        return []
    if volume.files:
        return _chosen(mount, volume.files, path, part)
    if part is None or volume.uri is None:
        return [{"uri": volume.uri, "path": path}] if volume.uri else []
    if volume.uri.startswith(_SECRET) and not limits.secret_key(part):
        return [{"uri": f"{volume.uri}.{part}", "path": path}]
    mount.fault("subPath", "a part of a volume cannot be mounted; mount the whole volume")
    return []


def _chosen(
    mount: Reader, files: Mapping[str, str], path: str, part: str | None
) -> list[dict[str, str]]:
    """Return one mount for each of a volume's files, or for those that a ``subPath`` names."""
    part = posixpath.normpath(part) if part else None
    if part is None:
        return [{"uri": uri, "path": f"{path}/{name}"} for name, uri in files.items()]
    if part in files:
        return [{"uri": files[part], "path": path}]
    within = {
        name.removeprefix(f"{part}/"): uri
        for name, uri in files.items()
        if name.startswith(f"{part}/")
    }
    if not within:
        mount.fault(
            "subPath",
            f"there is no file {shown(part)} in the volume; it has {', '.join(map(shown, files))}",
        )
    return [{"uri": uri, "path": f"{path}/{name}"} for name, uri in within.items()]
