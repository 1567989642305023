"""Where a maintenance flow works: organization and GVC, from its arguments or the environment.

Both may be names or links.
"""

import pytest

from cpln_flows import ConfigurationError, SyncOptions
from cpln_flows.flows.sync import _SETTINGS
from cpln_flows.settings import CplnSettings
from cpln_flows.tasks.connection import place


@pytest.mark.parametrize(
    ("given", "environment", "found"),
    [
        pytest.param(("/org/acme", "/org/acme/gvc/dev"), None, ("acme", "dev"), id="links"),
        pytest.param(
            (None, "//gvc/dev"), "acme", ("acme", "dev"), id="the-organization-of-the-environment"
        ),
        pytest.param(
            (None, "/org/acme/gvc/dev"), None, ("acme", "dev"), id="the-organization-of-the-link"
        ),
        pytest.param(("acme", None), "other", ("acme", None), id="no-gvc-is-all-of-them"),
    ],
)
def test_names_come_from_links(given, environment, found) -> None:
    assert place(*given, CplnSettings.load(org=environment)) == found


@pytest.mark.parametrize(
    ("given", "says"),
    [
        pytest.param((None, None), "set CPLN_ORG", id="no-organization"),
        pytest.param(
            ("b", "/org/acme/gvc/dev"),
            "'acme', and the organization given is 'b'",
            id="they-disagree",
        ),
        pytest.param(
            ("/gvc/x", None),
            "expected a name such as acme, or a link such as /org/acme",
            id="no-link-of-one",
        ),
    ],
)
def test_wrong_place_is_one_sentence(given, says) -> None:
    with pytest.raises(ConfigurationError, match=says):
        place(*given, CplnSettings.load())


def test_wrong_option_is_one_sentence() -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"^SyncOptions: max_share: expected a value less .*, found 2; miss: is not a field",
    ):
        SyncOptions(max_share=2, miss=5)


def test_option_beats_setting(monkeypatch) -> None:
    for name, value in {
        "FAILED_AS": "FAILED",
        "FINAL_GRACE": "7",
        "CANCEL_GRACE": "8",
        "MISSES": "2",
    }.items():
        monkeypatch.setenv(f"CPLN_{name}", value)
    settings = CplnSettings.load()
    assert SyncOptions().policy(settings) == settings.policy()
    assert (settings.policy().failed_as, settings.policy().misses) == ("FAILED", 2)
    chosen = SyncOptions(stop_grace_seconds=9, failed_as="CRASHED", max_changes=3).policy(settings)
    assert (chosen.stop_grace.total_seconds(), chosen.cancel_grace.total_seconds()) == (9, 8)
    assert (chosen.failed_as, chosen.limits.most) == ("CRASHED", 3)


def test_every_shared_option_has_a_setting() -> None:
    options, graces = (
        SyncOptions.model_fields,
        {"failed_as", "misses"} | {f for f in SyncOptions.model_fields if "_seconds" in f},
    )
    assert graces == set(_SETTINGS)
    assert set(_SETTINGS.values()) <= set(CplnSettings.model_fields)
    assert all(options[name].default is None for name in graces)
