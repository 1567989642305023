"""The contents of a container's volumes: secrets, scratch space and volumesets.

A secret without a key is a folder with a file for each of its keys; with a key, it is one file.
Scratch space belongs to the replica, a volumeset to the GVC. A volumeset whose file system is
shared is one volume; any other has one for each replica with an index. Other volumes (buckets, file
shares) are not available on this machine. Pure: the caller reads secrets and volumesets.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.executors.base import Mount

_SECRET = re.compile(r"cpln://secret/([a-z][-a-z0-9]*)(?:\.(.+))?", re.DOTALL)
_SCRATCH = re.compile(r"scratch://([-._a-zA-Z0-9]{1,100})")
_VOLUMESET = re.compile(r"cpln://volumeset/([a-z][-a-z0-9]*)")
_FILE = re.compile(r"(?!\.{1,2}$)[^/\x00]{1,200}")
_WHOLE = "payload"
_SHARED = "shared"


def secrets_of(volumes: Iterable[Document]) -> set[str]:
    """Return the names of the secrets that volumes contain."""
    return {
        matched[1]
        for volume in volumes
        if (matched := _SECRET.fullmatch(str(volume.get("uri", ""))))
    }


def volumesets_of(volumes: Iterable[Document]) -> set[str]:
    """Return the names of the volumesets that volumes contain."""
    return {
        matched[1]
        for volume in volumes
        if (matched := _VOLUMESET.fullmatch(str(volume.get("uri", ""))))
    }


@dataclass(frozen=True, slots=True)
class Sources:
    """What volumes are made of.

    Attributes:
        secret: Returns the secret with a name, or raises.
        read: Returns the value of one key of a secret.
        volumeset: Returns the volumeset with a name, or raises.
        disk: Name of the replica's volume in a volumeset that is not shared.
    """

    secret: Callable[[str], Document]
    read: Callable[[Document, str | None], str]
    volumeset: Callable[[str], Document]
    disk: str


def mounts_of(volumes: Iterable[Document], sources: Sources) -> tuple[Mount, ...]:
    """Return the mounts of a container's volumes."""
    return tuple(
        _mount(str(volume.get("uri", "")), str(volume.get("path", "")), sources)
        for volume in volumes
    )


def is_shared(volumeset: Document) -> bool:
    """Return whether a volumeset is one volume for all replicas."""
    return (volumeset.get("spec") or {}).get("fileSystemType") == _SHARED


def _mount(uri: str, path: str, sources: Sources) -> Mount:
    if matched := _SECRET.fullmatch(uri):
        name, key = matched.groups()
        found = sources.secret(name)
        return (
            Mount(path, uri, text=sources.read(found, key))
            if key
            else Mount(path, uri, files=_files(found, sources.read))
        )
    if matched := _SCRATCH.fullmatch(uri):
        return Mount(path, uri, scratch=matched[1])
    if matched := _VOLUMESET.fullmatch(uri):
        name = matched[1]
        disk = _SHARED if is_shared(sources.volumeset(name)) else sources.disk
        return Mount(path, uri, volumeset=f"{name}/{disk}")
    return Mount(path, uri)


def _files(secret: Document, read: Callable[[Document, str | None], str]) -> Mapping[str, str]:
    """Return a file for each key, except keys that are not valid file names."""
    data = secret.get("data")
    if not isinstance(data, Mapping):
        return {_WHOLE: read(secret, None)}
    return {str(key): read(secret, str(key)) for key in data if _FILE.fullmatch(str(key))}
