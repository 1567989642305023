"""Counts which of the numbered facts about the platform this test run has shown; a plugin of pytest."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).parent
_PROPERTY = "fact"


@cache
def known() -> dict[str, dict[str, str]]:
    """The facts, those out of scope, and those that are modelled in part."""
    found: dict[str, dict[str, str]] = yaml.safe_load((TESTS / "contract" / "facts.yaml").read_text())
    return found


def in_scope() -> set[str]:
    return set(known()["facts"]) - set(known()["out_of_scope"])


def summary(shown: set[str]) -> str:
    """The line that says how many of the facts have been shown."""
    matched = (shown & in_scope()) - set(known()["partly"])
    return f"facts: {len(matched)} matched / {len(in_scope())} in scope / {len(known()['out_of_scope'])} out of scope"


def named_by_tests() -> set[str]:
    """Every fact that some test names, read from the tests' text."""
    return {number for path in TESTS.rglob("*.py") for number in _named(ast.parse(path.read_text()))}


def _named(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"F\d{3}", node.value):
            yield node.value


class Coverage:
    """What the tests of this run have shown; reports come from the other processes of the run too."""

    def __init__(self) -> None:
        self.passed: set[str] = set()
        self.failed: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        numbers = {str(value) for name, value in report.user_properties if name == _PROPERTY}
        if report.failed:
            self.failed |= numbers
        elif report.when == "call" and report.passed:
            self.passed |= numbers

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.passed or self.failed:
            terminalreporter.write_line(summary(self.passed - self.failed))


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Coverage())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers(_PROPERTY):
        unknown = set(mark.args) - set(known()["facts"])
        assert not unknown, f"there is no fact {unknown}"
        item.user_properties += [(_PROPERTY, number) for number in mark.args]
