"""Values in the texts of errors."""

from cpln_flows.model.display import shown


def test_long_value_is_cut() -> None:
    assert shown("x" * 1000) == "'" + "x" * 59 + "..."
    assert shown("x") == "'x'"
