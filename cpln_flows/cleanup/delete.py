"""Deleting what a clean-up intends, each after one more look."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from logging import getLogger

from cpln_flows.api import companions, workloads
from cpln_flows.cleanup import decide
from cpln_flows.cleanup.decide import Deletion, Sweep
from cpln_flows.cleanup.observe import Observer, changed_at, view_of
from cpln_flows.cleanup.views import Companion, WorkloadView
from cpln_flows.concurrency import both, each
from cpln_flows.errors import CplnError, NotFoundError
from cpln_flows.logger import Journal, Logger
from cpln_flows.model.identifiers import Area

_AT_ONCE = 40


@dataclass(frozen=True)
class Deleted:
    """What came of one deletion; ``said`` tells why it was not done."""

    deletion: Deletion
    done: bool
    said: str = ""


@dataclass
class Deleter:
    """Deletes.

    Args:
        observer: How to look again.
        logger: Where the log lines go.
    """

    observer: Observer
    logger: Logger = field(default_factory=lambda: getLogger("cpln_flows"))

    async def delete(self, sweep: Sweep) -> tuple[Deleted, ...]:
        """Delete what a sweep says and return what came of it; one that is withheld is not touched."""
        if sweep.withheld:
            return ()
        workloads = [deletion for deletion in sweep.deletions if deletion.workload]
        deleted = await each(self._attempt, workloads, at_once=_AT_ONCE)
        gone = frozenset(one.deletion.link for one in deleted if one.done)
        return (*deleted, *(await self._delete_companions(sweep, gone)))

    async def _attempt(self, deletion: Deletion) -> Deleted:
        return await self._delete(
            deletion, await self._changed(deletion.workload) if deletion.workload else None
        )

    async def _delete_companions(self, sweep: Sweep, gone: Collection[str]) -> list[Deleted]:
        """Delete policies, then identities, then secrets, after one more look at who uses them, one for all."""
        intended = [
            (deletion, deletion.companion) for deletion in sweep.deletions if deletion.companion
        ]
        if not intended:
            return []
        try:
            users, there = await both(
                workloads.users(self.observer.client, self.observer.org), self.observer.companions()
            )
        except CplnError as error:
            return [
                Deleted(deletion, done=False, said=f"unknown is not unused: {error}")
                for deletion, _ in intended
            ]

        changed = {
            one.link: changed_at(one)
            for some in (there.identities, there.policies, there.secrets)
            for one in some
        }
        using = users.of_identities | {one.link: there.readers(one, users) for one in there.secrets}

        async def attempt(one: tuple[Deletion, Companion]) -> Deleted:
            if there.unread and one[1].is_secret:
                return await self._delete(one[0], f"unknown is not unused: {there.unread[0]}")
            return await self._delete(
                one[0], decide.of_companion(one[1], changed.get(one[1].link), using, gone)
            )

        deleted: list[Deleted] = []
        for turn in range(3):
            deleted += await each(
                attempt,
                [pair for pair in intended if decide.order(pair[1]) == turn],
                at_once=_AT_ONCE,
            )
        return deleted

    async def _delete(self, deletion: Deletion, changed: str | None) -> Deleted:
        journal = Journal(self.logger, deletion.context)
        if changed:
            journal.info(Area.CLEANUP, f"Kept {deletion.link}: changed meanwhile, {changed}")
            return Deleted(deletion, done=False, said=f"changed meanwhile: {changed}")
        try:
            await companions.delete(self.observer.client, deletion.link)
        except Exception as error:  # noqa: BLE001 - one deletion that fails must not keep the others from being done
            journal.warning(Area.CLEANUP, f"{deletion.link} could not be deleted: {error}")
            return Deleted(deletion, done=False, said=f"it failed: {error}")
        journal.info(Area.CLEANUP, f"Deleted {deletion.link}: {deletion.reason}")
        return Deleted(deletion, done=True)

    async def _changed(self, workload: WorkloadView) -> str | None:
        """Look once more right before a deletion; say why it is not right any more, if so."""
        now = self.observer.clock()
        try:
            fresh, use = await both(
                workloads.read(self.observer.client, workload.ref),
                self.observer.use(workload.ref, now),
            )
        except NotFoundError:
            return None  # gone already
        except CplnError as error:
            return f"unknown is not unused: {error}"
        verdict = decide.of_workload(replace(view_of(fresh), use=use), now, self.observer.idle)
        return None if isinstance(verdict, decide.Delete) else verdict.reason
