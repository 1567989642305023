"""Delete what a clean-up intends, each item after one more look."""

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
    """The result of one deletion; ``said`` explains why it was not done."""

    deletion: Deletion
    done: bool
    said: str = ""


@dataclass
class Deleter:
    """Carries out the deletions of a sweep.

    Args:
        observer: Reads everything again.
        logger: Where the log lines go.
    """

    observer: Observer
    logger: Logger = field(default_factory=lambda: getLogger("cpln_flows"))

    async def delete(self, sweep: Sweep) -> tuple[Deleted, ...]:
        """Delete what a sweep lists and return the results; a withheld sweep is left untouched."""
        if sweep.withheld:
            return ()
        workloads = [deletion for deletion in sweep.deletions if deletion.workload]
        deleted = await each(self._attempt, workloads, at_once=_AT_ONCE)
        gone = frozenset(result.deletion.link for result in deleted if result.done)
        return (*deleted, *(await self._delete_companions(sweep, gone)))

    async def _attempt(self, deletion: Deletion) -> Deleted:
        return await self._delete(
            deletion, await self._changed(deletion.workload) if deletion.workload else None
        )

    async def _delete_companions(self, sweep: Sweep, gone: Collection[str]) -> list[Deleted]:
        """Delete policies, then identities, then secrets, after one shared look at their users."""
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
            companion.link: changed_at(companion)
            for some in (there.identities, there.policies, there.secrets)
            for companion in some
        }
        using = users.of_identities | {
            secret.link: there.readers(secret, users) for secret in there.secrets
        }

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
        except Exception as error:  # noqa: BLE001 - a failed deletion must not block the others
            journal.warning(Area.CLEANUP, f"{deletion.link} could not be deleted: {error}")
            return Deleted(deletion, done=False, said=f"failed: {error}")
        journal.info(Area.CLEANUP, f"Deleted {deletion.link}: {deletion.reason}")
        return Deleted(deletion, done=True)

    async def _changed(self, workload: WorkloadView) -> str | None:
        """Look again right before a deletion; return why the workload must stay, if so."""
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
