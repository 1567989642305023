"""The two blocks that hold a token.

Names and fields are those of prefect-cpln, so that its saved documents load.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

import anyio.to_thread
from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block, schema_extra
from pydantic import ConfigDict, Field, HttpUrl, PrivateAttr, SecretStr, model_validator

from cpln_flows.api.client import CplnClient
from cpln_flows.blocks.saved import without_empty
from cpln_flows.errors import ConfigurationError
from cpln_flows.model.field_errors import ClearErrors
from cpln_flows.settings import ApiSettings, CplnSettings, environments_token

_LOGGER = logging.getLogger("cpln_flows")

LOGO_URL = HttpUrl("https://console.cpln.io/resources/logos/controlPlaneLogoOnly.svg")
DOCUMENTATION_URL = HttpUrl("https://docs.controlplane.com")


def _token_from_environment() -> SecretStr:
    return CplnSettings.load().api().token


@dataclass(frozen=True)
class _LeftBehind:
    """Where a block finds the token that it had before it was pickled.

    Attributes:
        document_id: The saved block that holds the token, if there is one.
        was_environments: Whether the token came from the environment.
    """

    document_id: UUID | None
    was_environments: bool

    def load(self, settings: CplnSettings) -> SecretStr:
        """Return the token.

        Raises:
            ConfigurationError: The token cannot be found here.
        """
        if self.document_id is not None:
            return _of_document(self.document_id)
        if settings.token is None:
            raise ConfigurationError(
                "token: it stayed behind when this block was pickled, for another process or as a"
                " result, and CPLN_TOKEN is not set here; save the block first, so that the token"
                " can be loaded again, or set CPLN_TOKEN"
            )
        if not self.was_environments:
            _LOGGER.warning(
                "The token of this block stayed behind when it was pickled; CPLN_TOKEN of this"
                " process takes its place"
            )
        return settings.token


def _of_document(document_id: UUID) -> SecretStr:
    load: Any = Block.load_from_ref
    try:
        found = load({"block_document_id": document_id}, _sync=True)
    except Exception as error:
        raise ConfigurationError(
            "token: this block was pickled without it, or the platform refuses it, and the saved"
            f" block {document_id} cannot be loaded again: {error}"
        ) from error
    for name in ("credentials", "config"):  # the block itself, or one that holds it
        found = getattr(found, name, found)
    if not isinstance(found, CplnConfig):
        raise ConfigurationError(
            f"token: the saved block {document_id} no longer holds one; save a block that does"
        )
    return found.token


async def _present_token(document_id: UUID | None) -> SecretStr:
    """Return the token as it is configured now, in a saved block or else in the environment."""
    if document_id is None:
        return CplnSettings.load().api().token
    return await anyio.to_thread.run_sync(_of_document, document_id)


def _token_is_required(schema: dict[str, Any], model: Any) -> None:
    # Prefect's own additions mark the secret fields. Without them, Prefect would store this block
    # with a row of asterisks in place of the token.
    schema_extra(schema, model)
    # The environment fills in the token, yet Prefect needs one required field: it cannot
    # distinguish a reference to a block from the block itself if all fields are optional.
    schema["required"] = sorted({*schema.get("required", []), "token"})


class CplnConfig(Block, metaclass=ClearErrors):
    """How to authenticate with Control Plane.

    Attributes:
        token: A service account key. A worker on the platform needs one too, because the token
            that the platform injects cannot read logs.

    Example:
        Save a configuration:
        ```python
        from cpln_flows import CplnConfig

        CplnConfig(token="my-service-account-key").save("my-config")
        ```
    """

    # Pydantic's errors quote their input, which may be a token in the wrong place.
    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra=_token_is_required, hide_input_in_errors=True
    )

    _block_type_name = "Control Plane Configuration"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    token: SecretStr = Field(
        default_factory=_token_from_environment,
        description=(
            "Service account key of the organization. Default: the environment variable CPLN_TOKEN."
        ),
    )
    _left_behind: _LeftBehind | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _token_of_environment(cls, values: Any) -> Any:
        """Leave an empty token to the environment; prefect-cpln saved one when none was given."""
        return without_empty(values, "token")

    def __getstate__(self) -> dict[Any, Any]:
        """Pickle without the token: many can read the stores of results and pickled flows."""
        state = super().__getstate__()
        left = self._left_behind or _LeftBehind(
            self._block_document_id, self.token == environments_token()
        )
        fields = {**state["__dict__"], "token": SecretStr("")}
        return {
            **state,
            "__dict__": fields,
            "__pydantic_private__": {**state["__pydantic_private__"], "_left_behind": left},
        }

    def api_settings(self, settings: CplnSettings | None = None) -> ApiSettings:
        """Return what a client needs: this token, and the rest from the environment.

        Raises:
            ConfigurationError: There is no token, or the block was pickled and its token cannot be
                found again.
        """
        settings = settings or CplnSettings.load()
        if self._left_behind is not None and not self.token.get_secret_value():
            self.token = self._left_behind.load(settings)
        return settings.api(self.token)

    def is_part_of(self, document_id: UUID | None) -> None:
        """Record, once unpickled, which saved block this is a part of; the token is there."""
        left = self._left_behind
        if left is not None and left.document_id is None and document_id is not None:
            self._left_behind = _LeftBehind(document_id, left.was_environments)

    async def present_token(self, holder_id: UUID | None = None) -> SecretStr:
        """Return the token as configured now; it may have been renewed since this block was loaded.

        Args:
            holder_id: The saved block that this one is a part of.

        Raises:
            ConfigurationError: The token cannot be found.
        """
        left = self._left_behind.document_id if self._left_behind else None
        return await _present_token(self._block_document_id or holder_id or left)

    def get_api_client(self) -> CplnClient:
        """Return a client, to be opened with ``async with``."""
        return CplnClient(self.api_settings(), renew_token=self.present_token)


class CplnCredentials(CredentialsBlock, metaclass=ClearErrors):
    """Credentials of Control Plane, as other blocks refer to them.

    Attributes:
        config: The configuration that holds the token. Default: the environment variable
            ``CPLN_TOKEN``.

    Example:
        Save credentials:
        ```python
        from cpln_flows import CplnConfig, CplnCredentials

        CplnCredentials(config=CplnConfig(token="my-service-account-key")).save("my-credentials")
        ```
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(hide_input_in_errors=True)

    _block_type_name = "Control Plane Credentials"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    config: CplnConfig | None = Field(
        default=None,
        description="Configuration with the token. Default: the environment variable CPLN_TOKEN.",
    )

    def __setstate__(self, state: dict[Any, Any]) -> None:
        """Restore what was pickled."""
        super().__setstate__(state)
        self.is_part_of(self._block_document_id)

    def is_part_of(self, document_id: UUID | None) -> None:
        """Record, once unpickled, which saved block this is a part of; the token is there."""
        if self.config is not None:
            self.config.is_part_of(document_id)

    def api_settings(self, settings: CplnSettings | None = None) -> ApiSettings:
        """Return what a client needs.

        Raises:
            ConfigurationError: There is no token, neither here nor in the environment.
        """
        settings = settings or CplnSettings.load()
        return self.config.api_settings(settings) if self.config else settings.api()

    async def present_token(self, holder_id: UUID | None = None) -> SecretStr:
        """Return the token as configured now; it may have been renewed since this block was loaded.

        Args:
            holder_id: The saved block that this one is a part of.

        Raises:
            ConfigurationError: The token cannot be found.
        """
        holder = self._block_document_id or holder_id
        return await (self.config.present_token(holder) if self.config else _present_token(None))

    def get_client(
        self, token: SecretStr | str | None = None, *, settings: CplnSettings | None = None
    ) -> CplnClient:
        """Return a client, to be opened with ``async with``.

        Args:
            token: Used instead of this block's.
            settings: Endpoint and limits. Default: the environment's.

        Raises:
            ConfigurationError: There is no token, or it is invalid.
        """
        if token is None:
            return CplnClient(self.api_settings(settings), renew_token=self.present_token)
        given = token if isinstance(token, SecretStr) else SecretStr(token)
        return CplnClient((settings or CplnSettings.load()).api(given))
