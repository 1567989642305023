from collections import Counter

import pytest

from cpln_flows.model.log_lines import LogEntry, StreamKey, render
from cpln_flows.worker import output
from cpln_flows.worker.output import Output

MAIN = StreamKey("r", "main", "stdout")
SENT = "10:00:00.123 | INFO    | Flow run 'happy-fox' - Beginning flow run"
ERROR = "10:00:00.123 | ERROR   | Task run 'x' - it failed"


class Logger:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, form: str, line: str) -> None:
        self.lines.append(line.split(" - ", 1)[1])


def _feed(out: Output, *lines: str, key=MAIN) -> list[str]:
    for number, line in enumerate(lines):
        out.deliver(LogEntry(number * 1_000_000, line, key))
    return out.logger.lines


@pytest.mark.parametrize(
    ("lines", "forwarded"),
    [
        pytest.param(["hello", "10:00 is a time"], ["hello", "10:00 is a time"], id="what-the-program-prints"),
        pytest.param([SENT, "hello"], ["hello"], id="what-the-engine-has-sent-itself"),
        pytest.param([ERROR, "Traceback (most recent call last):", "  File x", "ValueError: y", "z"], ["z"], id="its-traceback"),
        pytest.param(
            ["Traceback (most recent call last):", "  File x", "ValueError: y"],
            ["Traceback (most recent call last):", "  File x", "ValueError: y"],
            id="a-traceback-of-the-programs-own",
        ),
    ],
)
def test_lines_are_forwarded_once(lines, forwarded) -> None:
    assert _feed(Output(Logger(), forwards=True, named=False), *lines) == forwarded


def test_what_was_kept_is_forwarded_when_nobody_else_has_told_it() -> None:
    out = Output(Logger(), forwards=True, named=False)
    _feed(out, SENT)
    out.flush()
    out.flush()
    assert out.logger.lines == [SENT]


def test_without_forwarding_the_last_lines_are_kept() -> None:
    out = Output(Logger(), forwards=False, named=False)
    assert _feed(out, *(str(n) for n in range(output.KEPT_LINES + 10))) == []
    out.flush()
    assert out.logger.lines == [str(n) for n in range(10, output.KEPT_LINES + 10)]


def test_a_line_says_its_container_when_there_are_several() -> None:
    assert _feed(Output(Logger(), forwards=True, named=True), "x", key=StreamKey("r", "side", "stderr")) == ["[side] x"]


def test_lines_that_are_known_already_are_not_forwarded_again() -> None:
    lines = [render(LogEntry(n * 1_000_000, text, MAIN)) for n, text in enumerate(["a", "b"])]
    known = output.forwarded([*lines, "Flow run 'x' submitted to infrastructure"])
    assert known == Counter(lines)
    assert output.oldest_ns(known) == 0
    assert _feed(Output(Logger(), forwards=True, named=False, known=known), "a", "b", "c", "a") == ["c", "a"]


def test_there_is_no_oldest_of_nothing() -> None:
    assert output.oldest_ns([]) is None
