"""Find the owner of a token; ``permissions`` decides what the owner may do.

A token is found by its digest and then compared in constant time, so that no response reveals how
much of a guess is right.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

from cpln_flows.emulator.answers import UNAUTHORIZED, refuse
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.permissions import Principal

_WORKLOAD_PREFIX = "w."
_BEARER = "bearer "
_TOKEN = re.compile(r"[!-~]+")  # what a header can carry


@dataclass(frozen=True, slots=True)
class _Issued:
    """An accepted token and its owner."""

    token: bytes = field(repr=False)
    principal: Principal
    is_key: bool = False


class Authentication:
    """The accepted tokens.

    These are the platform's own token, the configured ones, the keys of service accounts, and the
    tokens of containers.

    Attributes:
        token: The platform's own token.
    """

    def __init__(self, config: PlatformConfig) -> None:
        self.token: str = f"s.{secrets.token_urlsafe(32)}" if config.token is None else config.token
        self._enforces = config.tokens is not None
        self._issued: dict[bytes, _Issued] = {}
        for token, link in (config.tokens or {}).items():
            self._issue(token, Principal(link, is_operator=token == self.token))
        if self.token not in (config.tokens or {}):
            self._issue(self.token, Principal(None, is_superuser=True, is_operator=True))

    def principal(self, authorization: str | None) -> Principal:
        """Return the sender named by an ``Authorization`` header, with or without ``Bearer``."""
        token = (authorization or "").strip()
        if token.lower().startswith(_BEARER):
            token = token[len(_BEARER) :].strip()
        if not token:
            raise refuse(UNAUTHORIZED, "authentication is required: no token was sent")
        given = token.encode()
        found = self._issued.get(_digest(given))
        if found is None or not hmac.compare_digest(found.token, given):
            raise refuse(UNAUTHORIZED, "authentication failed: the token is not valid")
        return found.principal

    def issue_workload_token(self, identity: str | None) -> str:
        """Create the token of one run."""
        token = f"{_WORKLOAD_PREFIX}{secrets.token_urlsafe(24)}"
        self._issue(token, Principal(identity, is_superuser=not self._enforces, is_workload=True))
        return token

    def revoke_workload_token(self, token: str) -> None:
        """Forget the token of a run that has ended."""
        self._issued.pop(_digest(token.encode()), None)

    def add_key(self, key: str, principal: str) -> None:
        """Accept a new key of a service account."""
        self._issue(key, Principal(principal, is_superuser=not self._enforces), is_key=True)

    def drop_key(self, principal: str, name: str) -> None:
        """Forget one key of a service account, identified by its first characters."""
        self._drop_keys(principal, name)

    def drop_keys(self, principal: str) -> None:
        """Forget the keys of a service account that no longer exists."""
        self._drop_keys(principal, "")

    def _drop_keys(self, principal: str, start: str) -> None:
        self._issued = {
            digest: each
            for digest, each in self._issued.items()
            if not (
                each.is_key
                and each.principal.link == principal
                and each.token.startswith(start.encode())
            )
        }

    def _issue(self, token: str, principal: Principal, *, is_key: bool = False) -> None:
        if not _TOKEN.fullmatch(token):
            raise ValueError("a token must be printable ASCII without blanks")
        self._issued[_digest(token.encode())] = _Issued(token.encode(), principal, is_key)


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
