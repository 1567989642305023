"""Artifacts for people: a list whose entries have their evidence below them. Prefect's UI cuts the cells of a table off."""

from __future__ import annotations

import re
from collections.abc import Sequence

from prefect.artifacts import acreate_markdown_artifact

MOST_ENTRIES = 1000
_LONGEST = 2000
_SPECIAL = re.compile(r"[\\`*_|\[\]~]")


async def write(key: str, entries: Sequence[str], description: str) -> None:
    """Write an artifact.

    Args:
        key: Its key: lower case and dashes.
        entries: What ``entry`` has made.
        description: What it is about, in one line.
    """
    text = "\n".join((escaped(description), "", *entries, ""))
    await acreate_markdown_artifact(text, key=key, description=description)


def entry(about: Sequence[str], evidence: str) -> str:
    """Return an entry of a list: what was done to what, and below it why."""
    what, result, *rest = about
    return (
        " · ".join((f"- **{escaped(what)}**", escaped(result), *rest))
        + f"  \n  {escaped(evidence)}"
    )


def link(text: str, url: str | None) -> str:
    """Return a link, or the text alone where there is no address."""
    return f"[{escaped(text)}]({url})" if url else escaped(text)


def escaped(text: str) -> str:
    r"""Return text as one line of markdown that shows it as it is: names and messages are other people's.

    >>> print(escaped("<b> *exit* | [x](y)"))
    &lt;b> \*exit\* \| \[x\](y)
    """
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text[:_LONGEST].split())).replace("<", "&lt;")
