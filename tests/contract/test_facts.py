"""The list of facts is whole, and the README's number is the one that the tests give."""

import re
from pathlib import Path

from tests.facts import known, named_by_tests, summary

README = (Path(__file__).parents[2] / "README.md").read_text()


def test_every_fact_has_its_place_in_the_list() -> None:
    numbers = [f"F{number:03}" for number in range(1, 187)]
    assert list(known()["facts"]) == numbers
    assert set(known()["out_of_scope"]) | set(known()["partly"]) <= set(numbers)


def test_tests_name_facts_that_exist_and_are_in_scope() -> None:
    assert named_by_tests() <= set(known()["facts"]) - set(known()["out_of_scope"])


def test_the_readme_has_the_number() -> None:
    matched, in_scope, out = re.findall(r"\d+", summary(named_by_tests()))
    assert f"{matched} of {in_scope} facts in scope ({out} are out of scope)" in README


def test_the_readme_lists_what_is_not_modelled() -> None:
    missing = set(known()["facts"]) - set(known()["out_of_scope"]) - (named_by_tests() - set(known()["partly"]))
    assert set(re.findall(r"F\d{3}", README)) == missing
