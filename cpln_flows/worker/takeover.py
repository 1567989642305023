"""How a worker process shows that it is alive, and learns that others no longer are."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from cpln_flows.logger import Journal
from cpln_flows.model.identifiers import Area
from cpln_flows.worker import left_behind, processes, roster
from cpln_flows.worker.left_behind import Seen
from cpln_flows.worker.roster import MOST_MISSED, Identity, Roster

_LONGEST_INTERVAL_SECONDS = 5.0
_KEPT = timedelta(hours=1)
_CLOCK = timedelta(seconds=2)  # the server reports its time to the second


@dataclass
class Watch:
    """One worker process among those of its pool.

    Args:
        client: A client of Prefect's API.
        pool: Name of the pool.
        me: This process.
        heartbeat_seconds: Interval between the heartbeats that Prefect's own worker sends.
        journal: The worker's log.
    """

    client: PrefectClient
    pool: str
    me: Identity
    heartbeat_seconds: float
    journal: Journal
    _since: datetime | None = None
    _is_accompanied: bool = False
    _noticed: set[str] = field(default_factory=set)
    _settled: set[str] = field(default_factory=set)
    _beaten: float | None = None
    _warned: bool = False

    @property
    def interval_seconds(self) -> float:
        """Interval between two heartbeats of this process's own record.

        It is the interval between two looks at the records of others too.
        """
        return max(1.0, min(_LONGEST_INTERVAL_SECONDS, self.heartbeat_seconds))

    async def beat(self) -> None:
        """Show that this process is alive."""
        if self.me.has_own_record:
            await roster.send_heartbeat(
                self.client, self.pool, self.me.record, self.interval_seconds
            )
        self._beaten = time.monotonic()

    async def leave(self, *, owes: bool) -> None:
        """Announce that this process ends.

        Args:
            owes: Whether it leaves flow runs behind. Whoever takes them over needs to know when it
                ended.
        """
        if owes or not self.me.has_own_record:
            await roster.send_heartbeat(self.client, self.pool, self.me.record, 0)
        else:
            await self._forget(self.me.record)

    async def has_news(self) -> bool:
        """Show that this process is alive; return whether it is time to look for abandoned runs.

        It is time when another process has fallen silent. It is time too when this one was silent,
        because others may have taken over its flow runs in the meantime.
        """
        silence = 0.0 if self._beaten is None else time.monotonic() - self._beaten
        await self.beat()
        if silence > MOST_MISSED * self.interval_seconds:
            return True
        if not self._is_accompanied:  # then a look at each heartbeat is enough
            return False
        return bool((await self._roster()).silent(left_behind.LOOKBACK).keys() - self._noticed)

    async def look(self) -> Seen:
        """Read what shows which flow runs have been abandoned."""
        known = await self._roster()
        silent = known.silent(left_behind.LOOKBACK)
        self._noticed = set(silent)
        ended: list[FlowRun] = []
        if silent.keys() - self._settled:
            ended = await left_behind.ended(self.client, self.pool, min(silent.values()))
        under_way = await left_behind.under_way(self.client, self.pool)
        return Seen(
            self.me, self._since or known.now, known, _gone([*under_way, *ended]), under_way, ended
        )

    async def settle(self, seen: Seen, left: Collection[UUID]) -> None:
        """Note which processes have nothing left to take over, and delete records no longer needed.

        Args:
            seen: What was seen.
            left: The runs that this process takes over, or follows.
        """
        owing = {roster.owner(run) for run in (*seen.under_way, *seen.ended) if run.id in left}
        silent = seen.roster.silent(left_behind.LOOKBACK)
        self._settled = silent.keys() - owing
        for name, beats in seen.roster.heartbeats.items():
            is_old = seen.roster.is_silent(name) and seen.roster.now - beats.last > _KEPT
            if is_old and name not in owing and roster.is_of_process(name):
                await self._forget(name)

    async def _roster(self) -> Roster:
        known = await roster.read(self.client, self.pool)
        if self._since is None:
            self._since = known.now
        # A process that is heard from again may fall silent again.
        self._settled &= known.silent(left_behind.LOOKBACK).keys()
        others = known.heartbeats.keys() - {self.me.name, self.me.record}
        self._is_accompanied = any(not known.is_silent(name) for name in others)
        self._warn_of_twins(known, self._since)
        return known

    def _warn_of_twins(self, known: Roster, since: datetime) -> None:
        """Warn once of another process of this name.

        One that was last heard from before this one started may have ended.
        """
        alive = [
            name for name in known.twins(self.me) if known.heartbeats[name].last > since + _CLOCK
        ]
        if alive and not self._warned:
            self._warned = True
            self.journal.warning(
                Area.INIT,
                f"Another worker process serves this pool under the same name: {alive[0]};"
                f" this one is {self.me.record}. Each follows only its own flow runs. Leave --name"
                " out, or give each replica its own, to tell them apart in Prefect",
            )

    async def _forget(self, record: str) -> None:
        try:
            await roster.delete(self.client, self.pool, record)
        except ObjectNotFound:
            return
        except Exception as error:  # noqa: BLE001 - it stays in a list that users see, and does no harm
            self.journal.debug(
                Area.INIT, f"The worker record {record} could not be deleted: {error!r}"
            )


def _gone(runs: Iterable[FlowRun]) -> set[str]:
    return {
        process
        for process in {roster.process_of(run) for run in runs}
        if processes.has_ended(process)
    }
