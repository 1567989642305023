"""Where a maintenance flow works: organization and GVC, as names or links, of its arguments or of the environment."""

import pytest

from cpln_flows import ConfigurationError, SyncOptions
from cpln_flows.flows.sync import place
from cpln_flows.settings import CplnSettings


@pytest.mark.parametrize(
    ("given", "environment", "found"),
    [
        pytest.param(("/org/acme", "/org/acme/gvc/dev"), None, ("acme", "dev"), id="links"),
        pytest.param((None, "//gvc/dev"), "acme", ("acme", "dev"), id="the-organization-of-the-environment"),
        pytest.param((None, "/org/acme/gvc/dev"), None, ("acme", "dev"), id="the-organization-of-the-link"),
        pytest.param(("acme", None), "other", ("acme", None), id="no-gvc-is-all-of-them"),
    ],
)
def test_names_come_from_links(given, environment, found) -> None:
    assert place(*given, CplnSettings.load(org=environment)) == found


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param((None, None), "set CPLN_ORG", id="no-organization"),
        pytest.param(("b", "/org/acme/gvc/dev"), "'acme', and the organization given is 'b'", id="they-disagree"),
        pytest.param(("/gvc/x", None), "expected a name such as acme, or a link such as /org/acme", id="no-link-of-one"),
    ],
)
def test_wrong_place_is_one_sentence(given, says) -> None:
    with pytest.raises(ConfigurationError, match=says):
        place(*given, CplnSettings.load())


def test_wrong_option_is_one_sentence() -> None:
    with pytest.raises(
        ConfigurationError, match=r"^SyncOptions: max_share: expected a value less .*, found 2; miss: is not a field"
    ):
        SyncOptions(max_share=2, miss=5)
