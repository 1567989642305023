"""Settings of Prefect 2, told from those of Prefect 3 and from people's own variables."""

import pytest

from cpln_flows import ConfigurationError
from cpln_flows.migration import settings
from cpln_flows.migration.settings import Given


@pytest.mark.parametrize(("old", "new"), settings.RENAMED.items())
def test_renamed_setting_names_the_new_one(old, new) -> None:
    (item,) = settings.decide((Given(old, "the environment"),))
    assert (item.becomes, item.verdict) == (new, "by hand")
    assert settings.decide((Given(new, "the environment"),)) == (), (
        "Prefect 3 does not know the new name"
    )


def test_setting_of_the_fork_is_still_read() -> None:
    (item,) = settings.decide(
        settings.of_environment({"PREFECT_AGENT_CPLN_MONITOR_INTERVAL": "60"})
    )
    assert (item.verdict, item.by_hand) == ("keep", ())
    assert "its name is CPLN_MONITOR_INTERVAL now" in item.changes[0]


@pytest.mark.parametrize(
    "name",
    [
        "PREFECT_API_URL",
        "PREFECT_HOME",
        "PREFECT_PROFILE",
        "PREFECT_LOGGING_LEVEL",
        "PREFECT_API_DATABASE_CONNECTION_URL",
        "PATH",
    ],
)
def test_settings_of_prefect_3_need_nothing(name) -> None:
    assert settings.decide(settings.of_environment({name: "x"})) == ()


def test_own_variable_in_the_environment_is_no_setting() -> None:
    assert settings.decide(settings.of_environment({"PREFECT_DEPLOY_BUCKET": "x"})) == ()
    (item,) = settings.decide(settings.of_environment({"PREFECT_ORION_LOGGING_LEVEL": "x"}))
    assert "Prefect 3 has no such setting" in item.by_hand[0]


def test_profiles_are_read_by_name(tmp_path) -> None:
    path = tmp_path / "profiles.toml"
    path.write_text(
        'active = "prod"\n[profiles.prod]\nPREFECT_API_URL = "http://x/api"\n'
        'PREFECT_AGENT_QUERY_INTERVAL = "5"\n'
    )
    (item,) = settings.decide(settings.of_profiles(path))
    assert item.by_hand == (
        (
            "in the profile 'prod': Prefect 3 does not read it;"
            " set PREFECT_WORKER_QUERY_SECONDS instead"
        ),
    )


def test_profiles_that_are_missing_or_broken(tmp_path) -> None:
    assert settings.of_profiles(tmp_path / "none.toml") == ()
    (tmp_path / "broken.toml").write_text("[profiles")
    with pytest.raises(
        ConfigurationError, match=r"broken\.toml: the file of Prefect's profiles cannot be read"
    ):
        settings.of_profiles(tmp_path / "broken.toml")
