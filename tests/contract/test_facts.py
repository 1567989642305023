"""The list of facts is whole, and the README's number is the one that the tests give."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.facts import Coverage, known, matched, named_by_tests, summary

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_fact_has_its_place_in_the_list() -> None:
    numbers = [f"F{number:03}" for number in range(1, 201)]
    assert list(known()["facts"]) == numbers
    assert set(known()["out_of_scope"]) | set(known()["partly"]) <= set(numbers)
    assert not set(known()["out_of_scope"]) & set(known()["partly"])


def test_tests_name_facts_that_exist_and_are_in_scope() -> None:
    assert named_by_tests() <= set(known()["facts"]) - set(known()["out_of_scope"])


def test_the_readme_has_the_number() -> None:
    matched, in_scope, out = re.findall(r"\d+", summary(named_by_tests()))
    assert f"{matched} of {in_scope} facts in scope ({out} are out of scope)" in README


def test_the_readme_lists_what_is_not_modelled() -> None:
    missing = (
        set(known()["facts"])
        - set(known()["out_of_scope"])
        - (named_by_tests() - set(known()["partly"]))
    )
    assert set(re.findall(r"F\d{3}", README)) == missing


def test_what_no_test_of_the_contract_shows_is_listed_as_local() -> None:
    only = matched(named_by_tests()) - named_by_tests(Path(__file__).parent)
    assert only == set(known()["local_only"])
    assert f"All but {len(only)} of these" in README


# Put together, so that this file does not count among the tests that name these facts.
ONE, TWO, THREE = (f"F{number:03}" for number in (7, 8, 9))


def report(outcome, *numbers, when="call", longrepr=None):
    facts = [("fact", number) for number in numbers]
    return SimpleNamespace(
        user_properties=facts,
        failed=outcome == "failed",
        skipped=outcome == "skipped",
        passed=outcome == "passed",
        when=when,
        longrepr=longrepr,
    )


NO_NPM = {"when": "setup", "longrepr": ("vendor_cli.py", 27, "Skipped: npm is needed")}


@pytest.mark.parametrize(
    ("reports", "untried", "complains"),
    [
        pytest.param([report("passed", ONE, TWO)], {}, False, id="all-passed"),
        pytest.param([report("passed", ONE)], {}, False, id="not-all-were-collected"),
        pytest.param(
            [report("passed", ONE), report("skipped", TWO, **NO_NPM)],
            {TWO: "npm is needed"},
            False,
            id="one-not-tried",
        ),
        pytest.param(
            [report("passed", ONE, TWO), report("skipped", TWO, **NO_NPM)],
            {},
            False,
            id="shown-by-another-test",
        ),
        pytest.param(
            [report("passed", ONE, TWO), report("failed", TWO)], {}, True, id="one-test-failed"
        ),
        pytest.param(
            [report("failed", TWO, when="setup"), report("passed", ONE)],
            {},
            True,
            id="could-not-begin",
        ),
        pytest.param([report("passed", ONE, TWO, THREE)], {}, True, id="more-than-claimed"),
        pytest.param(
            [report("passed", ONE), report("passed", TWO, when="setup")],
            {},
            False,
            id="a-setup-shows-nothing",
        ),
    ],
)
def test_the_number_is_compared_with_what_passed(reports, untried, complains) -> None:
    coverage = Coverage()
    for each in reports:
        coverage.pytest_runtest_logreport(each)
    assert coverage.untried == untried
    assert (coverage.complaint({ONE, TWO}, 2) is not None) is complains


@pytest.mark.parametrize(
    ("more", "status"), [(0, pytest.ExitCode.OK), (1, pytest.ExitCode.TESTS_FAILED)]
)
def test_a_run_that_shows_another_number_fails(monkeypatch, more, status) -> None:
    coverage, session = Coverage(), SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    coverage.pytest_runtest_logreport(report("passed", *named_by_tests()))
    monkeypatch.setattr("tests.facts.claimed", lambda: len(matched(named_by_tests())) + more)
    coverage.pytest_sessionfinish(session)
    assert session.exitstatus == status
