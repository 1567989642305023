"""The project's `prefect.yaml`, and the step that takes values of it from the environment."""

from __future__ import annotations

from pathlib import Path

from cpln_flows.deploy import command
from cpln_flows.errors import ConfigurationError
from cpln_flows.settings import process_environment

_PACKAGE = Path(__file__).parents[1]


def from_environment(**variables: str) -> dict[str, str]:
    """Take values of a deployment from environment variables, which must be set.

    Prefect itself resolves a missing variable to nothing.

    Args:
        variables: For each value, the name of its environment variable.

    Returns:
        The values, for placeholders such as ``{{ ID.NAME }}``.

    Raises:
        ConfigurationError: One of the variables is not set. `prefect deploy` prints the message
            alone, and exits with 1.

    Example:
        ```yaml
        build:
          - cpln_flows.deploy.from_environment: {id: environment, image: CPLN_FLOWS_IMAGE}
        ```
    """
    environment = process_environment()
    missing = sorted(name for name in variables.values() if not environment.get(name, "").strip())
    if missing:
        error = ConfigurationError(
            f"{' and '.join(missing)}: not set, and the deployments of this file need it. Set it"
            f" and deploy again, such as {missing[0]}=//image/flows:1.0 prefect deploy --all"
            " --no-prompt; the image must have cpln-flows installed"
        )
        raise command.failure(error)
    return {value: environment[name] for value, name in variables.items()}


def prefect_yaml() -> str:
    """Return the file with every deployment.

    An installed package has it beside its modules, a clone in its top folder.
    """
    installed = _PACKAGE / "prefect.yaml"
    path = installed if installed.exists() else _PACKAGE.parent / "prefect.yaml"
    return path.read_text(encoding="utf-8")
