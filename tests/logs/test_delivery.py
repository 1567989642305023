"""Lines are given away once, before they count, and to whoever cannot take some of them too."""

from collections.abc import Callable
from typing import Any

import anyio
import pytest

from cpln_flows.logger import Journal
from cpln_flows.logs.delivery import Delivery
from cpln_flows.logs.receipt import GapKind
from cpln_flows.model.log_lines import Batch, StreamKey
from cpln_flows.model.time import NS

KEY = StreamKey("r", "main", "stdout")
BEGIN = 1_768_039_212 * NS


def batch(*lines: str, at: int = BEGIN) -> Batch:
    return Batch(KEY, [at + index for index in range(len(lines))], list(lines))


def deliver(
    *batches: Batch, to: Callable[[Batch], Any] | None = None, **fields: Any
) -> tuple[list[str], Delivery]:
    """Deliver batches as one reader does; return what was given away."""
    given: list[str] = []

    async def main() -> Delivery:
        made = Delivery(
            to or (lambda new: given.extend(new.lines)),
            Journal(),
            fields.pop("since_ns", BEGIN),
            **fields,
        )
        for found in batches:
            made.take(made.ledger.look(), [found])
        return made

    return given, anyio.run(main)


def test_line_of_two_readers_is_given_once() -> None:
    given, made = deliver(batch("a", "b"), batch("a", "b", "c"))
    assert given == ["a", "b", "c"]
    assert made.tally.receipt(made.ledger.cursor(0)).lines == 3


def test_lines_outside_of_the_wanted_time_are_not_given() -> None:
    given, _ = deliver(batch("a", "b", "c", "d"), until_ns=BEGIN + 3, since_ns=BEGIN)
    assert given == ["a", "b", "c"]


def test_last_wanted_line_ends_it() -> None:
    given: list[str] = []
    _, made = deliver(
        batch("a", "b", "c"),
        to=lambda new: given.extend(new.lines),
        is_full=lambda: len(given) >= 2,
    )
    assert (given, made.ended) == (["a", "b"], True)


def test_whoever_cannot_take_a_line_gets_the_next(caplog) -> None:
    given: list[str] = []

    def take(new: Batch) -> None:
        if "bad" in new.lines:
            raise ValueError("cannot")
        given.extend(new.lines)

    _, made = deliver(
        batch("bad"), batch("bad", at=BEGIN + NS), batch("good", at=BEGIN + 2 * NS), to=take
    )
    assert given == ["good"]
    gaps = made.tally.receipt(made.ledger.cursor(0)).gaps
    assert [gap.kind for gap in gaps] == [GapKind.UNSHOWN] * len(gaps)
    assert sum(gap.lines or 0 for gap in gaps) == 2
    assert caplog.text.count("could not be shown (reported once)") == 1


def test_line_of_a_time_that_was_forgotten_is_declared() -> None:
    async def main() -> Delivery:
        made = Delivery(lambda _: None, Journal(), BEGIN)
        made.take(made.ledger.look(), [batch("a"), batch("b", at=BEGIN + 100 * NS)])
        made.ledger.settle(BEGIN + 50 * NS)
        made.note_late([batch("late", at=BEGIN + 10 * NS)])
        return made

    made = anyio.run(main)
    (gap,) = made.tally.receipt(made.ledger.cursor(0)).gaps
    assert (gap.kind, gap.lines, gap.first_ns) == (GapKind.LATE, 1, BEGIN + 10 * NS)


@pytest.mark.parametrize("arrives", [True, False])
def test_arrival_ends_the_wait(arrives) -> None:
    async def main() -> float:
        made = Delivery(lambda _: None, Journal(), BEGIN)
        async with anyio.create_task_group() as tasks:
            if arrives:
                tasks.start_soon(take_soon, made)
            began = anyio.current_time()
            await made.next_arrival(600 if arrives else 0.01)
            return anyio.current_time() - began

    async def take_soon(made: Delivery) -> None:
        made.take(made.ledger.look(), [batch("a")])

    assert anyio.run(main) < 300
