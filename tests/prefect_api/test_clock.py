"""Prefect's time is learned from its answers, and asked for at most once a minute."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from cpln_flows.prefect_api.clock import PrefectClock

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Server:
    """Answers with its time, which is ahead of this machine's."""

    def __init__(self, **ahead: float) -> None:
        self.ahead, self.asked = timedelta(**ahead), 0
        self.headers: dict[str, str] = {}

    async def request(self, method: str, path: str):
        assert (method, path) == ("GET", "/health")
        self.asked += 1
        self.headers = {"date": format_datetime(datetime.now(UTC) + self.ahead, usegmt=True)}
        return self


@pytest.mark.parametrize("minutes", [-20, 20])
async def test_clock_follows_server(minutes) -> None:
    clock = PrefectClock(Server(minutes=minutes))
    assert abs(await clock.refresh() - datetime.now(UTC) - timedelta(minutes=minutes)) < timedelta(
        seconds=5
    )
    assert clock.ahead == pytest.approx(timedelta(minutes=minutes), abs=timedelta(seconds=5))


async def test_small_difference_counts_as_none() -> None:
    clock = PrefectClock(Server(seconds=0.5))
    await clock.refresh()
    assert clock.ahead == timedelta(0)


async def test_server_is_asked_once_a_minute() -> None:
    server = Server(minutes=5)
    clock = PrefectClock(server)
    for _ in range(3):
        await clock.refresh()
    assert server.asked == 1


async def test_incredible_date_teaches_nothing() -> None:
    server = Server(days=365 * 1000)
    clock = PrefectClock(server)
    assert abs(await clock.refresh() - datetime.now(UTC)) < timedelta(seconds=5)
