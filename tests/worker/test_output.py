import logging
from uuid import uuid4

import pytest

from cpln_flows.errors import JobFailedError
from cpln_flows.logger import Journal
from cpln_flows.logs.budget import Budget, Shown
from cpln_flows.logs.forwarder import Forwarder
from cpln_flows.logs.sink import Rendering
from cpln_flows.model.identifiers import LogContext
from cpln_flows.model.log_lines import Batch, StreamKey, render
from cpln_flows.worker import output
from cpln_flows.worker.output import Output
from tests.scenarios import agent_log

MAIN = StreamKey("r", "main", "stdout")
SENT = "10:00:00.123 | INFO    | Flow run 'happy-fox' - Beginning flow run"
ERROR = "10:00:00.123 | ERROR   | Task run 'x' - it failed"

REPORT = (
    "10:00:00.123 | ERROR   | Task run 'x' - [CPLN] Job | RunID: 1"
    " > job a:b:c:d failed: exit code 3"
)
TRACEBACK = "Traceback (most recent call last):"
GROUP = "  + Exception Group Traceback (most recent call last):"
CHAINED = "During handling of the above exception, another exception occurred:"


class Logger:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, level: int, form: str, text: str) -> None:
        assert level in (logging.INFO, logging.ERROR)
        self.lines += [
            line.split(" - ", 1)[1] if " - " in line else line for line in text.split("\n")
        ]


def _output(*, shown=None, **fields) -> Output:
    return Output(
        Forwarder(Logger(), Budget(), shown),
        **{"forwards": True, "rendering": Rendering(), **fields},
    )


def _lines(out: Output) -> list[str]:
    return out.forwarder._logger.lines


def _feed(out: Output, *lines: str, key=MAIN) -> list[str]:
    for number, line in enumerate(lines):
        out.deliver(Batch(key, [number * 1_000_000], [line]))
    return _lines(out)


@pytest.mark.parametrize(
    ("lines", "forwarded"),
    [
        pytest.param(
            ["hello", "10:00 is a time"], ["hello", "10:00 is a time"], id="what-the-program-prints"
        ),
        pytest.param([SENT, "hello"], ["hello"], id="what-the-engine-has-sent-itself"),
        pytest.param(
            [ERROR, "Traceback (most recent call last):", "  File x", "ValueError: y", "z"],
            ["z"],
            id="its-traceback",
        ),
        pytest.param(
            [
                ERROR,
                TRACEBACK,
                "  File x",
                "KeyError: y",
                CHAINED,
                TRACEBACK,
                "  File z",
                "ValueError: y",
                "z",
            ],
            ["z"],
            id="a-chain",
        ),
        pytest.param(
            [ERROR, GROUP, "  | two (2 sub-exceptions)", "  +-+-- 1 --", "z"], ["z"], id="a-group"
        ),
        pytest.param(
            [REPORT, "  Last lines:", "    two", "z", "  z"],
            ["z", "  z"],
            id="a-report-of-several-lines",
        ),
        pytest.param([SENT, "  indented"], ["  indented"], id="what-the-program-indents"),
        pytest.param(
            ["Traceback (most recent call last):", "  File x", "ValueError: y"],
            ["Traceback (most recent call last):", "  File x", "ValueError: y"],
            id="a-traceback-of-the-programs-own",
        ),
    ],
)
def test_lines_are_forwarded_once(lines, forwarded) -> None:
    assert _feed(_output(), *lines) == forwarded


@pytest.mark.parametrize("run", ["flow", "task"])
def test_report_as_prefect_prints_it_is_the_engines(run, caplog) -> None:
    error = JobFailedError(
        "job a:b:c:d failed: exit code 3\nLast lines:\n  x\n\n  y",
        infrastructure_pid="a:b:c:d",
        exit_code=3,
    )
    Journal(logging.getLogger(f"prefect.{run}_runs"), LogContext(run_id=uuid4())).report(error)
    (record,) = caplog.records
    record.__dict__[f"{run}_run_name"] = "happy-fox"
    printed = agent_log.console_formatter().format(record).splitlines()
    assert len(printed) == 5
    assert _feed(_output(), *printed, "what the program prints") == ["what the program prints"]


def test_what_was_kept_is_forwarded_when_nobody_else_has_told_it() -> None:
    out = _output()
    _feed(out, SENT)
    out.flush()
    out.flush()
    assert _lines(out) == [SENT]


def test_without_forwarding_the_last_lines_are_kept() -> None:
    out = _output(forwards=False)
    assert _feed(out, *(str(n) for n in range(output.KEPT_LINES + 10))) == []
    out.flush()
    assert _lines(out) == [str(n) for n in range(10, output.KEPT_LINES + 10)]


def test_a_line_says_its_container_when_there_are_several() -> None:
    assert _feed(
        _output(rendering=Rendering(has_labels=True)), "x", key=StreamKey("r", "side", "stderr")
    ) == ["[side] x"]


def test_lines_that_are_known_already_are_not_forwarded_again() -> None:
    shown = Shown(
        [
            *render(Batch(MAIN, [0, 1_000_000], ["a", "b"])),
            "Flow run 'x' submitted to infrastructure",
        ]
    )
    assert _feed(_output(shown=shown), "a", "b", "c", "a") == ["c", "a"]


@pytest.mark.parametrize(
    ("seconds", "from_second"),
    [
        pytest.param([3, 3, 20], 4, id="the-oldest-second-may-be-known-in-part"),
        pytest.param([3, 3, 3], None, id="nothing-is-known-of-a-second-that-is-over"),
        pytest.param([], None, id="no-line"),
    ],
)
def test_long_log_is_read_from_known_second(seconds, from_second) -> None:
    shown = Shown(
        render(Batch(MAIN, [second * 1_000_000_000 for second in seconds], ["line"] * len(seconds)))
    )
    assert output.read_from_ns(shown) == (
        None if from_second is None else from_second * 1_000_000_000
    )


@pytest.mark.parametrize("forwards", [True, False])
def test_beginnings_of_the_last_lines_are_kept_as_they_were_printed(forwards) -> None:
    out = _output(forwards=forwards)
    _feed(out, *(f"{number} {'x' * 1000}" for number in range(150)))
    assert len(out.last) == 100
    assert out.last[-1] == f"149 {'x' * 296}"
    out.deliver(Batch(MAIN, [0] * 300, [str(number) for number in range(300)]))
    assert list(out.last) == [str(number) for number in range(200, 300)]
