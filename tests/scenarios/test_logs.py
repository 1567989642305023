"""The log of a job against everything that the logs service can do.

Nothing is lost or delivered twice, or a gap is declared.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any

import anyio
import pytest
from prefect import flow

from cpln_flows import CplnJob, CplnJobRun, JobFailedError, run_namespaced_job
from cpln_flows.emulator import Exit, Fault, Line, ManualClock, Script
from cpln_flows.local import local_platform
from cpln_flows.settings import CplnSettings
from tests.manifests import kubernetes_job, texts
from tests.scenarios import programs, scripted
from tests.scenarios.scripted import Cell

pytestmark = pytest.mark.xdist_group("logs")

FEW = 900


def _lines(count: int) -> list[str]:
    return [f"line {n}" if n % 7 else "the same" for n in range(count)]


def _script(lines: list[str]) -> Script:
    burst = len(lines) // 10
    bursts = [lines[n : n + burst] for n in range(0, len(lines), burst)]
    return Script([*(Line(0.05 * n, "\n".join(each)) for n, each in enumerate(bursts)), Exit(0.7)])


LINES = _lines(FEW)
SCRIPT = _script(LINES)

FAULTS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "refused-upgrades": [{"path": "/tail$", "status": 503, "times": 3}],
    "reset-upgrades": [{"path": "/tail$", "reset": "before", "times": 2}],
    "no-tail-at-all": [{"path": "/tail$", "status": 503, "times": None}],
    "cut-after-a-line": [{"path": "/tail$", "cut_after_lines": 1, "times": 2}],
    "cut-after-frames": [{"path": "/tail$", "cut_after_frames": 3, "times": 4}],
    "announced-drops": [{"path": "/tail$", "drop_lines": 137, "times": 1}],
    "silent-drops": [{"path": "/tail$", "drop_lines": 137, "drop_silently": True, "times": 1}],
    "drops-and-cuts": [{"path": "/tail$", "drop_lines": 60, "cut_after_lines": 133, "times": 3}],
    "store-fails": [{"path": "/query_range$", "status": 503, "times": 2}],
    "store-resets": [{"path": "/query_range$", "reset": "after", "times": 2}],
    "store-is-cut-short": [
        {"path": "/query_range$", "truncate": "length", "effect": "after", "times": 2}
    ],
    "store-sends-no-json": [{"path": "/query_range$", "status": 200, "body": "<html>", "times": 2}],
    "store-answers-without-data": [
        {"path": "/query_range$", "status": 200, "body": "{}", "times": 2},
        {"path": "/tail$", "drop_lines": 137, "drop_silently": True, "times": 1},
    ],
    "store-never-answers": [{"path": "/query_range$", "timeout": "before", "times": 1}],
    "store-answers-a-minute-too-late": [{"path": "/query_range$", "delay_seconds": 60, "times": 1}],
    "store-is-too-busy": [{"path": "/query_range$", "status": 429, "retry_after": 0.2, "times": 2}],
    "upgrades-never-answered": [{"path": "/tail$", "timeout": "before", "times": 1}],
    "too-many-upgrades": [{"path": "/tail$", "status": 429, "times": 3}],
    "all-is-slow": [{"path": "/logs/", "delay_seconds": 0.3, "times": 30}],
}
CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "late": {"log_delay_seconds": 0.3},
    "short-sessions": {"tail_session_seconds": 0.15},
    "tiny-buffer": {"tail_buffer_entries": 150, "tail_frame_entries": 40},
}
ALL = [
    fault for name in FAULTS if not name.startswith(("no-tail", "store-")) for fault in FAULTS[name]
] + FAULTS["store-fails"]
# Lines that were dropped before a cut arrive when the store is read, which on a slow machine is
# after the lines of the next connection.
OUT_OF_ORDER = {
    "silent-drops",
    "drops-and-cuts",
    "all-at-once",
    *(name for name in FAULTS if name.startswith("store-")),
}
WAITING = {
    name
    for name, faults in FAULTS.items()
    if any(fault.keys() & {"timeout", "delay_seconds"} for fault in faults)
}
CELLS = [
    (fault, config)
    for fault in FAULTS
    for config in CONFIGS
    if fault not in WAITING or config == "plain"
]
CELLS += [("all-at-once", config) for config in CONFIGS]


@pytest.fixture(scope="module")
def lines(pytestconfig) -> list[str]:
    return _lines(pytestconfig.getoption("--lines"))


@pytest.fixture(scope="module")
def outcomes(lines):
    script = _script(lines)

    def cell(fault: str, config: str) -> Cell:
        faults = ALL if fault == "all-at-once" else FAULTS[fault]
        settings = {
            "request_timeout_seconds": 1.5,
            "log_settle_seconds": 0.7,
            "max_log_characters": 0,
        }
        return Cell(
            tuple(Fault(**each) for each in faults),
            script,
            config={"log_rate_limit": None, **CONFIGS[config]},
            settings=settings,
        )

    cells = {key: cell(*key) for key in CELLS}
    if len(lines) == FEW:
        return scripted.outcomes_of(cells).__getitem__
    return lambda key: anyio.run(scripted.outcome_of, cells[key], 600)


@pytest.mark.parametrize(("fault", "config"), CELLS)
def test_nothing_is_lost_and_nothing_comes_twice(fault, config, outcomes, lines) -> None:
    outcome = outcomes((fault, config))
    assert outcome.error is None
    assert sorted(texts(outcome.result)) == sorted(lines)
    if (
        fault not in OUT_OF_ORDER and len(lines) == FEW
    ):  # of more lines the service does not announce each one that it drops
        assert texts(outcome.result) == lines
    assert str(outcome.run.receipt) == f"complete: {len(lines):,} lines"


def test_a_frame_of_many_megabytes_is_read() -> None:
    lines = [f"{n:03} {'x' * 16_000}" for n in range(200)]
    run, result = _run(
        Script([Line(0.2, "\n".join(lines)), Exit(0.4)]), config={"tail_frame_entries": 1000}
    )
    assert texts(result) == lines
    assert str(run.receipt) == "complete: 200 lines"
    assert run.receipt.reconnects == 0, "a limit of the library has ended the connection"


def _run(
    script, *, settings=None, config=None, faults=(), print_func=None, **fields
) -> tuple[CplnJobRun, str]:
    with local_platform(scripted.platform(script, **(config or {}))) as local:
        for fault in faults:
            local.platform.faults.add(fault)
        run = scripted.run_of(local, settings=settings, **fields)

        async def finish() -> str:
            await run.start()
            await run.wait_for_completion(print_func)
            return await run.fetch_result()

        return run, anyio.run(finish)


def test_what_the_platform_left_out_or_cut_is_declared(caplog) -> None:
    caplog.set_level(logging.INFO)
    script = Script([Line(0, "\n".join(map(str, range(50)))), Line(0.1, "x" * 20_000), Exit(0.3)])
    run, _ = _run(script, config={"log_rate_limit": 40})
    text = str(run.receipt)
    assert "lines rate-limited at " in text
    run, _ = _run(Script([Line(0, "x" * 20_000), Exit(0.2)]))
    assert (
        str(run.receipt)
        == "incomplete: 1 line cut by the platform, 3,616 bytes in all; 1 line delivered"
    )
    assert f"Completed; log {run.receipt}" in caplog.text


@pytest.mark.parametrize(
    ("count", "texts_of", "most"),
    [
        (3000, 3000, 3000),
        (8000, 8000, 8000),
        (12_000, 12_000, 10_000),
        (3000, 1, 3000),
        (8000, 1, 5000),
        (12_000, 50, 5000),
    ],
)
def test_more_lines_of_one_time_than_a_page_holds(count, texts_of, most, monkeypatch) -> None:
    lines = [f"{n % texts_of}" for n in range(count)]
    script = Script([Line(0, "\n".join(lines)), Exit(0.3)])
    with local_platform(scripted.platform(script, log_rate_limit=None)) as local:
        stamp = local.platform.clock.time_ns()
        monkeypatch.setattr(local.platform.clock, "time_ns", lambda: stamp)
        local.platform.faults.add(Fault(path="/tail$", status=503, times=None))
        run = scripted.run_of(local, settings={"request_timeout_seconds": 5})
        shown = texts(anyio.run(scripted.finish, run))
    assert shown == lines if most == count else len(shown) == most
    assert Counter(shown) <= Counter(lines)
    assert run.receipt.complete == (most == count), str(run.receipt)


@pytest.mark.parametrize("status", [401, 403])
def test_a_job_whose_log_may_not_be_read_has_its_right_result(status, caplog) -> None:
    script = Script([Line(0, "one"), Exit(0.2)])
    run, result = _run(script, faults=[Fault(path="/logs/", status=status, times=None)])
    assert result == ""
    assert "the logs may not be read" in str(run.receipt)
    assert len([line for line in caplog.messages if "bind the permission readLogs" in line]) == 1
    with pytest.raises(JobFailedError):
        _run(Script([Exit(0.1, code=3)]), faults=[Fault(path="/logs/", status=status, times=None)])


def test_lines_that_come_seconds_after_the_end_are_waited_for() -> None:
    script = Script([Line(0, "\n".join(map(str, range(100)))), Exit(0.1)])
    usual = CplnSettings.model_fields["log_settle_seconds"].default
    run, result = _run(
        script, config={"log_delay_seconds": 2}, settings={"log_settle_seconds": usual}
    )
    assert texts(result) == [str(n) for n in range(100)]
    assert run.receipt.complete


def test_a_slow_reader_loses_nothing() -> None:
    import time

    seen: list[str] = []

    def slow(line: str) -> None:
        seen.append(line)
        if len(seen) % 100 == 0:
            time.sleep(0.02)

    run, _ = _run(
        SCRIPT, config={"tail_buffer_entries": 100, "tail_frame_entries": 10}, print_func=slow
    )
    assert texts("\n".join(seen)) == LINES
    assert run.receipt.complete


@pytest.mark.parametrize("settings", [{"max_log_characters": 2000}, {"max_log_characters": 9}])
def test_the_result_can_be_capped_and_print_func_gets_every_line(settings) -> None:
    seen: list[str] = []
    run, result = _run(SCRIPT, settings=settings, print_func=seen.append)
    assert texts("\n".join(seen)) == LINES
    assert "are left out here" in result
    assert len(result) < settings["max_log_characters"] + 500
    assert run.receipt.lines == len(LINES)


def test_the_cap_of_the_block_beats_that_of_the_settings() -> None:
    _, result = _run(SCRIPT, settings={"max_log_characters": 100}, max_log_characters=0)
    assert texts(result) == LINES


def _two_containers() -> dict[str, Any]:
    manifest = kubernetes_job("main")
    manifest["spec"]["template"]["spec"]["containers"].append({"name": "side", "image": "proxy"})
    return manifest


TWO = Script(
    [
        Line(0, "one"),
        Line(0.05, "from the side", container="side"),
        Line(0.1, "two", stream="stderr"),
        Exit(0.3),
    ]
)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, ["one", "two"], id="the-first-alone"),
        pytest.param({"log_containers": ["side"]}, ["from the side"], id="a-sidecar"),
        pytest.param(
            {"log_containers": ["main", "side"]},
            ["[main] one", "[side] from the side", "[main] two"],
            id="both",
        ),
    ],
)
def test_containers_are_chosen_and_labelled_and_all_are_in_the_receipt(fields, expected) -> None:
    seen: list[str] = []
    quick = {"sidecar_grace_seconds": 0.3}
    run, result = _run(
        TWO, v1_job=_two_containers(), print_func=seen.append, settings=quick, **fields
    )
    assert texts(result) == texts("\n".join(seen)) == expected
    assert [(*stream.key[1:], stream.lines) for stream in run.receipt.streams] == [
        ("main", "stderr", 1),
        ("main", "stdout", 1),
        ("side", "stdout", 1),
    ]


def test_connection_is_replaced_before_the_platform_cuts_it(
    caplog,
) -> None:
    caplog.set_level(logging.INFO)
    run, result = _run(SCRIPT, settings={"log_rotate_seconds": 0.1, "log_progress_seconds": 0.2})
    assert texts(result) == LINES
    assert run.receipt.reconnects == 0
    assert "lines so far" in caplog.text


def test_a_silent_connection_is_noticed() -> None:
    clock, seen = ManualClock(), []
    with local_platform(
        scripted.platform(Script([Line(0, "one"), Exit(1)]), jobs_clock=clock)
    ) as local:
        local.platform.faults.add(Fault(path="/tail$", drop_lines=2, drop_silently=True))
        run = scripted.run_of(local, settings={"log_idle_seconds": 0.4, "log_settle_seconds": 0.1})

        async def finish() -> None:
            await run.start()
            async with anyio.create_task_group() as group:
                group.start_soon(run.wait_for_completion, seen.append)
                await programs.reached(lambda: seen)
                clock.advance(1)

        anyio.run(finish)
    assert [texts(line) for line in seen] == [["one"]], (
        "the job does not end before its line was seen"
    )
    assert run.receipt.reconnects >= 1


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("local", [lambda: scripted.platform(SCRIPT)], indirect=True, ids=[""])
def test_without_a_print_function_lines_go_into_prefects_logs_within_the_budget(
    local, monkeypatch, caplog
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setenv("CPLN_LOG_FORWARD_RECORDS", "20")

    @flow
    def parent() -> str:
        return run_namespaced_job(CplnJob(v1_job=kubernetes_job("see the script")))

    assert texts(parent()) == LINES
    told = [
        record
        for record in caplog.records
        if " - line 1" in record.getMessage() or "not shown here" in record.getMessage()
    ]
    assert any(
        "are not shown here" in record.getMessage() and "stream_logs('" in record.getMessage()
        for record in told
    )
    assert len([record for record in caplog.records if record.getMessage().startswith("20")]) <= 30


def test_closed_live_log_is_made_up_for(caplog) -> None:
    caplog.set_level(logging.WARNING)
    script = Script([Line(0, "one"), Line(1, "two"), Exit(1.5)])
    with local_platform(scripted.platform(script, tail_limit=0)) as local:
        run = scripted.run_of(local)
        assert texts(anyio.run(scripted.finish, run)) == ["one", "two"]
        assert run.receipt.complete
    (said,) = [line for line in caplog.messages if "no live log" in line]
    assert "1011" in said
