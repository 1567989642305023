"""Users and groups: all containers of a job share one user and one group of volumes."""

from __future__ import annotations

from collections.abc import Sequence

from cpln_flows.manifest.document import Reader
from cpln_flows.manifest.kubernetes import fields

_LARGEST = 65_534


def options(pod: Reader, containers: Sequence[Reader]) -> dict[str, int]:
    """Return the platform's options for the security contexts of a pod and its containers."""
    context = pod.child("securityContext")
    user, group = context.number("runAsUser", 1, _LARGEST), context.number("fsGroup", 1, _LARGEST)
    _check_group(context, user, group)
    fields.apply(context, fields.POD_SECURITY)
    wants_user = [context] if context.flag("runAsNonRoot") else []
    context.finish()
    users: list[tuple[Reader, int | None]] = []
    for container in containers:
        own = container.child("securityContext")
        users.append((own, _user_of(own, user, group)))
        if own.flag("runAsNonRoot"):
            wants_user.append(own)
        own.finish()
    chosen = user if not users else users[0][1]
    _check_agreement(users, chosen)
    if chosen is None:
        for reader in wants_user[:1]:
            reader.fault(
                "runAsNonRoot",
                "the platform does not check the user of an image; set the user with runAsUser",
            )
    found = {"runAsUser": chosen, "filesystemGroupId": group}
    return {name: value for name, value in found.items() if value is not None}


def _user_of(context: Reader, of_pod: int | None, group: int | None) -> int | None:
    own = context.number("runAsUser", 1, _LARGEST)
    _check_group(context, own or of_pod, group)
    fields.apply(context, fields.CONTAINER_SECURITY)
    capabilities = context.child("capabilities")
    fields.apply(capabilities, fields.CAPABILITIES)
    capabilities.finish()
    return own if own is not None else of_pod


def _check_group(context: Reader, *known: int | None) -> None:
    """Accept a group that equals the user or the group of volumes; no other one can be set."""
    group = context.number("runAsGroup", 0, 2**31 - 1)
    if group is None:
        return
    if group in known:
        context.note(
            "runAsGroup", "has no effect: the platform only sets the user and the group of volumes"
        )
    else:
        context.fault(
            "runAsGroup", "the platform sets no group; remove it, or use fsGroup for volumes"
        )


def _check_agreement(users: Sequence[tuple[Reader, int | None]], chosen: int | None) -> None:
    for context, user in users:
        if user != chosen:
            expected = f"expected {chosen or 'none'}, as in the first one"
            context.fault("runAsUser", f"all containers of a job run as the same user; {expected}")
