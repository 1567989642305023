"""Render permissions and their documents: a table, YAML for ``cpln apply``, JSON."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import yaml

from cpln_flows.errors import ConfigurationError
from cpln_flows.provision import grants, permissions
from cpln_flows.provision.grants import Names
from cpln_flows.provision.permissions import Feature, Holder, Need, Target
from cpln_flows.reconcile.results import table
from cpln_flows.settings import CplnSettings

_WIDTH = 100
_INDENT = "  "
INJECTED = (
    "The token that the platform injects into a workload (CPLN_TOKEN) reads no logs, whatever its"
    " identity may do: the platform accepts it only from that workload, only at that workload's"
    " CPLN_ENDPOINT, and neither at the logs service nor at the API's public address. Whoever runs"
    " jobs needs a key of the service account:"
)
IN_THE_PLATFORM = (
    "A worker inside the platform runs with the identity {identity} and the variable"
    " PREFECT_INTEGRATIONS_CPLN_TOKEN=cpln://secret/{secret}.payload; the platform reserves names"
    " that begin with CPLN_. Elsewhere, set CPLN_TOKEN or store the key in a block of type"
    " cpln-credentials."
)
POLICIES = (
    "Whoever may create policies and identities can grant itself every permission of the"
    " organization: give `secrets` to a key that you would trust with that, or leave it out and"
    " let jobs name identities that you have made. The same holds for `provision`."
)
_NO_NAMES = (
    "No --secret is given, so jobs cannot take all keys of a secret (`envFrom`); single keys can be"
    " used without it."
)
NARROW = (
    "Call sync and cleanup_orphaned_workloads with gvc={gvc!r}, for instance as a parameter of"
    " their deployments: they can stop and delete nothing elsewhere."
)
LOGS = "readLogs cannot be limited to a GVC: it opens the logs of the whole organization."


def of_features(
    features: Iterable[Feature],
    form: Literal["table", "yaml", "json"],
    *,
    org: str | None,
    gvc: str | None,
    name: str = grants.WORKER,
    secrets: Iterable[str] | None = None,
    one_key: bool = False,
) -> str:
    """Return what features need in a form for the command line, with a line end.

    Args:
        features: The features. Default: the standard ones.
        form: The form.
        org: Organization, as a name or a link. Default: ``CPLN_ORG``.
        gvc: GVC, as a name or a link. Default: ``CPLN_GVC``.
        name: Name of the worker's service account.
        secrets: Names of the secrets whose keys may be read.
        one_key: Whether sync and clean-up use the worker's key.

    Raises:
        ConfigurationError: Organization or GVC is missing, or a name is invalid.
    """
    settings = CplnSettings.load(org=org, gvc=gvc)
    if not settings.org or not settings.gvc:
        raise ConfigurationError(
            "org and gvc: not given, and CPLN_ORG or CPLN_GVC is not set: give --org and --gvc"
        )
    names = Names(settings.org, settings.gvc, name, tuple(secrets or ()), one_key)
    needs = permissions.of(*(tuple(features) or permissions.STANDARD))
    render = {"table": as_text, "yaml": as_yaml, "json": as_json}[form]
    return render(needs, names).rstrip("\n") + "\n"


def as_text(needs: Sequence[Need], names: Names) -> str:
    """Return needs as a table for people, followed by what to know and to do.

    Args:
        needs: What is needed.
        names: Where, and under which names.
    """
    rows = [
        {
            "for": str(need.feature),
            "holder": names.holder(need.holder),
            "permission": f"{need.kind} {need.permission}",
            "on": _target(need, names),
            "needed_by": _short(need.call),
        }
        for need in needs
    ]
    paths = f"Paths are below /org/{names.org}; … is /gvc/{names.gvc}."
    return f"{table(rows)}\n\n{paths}\n\n{_paragraphs(needs, names)}"


def as_yaml(needs: Sequence[Need], names: Names) -> str:
    """Return the documents as YAML for ``cpln apply --file -``, with the advice as comments.

    Args:
        needs: What is needed.
        names: Where, and under which names.
    """
    text = yaml.safe_dump_all(grants.documents(needs, names), sort_keys=False, width=_WIDTH)
    lines = _paragraphs(needs, names).splitlines()
    return text + "".join(f"# {line}".rstrip() + "\n" for line in lines)


def as_json(needs: Sequence[Need], names: Names) -> str:
    """Return permissions, documents and advice as JSON for programs.

    Args:
        needs: What is needed.
        names: Where, and under which names.
    """
    found = {
        "permissions": [_row(need, names) for need in needs],
        "documents": grants.documents(needs, names),
        "advice": advice(needs, names),
    }
    return json.dumps(found, indent=2, ensure_ascii=False)


def advice(needs: Sequence[Need], names: Names) -> list[str]:
    """Return what to know about the permissions, and how to make the key.

    Args:
        needs: What is needed.
        names: Where, and under which names.
    """
    features = {need.feature for need in needs}
    found = []
    if any(names.real(need.holder) is Holder.ACCOUNT for need in needs):
        identity = f"//gvc/{names.gvc}/identity/{names.worker}"
        found += [
            INJECTED,
            "\n".join(f"{_INDENT}{command}" for command in commands(needs, names)),
            IN_THE_PLATFORM.format(identity=identity, secret=names.key_secret),
        ]
    if Feature.LOGS in features:
        found.append(LOGS)
    if Feature.SECRETS in features:
        found += [POLICIES, *(() if names.secrets else (_NO_NAMES,))]
    if features & {Feature.SYNC, Feature.CLEANUP}:
        found.append(NARROW.format(gvc=names.gvc))
    return found


def _paragraphs(needs: Sequence[Need], names: Names) -> str:
    """Return the advice for a terminal; commands stay on one line each."""
    return "\n\n".join(
        text if text.startswith(_INDENT) else textwrap.fill(text, _WIDTH)
        for text in advice(needs, names)
    )


def _short(call: str) -> str:
    """Return calls without the organization and the GVC, which a narrow column has no room for.

    >>> _short("GET /org/ORG/gvc/GVC/workload/NAME, GET /org/ORG/workload, GET /org/ORG")
    'GET …/workload/NAME, GET /workload, GET /'
    """
    for long, short in (("/org/ORG/gvc/GVC/", "…/"), ("/org/ORG/", "/"), ("/org/ORG", "/")):
        call = call.replace(long, short)
    return call


def commands(needs: Sequence[Need], names: Names) -> list[str]:
    """Return the commands that apply the documents, and make the key and the secret with it.

    Args:
        needs: What is needed.
        names: Where, and under which names.
    """
    features = " ".join(dict.fromkeys(str(need.feature) for need in needs))
    options = [f"--org {names.org}", f"--gvc {names.gvc}"]
    options += [f"--name {names.worker}"] if names.worker != grants.WORKER else []
    options += [f"--secret {name}" for name in names.secrets]
    options += ["--one-key"] if names.one_key else []
    secret = f"--name {names.key_secret} --file key.txt --encoding plain"
    return [
        f"cpln-flows policy {features} {' '.join(options)} --format yaml > policy.yaml",
        f"cpln apply --file policy.yaml --org {names.org}",
        f"cpln serviceaccount add-key {names.worker} --description prefect --org {names.org}",
        "# The key is shown once. Save it as key.txt, and delete that file afterward.",
        f"cpln secret create-opaque {secret} --org {names.org}",
    ]


def _row(need: Need, names: Names) -> dict[str, Any]:
    return {
        "feature": str(need.feature),
        "holder": names.principal(need.holder),
        "kind": need.kind,
        "permission": need.permission,
        "target": _target(need, names),
        "call": need.call,
        "why": need.why,
    }


def _target(need: Need, names: Names) -> str:
    match need.target:
        case Target.NAMED:
            return ", ".join(names.secrets) or "nothing: no --secret is given"
        case Target.KEY:
            return names.key_secret
        case Target.GVC:
            return names.gvc
        case Target.IN_GVC:
            return f"all in {names.gvc}"
        case target:
            return str(target)
