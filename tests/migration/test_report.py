"""A plan in three forms: a table, JSON and markdown that foreign text cannot break out of."""

import json

from cpln_flows.migration import report
from cpln_flows.migration.plan import Item, PausePool, Plan

PLAN = Plan(
    (
        Item("block", "config/a", "stored again", ("gets the schema",), actions=(PausePool("x"),)),
        Item("work pool", "evil | <b>`[x](y)`\n# heading", refused=("exists",)),
        Item("setting", "OLD", "NEW", by_hand=("set NEW instead",)),
        Item("program", "a.py", "rewritten", actions=(PausePool("x"),), diff="-old\n+```new\n"),
        Item("deployment", "f/d"),
    )
)


def test_text_says_what_is_left() -> None:
    text = report.as_text(PLAN, applied=False)
    assert text.endswith("2 changes to be made with --apply; 2 left to do by hand.")
    assert "By hand: setting OLD: set NEW instead" in text
    assert "+```new" in text
    assert report.as_text(Plan(PLAN.items[:1]), applied=True).endswith("1 change made.")


def test_nothing_found_is_said() -> None:
    assert report.as_text(Plan(), applied=False).startswith("Nothing of Control Plane was found")
    assert report.as_text(Plan(PLAN.items[4:]), applied=False).endswith("Nothing to change.")


def test_json_has_every_item() -> None:
    document = json.loads(report.as_json(PLAN, applied=True))
    assert (document["applied"], document["complete"]) == (True, False)
    assert [item["verdict"] for item in document["items"]] == [
        "change",
        "refused",
        "by hand",
        "change",
        "keep",
    ]


def test_markdown_keeps_foreign_text_in_its_cell() -> None:
    text = report.as_markdown(PLAN, applied=True)
    (row,) = [line for line in text.splitlines() if "evil" in line]
    assert row == "| work pool | evil \\| &lt;b>\\`\\[x\\](y)\\` # heading | unchanged | exists |"
    assert [line for line in text.splitlines() if line.startswith("## ")] == [
        "## Refused, and left as it is",
        "## Left to do by hand",
        "## Changes",
        "## Unchanged",
        "## a.py",
    ]
