import pytest
from pydantic import SecretStr, ValidationError

from cpln_flows.errors import ConfigurationError
from cpln_flows.settings import ApiSettings, CplnSettings, process_environment


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
            {"CPLN_LOCATION": "/org/acme/location/aws-eu-central-1"},
            "location",
            "aws-eu-central-1",
            id="location-link",
        ),
        pytest.param({"CPLN_ORG": "/org/acme"}, "org", "acme", id="org-link"),
        pytest.param({"CPLN_GVC": "//gvc/dev"}, "gvc", "dev", id="gvc-link"),
        pytest.param({"CPLN_GVC": "/org/acme/gvc/dev"}, "org", "acme", id="gvc-link-says-the-org"),
        pytest.param(
            {"CPLN_LOCATION": "aws-eu-central-1"},
            "location",
            "aws-eu-central-1",
            id="location-name",
        ),
        pytest.param(
            {"PREFECT_AGENT_CPLN_MONITOR_INTERVAL": "15"},
            "monitor_interval_seconds",
            15,
            id="seeds-interval",
        ),
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


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        pytest.param(
            {"CPLN_ORG": "b", "CPLN_GVC": "/org/acme/gvc/dev"},
            "CPLN_GVC: .*'acme', and .*'b'",
            id="they-disagree",
        ),
        pytest.param(
            {"CPLN_ORG": "//gvc/dev"},
            "CPLN_ORG: expected a name such as acme, or a link such as /org/acme",
            id="org",
        ),
        pytest.param(
            {"CPLN_LOCATION": "/org/acme"},
            "CPLN_LOCATION: expected .*found '/org/acme'",
            id="location",
        ),
        pytest.param(
            {"CPLN_RETRY_SECONDS": "soon"},
            "CPLN_RETRY_SECONDS: expected a valid number, found 'soon'",
            id="number",
        ),
    ],
)
def test_wrong_variable_is_one_sentence(monkeypatch, environment, says) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(ConfigurationError, match=f"^wrong setting: {says}.*; correct or unset it$"):
        CplnSettings.load()


@pytest.mark.parametrize(
    "token", [None, SecretStr(""), SecretStr("  ")], ids=["none", "empty", "blank"]
)
def test_without_a_token_the_error_says_where_to_put_one(token) -> None:
    with pytest.raises(ConfigurationError, match="CPLN_TOKEN"):
        CplnSettings.load().api(token)


def test_the_token_is_not_shown(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.canary")
    settings = CplnSettings.load()
    assert "canary" not in f"{settings!r} {settings} {settings.api()!r} {settings.model_dump()}"


def test_a_slash_at_the_end_of_an_endpoint_does_not_matter() -> None:
    assert (
        CplnSettings.load(token=SecretStr("t"), endpoint="https://api.example.org/").api().endpoint
        == "https://api.example.org"
    )


@pytest.mark.parametrize(
    "variable", ["CPLN_ENDPOINT", "CPLN_LOGS_ENDPOINT", "PREFECT_INTEGRATIONS_CPLN_ENDPOINT"]
)
@pytest.mark.parametrize(
    "url",
    [
        *(
            "https://me:hush@api.test",
            "https://hush@api.test",
            "https://:hush@api.test",
            "https://me:hush@",
            "me:hush@api.test",
        ),
        *(
            "https://me:hush@api.test:99999",
            "https://me:hush@[api.test",
            "https://api.test?token=hush",
            "https://api.test#hush",
        ),
        "hush",
    ],
)
def test_credentials_in_an_endpoint_are_refused(monkeypatch, variable, url) -> None:
    monkeypatch.setenv(variable, url)
    with pytest.raises(ConfigurationError, match=variable.rpartition("_CPLN_")[2]) as caught:
        CplnSettings.load()
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("field", ["endpoint", "logs_endpoint"])
def test_client_takes_no_credentials_in_an_endpoint(field) -> None:
    with pytest.raises(ValidationError) as caught:
        ApiSettings(token=SecretStr("t"), **{field: "https://me:hush@api.test"})
    assert "hush" not in str(caught.value)


def test_wrong_settings_are_not_quoted(monkeypatch) -> None:
    with pytest.raises(ValidationError) as caught:
        CplnSettings(token={"hush": 1}, org=["hush"], endpoint="hush")
    assert "hush" not in str(caught.value)


def test_the_environment_of_a_child_leaves_out_what_it_shall_not_see(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "x")
    monkeypatch.setenv("OTHER", "y")
    assert "CPLN_TOKEN" not in process_environment(without=("CPLN_",))
    assert process_environment(without=("CPLN_",))["OTHER"] == "y"
