"""What a serving workload is to run in one location. Pure.

Autoscaling metrics are stored only: a location runs the least number of replicas that the workload
asks for. A ``serverless`` workload runs at least one, because nothing here waits for its first
request.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import orjson

from cpln_flows.emulator.answers import Document

SERVING_TYPES = ("serverless", "standard", "stateful")
_DEPLOY_TAG = "cpln/deployTimestamp"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The replicas that a workload asks for in one location.

    Attributes:
        count: How many.
        template: Digest of everything that a replica has to be replaced for.
        is_ordered: Whether each replica has a stable index, and one is changed after another.
        at_once: Whether indexed replicas are started and stopped all at once.
    """

    count: int
    template: str
    is_ordered: bool = False
    at_once: bool = False


def serves(spec: Document) -> bool:
    """Return whether a workload of this spec has replicas that run until they are stopped."""
    return spec.get("type") in SERVING_TYPES


def wanted_in(spec: Document, tags: Document, location: str) -> Wanted:
    """Return what a location is to run.

    Args:
        spec: The spec that the location has processed.
        tags: The workload's tags; one of them asks for a redeployment.
        location: Bare name of the location.
    """
    options = options_in(spec, location)
    rollout = spec.get("rolloutOptions") or {}
    return Wanted(
        count=0 if options.get("suspend") else _replicas(spec, options),
        template=template_of(spec, tags),
        is_ordered=spec.get("type") == "stateful",
        at_once=rollout.get("scalingPolicy") == "Parallel",
    )


def options_in(spec: Document, location: str) -> Document:
    """Return a workload's options in a location: the default ones, unless the location has own."""
    for own in spec.get("localOptions") or ():
        if str(own.get("location", "")).rpartition("/")[2] == location:
            return {**(spec.get("defaultOptions") or {}), **own}
    return spec.get("defaultOptions") or {}


def template_of(spec: Document, tags: Document) -> str:
    """Return the digest of what a replica is made of: a change of it replaces the replica."""
    parts = [
        spec.get("containers"),
        spec.get("identityLink"),
        spec.get("securityOptions"),
        tags.get(_DEPLOY_TAG),
    ]
    return hashlib.sha256(orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10]


def _replicas(spec: Document, options: Document) -> int:
    scaling = options.get("autoscaling") or {}
    given = scaling.get("minScale", 1)
    least = 1 if spec.get("type") == "serverless" else 0
    return max(int(given), least)
