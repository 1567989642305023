"""Render the plan of a migration as a table, JSON or Markdown, without any value of a block."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from cpln_flows.migration.plan import Item, Plan
from cpln_flows.reconcile.results import table

_HEADINGS = {
    "refused": "Refused, and left as it is",
    "by hand": "Left to do by hand",
    "change": "Changes",
    "keep": "Unchanged",
}


def as_text(plan: Plan, *, applied: bool) -> str:
    """Return a plan as a table, followed by what is to be done by hand.

    Args:
        plan: The plan.
        applied: Whether it has been carried out.
    """
    if not plan.items:
        return "Nothing of Control Plane was found: no block, no work pool and no deployment."
    parts = [
        table([_row(item) for item in plan.items]),
        *(item.diff for item in plan.items if item.diff),
    ]
    if lines := [line for item in plan.items for line in _lines(item)]:
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _conclusion(plan, applied=applied)])


def as_json(plan: Plan, *, applied: bool) -> str:
    """Return a plan as JSON for programs.

    Args:
        plan: The plan.
        applied: Whether it has been carried out.
    """
    document = {
        "applied": applied,
        "complete": plan.is_complete,
        "items": [_document(item) for item in plan.items],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def as_markdown(plan: Plan, *, applied: bool) -> str:
    """Return a plan as a Markdown document to keep.

    Args:
        plan: The plan.
        applied: Whether it has been carried out.
    """
    lines = ["# Migration from Prefect 2", "", _conclusion(plan, applied=applied)]
    for verdict, heading in _HEADINGS.items():
        if found := [item for item in plan.items if item.verdict == verdict]:
            lines += [
                "",
                f"## {heading}",
                "",
                "| What | Name | Becomes | Details |",
                "| --- | --- | --- | --- |",
            ]
            lines += [_cells(item) for item in found]
    for item in plan.items:
        if item.diff:
            lines += [
                "",
                f"## {_cell(item.name)}",
                "",
                "````diff",
                item.diff.rstrip("\n").replace("````", "'```"),
                "````",
            ]
    return "\n".join([*lines, ""])


def _row(item: Item) -> Mapping[str, str]:
    details = "; ".join([*item.changes, *item.by_hand, *item.refused])
    return {"what": item.kind, "name": item.name, "becomes": item.becomes, "details": details}


def _lines(item: Item) -> Iterator[str]:
    yield from (f"By hand: {item.kind} {item.name}: {line}" for line in item.by_hand)
    yield from (f"Refused: {item.kind} {item.name}: {line}" for line in item.refused)


def _document(item: Item) -> dict[str, Any]:
    return {
        "kind": item.kind,
        "name": item.name,
        "verdict": item.verdict,
        "becomes": item.becomes,
        "changes": list(item.changes),
        "by_hand": list(item.by_hand),
        "refused": list(item.refused),
        "diff": item.diff,
    }


def _cells(item: Item) -> str:
    details = "<br>".join(_cell(line) for line in (*item.changes, *item.by_hand, *item.refused))
    return f"| {item.kind} | {_cell(item.name)} | {_cell(item.becomes)} | {details} |"


def _cell(text: str) -> str:
    """Return foreign text for a cell, escaped so that it stays inside the cell."""
    shown = "".join(character if character.isprintable() else " " for character in text)
    for mark, escaped in (
        ("\\", "\\\\"),
        ("&", "&amp;"),
        ("<", "&lt;"),
        ("|", "\\|"),
        ("`", "\\`"),
        ("[", "\\["),
        ("]", "\\]"),
    ):
        shown = shown.replace(mark, escaped)
    return shown


def _conclusion(plan: Plan, *, applied: bool) -> str:
    changed = sum(bool(item.actions) for item in plan.items)
    left = sum(bool(item.by_hand or item.refused) for item in plan.items)
    done = "made" if applied else "to be made with --apply"
    hand = f"; {left} left to do by hand" if left else ""
    if not changed:
        return f"Nothing to change{hand}."
    return f"{changed} {'change' if changed == 1 else 'changes'} {done}{hand}."
