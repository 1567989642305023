from uuid import UUID, uuid4

import pytest
from prefect.settings import Settings
from pydantic import BaseModel, SecretStr

from cpln_flows.api import secrets
from cpln_flows.manifest.manifest import ContainerSpec, JobManifest
from cpln_flows.worker import environment
from cpln_flows.worker.secret_variables import SecretVariables

CANARY = "canary-of-every-setting"
URL = f"https://me:{CANARY}@prefect.example/api"


def every_setting(model: type[BaseModel] = Settings):
    """Each setting of Prefect, as the variable that its worker has it in, and its field."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from every_setting(field.annotation)
        else:
            yield f"{model.model_config.get('env_prefix', '')}{name}".upper(), field.annotation


EVERY = dict(every_setting())


@pytest.fixture
def hashed_quickly(monkeypatch) -> None:
    monkeypatch.setattr("cpln_flows.worker.secret_variables._ROUNDS", 1)


def job(settings: dict[str, str]) -> dict[str, str]:
    """The variables of a job whose worker has these settings and hides what is to be hidden."""
    manifest = JobManifest((ContainerSpec("main", "python", env=environment.travelling(settings)),))
    found = SecretVariables.of(manifest, {}, credentials=True)
    return dict(found.referred_to(manifest, found.secret_of(UUID(int=1))).main.env)


@pytest.mark.usefixtures("hashed_quickly")
def test_no_setting_takes_a_credential_along_in_clear() -> None:
    for name, annotation in EVERY.items():
        kinds = set(environment._kinds(annotation))
        if kinds & {str, SecretStr}:
            assert CANARY not in str(job({name: CANARY if SecretStr in kinds else URL})), name


@pytest.mark.usefixtures("hashed_quickly")
def test_credentials_of_a_worker_travel_as_its_key_does(monkeypatch) -> None:
    given = {
        "PREFECT_API_KEY": CANARY,
        "PREFECT_API_AUTH_STRING": f"me:{CANARY}",
        "PREFECT_API_URL": URL,
        "PREFECT_CLIENT_CUSTOM_HEADERS": f'{{"CF-Access-Client-Secret": "{CANARY}"}}',
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = Settings().to_environment_variables(exclude_unset=True)
    assert {name: settings[name] for name in given} == given
    for name in given:
        assert job(settings)[name].startswith("cpln://secret/prefect-api-")
        assert job(settings)[name].endswith(f".{name}")


def test_secrets_of_prefects_model_are_known_by_all_their_names() -> None:
    secret = {
        name for name, annotation in EVERY.items() if SecretStr in environment._kinds(annotation)
    }
    assert len(secret) >= 5
    assert secret < environment.SECRET_VARIABLES
    assert "PREFECT_API_DATABASE_CONNECTION_URL" in environment.SECRET_VARIABLES, (
        "another name of the server's"
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("PREFECT_API_URL", "http://prefect/api", False),
        ("PREFECT_API_URL", "http://prefect/api?x=a@b", False),
        ("PREFECT_API_URL", "http://token@prefect/api", True),
        ("PREFECT_LOGGING_EXTRA_LOGGERS", "a@b", False),
        ("PREFECT_LOGGING_LEVEL", "DEBUG", False),
        ("PREFECT_ANYTHING", '["http://a", "http://me:pass@b"]', True),
        ("DATABASE_URL", "postgresql://me:pass@db", False),
    ],
)
def test_user_in_an_address_is_a_credential(name, value, expected) -> None:
    """Of a setting of Prefect: what users set by themselves is theirs."""
    assert environment.holds_credential(name, value) is expected


def test_secret_of_a_key_has_the_name_that_the_clean_up_looks_for() -> None:
    name = SecretVariables({"PREFECT_API_KEY": CANARY}).secret_of(uuid4())
    assert secrets.is_of_keys(name)
    assert not secrets.is_of_keys(f"{name}-x")


def test_what_belongs_to_the_workers_machine_and_server_stays() -> None:
    settings = {
        "PREFECT_API_URL": "http://prefect/api",
        "PREFECT_API_KEY": "key",
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_HOME": "/root/.prefect",
        "PREFECT_PROFILES_PATH": "/root/.prefect/profiles.toml",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": "postgresql://user:password@db",
        "PREFECT_SERVER_EPHEMERAL_ENABLED": "True",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    assert set(environment.travelling(settings)) == {
        "PREFECT_API_URL",
        "PREFECT_API_KEY",
        "PREFECT_LOGGING_LEVEL",
    }
