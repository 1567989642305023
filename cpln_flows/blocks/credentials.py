"""The two blocks that hold a token; names and fields are those of prefect-cpln, so that its saved documents load."""

from __future__ import annotations

from typing import Any

from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block, schema_extra
from pydantic import ConfigDict, Field, HttpUrl, SecretStr

from cpln_flows.api.client import CplnClient
from cpln_flows.model.field_errors import ClearErrors
from cpln_flows.settings import ApiSettings, CplnSettings

LOGO_URL = HttpUrl("https://console.cpln.io/resources/logos/controlPlaneLogoOnly.svg")
DOCUMENTATION_URL = HttpUrl("https://docs.controlplane.com")


def _token_from_environment() -> SecretStr:
    return CplnSettings.load().api().token


def _token_is_required(schema: dict[str, Any], model: Any) -> None:
    # Prefect's own additions say which fields are secret: without them a block of its own is stored with a row of asterisks.
    schema_extra(schema, model)
    # The environment fills the token in, yet Prefect needs one required field: it cannot tell a reference to a block whose fields
    # are all optional from the block itself.
    schema["required"] = sorted({*schema.get("required", []), "token"})


class CplnConfig(Block, metaclass=ClearErrors):
    """How to authenticate with Control Plane.

    Attributes:
        token: A service account key. A worker on the platform needs one too: the token that the platform injects cannot
            read logs.

    Example:
        Save a configuration:
        ```python
        from cpln_flows import CplnConfig

        CplnConfig(token="my-service-account-key").save("my-config")
        ```
    """

    model_config = ConfigDict(json_schema_extra=_token_is_required)

    _block_type_name = "Control Plane Configuration"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    token: SecretStr = Field(
        default_factory=_token_from_environment,
        description="Service account key of the organization. Default: the environment variable CPLN_TOKEN.",
    )

    def api_settings(self, settings: CplnSettings | None = None) -> ApiSettings:
        """Return what a client needs: this token, and the rest from the environment."""
        return (settings or CplnSettings.load()).api(self.token)

    def get_api_client(self) -> CplnClient:
        """Return a client, to be opened with ``async with``."""
        return CplnClient(self.api_settings())


class CplnCredentials(CredentialsBlock, metaclass=ClearErrors):
    """Credentials of Control Plane, as other blocks refer to them.

    Attributes:
        config: The configuration that holds the token; without it the environment variable CPLN_TOKEN is used.

    Example:
        Save credentials:
        ```python
        from cpln_flows import CplnConfig, CplnCredentials

        CplnCredentials(config=CplnConfig(token="my-service-account-key")).save("my-credentials")
        ```
    """

    _block_type_name = "Control Plane Credentials"
    _logo_url = LOGO_URL
    _documentation_url = DOCUMENTATION_URL

    config: CplnConfig | None = Field(
        default=None,
        description="Configuration with the token. Default: the environment variable CPLN_TOKEN.",
    )

    def api_settings(self, settings: CplnSettings | None = None) -> ApiSettings:
        """Return what a client needs.

        Raises:
            ConfigurationError: There is no token, neither here nor in the environment.
        """
        settings = settings or CplnSettings.load()
        return settings.api(self.config.token if self.config else None)

    def get_client(self, *args: Any, **kwargs: Any) -> CplnClient:  # noqa: ARG002 - the interface's signature
        """Return a client, to be opened with ``async with``."""
        return CplnClient(self.api_settings())
