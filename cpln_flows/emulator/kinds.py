"""The kinds of objects: their fields, their checks, what cannot change, and how they are shown.

A table and its functions; ``resources`` is responsible for storage and permissions.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from cpln_flows.emulator.answers import Document, RefusedError
from cpln_flows.emulator.checks import (
    Problems,
    check_base,
    check_choice,
    check_name,
    mapping,
    sequence,
)
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.links import collection_link, last_segment
from cpln_flows.emulator.permissions import kind_of_principal, permissions_of
from cpln_flows.emulator.query import parse_query
from cpln_flows.emulator.shapes import TEXT, check_shape, shape_of
from cpln_flows.emulator.store import Store
from cpln_flows.emulator.volumes import is_shared
from cpln_flows.emulator.workload_rules import (
    check_env,
    check_workload,
    normalise_spec,
    with_defaults,
)

TARGET_LIMIT = 200
BINDING_LIMIT = 50
RETENTION_LIMIT = 36_500
_SECRET_TYPES: dict[str, tuple[str, ...] | None] = {
    "opaque": ("payload", "encoding"),
    "dictionary": None,
    "userpass": ("username", "password", "encoding"),
    "tls": ("key", "cert", "chain"),
    "keypair": ("secretKey", "publicKey", "passphrase"),
    "aws": ("accessKey", "secretKey", "roleArn", "externalId"),
    "ecr": ("accessKey", "secretKey", "roleArn", "repos", "externalId"),
    "azure-connector": ("url", "code"),
    "nats-account": ("accountId", "privateKey"),
}
_DICTIONARY_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_LIST_DATA = ("repos",)
_TEXT_SECRETS = ("gcp", "docker", "azure-sdk")
_BASE_FIELDS = frozenset({"name", "description", "tags"})
_READ_ONLY_FIELDS = frozenset({
    "id", "kind", "version", "created", "lastModified", "links", "status", "health", "org", "gvc",
    "origin", "alias",
    "keys",
})  # fmt: skip
_WITH_DISKS = ("stateful", "vm")
_ALIAS = string.ascii_lowercase + string.digits


@dataclass(frozen=True, slots=True)
class Context:
    """What a check may use besides the document."""

    config: PlatformConfig
    store: Store
    gvc: str | None


Check = Callable[[Problems, Document, Context], None]


def _no_check(problems: Problems, document: Document, context: Context) -> None:
    """Check nothing beyond what every object has to satisfy."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    name: str
    fields: frozenset[str] = frozenset()
    is_scoped: bool = False
    is_fixed: bool = False
    check: Check = _no_check
    name_limit: int = 63
    immutable: tuple[str, ...] = ()
    defaults: Document = field(default_factory=dict)

    def check_document(self, document: Document, context: Context) -> Problems:
        """Check a whole object as it would be stored."""
        problems = Problems()
        check_shape(problems, document, shape_of(self.name))
        if problems.messages:
            return problems
        if self.name != "workload":
            check_name(problems, document.get("name"), self.name_limit)
        check_base(problems, document)
        for key in document:
            if key not in self.fields and key not in _BASE_FIELDS and key not in _READ_ONLY_FIELDS:
                problems.add(key, "is not allowed")
        self.check(problems, document, context)
        return problems

    def complete(self, document: Document, config: PlatformConfig) -> Document:
        """Fill in the defaults of a checked document."""
        if self.name != "workload":
            return document
        return {**document, "spec": with_defaults(document["spec"], config)}

    def normalise(self, document: Document) -> Document:
        """Return the fields of a kind as the platform stores them, without read-only ones."""
        kept = {key: value for key, value in document.items() if key not in _READ_ONLY_FIELDS}
        if self.name == "workload" and isinstance(kept.get("spec"), dict):
            kept["spec"] = normalise_spec(kept["spec"])
        return kept


def new_alias(chance: random.Random) -> str:
    """Generate the alias of a GVC."""
    return "a1" + "".join(chance.choices(_ALIAS, k=11))


def _check_workload(problems: Problems, document: Document, context: Context) -> None:
    check_workload(problems, document, context.config)
    _check_mounts(problems, document, context)
    identity = (document.get("spec") or {}).get("identityLink")
    if identity is None:
        return
    if kind_of_principal(identity) != "identity":
        problems.add("spec.identityLink", "must be the link of an identity")
    elif context.config.missing_identity == "refuse" and context.store.get(identity) is None:
        problems.add("spec.identityLink", f"identity {identity} does not exist")
    elif (
        identity.rsplit("/", 2)[0]
        != collection_link(context.config.org, "gvc", None) + f"/{context.gvc}"
    ):
        problems.add("spec.identityLink", "must be an identity of the same gvc")


