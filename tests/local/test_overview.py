"""What `cpln-flows local` shows of what runs."""

import io
import threading
from dataclasses import replace

from rich.console import Console

from cpln_flows.emulator.overview import RunningReplica
from cpln_flows.local.overview import lines_of, show_until, table_of

WEB = RunningReplica(
    org="acme",
    gvc="dev",
    workload="web",
    location="local-1",
    replica="web-1-abcde",
    state="ready",
    ports={4200: 23456},
    restarts=2,
    problem="",
    endpoint="http://127.0.0.1:5",
)


def printed(renderable) -> str:
    console = Console(file=io.StringIO(), width=160, force_terminal=False)
    console.print(renderable)
    return console.file.getvalue()


def test_table_names_replica_state_port_and_restarts() -> None:
    (row,) = [line for line in printed(table_of([WEB])).splitlines() if "web-1" in line]
    assert row.split() == [
        "dev/web", "web-1-abcde", "ready", "4200", "at", "23456", "2", "http://127.0.0.1:5",
    ]  # fmt: skip


def test_several_organizations_are_told_apart() -> None:
    shown = printed(table_of([WEB, replace(WEB, org="other")]))
    assert "acme/dev/web" in shown
    assert "other/dev/web" in shown


def test_foreign_text_cannot_style_the_table() -> None:
    shown = printed(table_of([replace(WEB, problem="[red]fails[/red] [/]", state="pending")]))
    assert "[red]fails[/red] [/]" in shown


def test_lines_report_changes_and_ends_alone() -> None:
    waiting = replace(WEB, state="running", restarts=0, problem="container main: not yet")
    assert lines_of([], [waiting]) == [
        "replica web-1-abcde of dev/web is running, port 4200 at 23456, container main: not yet"
    ]
    assert lines_of([waiting], [waiting]) == []
    assert lines_of([waiting], [WEB]) == [
        "replica web-1-abcde of dev/web is ready, port 4200 at 23456, 2 restarts, " + WEB.endpoint
    ]
    assert lines_of([WEB], []) == ["replica web-1-abcde of dev/web is gone"]


def test_same_name_in_two_locations_is_two_replicas() -> None:
    other = replace(WEB, location="local-2")
    assert lines_of([WEB, other], [WEB]) == ["replica web-1-abcde of dev/web is gone"]


def test_display_ends_with_the_event() -> None:
    ended = threading.Event()
    console = Console(file=io.StringIO(), width=160)

    def running():
        ended.set()
        return [WEB]

    show_until(ended, running, console)
    assert "replica web-1-abcde of dev/web is ready" in console.file.getvalue()


def test_terminal_gets_a_table() -> None:
    ended = threading.Event()
    console = Console(file=io.StringIO(), width=160, force_terminal=True)

    def running():
        ended.set()
        return [WEB]

    show_until(ended, running, console)
    assert "23456" in console.file.getvalue()
