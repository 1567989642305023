"""One token that must show up nowhere: in no object that holds it, in no output of the process."""

import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from datetime import timedelta

import cloudpickle
import pytest
from prefect import flow
from prefect.utilities.hashing import hash_objects
from pydantic import BaseModel, SecretStr

from cpln_flows import (
    CplnClient,
    CplnConfig,
    CplnCredentials,
    CplnInfrastructure,
    CplnInfrastructureConfig,
    CplnJob,
    CplnJobRun,
    CplnWorker,
    run_namespaced_job,
)
from cpln_flows.api.logs import LogSource
from cpln_flows.cleanup.observe import Observer
from cpln_flows.errors import ConfigurationError, CplnError
from cpln_flows.jobs.session import JobSession
from cpln_flows.jobs.submit import Submitter
from cpln_flows.logger import Journal
from cpln_flows.model.links import GvcRef
from cpln_flows.model.resources import Workload
from cpln_flows.orchestration import JobIdentity
from cpln_flows.settings import ApiSettings, CplnSettings
from cpln_flows.worker import CplnWorkerJobConfiguration
from tests.manifests import LINES, kubernetes_job

pytestmark = pytest.mark.anyio

CANARY = "s.canary-of-every-object-0123456789"
TOKEN = SecretStr(CANARY)
ENVIRONMENT = {"CPLN_TOKEN": CANARY, "CPLN_ORG": "acme", "CPLN_GVC": "dev"}
unpack = pickle.loads
VALUE = "canary-of-every-value-0123456789"  # of a manifest, which may be a secret too


def manifest() -> dict:
    found = kubernetes_job(LINES)
    container = found["spec"]["template"]["spec"]["containers"][0]
    container |= {"env": [{"name": "A", "value": VALUE}], "args": [f"--password={VALUE}"]}
    return found


def job(**fields) -> CplnJob:
    credentials = CplnCredentials(config=CplnConfig(token=CANARY))
    return CplnJob(
        credentials=credentials,
        **{"org": "acme", "namespace": "dev", "v1_job": manifest(), **fields},
    )


def client() -> CplnClient:
    return CplnClient(ApiSettings(token=TOKEN))


def plan():
    return job().plan(JobIdentity.anonymous(), "local-1")