def _check_mounts(problems: Problems, document: Document, context: Context) -> None:
    """Check that workloads whose replicas have no disks of their own mount shared volumes only."""
    spec = document.get("spec") or {}
    if spec.get("type") in _WITH_DISKS:
        return
    volumesets = collection_link(context.config.org, "volumeset", context.gvc)
    for container in spec.get("containers") or ():
        for volume in container.get("volumes") or ():
            uri = volume.get("uri") or ""
            found = context.store.get(f"{volumesets}/{last_segment(uri)}")
            if uri.startswith("cpln://volumeset/") and found and not is_shared(found.document):
                problems.say(
                    f"{uri} can be mounted by workloads of type {' and '.join(_WITH_DISKS)}"
                    " only: it is not shared"
                )


def _check_gvc(problems: Problems, document: Document, context: Context) -> None:
    spec = mapping(problems, document.get("spec"), "spec")
    check_env(problems, spec.get("env"), "spec.env")
    placement = mapping(problems, spec.get("staticPlacement"), "spec.staticPlacement")
    links = sequence(problems, placement.get("locationLinks"), "spec.staticPlacement.locationLinks")
    for index, link in enumerate(links):
        if context.store.get(str(link)) is None:
            problems.add(
                f"spec.staticPlacement.locationLinks[{index}]", f"location {link!r} does not exist"
            )


def _check_policy(problems: Problems, document: Document, _context: Context) -> None:
    target_kind = document.get("targetKind")
    if target_kind is None or (target_kind not in KINDS and target_kind != "org"):
        problems.add(
            "targetKind", "is required" if target_kind is None else f"{target_kind!r} is not a kind"
        )
        return
    targets = [
        name for name in ("target", "targetLinks", "targetQuery") if document.get(name) is not None
    ]
    if len(targets) > 1:
        problems.say(
            "a policy must contain exactly one of [target, targetLinks, targetQuery],"
            f" not {targets}"
        )
    check_choice(problems, document.get("target"), "target", ("all",))
    _check_target_query(problems, document.get("targetQuery"), target_kind)
    sequence(problems, document.get("targetLinks"), "targetLinks", TARGET_LIMIT)
    bindings = sequence(problems, document.get("bindings"), "bindings", BINDING_LIMIT)
    for index, binding in enumerate(bindings):
        _check_binding(
            problems,
            mapping(problems, binding, f"bindings[{index}]"),
            f"bindings[{index}]",
            target_kind,
        )


def _check_target_query(problems: Problems, query: object, target_kind: str) -> None:
    """Check the query of a policy.

    If an unreadable query were stored, every later permission check would fail.
    """
    try:
        parse_query(target_kind, query, "targetQuery")
    except RefusedError as refusal:
        problems.say(refusal.message)


def _check_binding(problems: Problems, binding: Document, path: str, target_kind: str) -> None:
    known = permissions_of(target_kind)
    for permission in sequence(problems, binding.get("permissions"), f"{path}.permissions"):
        if permission not in known:
            problems.add(
                f"{path}.permissions", f"{permission!r} is not a permission of {target_kind}"
            )
    principals = sequence(
        problems, binding.get("principalLinks"), f"{path}.principalLinks", TARGET_LIMIT
    )
    if not principals:
        problems.add(f"{path}.principalLinks", "must contain at least 1 items")
    for link in principals:
        if kind_of_principal(str(link)) not in ("user", "group", "serviceaccount", "identity"):
            problems.add(f"{path}.principalLinks", f"{link!r} is not the link of a principal")


