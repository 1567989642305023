"""Find the owner of a token; ``permissions`` decides what the owner may do.

Only digests of tokens are kept, except that of the platform's own. A token is found by its digest,
and the digests are compared in constant time, so that no response reveals how much of a guess is
right.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field

from cpln_flows.emulator.answers import UNAUTHORIZED, refuse
from cpln_flows.emulator.config import PlatformConfig
from cpln_flows.emulator.permissions import Principal
from cpln_flows.emulator.saved import SavedKey

KEY_NAME_LENGTH = 16
_WORKLOAD_PREFIX = "w."
_BEARER = "bearer "
_TOKEN = re.compile(r"[!-~]+")  # what a header can carry


@dataclass(frozen=True, slots=True)
class _Issued:
    """An accepted token and its owner; ``key`` is its name if it is the key of an account."""

    digest: bytes = field(repr=False)
    principal: Principal
    key: str | None = None


class Authentication:
    """The accepted tokens.

    These are the platform's own token, the configured ones, the keys of service accounts, and the
    tokens of containers.

    Args:
        config: The platform's configuration.
        token: The platform's own token if the configuration leaves it open. Default: a random one.

    Attributes:
        token: The platform's own token.
    """

    def __init__(self, config: PlatformConfig, token: str | None = None) -> None:
        own = token if config.token is None else config.token
        self.token: str = f"s.{secrets.token_urlsafe(32)}" if own is None else own
        self._enforces = config.tokens is not None
        self._issued: dict[bytes, _Issued] = {}
        for each, link in (config.tokens or {}).items():
            self._issue(each, Principal(link, is_operator=each == self.token))
        if self.token not in (config.tokens or {}):
            self._issue(self.token, Principal(None, is_superuser=True, is_operator=True))

    def principal(self, authorization: str | None) -> Principal:
        """Return the sender named by an ``Authorization`` header, with or without ``Bearer``."""
        token = read_token(authorization)
        if not token:
            raise refuse(UNAUTHORIZED, "authentication is required: no token was sent")
        found = self._find(token)
        if found is None:
            raise refuse(UNAUTHORIZED, "authentication failed: the token is not valid")
        return found.principal

    def accepts(self, authorization: str | None) -> bool:
        """Return whether an ``Authorization`` header has a valid token."""
        return self._find(read_token(authorization)) is not None

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
        self.restore_keys([SavedKey(principal, key[:KEY_NAME_LENGTH], _digest(key.encode()))])

    def restore_keys(self, keys: Iterable[SavedKey]) -> None:
        """Accept keys that were created earlier."""
        for key in keys:
            principal = Principal(key.account, is_superuser=not self._enforces)
            self._issued[key.digest] = _Issued(key.digest, principal, key.name)

    def keys(self) -> tuple[SavedKey, ...]:
        """Return the keys of all service accounts, without what opens anything."""
        return tuple(
            SavedKey(each.principal.link, each.key, each.digest)
            for each in self._issued.values()
            if each.key is not None and each.principal.link is not None
        )

    def drop_key(self, principal: str, name: str) -> None:
        """Forget one key of a service account."""
        self._drop_keys(principal, name)

    def drop_keys(self, principal: str) -> None:
        """Forget the keys of a service account that no longer exists."""
        self._drop_keys(principal, None)

    def _drop_keys(self, principal: str, name: str | None) -> None:
        self._issued = {
            digest: each
            for digest, each in self._issued.items()
            if each.key is None or each.principal.link != principal or name not in (None, each.key)
        }

    def _find(self, token: str) -> _Issued | None:
        given = _digest(token.encode())
        found = self._issued.get(given)
        return found if found is not None and hmac.compare_digest(found.digest, given) else None

    def _issue(self, token: str, principal: Principal) -> None:
        if not _TOKEN.fullmatch(token):
            raise ValueError("a token must be printable ASCII without blanks")
        digest = _digest(token.encode())
        self._issued[digest] = _Issued(digest, principal)


def read_token(authorization: str | None) -> str:
    """Return the token in an ``Authorization`` header, which may begin with ``Bearer``."""
    token = (authorization or "").strip()
    return token[len(_BEARER) :].strip() if token.lower().startswith(_BEARER) else token


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