OBJECTS: dict[str, Callable[[], object]] = {
    "configuration": lambda: CplnConfig(token=CANARY),
    "credentials": lambda: CplnCredentials(config=CplnConfig(token=CANARY)),
    "job": job,
    "infrastructure": lambda: CplnInfrastructure(
        command=[f"--password={VALUE}"],
        config=CplnInfrastructureConfig(token=CANARY),
        env={"A": VALUE},
        labels={"a": VALUE},
        job=manifest(),
        customizations=[{"op": "add", "path": "/metadata/labels/a", "value": VALUE}],
    ),
    "run": lambda: CplnJobRun(job(), JobIdentity.anonymous()),
    "settings": CplnSettings.load,
    "api-settings": lambda: CplnSettings.load().api(),
    "client": client,
    "client-of-a-block": job().credentials.get_client,
    "session": lambda: JobSession(client()),
    "plan": plan,
    "submitter": lambda: Submitter(client(), plan(), (), Journal(logging.getLogger()), 1, 1),
    "log": lambda: LogSource(client(), "acme", "{}"),
    "observer": lambda: Observer(client(), "acme", None, timedelta(), lambda: None),
    "workload": lambda: Workload(
        name="a", spec=plan().workload_body(GvcRef("acme", "dev").workload("a"))["spec"]
    ),
    "worker-configuration": lambda: CplnWorkerJobConfiguration(
        command=f"run {VALUE}",
        env={"A": VALUE, "PREFECT_API_KEY": CANARY},
        labels={"a": VALUE},
        config=CplnConfig(token=CANARY),
        job_manifest=manifest(),
    ),
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def environment(monkeypatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_no_text_of_an_object_shows_the_token(make) -> None:
    found = make()
    texts = [
        repr(found),
        str(found),
        f"{found}",
        f"{found!r}",
        repr([found]),
        repr({"a": (found,)}),
    ]
    assert CANARY not in "".join(texts)
    assert VALUE not in "".join(texts)


@pytest.mark.parametrize(
    "name", ["configuration", "credentials", "job", "infrastructure", "settings", "api-settings"]
)
def test_no_dump_of_a_model_holds_the_token(name) -> None:
    found = OBJECTS[name]()
    assert isinstance(found, BaseModel)
    dumps = [
        found.model_dump(),
        found.model_dump(mode="json"),
        found.model_dump_json(),
        dict(found),
        found.model_copy(),
    ]
    dumps += [found.model_dump(context={"include_secrets": False}), found.model_json_schema()]
    assert CANARY not in "".join(map(repr, dumps)) + json.dumps(
        found.model_dump(mode="json"), default=str
    )
    if name == "job":
        stored = run_namespaced_job.serialize_parameters({"cpln_job": found})
        assert CANARY not in json.dumps(stored)
        assert VALUE in json.dumps(stored), (
            "README says that plain values of the manifest are stored"
        )


@pytest.mark.parametrize("dumps", [pickle.dumps, cloudpickle.dumps], ids=["pickle", "cloudpickle"])
@pytest.mark.parametrize("name", ["configuration", "credentials", "job", "run", "settings"])
def test_no_pickle_holds_the_token(name, dumps) -> None:
    found = OBJECTS[name]()
    packed = [
        dumps(found),
        dumps([found]),
        dumps({"parameters": (found, lambda: 1)} if dumps is cloudpickle.dumps else found),
    ]
    packed += [dumps(copy.deepcopy(found)), dumps(copy.copy(found)), dumps(unpack(packed[0]))]
    assert CANARY.encode() not in b"".join(packed)


def test_packed_flow_leaves_the_token_behind() -> None:
    """As Prefect packs it for another process, with the job that its program has."""
    held = job()

    @flow
    def program() -> CplnJob:
        return held

    packed = cloudpickle.dumps(program)
    assert CANARY.encode() not in packed
    assert cloudpickle.loads(packed).fn().credentials.api_settings().token == TOKEN


@pytest.mark.parametrize("name", ["api-settings", "client", "session", "log"])
def test_what_is_of_no_use_without_token_is_not_pickled(name) -> None:
    with pytest.raises(TypeError, match="hold a token"):
        pickle.dumps(OBJECTS[name]())


def test_copies_keep_the_token() -> None:
    for copied in (copy.copy(job()), copy.deepcopy(job()), job().model_copy(deep=True)):
        assert copied.credentials.api_settings().token == TOKEN
        assert copied == job()


def test_pickled_job_takes_the_token_of_its_new_environment(monkeypatch, caplog) -> None:
    packed = pickle.dumps([job(), CplnSettings.load(), CplnCredentials()])
    monkeypatch.setenv("CPLN_TOKEN", "s.rotated")
    loaded, settings, credentials = unpack(packed)
    tokens = [
        loaded.credentials.api_settings().token,
        settings.api().token,
        credentials.api_settings().token,
    ]
    assert [token.get_secret_value() for token in tokens] == ["s.rotated"] * 3
    assert loaded.v1_job == job().v1_job
    assert caplog.messages == [], "it was the environment's before"


def test_pickled_token_of_another_is_not_replaced_silently(monkeypatch, caplog) -> None:
    monkeypatch.setenv("CPLN_TOKEN", "s.other")
    loaded = unpack(pickle.dumps(unpack(pickle.dumps(job()))))
    assert loaded.credentials.api_settings().token.get_secret_value() == "s.other"
    assert loaded.credentials.get_client().settings.token.get_secret_value() == "s.other"
    assert (
        [message for message in caplog.messages if "stayed behind" in message]
        == caplog.messages
        != []
    )
    assert len(caplog.messages) == 1


def test_pickled_job_without_environment_says_what_to_do(monkeypatch) -> None:
    packed = pickle.dumps(job())
    monkeypatch.delenv("CPLN_TOKEN")
    loaded = unpack(packed)
    for use in (
        loaded.credentials.api_settings,
        loaded.credentials.config.get_api_client,
        loaded.credentials.get_client,
    ):
        with pytest.raises(ConfigurationError, match="stayed behind when this block was pickled"):
            use()
    assert loaded.credentials.get_client("s.given").settings.token.get_secret_value() == "s.given"


def test_pickling_survives_a_wrong_environment(monkeypatch) -> None:
    monkeypatch.setenv("CPLN_REQUEST_TIMEOUT", "-1")
    assert CANARY.encode() not in pickle.dumps(CplnConfig(token=CANARY))


@pytest.mark.usefixtures("prefect_api")
@pytest.mark.parametrize("name", ["configuration", "credentials", "job"])
async def test_pickled_block_is_loaded_again_from_its_document(name, monkeypatch) -> None:
    saved = OBJECTS[name]()
    await saved.save(f"canary-{name}", overwrite=True)
    for found in (saved, await type(saved).load(f"canary-{name}")):
        packed = pickle.dumps(found)
        assert CANARY.encode() not in packed
        monkeypatch.setenv("CPLN_TOKEN", "s.other")
        loaded = unpack(packed)
        owner = loaded.credentials if name == "job" else loaded
        assert owner.api_settings().token == TOKEN


@pytest.mark.usefixtures("prefect_api")
async def test_deleted_document_is_no_reason_for_another_token(monkeypatch) -> None:
    saved = OBJECTS["credentials"]()
    await saved.save("canary-deleted", overwrite=True)
    packed = pickle.dumps(saved)
    await CplnCredentials.delete("canary-deleted")
    with pytest.raises(ConfigurationError, match="cannot be loaded again"):
        unpack(packed).api_settings()


def test_equal_inputs_have_one_cache_key() -> None:
    """Prefect makes the key of a task's cache from JSON or, where that fails, from a pickle."""
    assert hash_objects(job(), raise_on_failure=True) == hash_objects(job(), raise_on_failure=True)


@pytest.mark.parametrize(
    "make",
    [
        lambda: CplnConfig(token={"a": CANARY}),
        lambda: CplnConfig(token=[CANARY]),
        lambda: CplnCredentials(config=CANARY),
        lambda: CplnCredentials(config={"token": [CANARY]}),
        lambda: CplnJob(credentials=CANARY, v1_job={}),
        lambda: CplnJob(org="a", namespace="b", v1_job=CANARY),
        lambda: CplnJob(org="a", namespace="b", v1_job=[CANARY]),
        lambda: CplnSettings(token=[CANARY]),
        lambda: ApiSettings(token=[CANARY]),
        lambda: ApiSettings(token=TOKEN, retry_seconds=CANARY),
        lambda: CplnSettings.load(token=SecretStr(f"{CANARY}\n{CANARY}")).api(),
        lambda: CplnSettings.load().api(SecretStr(f"{CANARY} é")),
        lambda: CplnWorkerJobConfiguration(command="x", job_manifest=CANARY),
        lambda: CplnWorkerJobConfiguration(command="x", config=CANARY),
        lambda: CplnWorker.job_configuration_variables(
            config=CANARY, env={"A": [CANARY]}, cpu=[CANARY]
        ),
    ],
)
def test_wrong_value_is_quoted_in_no_error(make) -> None:
    with pytest.raises((ValueError, CplnError)) as caught:
        make()
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_masked_token_is_told_from_a_wrong_one() -> None:
    stored = run_namespaced_job.serialize_parameters({"cpln_job": job()})["cpln_job"]
    with pytest.raises(ConfigurationError, match=r"row of asterisks.*\$ref"):
        CplnJob.model_validate(stored).credentials.api_settings()
