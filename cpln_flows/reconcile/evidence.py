"""What a cycle leaves behind for people: a table artifact of what changed, and an event for each action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml
from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact
from prefect.events import emit_event
from prefect.utilities.urls import url_for

from cpln_flows.jobs.journal import Journal, Logger
from cpln_flows.model.identifiers import Area
from cpln_flows.reconcile.act import Outcome
from cpln_flows.reconcile.inventory import Deleted
from cpln_flows.reconcile.masking import HIDDEN
from cpln_flows.reconcile.orphans import Sweep
from cpln_flows.reconcile.plan import QUIET, Action, Kind, Plan
from cpln_flows.settings import console_url

CLEANUP = "cpln-cleanup"
MANIFESTS = "cpln-cleanup-manifests"
_MOST_ROWS = 1000
_EVENT = "prefect.cpln.sync"


async def table(key: str, plan: Plan, outcomes: Sequence[Outcome], *, dry_run: bool) -> None:
    """Write the table artifact of a cycle that changed something, would have, or was withheld; an idle cycle writes none.

    Args:
        key: The artifact's key: lower case and dashes.
        plan: What was intended.
        outcomes: What came of it; none of a plan that was not carried out.
        dry_run: Whether nothing was to be done.
    """
    said = {id(outcome.action): outcome for outcome in outcomes}
    worth = [action for action in plan.actions if action.kind not in QUIET or action.kind is Kind.STOPPED]
    if not worth:
        return
    rows = [_row(action, said.get(id(action)), dry_run=dry_run) for action in worth[:_MOST_ROWS]]
    await acreate_table_artifact(rows, key=key, description=_description(plan, len(worth), dry_run=dry_run))


def events(outcomes: Sequence[Outcome]) -> None:
    """Emit one event for each action that was done; the same action again has the same id and is no second event."""
    for outcome in outcomes:
        action = outcome.action
        if not outcome.done or (action.kind in QUIET and action.kind is not Kind.STOPPED):
            continue
        ref = action.command
        subject = f"prefect.cpln.job.{ref.command_id}" if ref else f"prefect.cpln.flow-run.{action.run_id}"
        resource = {"prefect.resource.id": subject, "prefect.resource.name": ref.pid if ref else str(action.run_id)}
        run = {"prefect.resource.id": f"prefect.flow-run.{action.run_id}", "prefect.resource.role": "flow-run"}
        emit_event(
            f"{_EVENT}.{action.kind}",
            resource=resource,
            related=[run] if action.run_id else [],
            payload={"reason": action.reason, "pid": ref.pid if ref else None},
            id=action.event_id,
        )


async def manifests(sweep: Sweep, *, dry_run: bool) -> None:
    """Write what makes everything again that a clean-up deletes, before it does: afterwards nobody could read it any more."""
    if not sweep.deletions or (sweep.withheld and not dry_run):
        return
    text = yaml.dump_all([dict(one.manifest) for one in sweep.deletions], Dumper=_Readable, sort_keys=False)
    description = (
        f"{len(sweep.deletions)} to be deleted, {sweep.now.isoformat(timespec='seconds')}; {CLEANUP} shows what came of it"
    )
    masked = f" once each `{HIDDEN}` is replaced by its value" if HIDDEN in text else ""
    await acreate_markdown_artifact(
        f"`cpln apply --file` makes these again{masked}:\n\n```yaml\n{text}```\n", key=MANIFESTS, description=description
    )


async def of_sweep(sweep: Sweep, deleted: Sequence[Deleted], logger: Logger, *, dry_run: bool) -> None:
    """Write what a clean-up has deleted, or would have, as a table."""
    journal = Journal(logger)
    for what in sweep.unread:
        journal.warning(Area.CLEANUP, f"not read, so it stays: {what}")
    if sweep.withheld:
        journal.warning(Area.CLEANUP, f"nothing is deleted: {sweep.withheld}")
    done = sum(one.done for one in deleted)
    journal.info(Area.CLEANUP, f"{done} deleted, {sweep.kept} workloads kept, {len(sweep.unread)} not read")
    if not sweep.deletions:
        return
    said = {one.deletion.link: "done" if one.done else one.said for one in deleted}
    planned = "planned" if dry_run else "withheld"
    rows = [
        {"object": _link(one.link, console_url(one.link)), "result": said.get(one.link, planned), "evidence": one.reason}
        for one in sweep.deletions
    ]
    description = f"{done} of {len(rows)} deleted, {sweep.kept} workloads kept, {sweep.now.isoformat(timespec='seconds')}"
    await acreate_table_artifact(rows[:_MOST_ROWS], key=CLEANUP, description=description)


class _Readable(yaml.SafeDumper):
    """Writes programs of several lines as they stand in a file."""


def _text(dumper: _Readable, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Readable.add_representer(str, _text)


def _description(plan: Plan, actions: int, *, dry_run: bool) -> str:
    when = plan.now.isoformat(timespec="seconds")
    said = [f"{actions} actions, {len(plan.changes)} changes of {plan.judged} runs and jobs looked at, {when}"]
    if dry_run:
        said.append("a dry run: nothing was done")
    if plan.withheld:
        said.append(f"nothing was done: {plan.withheld}")
    if actions > _MOST_ROWS:
        said.append(f"the first {_MOST_ROWS} are shown")
    said += [f"not read: {what}" for what in plan.unread]
    return "; ".join(said)


def _row(action: Action, outcome: Outcome | None, *, dry_run: bool) -> dict[str, Any]:
    ref = action.command
    result = ("planned" if dry_run else "withheld") if outcome is None else _result(outcome)
    return {
        "action": str(action.kind),
        "result": result,
        "flow run": _link(str(action.run.name if action.run else action.run_id), _run_url(action)) if action.run_id else "",
        "workload": _link(ref.workload, console_url(ref.workload_ref.path)) if ref else "",
        "evidence": action.reason,
    }


def _result(outcome: Outcome) -> str:
    if outcome.done:
        return "done"
    return f"failed: {outcome.said}" if outcome.failed else outcome.said


def _run_url(action: Action) -> str | None:
    return url_for("flow-run", obj_id=action.run_id) if action.run_id else None


def _link(text: str, url: str | None) -> str:
    return f"[{text}]({url})" if url else text
