"""Turn needs into documents: identities, service accounts, and the narrowest policies. Pure.

A query by GVC limits what belongs to a GVC. Policies and secrets belong to the organization, so a
query by tag limits them to those that were made for Prefect; workloads are not limited by tag,
because a job would depend on how soon a query shows its new workload. The documents themselves
carry no such tag: the clean-up would delete them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cpln_flows.errors import ConfigurationError
from cpln_flows.model import links
from cpln_flows.model.identifiers import CREATED_BY_PREFECT
from cpln_flows.provision.permissions import Holder, Need, Target

Document = dict[str, Any]

WORKER = "prefect-worker"
SYNC = "cpln-flows-sync"
CLEANUP = "cpln-flows-cleanup"
PROVISIONER = "cpln-flows-provision"

_NAME = re.compile(r"[a-z][-a-z0-9]+[a-z0-9]")
_NAME_LIMIT = 63
_WIDE = (Target.ALL, Target.ORG)
_SUFFIXES: Mapping[Target, tuple[str, ...]] = {
    Target.ALL: ("all",),
    Target.OURS: ("ours",),
    Target.NAMED: ("named",),
    Target.KEY: ("key",),
}
_IMPLIED: Mapping[str, Mapping[str, frozenset[str]]] = {
    "org": {"readLogs": frozenset({"view"})},
    "secret": {"edit": frozenset({"reveal", "view"}), "reveal": frozenset({"view"})},
    "serviceaccount": {},
}
_IMPLIED_ELSEWHERE: Mapping[str, frozenset[str]] = {"edit": frozenset({"view"})}


@dataclass(frozen=True)
class Names:
    """Where an installation is, and what its parts are called.

    Attributes:
        org: Name of the organization.
        gvc: Name of the GVC in which jobs run.
        worker: Name of the worker's service account, and of the identity of a worker inside the
            platform.
        secrets: Names of the secrets whose keys may be read.
        one_key: Whether sync and clean-up use the key of the worker's service account, as
            ``deployments/serve.py`` does, instead of an identity each.

    Raises:
        ConfigurationError: A name is invalid.
    """

    org: str
    gvc: str
    worker: str = WORKER
    secrets: tuple[str, ...] = ()
    one_key: bool = False

    def __post_init__(self) -> None:
        """Check what goes into names and links."""
        secrets = (("secret", name) for name in self.secrets)
        for what, name in (("org", self.org), ("gvc", self.gvc), *secrets):
            if not links.is_name(name):
                raise ConfigurationError(f"{what}: expected a name, found {name[:_NAME_LIMIT]!r}")
        _checked("name", self.worker)

    @property
    def key_secret(self) -> str:
        """Name of the secret with the key of the worker's service account."""
        return f"{self.worker}-key"

    def holder(self, holder: Holder) -> str:
        """Return the name of the service account or identity that a holder is."""
        return {
            Holder.ACCOUNT: self.worker,
            Holder.WORKER: self.worker,
            Holder.SYNC: SYNC,
            Holder.CLEANUP: CLEANUP,
            Holder.PROVISIONER: PROVISIONER,
        }[self.real(holder)]

    def real(self, holder: Holder) -> Holder:
        """Return who makes the calls of a holder: with one key, it is the service account."""
        shared = self.one_key and holder in (Holder.SYNC, Holder.CLEANUP)
        return Holder.ACCOUNT if shared else holder

    def principal(self, holder: Holder) -> str:
        """Return the link of the service account or identity that a holder is."""
        if is_account(self.real(holder)):
            return f"//serviceaccount/{self.holder(holder)}"
        return f"//gvc/{self.gvc}/identity/{self.holder(holder)}"


def is_account(holder: Holder) -> bool:
    """Whether a holder is a service account rather than an identity."""
    return holder in (Holder.ACCOUNT, Holder.PROVISIONER)


def implied(kind: str, permission: str) -> frozenset[str]:
    """Return what a permission includes besides itself, as far as the needs have to know it.

    >>> sorted(implied("secret", "edit")), sorted(implied("workload", "edit"))
    (['reveal', 'view'], ['view'])
    """
    return _IMPLIED.get(kind, _IMPLIED_ELSEWHERE).get(permission, frozenset())


