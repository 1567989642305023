import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.errors import ConfigurationError
from cpln_flows.model.links import CommandRef, GvcRef, WorkloadRef, last_segment

NAME = st.text("abcdefghijklmnopqrstuvwxyz0123456789-.", min_size=1, max_size=40)


@given(NAME, NAME, NAME, NAME)
def test_a_pid_parses_back_to_what_it_was_built_from(org, gvc, workload, command_id) -> None:
    ref = CommandRef(org, gvc, workload, command_id)
    assert CommandRef.parse(ref.pid) == ref
    assert str(ref) == ref.pid


@given(NAME, NAME, NAME)
def test_a_workload_link_parses_back_to_what_it_was_built_from(org, gvc, name) -> None:
    ref = GvcRef(org, gvc).workload(name)
    assert WorkloadRef.parse(ref.path) == ref


@pytest.mark.parametrize("pid", ["", "a:b:c", "a:b:c:d:e", "a:b::d", "a:b:c d:e", "/org/a", "a/b:c:d:e"])
def test_a_malformed_pid_is_refused_with_the_form_it_should_have(pid) -> None:
    with pytest.raises(ConfigurationError, match="org:gvc:workload:command_id"):
        CommandRef.parse(pid)


@pytest.mark.parametrize("link", ["", "etl", "/org/a/workload/b", "/org/a/gvc/b/workload/c/d"])
def test_a_malformed_workload_link_is_refused(link) -> None:
    with pytest.raises(ConfigurationError, match="/org/ORG/gvc/GVC/workload/NAME"):
        WorkloadRef.parse(link)


@pytest.mark.parametrize(
    ("text", "name"),
    [("/org/acme/location/aws-eu", "aws-eu"), ("aws-eu", "aws-eu"), ("//location/aws-eu", "aws-eu"), ("/org/a/location/x/", "x")],
)
def test_the_name_is_the_last_part_of_a_link(text, name) -> None:
    assert last_segment(text) == name


def test_a_command_knows_its_path_and_its_workload() -> None:
    ref = WorkloadRef("acme", "dev", "etl").command("9b38")
    assert ref.path == "/org/acme/gvc/dev/workload/etl/-command/9b38"
    assert ref.workload_ref == WorkloadRef("acme", "dev", "etl")
