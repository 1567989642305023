"""What a cycle leaves behind for people: an artifact of what changed and why, and an event for each action."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

import yaml
from prefect.artifacts import acreate_markdown_artifact
from prefect.events import emit_event
from prefect.utilities.urls import url_for

from cpln_flows.jobs.journal import Journal, Logger
from cpln_flows.model.identifiers import Area
from cpln_flows.reconcile.act import Outcome
from cpln_flows.reconcile.actions import Action, event_id, is_shown
from cpln_flows.reconcile.inventory import Deleted
from cpln_flows.reconcile.masking import HIDDEN
from cpln_flows.reconcile.orphans import Sweep
from cpln_flows.reconcile.plan import Plan
from cpln_flows.settings import console_url

CLEANUP = "cpln-cleanup"
MANIFESTS = "cpln-cleanup-manifests"
_MOST_ROWS = 1000
_LONGEST = 2000
_SPECIAL = re.compile(r"[\\`*_|\[\]~]")
_EVENT = "prefect.cpln.sync"


async def changes(key: str, plan: Plan, outcomes: Sequence[Outcome], reported: Collection[str], *, dry_run: bool) -> None:
    """Write the artifact of a cycle that changed something, would have, or was withheld; an idle cycle writes none.

    The artifact is a list with the evidence below each action: Prefect's UI cuts the cells of a table off.

    Args:
        key: The artifact's key: lower case and dashes.
        plan: What was intended.
        outcomes: What came of it; none of a plan that was not carried out.
        reported: Keys of what was reported before: that an action failed again for the same reason is nothing new.
        dry_run: Whether nothing was to be done.
    """
    came_of = {id(outcome.action): outcome for outcome in outcomes}
    worth = [action for action in plan.actions if is_shown(action)]
    entries = [(action, came_of.get(id(action))) for action in worth]
    entries = [(action, outcome) for action, outcome in entries if outcome is None or outcome.report_key not in reported]
    if not entries:
        return
    lines = [_entry(action, outcome, dry_run=dry_run) for action, outcome in entries[:_MOST_ROWS]]
    await _write(key, lines, _description(plan, len(entries), dry_run=dry_run))


async def _write(key: str, entries: Sequence[str], description: str) -> None:
    text = "\n".join((escaped(description), "", *entries, ""))
    await acreate_markdown_artifact(text, key=key, description=description)


def events(outcomes: Sequence[Outcome]) -> None:
    """Emit one event for each action that was done; the same action again has the same id and is no second event."""
    for outcome in outcomes:
        action = outcome.action
        if not outcome.done or not is_shown(action):
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
            id=event_id(action),
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
    if dry_run:
        for deletion in sweep.deletions[:_MOST_ROWS]:
            Journal(logger, deletion.context).info(Area.CLEANUP, f"dry run, would delete {deletion.link}: {deletion.reason}")
    summary = sweep_summary(sweep) if dry_run else f"{done} deleted, {_kept(sweep)}"
    journal.info(Area.CLEANUP, f"dry run: {summary}" if dry_run else summary)
    if not sweep.deletions:
        return
    came_of = {one.deletion.link: "done" if one.done else one.said for one in deleted}
    planned = "planned" if dry_run else "withheld"
    entries = [
        _lines(["delete", came_of.get(one.link, planned), _link(one.link, console_url(one.link))], one.reason)
        for one in sweep.deletions[:_MOST_ROWS]
    ]
    await _write(CLEANUP, entries, f"{summary}, {sweep.now.isoformat(timespec='seconds')}")


def sweep_summary(sweep: Sweep) -> str:
    """Say what a clean-up would do."""
    return f"{len(sweep.deletions)} to delete, {_kept(sweep)}"


def _kept(sweep: Sweep) -> str:
    return f"{sweep.kept} workloads kept, {len(sweep.unread)} not read"


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


def _entry(action: Action, outcome: Outcome | None, *, dry_run: bool) -> str:
    ref = action.command
    result = ("planned" if dry_run else "withheld") if outcome is None else _result(outcome)
    about = [str(action.kind), result]
    if action.run_id:
        about.append("flow run " + _link(str(action.run.name if action.run else action.run_id), _run_url(action)))
    if ref:
        about.append("workload " + _link(ref.workload, console_url(ref.workload_ref.path)))
    return _lines(about, action.reason)


def _lines(about: Sequence[str], evidence: str) -> str:
    """Return an entry of a list: what was done to what, and below it why."""
    what, result, *rest = about
    return " · ".join((f"- **{escaped(what)}**", escaped(result), *rest)) + f"  \n  {escaped(evidence)}"


def _result(outcome: Outcome) -> str:
    if outcome.done:
        return "done"
    return f"failed: {outcome.said}" if outcome.failed else outcome.said


def _run_url(action: Action) -> str | None:
    return url_for("flow-run", obj_id=action.run_id) if action.run_id else None


def _link(text: str, url: str | None) -> str:
    return f"[{escaped(text)}]({url})" if url else escaped(text)


def escaped(text: str) -> str:
    r"""Return text as one line of markdown that shows it as it is: names and messages are other people's.

    >>> print(escaped("<b> *exit* | [x](y)"))
    &lt;b> \*exit\* \| \[x\](y)
    """
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text[:_LONGEST].split())).replace("<", "&lt;")
