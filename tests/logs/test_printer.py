import logging

import pytest

from cpln_flows.logger import Journal
from cpln_flows.logs.budget import Shown
from cpln_flows.logs.printer import Printer


def test_a_function_that_raises_gets_the_next_line_and_that_is_said_once(caplog) -> None:
    seen: list[str] = []

    def print_func(line: str) -> None:
        seen.append(line)
        raise ValueError(line)

    Printer(print_func, Journal(logging.getLogger("test"))).send(["a", "b", "c"])
    assert seen == ["a", "b", "c"]
    assert (
        len([line for line in caplog.messages if "print_func raised ValueError('a')" in line]) == 1
    )


def test_what_interrupts_the_caller_is_not_held_back() -> None:
    def print_func(_line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Printer(print_func, Journal()).send(["a"])


def test_lines_that_were_shown_before_are_not_shown_again() -> None:
    seen: list[str] = []
    stamp = "2026-01-10T10:00:12.500000+00:00"
    Printer(seen.append, Journal(), Shown([f"{stamp} - a"])).send([f"{stamp} - a", f"{stamp} - b"])
    assert seen == [f"{stamp} - b"]
