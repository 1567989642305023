"""What a maintenance flow returns: counts by name and, for a dry run, the plan as a table."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from rich.text import Text

_PLANNED = "planned"
_COLUMNS = ("action", "object", "flow_run", "workload", "reason")
_MOST_ROWS = 1000
_WIDTH = 120


class FlowResult(dict[str, Any]):
    """What a maintenance flow did, as counts by name.

    The result of a dry run also holds the plan: ``result["planned"]``, or ``result.planned``, is a
    list with a dictionary for each action. Printed, the plan is a table.

    >>> planned = [{"action": "delete", "object": "etl"}]
    >>> result = FlowResult.of_dry_run({"deleted": 0}, "1 deletion planned", planned)
    >>> result["deleted"], result.planned
    (0, [{'action': 'delete', 'object': 'etl'}])
    >>> print(str(result).splitlines()[0])
    dry run: 1 deletion planned
    """

    @classmethod
    def of_dry_run(
        cls, counts: Mapping[str, Any], summary: str, planned: Sequence[Mapping[str, Any]]
    ) -> FlowResult:
        """Return the result of a dry run.

        Args:
            counts: What was done and seen.
            summary: A sentence about the plan.
            planned: The plan, a row for each action, all with the same column names.
        """
        result = cls(counts)
        result |= {"dry_run": True, "summary": summary, _PLANNED: [dict(row) for row in planned]}
        return result

    @property
    def planned(self) -> list[dict[str, Any]]:
        """What a dry run would have done, a dictionary for each action; otherwise empty."""
        return list(self.get(_PLANNED, ()))

    def __str__(self) -> str:
        """Return the plan of a dry run as a table for a terminal, or the counts."""
        if _PLANNED not in self:
            return repr(self)
        lines = [f"dry run: {self['summary']}"]
        if self.planned:
            rows = self.planned[:_MOST_ROWS]
            lines.append(
                table([{name: row[name] for name in _COLUMNS if name in row} for row in rows])
            )
        if len(self.planned) > _MOST_ROWS:
            lines.append(
                f"({len(self.planned) - _MOST_ROWS} further actions are in result.planned)"
            )
        return "\n".join(lines)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return rows as a table, no wider than the terminal; cells wrap.

    >>> rows = [{"action": "stop", "reason": "the flow run is over"}]
    >>> print(table(rows))  # doctest: +NORMALIZE_WHITESPACE
    action   reason
    ─────────────────────────────
    stop     the flow run is over
    """
    shown = Table(box=SIMPLE, pad_edge=False, show_edge=False)
    for name in rows[0]:
        shown.add_column(name.replace("_", " "), overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_printable(str(value))) for value in row.values()))
    written = StringIO()
    Console(
        file=written, width=shutil.get_terminal_size((_WIDTH, 24)).columns, color_system=None
    ).print(shown)
    return "\n".join(line.rstrip() for line in written.getvalue().splitlines())


def _printable(text: str) -> str:
    """Return text without the control characters that a terminal would obey."""
    return "".join(character if character.isprintable() else " " for character in text)
