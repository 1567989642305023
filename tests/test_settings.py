import pytest
from pydantic import SecretStr

from cpln_flows.errors import ConfigurationError
from cpln_flows.settings import CplnSettings, process_environment


@pytest.mark.parametrize(
    ("environment", "field", "value"),
    [
        pytest.param({"CPLN_ORG": "acme"}, "org", "acme", id="the-platforms-name"),
        pytest.param({"PREFECT_INTEGRATIONS_CPLN_ORG": "acme"}, "org", "acme", id="prefects-form"),
        pytest.param(
            {"CPLN_ORG": "injected", "PREFECT_INTEGRATIONS_CPLN_ORG": "chosen"},
            "org",
            "chosen",
            id="users-choice-beats-injection",
        ),
        pytest.param(
            {"CPLN_LOCATION": "/org/acme/location/aws-eu-central-1"}, "location", "aws-eu-central-1", id="location-link"
        ),
        pytest.param({"CPLN_LOCATION": "aws-eu-central-1"}, "location", "aws-eu-central-1", id="location-name"),
        pytest.param({"PREFECT_AGENT_CPLN_MONITOR_INTERVAL": "15"}, "monitor_interval_seconds", 15, id="seeds-interval"),
        pytest.param({}, "monitor_interval_seconds", 60, id="default-interval"),
        pytest.param({}, "endpoint", "https://api.cpln.io", id="default-endpoint"),
    ],
)
def test_a_setting_is_read_from_the_environment(monkeypatch, environment, field, value) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert getattr(CplnSettings.load(), field) == value


def test_a_given_value_beats_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_ORG", "environment")
    assert CplnSettings.load(org="given").org == "given"


def test_a_value_out_of_bounds_is_named(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_REQUEST_TIMEOUT", "-1")
    with pytest.raises(ConfigurationError, match="CPLN_REQUEST_TIMEOUT"):
        CplnSettings.load()


@pytest.mark.parametrize("token", [None, SecretStr(""), SecretStr("  ")], ids=["none", "empty", "blank"])
def test_without_a_token_the_error_says_where_to_put_one(token) -> None:
    with pytest.raises(ConfigurationError, match="CPLN_TOKEN"):
        CplnSettings.load().api(token)


def test_the_token_is_not_shown(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.canary")
    settings = CplnSettings.load()
    assert "canary" not in f"{settings!r} {settings} {settings.api()!r} {settings.model_dump()}"


def test_a_slash_at_the_end_of_an_endpoint_does_not_matter() -> None:
    assert (
        CplnSettings.load(token=SecretStr("t"), endpoint="https://api.example.org/").api().endpoint == "https://api.example.org"
    )


def test_the_environment_of_a_child_leaves_out_what_it_shall_not_see(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "x")
    monkeypatch.setenv("OTHER", "y")
    assert "CPLN_TOKEN" not in process_environment(without=("CPLN_",))
    assert process_environment(without=("CPLN_",))["OTHER"] == "y"
