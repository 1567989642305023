"""Find the secrets among the values of a run, and put marks in their place.

They come from Prefect's blocks, or are given as ``SecretStr``. Prefect fills in references to
blocks before it makes a job's configuration, and afterward nothing distinguishes a password from
any other string. So the secrets are looked up before that, and a mark takes the path of the value:
through the template, the manifest and its conversion. A mark that reaches a variable becomes a
reference to a secret of the platform (``secret_variables``). Anywhere else it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, cast

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.utilities.templating import resolve_block_document_references
from pydantic import SecretStr

from cpln_flows.errors import ConfigurationError

_REFERENCE = re.compile(r"\{\{\s*prefect\.blocks\.[\w.\[\]-]+\s*\}\}")
_MARK = re.compile(r"\{\{ :secret_\d+ \}\}")
_MASK = str(SecretStr("x"))
_MASKED = (
    f"{{}}: the value is {_MASK}, the mask that Prefect's server stores in place of a SecretStr;"
    " save the value as a Secret block and refer to it with {{{{ prefect.blocks.secret.NAME }}}}"
)
_OWN = frozenset({"config"})
"""Fields with a token of their own, which is a secret throughout and reaches no manifest."""


class Marks:
    """The secrets of one run, by their marks.

    Args:
        client: A client of Prefect's API.
    """

    def __init__(self, client: PrefectClient) -> None:
        self._client = client
        self._known: dict[str, str | None] = {}
        self.secrets: dict[str, SecretStr] = {}

    async def placed(self, found: Any) -> Any:
        """Return a copy of what a template or a run gives, with marks in place of secrets.

        ``config`` stays as it is.

        Raises:
            ConfigurationError: A value is only the mask of a secret.
        """
        return await self._placed(found, "")

    async def _placed(self, found: Any, path: str) -> Any:
        if isinstance(found, SecretStr):
            return self._mark(found.get_secret_value())
        if isinstance(found, Mapping):
            return {
                key: value
                if key in _OWN
                else await self._placed(value, f"{path}.{key}".removeprefix("."))
                for key, value in found.items()
            }
        if isinstance(found, list):
            return [
                await self._placed(value, f"{path}[{index}]") for index, value in enumerate(found)
            ]
        if isinstance(found, str):
            return await self._text(found, path)
        return found

    async def _text(self, found: str, path: str) -> str:
        if found == _MASK:
            raise ConfigurationError(_MASKED.format(path))
        made = found
        for reference in dict.fromkeys(_REFERENCE.findall(found)):
            if (secret := await self._secret_of(reference)) is not None:
                made = made.replace(reference, self._mark(secret))
        return made

    async def _secret_of(self, reference: str) -> str | None:
        """Return the value of a reference if that is a secret.

        Prefect fills in any other reference, and reports what is wrong with it.
        """
        if reference not in self._known:
            try:
                masking = cast("PrefectClient", _Masked(self._client))
                shown: Any = await resolve_block_document_references(reference, client=masking)
                value: Any = await resolve_block_document_references(reference, client=self._client)
            except (ObjectNotFound, ValueError):
                shown = value = None
            self._known[reference] = value if isinstance(value, str) and value != shown else None
        return self._known[reference]

    def _mark(self, value: str) -> str:
        mark = next(
            (mark for mark, known in self.secrets.items() if known.get_secret_value() == value),
            None,
        )
        if mark is None:
            mark = f"{{{{ :secret_{len(self.secrets)} }}}}"
            self.secrets[mark] = SecretStr(value)
        return mark


class _Masked:
    """A client that reads blocks as users see them, with their secrets masked."""

    def __init__(self, client: PrefectClient) -> None:
        self._client = client

    async def read_block_document_by_name(self, name: str, block_type_slug: str) -> Any:
        return await self._client.read_block_document_by_name(
            name, block_type_slug, include_secrets=False
        )


def revealed(text: str, secrets: Mapping[str, SecretStr]) -> str:
    """Return a string with its marks replaced by the secrets they stand for."""
    return _MARK.sub(
        lambda match: secrets[match[0]].get_secret_value() if match[0] in secrets else match[0],
        text,
    )


def misplaced(found: Any) -> list[str]:
    """Return the paths of the marks that are not in a variable of a container.

    >>> misplaced({"env": {"PW": "{{ :secret_0 }}"}, "command": "run {{ :secret_0 }}"})
    ['command']
    """
    return [
        _written(path)
        for path, text in _texts(found, ())
        if _MARK.search(text) and not _is_variable(path)
    ]


def _texts(found: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    if isinstance(found, Mapping):
        for key, value in found.items():
            yield from _texts(value, (*path, str(key)))
    elif isinstance(found, list):
        for index, value in enumerate(found):
            yield from _texts(value, (*path, index))
    elif isinstance(found, str):
        yield path, found


def _is_variable(path: tuple[str | int, ...]) -> bool:
    if path[0] == "env":
        return True
    places = [
        index
        for index in range(len(path) - 3)
        if path[index] == "containers" and path[index + 2] == "env"
    ]
    return bool(places) and (isinstance(path[-2], str) or path[-1] == "value")


def _written(path: tuple[str | int, ...]) -> str:
    return "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in path
    ).removeprefix(".")
