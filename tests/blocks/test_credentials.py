import anyio
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentCreate
from pydantic import SecretStr, ValidationError

from cpln_flows import CplnConfig, CplnCredentials
from cpln_flows.errors import ConfigurationError
from cpln_flows.settings import CplnSettings

CANARY = "s.canary-block-0123456789"


def test_names_and_slugs_are_those_of_prefect_cpln() -> None:
    assert (CplnConfig.get_block_type_slug(), CplnConfig.get_block_type_name()) == (
        "control-plane-configuration",
        "Control Plane Configuration",
    )
    assert CplnCredentials.get_block_type_slug() == "control-plane-credentials"


def test_the_token_comes_from_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", CANARY)
    assert CplnConfig().token == SecretStr(CANARY)
    assert CplnCredentials().api_settings().token == SecretStr(CANARY)


def test_a_given_token_beats_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.other")
    assert CplnCredentials(config=CplnConfig(token=CANARY)).api_settings().token == SecretStr(
        CANARY
    )


def test_without_a_token_the_error_says_where_to_put_one() -> None:
    with pytest.raises((ConfigurationError, ValidationError), match="CPLN_TOKEN"):
        CplnConfig()
    with pytest.raises(ConfigurationError, match="CPLN_TOKEN"):
        CplnCredentials().api_settings()


def test_the_token_counts_as_required_so_that_references_to_the_block_can_be_told_from_it() -> None:
    assert CplnConfig.model_json_schema()["required"] == ["token"]


def test_the_token_is_in_no_text_of_the_block() -> None:
    block = CplnCredentials(config=CplnConfig(token=CANARY))
    shown = f"{block!r} {block} {block.model_dump()} {block.model_dump_json()}"
    assert CANARY not in f"{shown} {block.get_client()!r}"


def test_a_client_of_the_block_uses_the_endpoint_of_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_ENDPOINT", "http://127.0.0.1:9")
    client = CplnConfig(token=CANARY).get_api_client()
    assert client.settings.endpoint == "http://127.0.0.1:9"
    assert client.settings.token == SecretStr(CANARY)
    assert CplnSettings.load().endpoint == "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "token", [CANARY, SecretStr(CANARY), f"{CANARY}\n"], ids=["text", "secret", "of-a-file"]
)
@pytest.mark.parametrize(
    "block", [CplnCredentials(), CplnCredentials(config=CplnConfig(token="s.of-the-block"))]
)
def test_token_given_to_the_client_is_used(monkeypatch, token, block) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.other")
    for client in (block.get_client(token), block.get_client(token=token)):
        assert client.settings.token == SecretStr(CANARY)


def test_settings_given_to_the_client_are_used(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.other")
    settings = CplnSettings.load(
        token=SecretStr(CANARY), endpoint="https://api.test", retry_seconds=7
    )
    for client in (
        CplnCredentials().get_client(settings=settings),
        CplnCredentials().get_client(CANARY, settings=settings),
    ):
        assert (client.settings.token, client.settings.endpoint) == (
            SecretStr(CANARY),
            "https://api.test",
        )
        assert client.settings.retry_seconds == 7


@pytest.mark.parametrize("token", ["", " ", SecretStr(""), "a b", "é", "********"])
def test_token_that_is_none_is_not_replaced(monkeypatch, token) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.other")
    with pytest.raises(ConfigurationError, match="token: "):
        CplnCredentials().get_client(token=token)
    if not is_empty(token):
        with pytest.raises(ConfigurationError, match="token: "):
            CplnConfig(token=token).api_settings()


def is_empty(token) -> bool:
    return not str(token.get_secret_value() if isinstance(token, SecretStr) else token).strip()


@pytest.mark.parametrize("token", [None, "", " ", SecretStr("")])
def test_empty_token_of_block_is_environments(monkeypatch, token) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.other")
    assert CplnConfig(token=token).api_settings().token == SecretStr("s.other")
    monkeypatch.delenv("CPLN_TOKEN")
    with pytest.raises(ConfigurationError, match="CPLN_TOKEN"):
        CplnConfig(token=token)


@pytest.mark.parametrize("argument", ["tokn", "endpoint", "timeout"])
def test_unknown_argument_of_the_client_is_refused(argument) -> None:
    with pytest.raises(TypeError, match=argument):
        CplnCredentials(config=CplnConfig(token=CANARY)).get_client(**{argument: "x"})


def test_a_saved_block_hides_its_token_and_loads_it_again(prefect_api) -> None:
    CplnCredentials(config=CplnConfig(token=CANARY)).save("saved-credentials", overwrite=True)
    with get_client(sync_client=True) as client:
        document = client.read_block_document_by_name(
            "saved-credentials", "control-plane-credentials", include_secrets=False
        )
    assert CANARY not in document.model_dump_json()
    assert CplnCredentials.load("saved-credentials").config.token.get_secret_value() == CANARY


def test_a_document_saved_by_prefect_cpln_loads(prefect_api) -> None:
    """It holds the token as plain text, under a schema that does not call it a secret."""
    CplnConfig.register_type_and_schema()
    with get_client(sync_client=True) as client:
        block_type = client.read_block_type_by_slug("control-plane-configuration")
        schema = client.create_block_schema(_old_schema(block_type.id))
        client.create_block_document(
            BlockDocumentCreate(
                name="old-configuration",
                block_type_id=block_type.id,
                block_schema_id=schema.id,
                data={"token": CANARY},
            )
        )
    loaded = CplnConfig.load("old-configuration")
    assert loaded.token == SecretStr(CANARY)
    assert CANARY not in repr(loaded)


def _old_schema(block_type_id):
    from prefect.client.schemas.actions import BlockSchemaCreate

    fields = {
        "title": "CplnConfig",
        "type": "object",
        "properties": {"token": {"title": "Token", "type": "string"}},
        "block_type_slug": "control-plane-configuration",
        "secret_fields": [],
        "block_schema_references": {},
    }
    return BlockSchemaCreate(
        fields=fields, block_type_id=block_type_id, capabilities=[], version="1.0.23"
    )


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize(
    "block", [CplnConfig(token=CANARY), CplnCredentials(config=CplnConfig(token=CANARY))]
)
def test_a_saved_block_has_its_token_when_it_is_loaded(block) -> None:
    name = type(block).__name__.lower()
    block.save(name, overwrite=True)
    loaded = type(block).load(name)
    assert loaded.api_settings().token.get_secret_value() == CANARY


def test_present_token_is_that_of_environment(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.first-0123456789")
    blocks = [CplnCredentials(), CplnCredentials(config=CplnConfig())]
    monkeypatch.setenv("CPLN_TOKEN", "s.renewed-0123456789")
    assert [anyio.run(block.present_token).get_secret_value() for block in blocks] == [
        "s.renewed-0123456789"
    ] * 2


@pytest.mark.parametrize("kind", ["config", "credentials"])
def test_present_token_is_that_of_saved_block(kind, prefect_api) -> None:
    name = f"renewed-{kind}"
    block = CplnConfig(token="s.first-0123456789")
    block = block if kind == "config" else CplnCredentials(config=block)
    block.save(name, overwrite=True)
    loaded = type(block).load(name)
    renewed = CplnConfig(token="s.renewed-0123456789")
    (renewed if kind == "config" else CplnCredentials(config=renewed)).save(name, overwrite=True)
    assert anyio.run(loaded.present_token).get_secret_value() == "s.renewed-0123456789"
