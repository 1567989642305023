"""Decide what becomes of programs for Prefect 2: what can be rewritten, and what is left to do.

A program is read as a syntax tree, so that comments and layout stay. Three things are rewritten:
imports of names that ``cpln_flows`` has, a ``Deployment`` that is made with keywords and applied
once, and the block that such a deployment names, which is published as a work pool. Everything else
that Prefect 3 does not have is listed with its line. This needs libcst.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cpln_flows.errors import ConfigurationError
from cpln_flows.migration.plan import Item, WriteFile, refused

if TYPE_CHECKING:
    from cpln_flows.migration.rewriting import Finding

KIND = "program"
SUFFIX = ".py"
_MOST_BYTES = 4 * 2**20


def read(paths: Sequence[Path]) -> tuple[Item, ...]:
    """Return what becomes of programs.

    Args:
        paths: Python files.

    Raises:
        ConfigurationError: A file cannot be read, or libcst is not installed.
    """
    return tuple(decide(str(path), _text(path)) for path in paths)


def decide(name: str, text: str) -> Item:
    """Return what becomes of one program.

    Args:
        name: Name of its file.
        text: Content of the file.
    """
    try:
        from cpln_flows.migration import rewriting  # noqa: PLC0415 - an extra that only programs need
    except ImportError as error:
        raise ConfigurationError(
            f"{name}: reading programs needs libcst, which is not installed:"
            " pip install 'cpln-flows[migrate]'"
        ) from error
    try:
        made = rewriting.rewrite(text)
    except ValueError as error:
        return refused(KIND, name, [f"is not Python that can be parsed: {error}"])
    by_hand = tuple(_line(finding) for finding in made.left)
    changes = tuple(_line(finding) for finding in made.changed)
    if made.text == text:
        return Item(KIND, name, by_hand=by_hand)
    actions = (WriteFile(name, text, made.text),)
    return Item(
        KIND,
        name,
        "rewritten",
        changes,
        by_hand=by_hand,
        actions=actions,
        diff=_diff(name, text, made.text),
    )


def write(action: WriteFile) -> None:
    """Replace the source text of a program.

    Args:
        action: The file and its text.

    Raises:
        ConfigurationError: The file has changed since it was read, or cannot be written.
    """
    path = Path(action.path)
    if _text(path) != action.before:
        raise ConfigurationError(f"{path}: it has changed since it was read; migrate again")
    try:
        path.write_bytes(action.after.encode())
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be written: {error.strerror}") from None


def _line(finding: Finding) -> str:
    return f"line {finding.line}: {finding.message}"


def _diff(name: str, before: str, after: str) -> str:
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), name, name
    )
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise ConfigurationError(
            f"{path}: it is longer than {_MOST_BYTES // 2**20} MiB; no program written by a person"
            " is that long"
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: is not UTF-8: {error.reason} at byte {error.start}"
        ) from None
