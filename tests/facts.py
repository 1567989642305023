"""Count which of the numbered facts about the platform this test run has shown: a pytest plugin."""

import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path

import pytest
import yaml

TESTS = Path(__file__).parent
_PROPERTY = "fact"


@cache
def known() -> dict[str, dict[str, str]]:
    """Return the facts, by group.

    The groups are all facts, those out of scope, those that are modeled in part, and those shown on
    the local platform alone.
    """
    found: dict[str, dict[str, str]] = yaml.safe_load(
        (TESTS / "contract" / "facts.yaml").read_text()
    )
    return found


def in_scope() -> set[str]:
    return set(known()["facts"]) - set(known()["out_of_scope"])


def matched(shown: AbstractSet[str]) -> set[str]:
    """Return the shown facts that count: in scope, and modeled as a whole."""
    return (shown & in_scope()) - set(known()["partly"])


def summary(shown: AbstractSet[str]) -> str:
    """Return the line that reports how many of the facts have been shown."""
    out_of_scope = len(known()["out_of_scope"])
    return (
        f"facts: {len(matched(shown))} matched / {len(in_scope())} in scope"
        f" / {out_of_scope} out of scope"
    )


@cache
def named_by_tests(folder: Path = TESTS) -> frozenset[str]:
    """Every fact that some test names, read from the tests' text."""
    found = re.compile(r"""["'](F\d{3})["']""")
    return frozenset(
        number for path in folder.rglob("*.py") for number in found.findall(path.read_text())
    )


def claimed() -> int:
    """The number of matched facts that the README gives."""
    found = re.search(r"(\d+) of \d+ facts in scope", (TESTS.parent / "README.md").read_text())
    assert found is not None, "README.md does not say how many facts are matched"
    return int(found.group(1))


class Coverage:
    """Collects what the tests of this run have shown, from reports of its other processes too."""

    def __init__(self) -> None:
        self.passed: set[str] = set()
        self.failed: set[str] = set()
        self.skipped: dict[str, str] = {}

    @property
    def shown(self) -> set[str]:
        return self.passed - self.failed

    @property
    def untried(self) -> dict[str, str]:
        """The facts whose tests could all not run here, each with the reason."""
        tried = self.passed | self.failed
        return {number: reason for number, reason in self.skipped.items() if number not in tried}

    def complaint(self, named: AbstractSet[str], claim: int) -> str | None:
        """Return what is wrong with the README's number, or None.

        There is an answer only if every test that names a fact was collected in this run.
        """
        if not named <= self.passed | self.failed | set(self.skipped):
            return None
        found = len(matched(self.shown | set(self.untried)))
        return (
            None
            if found == claim
            else f"README.md says that {claim} facts are matched; in this run it was {found}"
        )

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        numbers = {str(value) for name, value in report.user_properties if name == _PROPERTY}
        if report.failed:
            self.failed |= numbers
        elif report.skipped:
            reason = (
                report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            )
            self.skipped |= dict.fromkeys(numbers, reason.removeprefix("Skipped: "))
        elif report.when == "call":
            self.passed |= numbers

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if (
            self.complaint(named_by_tests(), claimed()) is not None
            and session.exitstatus == pytest.ExitCode.OK
        ):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.passed or self.failed:
            terminalreporter.write_line(summary(self.shown))
        by_reason: Mapping[str, list[str]] = {reason: [] for reason in self.untried.values()}
        for number, reason in sorted(self.untried.items()):
            by_reason[reason].append(number)
        for reason, numbers in by_reason.items():
            terminalreporter.write_line(f"facts not tried here: {' '.join(numbers)}: {reason}")
        if complaint := self.complaint(named_by_tests(), claimed()):
            terminalreporter.write_line(complaint, red=True)


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Coverage())


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers(_PROPERTY):
        unknown = set(mark.args) - set(known()["facts"])
        assert not unknown, f"there is no fact {unknown}"
        item.user_properties += [(_PROPERTY, number) for number in mark.args]
