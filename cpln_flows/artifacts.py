"""Artifacts for people: a list whose entries have their evidence below them.

They are no tables, because Prefect's UI cuts off the cells of a table.
"""

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
        entries: What ``entry`` returned.
        description: What it is about, in one line.
    """
    text = "\n".join((escaped(description), "", *entries, ""))
    await acreate_markdown_artifact(text, key=key, description=description)


def entry(about: Sequence[str], evidence: str) -> str:
    """Return an entry of a list: what was done to what, and the reason below it."""
    what, result, *rest = about
    return (
        " · ".join((f"- **{escaped(what)}**", escaped(result), *rest))
        + f"  \n  {escaped(evidence)}"
    )


def link(text: str, url: str | None) -> str:
    """Return a link, or the text alone where there is no address."""
    return f"[{escaped(text)}]({url})" if url else escaped(text)


def escaped(text: str) -> str:
    r"""Return text as one line of markdown that shows it as it is.

    Names and messages come from other people and must not act as markup.

    >>> print(escaped("<b> *exit* | [x](y)"))
    &lt;b> \*exit\* \| \[x\](y)
    """
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text[:_LONGEST].split())).replace("<", "&lt;")