def _check_secret(problems: Problems, document: Document, _context: Context) -> None:
    kind, data = document.get("type"), document.get("data")
    if kind in _TEXT_SECRETS:
        _check_json_text(problems, data)
        return
    if kind is None or kind not in _SECRET_TYPES:
        problems.add("type", f"must be one of [{', '.join((*_SECRET_TYPES, *_TEXT_SECRETS))}]")
        return
    allowed = _SECRET_TYPES[str(kind)]
    for name, value in mapping(problems, data, "data").items():
        if allowed is not None and name not in allowed:
            problems.add(f"data.{name}", "is not allowed")
        elif name in _LIST_DATA:
            check_shape(problems, value, [TEXT], f"data.{name}")
        elif not isinstance(value, str):
            problems.add(f"data.{name}", "must be a string")
        elif kind == "dictionary" and not _DICTIONARY_KEY.fullmatch(name):
            problems.add(f"data.{name}", "is not a valid key")
    if isinstance(data, dict):
        check_choice(
            problems,
            data.get("encoding") if allowed else None,
            "data.encoding",
            ("plain", "base64"),
        )


def _check_json_text(problems: Problems, data: object) -> None:
    try:
        orjson.loads(data if isinstance(data, str) else b"")
    except orjson.JSONDecodeError:
        problems.add("data", "must be a string that holds JSON")


def _check_group(problems: Problems, document: Document, _context: Context) -> None:
    for index, link in enumerate(sequence(problems, document.get("memberLinks"), "memberLinks")):
        if kind_of_principal(str(link)) not in ("user", "serviceaccount"):
            problems.add(
                f"memberLinks[{index}]",
                f"{last_segment(str(link))!r} cannot be a member of a group",
            )


def _check_volumeset(problems: Problems, document: Document, _context: Context) -> None:
    spec = mapping(problems, document.get("spec"), "spec")
    check_choice(
        problems, spec.get("fileSystemType"), "spec.fileSystemType", ("ext4", "xfs", "shared")
    )
    classes = {"general-purpose-ssd": 10, "high-throughput-ssd": 200, "shared": 0}
    performance = spec.get("performanceClass")
    check_choice(problems, performance, "spec.performanceClass", tuple(classes))
    capacity = spec.get("initialCapacity")
    if (
        isinstance(capacity, int)
        and isinstance(performance, str)
        and capacity < classes.get(performance, 0)
    ):
        problems.add(
            "spec.initialCapacity", f"must be greater than or equal to {classes[performance]}"
        )
    if isinstance(capacity, int) and capacity > 65_536:  # noqa: PLR2004 - the limit in GB
        problems.add("spec.initialCapacity", "must be less than or equal to 65536")


def _check_org(problems: Problems, document: Document, _context: Context) -> None:
    observability = mapping(
        problems,
        mapping(problems, document.get("spec"), "spec").get("observability"),
        "spec.observability",
    )
    days = observability.get("logsRetentionDays")
    if days is not None and not 0 <= days <= RETENTION_LIMIT:
        problems.add("spec.observability.logsRetentionDays", f"must be from 0 to {RETENTION_LIMIT}")


_SPEC = frozenset({"spec"})

# The organization is not one of the kinds that can be created.
ORG = Kind("org", _SPEC, check=_check_org)

KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("gvc", _SPEC, check=_check_gvc),
        Kind("location", frozenset({"spec", "provider", "region", "cloudProvider"}), is_fixed=True),
        Kind(
            "identity",
            frozenset(
                {
                    "spec",
                    "aws",
                    "gcp",
                    "azure",
                    "ngs",
                    "networkResources",
                    "nativeNetworkResources",
                    "spicedb",
                }
            ),
            is_scoped=True,
        ),
        Kind(
            "policy",
            frozenset({"targetKind", "target", "targetLinks", "targetQuery", "bindings"}),
            check=_check_policy,
            defaults={"bindings": []},
        ),
        Kind("secret", frozenset({"type", "data"}), check=_check_secret, immutable=("type",)),
        Kind("workload", _SPEC, is_scoped=True, check=_check_workload, immutable=("spec.type",)),
        Kind(
            "volumeset",
            _SPEC,
            is_scoped=True,
            check=_check_volumeset,
            immutable=("spec.fileSystemType", "spec.performanceClass"),
        ),
        Kind(
            "group",
            frozenset({"memberLinks", "memberQuery", "identityMatcher"}),
            check=_check_group,
            defaults={"memberLinks": []},
        ),
        Kind("serviceaccount"),
        Kind("user", frozenset({"email", "idp"}), is_fixed=True),
        Kind("image", frozenset({"tag", "repository", "digest", "manifest"}), is_fixed=True),
        Kind("cloudaccount", frozenset({"provider", "data"})),
        Kind("agent", _SPEC),
    )
}
