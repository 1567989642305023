"""A whole migration: read, plan, and carry out the plan if requested."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import get_current_settings

from cpln_flows.errors import ConfigurationError
from cpln_flows.migration import files, observe, programs, settings
from cpln_flows.migration.act import act
from cpln_flows.migration.decide import decide
from cpln_flows.migration.plan import Item, Plan, WriteFile
from cpln_flows.settings import process_environment

Progress = Callable[[str], None]
"""Receives a sentence before each step."""


async def migrate(
    paths: Sequence[Path] = (), *, apply: bool = False, progress: Progress = lambda _: None
) -> Plan:
    """Return what becomes of everything that Prefect 2 has saved; with ``apply``, carry it out.

    A migration can be repeated at any time, even after an interruption: it checks what exists and
    does the rest.

    Args:
        paths: Programs and exported JSON or YAML. Default: what Prefect's server holds, and the
            settings of this machine.
        apply: Whether to carry out the plan. Exported blocks and pools are then saved to Prefect's
            server.
        progress: Receives a sentence before each step.

    Returns:
        What was found, and what becomes of it.

    Raises:
        ConfigurationError: A file or the server cannot be read, or a step failed; the steps before
            it have been carried out.
    """
    exported = [path for path in paths if path.suffix in files.SUFFIXES]
    if unknown := [path for path in paths if path.suffix not in files.SUFFIXES | {programs.SUFFIX}]:
        raise ConfigurationError(
            f"{', '.join(map(str, unknown))}: expected programs (.py) or exports (.json, .yaml)"
        )
    found = programs.read([path for path in paths if path.suffix == programs.SUFFIX])
    plan = Plan(found)
    async with AsyncExitStack() as stack:
        client = (
            None
            if paths and not (exported and apply)
            else await stack.enter_async_context(get_client())
        )
        if exported:
            plan = Plan((*decide(files.read(exported)).items, *found))
        elif client is not None:
            with _clear_errors():
                plan = Plan((*decide(await observe.observe(client)).items, *_settings()))
        if apply:
            await _carry_out(plan, client, progress)
    return plan


def _settings() -> tuple[Item, ...]:
    profiles = get_current_settings().profiles_path
    given = settings.of_environment(process_environment())
    return settings.decide(
        (*given, *(settings.of_profiles(profiles) if profiles is not None else ()))
    )


async def _carry_out(plan: Plan, client: PrefectClient | None, progress: Progress) -> None:
    for item in plan.items:
        for action in item.actions:
            progress(f"{item.kind} {item.name}: {item.becomes}")
            if isinstance(action, WriteFile):
                programs.write(action)
            elif client is not None:
                with _clear_errors(f"{item.kind} {item.name}: "):
                    await act(client, action)


@contextmanager
def _clear_errors(where: str = "") -> Iterator[None]:
    """Report in one sentence what Prefect's server refused; its answer may contain secrets."""
    again = "; correct it and migrate again" if where else ""
    try:
        yield
    except PrefectHTTPStatusError as error:
        status = error.response.status_code
        raise ConfigurationError(
            f"{where}Prefect's server answered {status}: {_detail(error)}{again}"
        ) from None
    except httpx.HTTPError as error:
        raise ConfigurationError(
            f"{where}Prefect's server cannot be reached: {error!r}{again}"
        ) from None


def _detail(error: PrefectHTTPStatusError) -> str:
    try:
        found = error.response.json()
    except ValueError:
        return error.response.reason_phrase
    detail = found.get("detail") if isinstance(found, dict) else None
    return detail if isinstance(detail, str) else error.response.reason_phrase
