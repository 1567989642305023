"""What a clean-up leaves for people: what it deleted and why, and manifests to restore it."""

from __future__ import annotations

from collections.abc import Sequence

import yaml
from prefect.artifacts import acreate_markdown_artifact

from cpln_flows import artifacts
from cpln_flows.cleanup.decide import Sweep
from cpln_flows.cleanup.delete import Deleted
from cpln_flows.logger import Journal, Logger
from cpln_flows.model.identifiers import Area
from cpln_flows.reconcile.masking import HIDDEN
from cpln_flows.settings import console_url

CLEANUP = "cpln-cleanup"
MANIFESTS = "cpln-cleanup-manifests"


async def manifests(sweep: Sweep, *, dry_run: bool) -> None:
    """Write the manifests that restore everything a clean-up is about to delete.

    This comes first, because nobody could read them after the deletion.
    """
    if not sweep.deletions or (sweep.withheld and not dry_run):
        return
    text = yaml.dump_all(
        [dict(deletion.manifest) for deletion in sweep.deletions], Dumper=_Readable, sort_keys=False
    )
    description = (
        f"{len(sweep.deletions)} to be deleted, {sweep.now.isoformat(timespec='seconds')};"
        f" {CLEANUP} shows what came of it"
    )
    masked = f" once each `{HIDDEN}` is replaced by its value" if HIDDEN in text else ""
    await acreate_markdown_artifact(
        f"`cpln apply --file` makes these again{masked}:\n\n```yaml\n{text}```\n",
        key=MANIFESTS,
        description=description,
    )


async def of_sweep(
    sweep: Sweep, deleted: Sequence[Deleted], logger: Logger, *, dry_run: bool
) -> None:
    """Log and write as an artifact what a clean-up has deleted, or would have."""
    journal = Journal(logger)
    for what in sweep.unread:
        journal.warning(Area.CLEANUP, f"kept (unreadable): {what}")
    if sweep.withheld:
        journal.warning(Area.CLEANUP, f"nothing is deleted: {sweep.withheld}")
    done = sum(result.done for result in deleted)
    if dry_run:
        for deletion in sweep.deletions[: artifacts.MOST_ENTRIES]:
            Journal(logger, deletion.context).info(
                Area.CLEANUP, f"dry run, would delete {deletion.link}: {deletion.reason}"
            )
    summary = sweep_summary(sweep) if dry_run else f"{done} deleted, {_kept(sweep)}"
    journal.info(Area.CLEANUP, f"dry run: {summary}" if dry_run else summary)
    if not sweep.deletions:
        return
    came_of = {result.deletion.link: "done" if result.done else result.said for result in deleted}
    planned = "planned" if dry_run else "withheld"
    entries = [
        artifacts.entry(
            [
                "delete",
                came_of.get(deletion.link, planned),
                artifacts.link(deletion.link, console_url(deletion.link)),
            ],
            deletion.reason,
        )
        for deletion in sweep.deletions[: artifacts.MOST_ENTRIES]
    ]
    await artifacts.write(CLEANUP, entries, f"{summary}, {sweep.now.isoformat(timespec='seconds')}")


def sweep_summary(sweep: Sweep) -> str:
    """Describe what a clean-up would do."""
    return f"{len(sweep.deletions)} to delete, {_kept(sweep)}"


def _kept(sweep: Sweep) -> str:
    return f"{sweep.kept} workloads kept, {len(sweep.unread)} not read"


class _Readable(yaml.SafeDumper):
    """Writes programs of several lines as they look in a file."""


def _text(dumper: _Readable, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Readable.add_representer(str, _text)
