"""What a cycle leaves for people: an artifact of what changed and why, and an event per action."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from prefect.events import emit_event
from prefect.utilities.urls import url_for

from cpln_flows import artifacts
from cpln_flows.reconcile.act import Outcome
from cpln_flows.reconcile.actions import Action, event_id, is_shown
from cpln_flows.reconcile.plan import Plan
from cpln_flows.settings import console_url

_EVENT = "prefect.cpln.sync"


async def changes(
    key: str, plan: Plan, outcomes: Sequence[Outcome], reported: Collection[str], *, dry_run: bool
) -> None:
    """Write the artifact of a cycle that changed something, would have, or was withheld.

    An idle cycle writes none. The artifact is a list with the evidence below each action, because
    Prefect's UI truncates the cells of a table.

    Args:
        key: The artifact's key: lower case and dashes.
        plan: What was intended.
        outcomes: What came of it; empty if the plan was not carried out.
        reported: Keys of earlier reports; an action that failed again for the same reason is not
            listed again.
        dry_run: Whether nothing was to be done.
    """
    came_of = {id(outcome.action): outcome for outcome in outcomes}
    worth = [action for action in plan.actions if is_shown(action)]
    entries = [(action, came_of.get(id(action))) for action in worth]
    entries = [
        (action, outcome)
        for action, outcome in entries
        if outcome is None or outcome.report_key not in reported
    ]
    if not entries:
        return
    lines = [
        _entry(action, outcome, dry_run=dry_run)
        for action, outcome in entries[: artifacts.MOST_ENTRIES]
    ]
    await artifacts.write(key, lines, _description(plan, len(entries), dry_run=dry_run))


def events(outcomes: Sequence[Outcome]) -> None:
    """Emit an event per completed action; the id is the same for a repeat, so it counts once."""
    for outcome in outcomes:
        action = outcome.action
        if not outcome.done or not is_shown(action):
            continue
        ref = action.command
        subject = (
            f"prefect.cpln.job.{ref.command_id}"
            if ref
            else f"prefect.cpln.flow-run.{action.run_id}"
        )
        resource = {
            "prefect.resource.id": subject,
            "prefect.resource.name": ref.pid if ref else str(action.run_id),
        }
        run = {
            "prefect.resource.id": f"prefect.flow-run.{action.run_id}",
            "prefect.resource.role": "flow-run",
        }
        emit_event(
            f"{_EVENT}.{action.kind}",
            resource=resource,
            related=[run] if action.run_id else [],
            payload={"reason": action.reason, "pid": ref.pid if ref else None},
            id=event_id(action),
        )


def _description(plan: Plan, actions: int, *, dry_run: bool) -> str:
    when = plan.now.isoformat(timespec="seconds")
    counts = f"{actions} actions, {len(plan.changes)} changes"
    said = [f"{counts} of {plan.judged} runs and jobs checked, {when}"]
    if dry_run:
        said.append("a dry run: nothing was done")
    if plan.withheld:
        said.append(f"nothing was done: {plan.withheld}")
    if actions > artifacts.MOST_ENTRIES:
        said.append(f"the first {artifacts.MOST_ENTRIES} are shown")
    said += [f"not read: {what}" for what in plan.unread]
    return "; ".join(said)


def _entry(action: Action, outcome: Outcome | None, *, dry_run: bool) -> str:
    ref = action.command
    result = ("planned" if dry_run else "withheld") if outcome is None else _result(outcome)
    about = [str(action.kind), result]
    if action.run_id:
        about.append(
            "flow run "
            + artifacts.link(
                str(action.run.name if action.run else action.run_id), _run_url(action)
            )
        )
    if ref:
        about.append("workload " + artifacts.link(ref.workload, console_url(ref.workload_ref.path)))
    return artifacts.entry(about, action.reason)


def _result(outcome: Outcome) -> str:
    if outcome.done:
        return "done"
    return f"failed: {outcome.said}" if outcome.failed else outcome.said


def _run_url(action: Action) -> str | None:
    return url_for("flow-run", obj_id=action.run_id) if action.run_id else None
