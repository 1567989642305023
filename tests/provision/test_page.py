"""The page of the documentation is written from the table, and the README refers to it."""

import re
from pathlib import Path

from cpln_flows.provision import page
from cpln_flows.provision.permissions import NEEDS, Feature

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "permissions.md"


def test_page_in_the_docs_is_that_of_the_table() -> None:
    assert PAGE.read_text() == page.as_markdown(), "run `poe permissions`"


def test_page_has_each_need_and_what_the_token_lacks() -> None:
    text = page.as_markdown()
    assert len(re.findall(r"^\| the ", text, re.MULTILINE)) == len(NEEDS)
    assert "reads no logs" in " ".join(text.split())
    prose = [line for line in text.splitlines() if not line.startswith(("|", "cpln"))]
    assert max(map(len, prose)) <= 130


def test_readme_refers_to_the_sections_of_the_page() -> None:
    linked = re.findall(r"docs/permissions\.md#([a-z-]+)", (ROOT / "README.md").read_text())
    assert {"sync", "cleanup", "jobs", "logs", "secrets"} <= set(linked) <= {*Feature, "the-key"}
