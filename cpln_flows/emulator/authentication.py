"""Who a token belongs to. Says nothing about what its owner may do."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from cpln_flows.emulator.answers import UNAUTHORIZED, refuse
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.permissions import Principal

_WORKLOAD_PREFIX = "w."
_BEARER = "bearer "


@dataclass(slots=True)
class Authentication:
    """The tokens that are known: configured ones, keys of service accounts, and those given to containers."""

    config: PlatformConfig
    _keys: dict[str, str] = field(default_factory=dict)
    _workload_tokens: dict[str, str | None] = field(default_factory=dict)

    def principal(self, authorization: str | None) -> Principal:
        """Read an ``Authorization`` header, with or without ``Bearer``."""
        token = (authorization or "").strip()
        if token.lower().startswith(_BEARER):
            token = token[len(_BEARER) :].strip()
        if not token:
            raise refuse(UNAUTHORIZED, "authentication is required: no token was sent")
        return self._owner(token)

    def issue_workload_token(self, identity: str | None) -> str:
        """Make the token of one run."""
        token = f"{_WORKLOAD_PREFIX}{secrets.token_urlsafe(24)}"
        self._workload_tokens[token] = identity
        return token

    def revoke_workload_token(self, token: str) -> None:
        """Forget the token of a run that has ended."""
        self._workload_tokens.pop(token, None)

    def add_key(self, key: str, principal: str) -> None:
        """Accept a new key of a service account."""
        self._keys[key] = principal

    def drop_key(self, principal: str, name: str) -> None:
        """Forget one key of a service account, which is known by its first characters."""
        self._keys = {key: owner for key, owner in self._keys.items() if owner != principal or not key.startswith(name)}

    def drop_keys(self, principal: str) -> None:
        """Forget the keys of a service account that is gone."""
        self._keys = {key: owner for key, owner in self._keys.items() if owner != principal}

    def _owner(self, token: str) -> Principal:
        is_open = self.config.tokens is None
        if token.startswith(_WORKLOAD_PREFIX):
            # Elsewhere than in its own workload such a token counts as nobody's, but it is not refused as such.
            return Principal(self._workload_tokens.get(token), is_superuser=is_open, is_workload=True)
        known = {**(self.config.tokens or {}), **self._keys}
        if not is_open and token not in known:
            raise refuse(UNAUTHORIZED, "authentication failed: the token is not valid")
        return Principal(known.get(token), is_superuser=is_open)
