"""Show in a terminal what runs on a local platform."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from cpln_flows.emulator.overview import RunningReplica

_REFRESH_SECONDS = 0.5
_COLORS = {"pending": "yellow", "running": "yellow", "ready": "green", "stopping": "dim"}


def table_of(replicas: Sequence[RunningReplica]) -> Table:
    """Return a table of what runs; foreign text in it is shown as it is.

    Args:
        replicas: What runs, in the order of the rows.
    """
    table = Table(box=None, pad_edge=False, show_edge=False)
    for name in ("workload", "replica", "state", "port", "restarts", "endpoint or problem"):
        table.add_column(name, overflow="fold")
    has_one_org = len({each.org for each in replicas}) == 1
    for each in replicas:
        path = f"{each.gvc}/{each.workload}"
        ports = [f"{declared} at {port}" for declared, port in each.ports.items()]
        table.add_row(
            escape(path if has_one_org else f"{each.org}/{path}"),
            escape(each.replica),
            f"[{_COLORS[each.state]}]{each.state}[/]",
            "\n".join(ports),
            str(each.restarts),
            escape(each.problem or each.endpoint),
        )
    return table


def lines_of(before: Sequence[RunningReplica], now: Sequence[RunningReplica]) -> list[str]:
    """Return a line for each replica that has changed, for an output that is no terminal.

    Args:
        before: What ran when this was asked last.
        now: What runs now.
    """
    changed = [each for each in now if each not in before]
    left = {_name(each) for each in now}
    gone = [each for each in before if _name(each) not in left]
    return [
        *(_line(each) for each in changed),
        *(f"replica {each.replica} of {each.gvc}/{each.workload} is gone" for each in gone),
    ]


def show_until(
    ended: threading.Event, running: Callable[[], Sequence[RunningReplica]], console: Console
) -> None:
    """Show what runs until an event is set: a table in a terminal, else a line for each change.

    Args:
        ended: Ends the display.
        running: Returns what runs.
        console: Where it is shown.
    """
    if console.is_terminal:
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while not ended.wait(_REFRESH_SECONDS):
                replicas = running()
                live.update(table_of(replicas) if replicas else "nothing runs yet", refresh=True)
        return
    before: Sequence[RunningReplica] = ()
    while not ended.wait(_REFRESH_SECONDS):
        now = running()
        for line in lines_of(before, now):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        before = now


def _name(replica: RunningReplica) -> tuple[str, ...]:
    return replica.org, replica.gvc, replica.location, replica.replica


def _line(replica: RunningReplica) -> str:
    ports = ", ".join(f"port {declared} at {port}" for declared, port in replica.ports.items())
    parts = [
        f"replica {replica.replica} of {replica.gvc}/{replica.workload} is {replica.state}",
        ports,
        f"{replica.restarts} restarts" if replica.restarts else "",
        replica.problem,
        replica.endpoint if replica.state == "ready" else "",
    ]
    return ", ".join(filter(None, parts))
