"""Build a run's containers from those of its workload.

Overrides are merged in, and secrets and the platform's own variables are resolved.

Pure except for reading secrets from the store; starts nothing.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import orjson

from cpln_flows.emulator import volumes
from cpln_flows.emulator.answers import Document
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.executors.base import Container, RunSpec
from cpln_flows.emulator.links import collection_link, last_segment
from cpln_flows.emulator.permissions import Permissions
from cpln_flows.emulator.placement import Placement
from cpln_flows.emulator.store import Record, Store

_SECRET = re.compile(r"cpln://secret/([a-z][-a-z0-9]*)(?:\.(.+))?")
_REFERENCE = re.compile(r"\$(\$?)\(([-._a-zA-Z][-._a-zA-Z0-9]*)\)")
_DEFAULT_PORT = "8080"
_NO_PROXY = "localhost,127.0.0.1,::1"
# The longest argument or variable that a process can be started with.
_TEXT_LIMIT = 128 * 1024


UNAVAILABLE_RETRY_SECONDS = 5.0


class UnavailableError(Exception):
    """A container needs a secret or a volumeset that it cannot have; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Access:
    """A container's access to the platform.

    Attributes:
        endpoint: Address of the API.
        token: A token for this container.
        proxy: Address, with credentials, of the proxy that leads to other workloads; empty if none
            is served.
    """

    endpoint: str
    token: str = field(repr=False)
    proxy: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """The information that the platform gives a container about itself."""

    run: Placement
    gvc: Document
    access: Access


def merge_override(
    container: Document, override: Document | None, config: PlatformConfig
) -> Document:
    """Apply an override to a container.

    Fields that it does not name stay, and variables are merged by name.
    """
    if override is None:
        return container
    if config.override_command == "drop" and not {"command", "args"} & set(override):
        container = {
            key: value for key, value in container.items() if key not in ("command", "args")
        }
    merged = {**container, **{key: value for key, value in override.items() if key != "env"}}
    if "env" in override:
        kept = container.get("env") or () if config.env_override == "merge" else ()
        merged["env"] = _merge_env(kept, override["env"] or ())
    return merged


def _merge_env(base: Iterable[Document], changes: Iterable[Document]) -> list[Document]:
    merged = {entry["name"]: entry for entry in base} | {entry["name"]: entry for entry in changes}
    return [merged[name] for name in sorted(merged)]


def secrets_in(containers: Iterable[Document]) -> set[str]:
    """Return the names of the secrets in containers' variables and volumes."""
    containers = list(containers)
    values = (
        str(entry.get("value", ""))
        for container in containers
        for entry in container.get("env") or ()
    )
    named = {matched.group(1) for value in values if (matched := _SECRET.fullmatch(value))}
    return named.union(
        *(volumes.secrets_of(container.get("volumes") or ()) for container in containers)
    )


