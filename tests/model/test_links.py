import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.errors import ConfigurationError
from cpln_flows.model import links
from cpln_flows.model.links import CommandRef, GvcRef, Named, WorkloadRef, last_segment

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


@pytest.mark.parametrize(
    "pid", ["", "a:b:c", "a:b:c:d:e", "a:b::d", "a:b:c d:e", "/org/a", "a/b:c:d:e"]
)
def test_a_malformed_pid_is_refused_with_the_form_it_should_have(pid) -> None:
    with pytest.raises(ConfigurationError, match="org:gvc:workload:command_id"):
        CommandRef.parse(pid)


@pytest.mark.parametrize("link", ["", "etl", "/org/a/workload/b", "/org/a/gvc/b/workload/c/d"])
def test_a_malformed_workload_link_is_refused(link) -> None:
    with pytest.raises(ConfigurationError, match="/org/ORG/gvc/GVC/workload/NAME"):
        WorkloadRef.parse(link)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("/org/acme/location/aws-eu", "aws-eu"),
        ("aws-eu", "aws-eu"),
        ("//location/aws-eu", "aws-eu"),
        ("/org/a/location/x/", "x"),
    ],
)
def test_the_name_is_the_last_part_of_a_link(text, name) -> None:
    assert last_segment(text) == name


def test_a_command_knows_its_path_and_its_workload() -> None:
    ref = WorkloadRef("acme", "dev", "etl").command("9b38")
    assert ref.path == "/org/acme/gvc/dev/workload/etl/-command/9b38"
    assert ref.workload_ref == WorkloadRef("acme", "dev", "etl")


@given(NAME, NAME)
def test_link_gives_the_name_that_it_was_made_of(org, name) -> None:
    assert links.organization(f"/org/{org}") == links.organization(org) == org
    assert links.gvc(f"/org/{org}/gvc/{name}") == Named(name, org)
    assert links.gvc(f"//gvc/{name}/") == links.gvc(name) == Named(name)
    assert (
        links.location(f"/org/{org}/location/{name}")
        == links.location(f" //location/{name} ")
        == name
    )


@pytest.mark.parametrize(
    ("read", "text"),
    [
        pytest.param(links.organization, "/gvc/dev", id="no-org"),
        pytest.param(links.organization, "/org/acme/gvc/dev", id="more-than-an-org"),
        pytest.param(links.gvc, "/org/acme", id="no-gvc"),
        pytest.param(links.gvc, "/org/acme/gvc/dev/workload/x", id="more-than-a-gvc"),
        pytest.param(links.location, "//gvc/dev", id="no-location"),
        pytest.param(links.location, " ", id="nothing"),
        pytest.param(links.gvc, "a:b", id="part-of-a-pid"),
        pytest.param(links.organization, "/org/" + "x" * 100_000 + "!", id="long"),
    ],
)
def test_link_of_something_else_is_refused_with_both_forms(read, text) -> None:
    with pytest.raises(
        ValueError, match=r"expected a name such as \S+, or a link such as /org/acme.*, found '"
    ) as caught:
        read(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("org", "text", "found"),
    [
        pytest.param("acme", "dev", Named("dev", "acme"), id="name"),
        pytest.param("acme", "/org/acme/gvc/dev", Named("dev", "acme"), id="link-that-agrees"),
        pytest.param(
            None, "/org/acme/gvc/dev", Named("dev", "acme"), id="link-that-says-the-organization"
        ),
        pytest.param(None, "dev", Named("dev"), id="no-organization"),
    ],
)
def test_gvc_and_organization_come_together(org, text, found) -> None:
    assert links.gvc_of(org, text) == found


def test_gvc_of_another_organization_names_both() -> None:
    with pytest.raises(
        ValueError,
        match=(
            "'/org/acme/gvc/dev' is in the organization 'acme', and the organization given is 'b'"
        ),
    ):
        links.gvc_of("b", "/org/acme/gvc/dev")