def documents(needs: Iterable[Need], names: Names) -> list[Document]:
    """Return what ``cpln apply`` makes for some needs: identities, service accounts, policies.

    A need for secrets that are given by name is left out if none is given.

    Args:
        needs: What is needed.
        names: Where, and under which names.

    Raises:
        ConfigurationError: The name of a policy would be too long.
    """
    chosen = [need for need in needs if need.target is not Target.NAMED or names.secrets]
    holders = sorted({names.real(need.holder) for need in chosen}, key=list(Holder).index)
    return [
        *(_identity(names, holder) for holder in holders if not is_account(holder)),
        *(_account(names, holder) for holder in holders if is_account(holder)),
        *(_policy(names, *key, found) for key, found in _grouped(chosen, names).items()),
    ]


def _grouped(needs: Iterable[Need], names: Names) -> dict[tuple[Holder, str, Target], list[Need]]:
    """Return the needs of each policy, without those that others include."""
    needs = list(needs)
    groups: dict[tuple[Holder, str, Target], list[Need]] = {}
    for need in needs:
        if any(_includes(other, need, names) for other in needs):
            continue
        group = groups.setdefault((names.real(need.holder), need.kind, need.target), [])
        if need.permission not in (other.permission for other in group):
            group.append(need)
    return groups


def _includes(other: Need, need: Need, names: Names) -> bool:
    """Whether one need covers more than another, of the same holder and kind."""
    if (names.real(other.holder), other.kind) != (names.real(need.holder), need.kind):
        return False
    if other.target is not need.target and other.target not in _WIDE:
        return False
    is_wider = other.target is not need.target and other.permission == need.permission
    return is_wider or need.permission in implied(other.kind, other.permission)


def _identity(names: Names, holder: Holder) -> Document:
    return {
        "kind": "identity",
        "name": names.holder(holder),
        "gvc": names.gvc,
        "description": f"Prefect: {holder}",
    }


def _account(names: Names, holder: Holder) -> Document:
    return {
        "kind": "serviceaccount",
        "name": names.holder(holder),
        "description": f"Prefect: {holder}",
    }


def _policy(
    names: Names, holder: Holder, kind: str, target: Target, needs: Iterable[Need]
) -> Document:
    needs = list(needs)
    features = ", ".join(dict.fromkeys(str(need.feature) for need in needs))
    parts = (names.holder(holder), kind, *_SUFFIXES.get(target, ()), names.gvc)
    return {
        "kind": "policy",
        "name": _checked("the name of a policy", "-".join(parts)),
        "description": f"Prefect: {features}",
        "targetKind": kind,
        **_target(names, kind, target),
        "bindings": [
            {
                "permissions": [need.permission for need in needs],
                "principalLinks": [names.principal(holder)],
            }
        ],
    }


def _target(names: Names, kind: str, target: Target) -> Document:
    names_of = {
        Target.GVC: (names.gvc,),
        Target.NAMED: names.secrets,
        Target.KEY: (names.key_secret,),
        Target.ACCOUNTS: tuple(map(names.holder, (Holder.ACCOUNT, Holder.PROVISIONER))),
    }
    if target in names_of:
        return {"targetLinks": [f"//{kind}/{name}" for name in names_of[target]]}
    if target is Target.IN_GVC:
        return _query(kind, {"op": "=", "rel": "gvc", "value": names.gvc})
    if target is Target.OURS:
        return _query(kind, {"op": "=", "tag": CREATED_BY_PREFECT, "value": "true"})
    return {"target": "all"}


def _query(kind: str, term: Mapping[str, str]) -> Document:
    return {
        "targetQuery": {"kind": kind, "spec": {"match": "all", "terms": [dict(term)]}},
    }


def _checked(what: str, name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > _NAME_LIMIT:
        raise ConfigurationError(
            f"{what}: expected 3 to {_NAME_LIMIT} lower-case letters, digits and hyphens, found"
            f" {name[: 2 * _NAME_LIMIT]!r}"
        )
    return name
