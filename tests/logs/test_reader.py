"""Reading another user's job where the platform makes it hard.

What users see of it is in tests/scenarios.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx
import pytest

from cpln_flows import CplnClient
from cpln_flows.api import commands, workloads
from cpln_flows.emulator import Exit, Fault, Line, Script
from cpln_flows.errors import LogStreamError
from cpln_flows.local import LocalPlatform, local_platform
from cpln_flows.logger import Journal
from cpln_flows.logs import lookup
from cpln_flows.logs.pace import Pace
from cpln_flows.logs.reader import LogReading, Wanted
from cpln_flows.logs.receipt import LogReceipt
from cpln_flows.model.links import CommandRef, GvcRef
from tests.manifests import texts
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import scripted

GVC = GvcRef("local", "quickstart")
QUICK = Script([*(Line(0.02 * n, f"{n}") for n in range(6)), Exit(0.15)])
PACE = Pace(settle=0.3, drain=4)


class Reader:
    """A local platform on which a job was started, and what reads its log."""

    def __init__(self, local: LocalPlatform, client: CplnClient, run: Any) -> None:
        self.local = local
        self.client = client
        self.run = run
        self.ref = CommandRef.parse(run.infrastructure_pid)

    async def read(
        self, *, found: lookup.Located | None = None, show: Any = None, **wanted: Any
    ) -> tuple[list[str], LogReceipt]:
        lines: list[str] = []
        found = found or await lookup.locate(self.client, self.ref)
        journal = Journal(logging.getLogger("test"))
        reading = LogReading(
            self.client, "local", found, Wanted(**wanted), show or lines.extend, journal, PACE
        )
        with anyio.fail_after(PATIENCE_SECONDS):
            receipt = await reading.read()
        return texts("\n".join(lines)), receipt

    async def ended(self) -> None:
        while not (await commands.read(self.client, self.ref)).is_terminal:  # noqa: ASYNC110 - the platform calls nobody
            await anyio.sleep(0.01)


def _with_job(
    main: Callable[[Reader], Awaitable[Any]], script: Script = QUICK, **config: Any
) -> Any:
    async def run() -> Any:
        async with CplnClient(local.settings.api()) as client:
            started = scripted.run_of(local, delete_after_completion=False)
            await started.start()
            return await main(Reader(local, client, started))

    with local_platform(scripted.platform(script, **config)) as local:
        return anyio.run(run)


def test_a_workload_that_was_just_deleted_may_still_have_lines_on_their_way() -> None:
    async def main(reader: Reader) -> tuple[list[str], LogReceipt]:
        await reader.ended()
        await workloads.delete(reader.client, reader.ref.workload_ref)
        found = await lookup.locate(reader.client, reader.ref)
        assert found.command is None
        return await reader.read(found=found)

    lines, receipt = _with_job(main, log_delay_seconds=0.2)
    assert len(lines) == 6
    assert str(receipt) == "complete: 6 lines"


def test_lines_from_a_clock_behind_the_apis_are_the_jobs_too() -> None:
    async def main(reader: Reader) -> tuple[list[str], LogReceipt]:
        await reader.ended()
        (command,) = reader.local.platform.commands()
        labels = {
            "gvc": "quickstart",
            "workload": reader.ref.workload,
            "container": "main",
            "location": "local-1",
            "replica": command["status"]["replica"],
            "stream": "stdout",
        }
        early_ns = int((datetime.now(UTC) - timedelta(seconds=3)).timestamp()) * 10**9
        headers = {"authorization": f"Bearer {reader.local.platform.token}"}
        async with httpx.AsyncClient(base_url=reader.local.url, headers=headers) as control:
            entries = [[str(early_ns), "early"]]
            (
                await control.post("/_control/lines", json={"labels": labels, "entries": entries})
            ).raise_for_status()
        return await reader.read()

    lines, _ = _with_job(main)
    assert lines == ["early", *(str(n) for n in range(6))]


def test_a_job_that_nobody_knows_is_waited_for_a_while_and_not_for_ever() -> None:
    async def main(reader: Reader) -> None:
        begin_ns = int((datetime.now(UTC) - timedelta(days=1)).timestamp()) * 10**9
        found = await lookup.locate_by_id(
            reader.client, GVC, "no-such-id", since_ns=begin_ns, until_ns=begin_ns + 86_400 * 10**9
        )
        asked: list[lookup.Located] = []

        async def look_again() -> lookup.Located:
            asked.append(found)
            return found

        reading = LogReading(
            reader.client,
            "local",
            found,
            Wanted(),
            print,
            Journal(),
            PACE,
            look_again=look_again,
            unknown_seconds=0.1,
        )
        with (
            anyio.fail_after(PATIENCE_SECONDS),
            pytest.raises(LogStreamError, match=r"no job is known .*no-such-id"),
        ):
            await reading.read()
        assert asked
        with pytest.raises(LogStreamError, match="no job is known"):
            await reader.read(found=found, follow=False)

    _with_job(main)


def test_a_job_that_becomes_known_is_followed_to_its_end() -> None:
    async def main(reader: Reader) -> tuple[list[str], LogReceipt]:
        unknown = lookup.Located(
            f'{{gvc="quickstart", replica=~"command-{reader.ref.command_id}.+"}}'
        )
        lines: list[str] = []
        reading = LogReading(
            reader.client,
            "local",
            unknown,
            Wanted(containers=["main"]),
            lines.extend,
            Journal(),
            PACE,
            look_again=lambda: lookup.locate(reader.client, reader.ref),
        )
        with anyio.fail_after(PATIENCE_SECONDS):
            receipt = await reading.read()
        return texts("\n".join(lines)), receipt

    lines, receipt = _with_job(main)
    assert len(lines) == 6
    assert receipt.complete


@pytest.mark.parametrize("status", [401, 403])
def test_a_state_that_may_not_be_read_holds_nobody_for_ever_and_is_declared(status, caplog) -> None:
    async def main(reader: Reader) -> tuple[list[str], LogReceipt]:
        found = await lookup.locate(reader.client, reader.ref)
        reader.local.platform.faults.add(Fault(path="/-command/", status=status, times=None))
        return await reader.read(found=found)

    lines, receipt = _with_job(main)
    assert len(lines) == 6
    assert "incomplete: it is not known whether the job has ended" in str(receipt)
    assert len([line for line in caplog.messages if "permission view" in line]) == 1


def test_who_goes_on_after_a_read_that_began_later_gets_the_very_next_line() -> None:
    script = Script([*(Line(0.1 * n, f"{n}") for n in range(6)), Exit(0.6)])

    async def main(reader: Reader) -> tuple[list[str], list[str]]:
        await reader.ended()
        _, whole = await reader.read()
        middle = datetime.fromtimestamp((whole.first.timestamp() + whole.last.timestamp()) / 2, UTC)
        first, receipt = await reader.read(since=middle, limit=1)
        rest, _ = await reader.read(cursor=receipt.cursor)
        return first, rest

    assert _with_job(main, script) == (["3"], ["4", "5"])


def test_a_tail_that_breaks_is_no_end_of_the_job(caplog, monkeypatch) -> None:
    script = Script([*(Line(0.1 * n, f"{n}") for n in range(6)), Exit(0.7)])

    async def main(reader: Reader) -> tuple[list[str], LogReceipt]:
        from cpln_flows.logs.stream import LogStream

        async def breaks(_stream: LogStream) -> None:
            raise ValueError("broken")

        monkeypatch.setattr(LogStream, "tail", breaks)
        return await reader.read()

    lines, receipt = _with_job(main, script)
    assert lines == [str(n) for n in range(6)]
    assert receipt.complete
    assert "the live log broke off" in caplog.text
