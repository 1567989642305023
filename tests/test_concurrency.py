import asyncio
import gc

import pytest

from cpln_flows.concurrency import both, each, gathering
from tests.patience import PATIENCE_SECONDS


async def test_results_come_in_the_order_of_the_items_and_few_at_once() -> None:
    busy, most = 0, 0

    async def slow(number: int) -> int:
        nonlocal busy, most
        busy += 1
        most = max(most, busy)
        await asyncio.sleep(0.001 * (3 - number % 3))
        busy -= 1
        return number

    assert await each(slow, range(20), at_once=4) == list(range(20))
    assert most == 4
    assert await each(slow, []) == []


async def test_items_are_taken_while_the_next_page_is_on_its_way() -> None:
    taken = asyncio.Event()

    async def pages():
        yield 1
        await asyncio.wait_for(taken.wait(), PATIENCE_SECONDS)
        yield 2

    async def take(number: int) -> int:
        taken.set()
        return number

    assert await each(take, pages()) == [1, 2]


@pytest.mark.parametrize(
    "ask", [lambda wrong, slow: both(wrong(0), slow(1)), lambda wrong, slow: each(wrong, [0, 1])]
)
async def test_the_error_of_one_ends_the_others_and_is_raised_itself(ask) -> None:
    ended = []

    async def slow(number: int) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(number)
            raise

    async def wrong(number: int) -> None:
        if number == 0:
            await asyncio.sleep(0)
            raise ValueError("this one")
        await slow(number)

    with pytest.raises(ValueError, match="this one"):
        await ask(wrong, slow)
    await asyncio.sleep(0)
    assert ended == [1]


pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def test_garbage_is_looked_for_again_once_all_is_gathered_also_after_an_error() -> None:
    def gather() -> None:
        with gathering():
            with gathering():
                assert not gc.isenabled()
            assert not gc.isenabled()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        gather()
    assert gc.isenabled()