class ContainerBuilder:
    """Turns stored containers into containers that an executor can run."""

    def __init__(self, config: PlatformConfig, store: Store, permissions: Permissions) -> None:
        self._config = config
        self._store = store
        self._permissions = permissions

    def build(self, run: Placement, spec: Document, access: Access, *, key: str = "") -> RunSpec:
        """Prepare containers for an executor.

        Args:
            run: The execution or the replica to which they belong.
            spec: The workload's spec, as the location has processed it.
            access: Their access to the platform.
            key: What no other run on this machine has; the replica's name if it is empty.

        Raises:
            UnavailableError: A secret cannot be read, or a volumeset does not exist.
        """
        gvc = self._store.get(f"{collection_link(self._config.org, 'gvc')}/{run.workload.gvc}")
        around = _Surroundings(run, {} if gvc is None else gvc.document, access)
        command = {} if run.command is None else run.command.document
        overrides = {
            each["name"]: each for each in command.get("spec", {}).get("containerOverrides") or ()
        }
        merged = [
            merge_override(each, overrides.get(each["name"]), self._config)
            for each in spec["containers"]
        ]
        return RunSpec(
            workload=run.workload.name,
            gvc=str(run.workload.gvc),
            org=self._config.org,
            location=run.location,
            name=run.name,
            command_id=command.get("id"),
            replica=run.replica,
            tags=command.get("tags", {}),
            containers=tuple(
                self._container(each, around, is_first=index == 0)
                for index, each in enumerate(merged)
            ),
            key=key,
        )

    def check_available(self, workload: Record) -> None:
        """Raise ``UnavailableError`` for the first thing that a workload's containers cannot have.

        That is a secret that its identity may not reveal, or a volumeset that does not exist.
        """
        containers = workload.document["spec"].get("containers") or ()
        for name in sorted(secrets_in(containers)):
            self._revealed(workload, name)
        for container in containers:
            for name in sorted(volumes.volumesets_of(container.get("volumes") or ())):
                self._volumeset(workload, name)

    def _container(
        self, container: Document, around: _Surroundings, *, is_first: bool
    ) -> Container:
        # A workload may name a proxy of its own.
        env: dict[str, str] = _proxy_variables(around.access.proxy)
        if container.get("inheritEnv"):
            env |= self._resolved((around.gvc.get("spec") or {}).get("env") or (), around)
        env |= self._resolved(container.get("env") or (), around)
        env |= self._injected(container, around, is_first=is_first)
        env = {name: _expand(value, env) for name, value in env.items()}
        command = container.get("command")
        return Container(
            name=container["name"],
            image=container["image"],
            command=None if command is None else _expand(command, env),
            args=tuple(_expand(argument, env) for argument in container.get("args") or ()),
            env=env,
            working_dir=container.get("workingDir"),
            cpu=container.get("cpu", "50m"),
            memory=container.get("memory", "128Mi"),
            mounts=volumes.mounts_of(
                container.get("volumes") or (),
                volumes.Sources(
                    secret=lambda name: self._revealed(around.run.workload, name).document,
                    read=read_secret,
                    volumeset=lambda name: self._volumeset(around.run.workload, name).document,
                    disk=around.run.disk,
                ),
            ),
            post_start=_hook(container, "postStart"),
            pre_stop=_hook(container, "preStop"),
        )

    def _resolved(self, entries: Iterable[Document], around: _Surroundings) -> dict[str, str]:
        return {
            entry["name"]: self._value(str(entry.get("value", "")), around) for entry in entries
        }

    def _value(self, value: str, around: _Surroundings) -> str:
        matched = _SECRET.fullmatch(value)
        if matched is None:
            return value
        name, key = matched.groups()
        return read_secret(self._revealed(around.run.workload, name).document, key)

    def _revealed(self, workload: Record, name: str) -> Record:
        secret = self._store.get(f"{collection_link(self._config.org, 'secret')}/{name}")
        if secret is None:
            raise UnavailableError(f"secret {name!r} does not exist")
        identity = workload.document["spec"].get("identityLink")
        if identity is None or not self._permissions.link_allows(identity, "reveal", secret):
            who = f"identity {identity}" if identity else "a workload without identity"
            raise UnavailableError(f'{who} requires permission "reveal" on {secret.link}')
        return secret

    def _volumeset(self, workload: Record, name: str) -> Record:
        scope = collection_link(self._config.org, "volumeset", workload.gvc)
        found = self._store.get(f"{scope}/{name}")
        if found is None:
            raise UnavailableError(f"volumeset {name!r} does not exist in gvc {workload.gvc}")
        return found

    def _injected(
        self, container: Document, around: _Surroundings, *, is_first: bool
    ) -> dict[str, str]:
        org, gvc = self._config.org, str(around.run.workload.gvc)
        link = self._config.location_form == "link"
        location = (
            f"{collection_link(org, 'location')}/{around.run.location}"
            if link
            else around.run.location
        )
        ports = container.get("ports") or ()
        port = ports[0].get("number") if ports else container.get("port")
        alias = str(around.gvc.get("alias", ""))
        injected = {
            "CPLN_TOKEN": around.access.token,
            "CPLN_ENDPOINT": around.access.endpoint,
            "CPLN_GLOBAL_ENDPOINT": f"{around.run.workload.name}-{alias}.cpln.app",
            "CPLN_ORG": org,
            "CPLN_GVC": gvc,
            "CPLN_GVC_ALIAS": alias,
            "CPLN_LOCATION": location,
            "CPLN_WORKLOAD": around.run.workload.link if link else around.run.workload.name,
            "CPLN_PROVIDER": self._config.provider_of(around.run.location),
            "CPLN_WORKLOAD_VERSION": str(around.run.version),
            "CPLN_IMAGE": container["image"],
            "CPLN_NAME": around.run.replica,
            "CPLN_NAMESPACE": alias,
            "PORT": str(port or _DEFAULT_PORT),
        }
        return {**injected, "CPLN_MAIN": "true"} if is_first else injected


def _hook(container: Document, name: str) -> tuple[str, ...]:
    """Return the command of a hook, whose words are not expanded."""
    hook = (container.get("lifecycle") or {}).get(name) or {}
    return tuple((hook.get("exec") or {}).get("command") or ())


def _proxy_variables(proxy: str) -> dict[str, str]:
    """Return the variables that lead requests over plain HTTP to a proxy.

    Programs disagree on the case of their names.
    """
    if not proxy:
        return {}
    variables = {"HTTP_PROXY": proxy, "NO_PROXY": _NO_PROXY}
    return variables | {name.lower(): value for name, value in variables.items()}


def read_secret(secret: Document, key: str | None) -> str:
    """Return the value of a variable that names a secret."""
    data = secret.get("data")
    if key is None:
        return data if isinstance(data, str) else orjson.dumps(data).decode()
    if not isinstance(data, Mapping) or key not in data:
        raise UnavailableError(
            f"secret {last_segment(str(secret.get('name')))!r} has no key {key!r}"
        )
    value = str(data[key])
    if key == "payload" and data.get("encoding") == "base64":
        return _decoded(value, str(secret.get("name")))
    return value


def _decoded(value: str, name: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UnavailableError(
            f"the payload of secret {name!r} is not base64 text: {error}"
        ) from error


def _expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` with the variable's value.

    An unknown name stays as it is, and ``$$(NAME)`` becomes ``$(NAME)``.
    """
    parts: list[str] = []
    size, end = 0, 0
    for matched in _REFERENCE.finditer(text):
        escaped, name = matched.groups()
        value = matched.group(0)[1:] if escaped else env.get(name, matched.group(0))
        parts += [text[end : matched.start()], value]
        end = matched.end()
        size += len(parts[-2]) + len(value)
        if size > _TEXT_LIMIT:
            # The text names a long variable many times; even cut, it is too long for the kernel.
            return "".join(parts)[: _TEXT_LIMIT + 1]
    return "".join(parts) + text[end:]
