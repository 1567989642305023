"""Secrets that a deployment or a run gives its job, and the key to Prefect's API.

No job carries them in clear text.
"""

import logging
from uuid import uuid4

import anyio
import pytest
from prefect.blocks.core import Block
from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_KEY, temporary_settings
from prefect.states import Pending
from pydantic import SecretStr

from cpln_flows import CplnWorker
from cpln_flows.emulator import Platform, PlatformConfig
from cpln_flows.errors import ConfigurationError
from cpln_flows.worker import CplnWorkerJobConfiguration
from tests.scenarios import pools
from tests.scenarios.permissions import DOCUMENTED, grant, limited
from tests.scenarios.pools import Pool
from tests.worker.test_run import _run_and
from tests.worker.test_worker import _said_at_start

CANARY = "canary-of-a-variable"
KEY = "pnu_canary0123456789"
ENFORCING = pytest.mark.parametrize(
    "local",
    [
        lambda: Platform(
            PlatformConfig(token="s.root", tokens={"s.root": "/org/local/group/superusers"})
        )
    ],
    indirect=True,
)
LIMITED = pytest.mark.parametrize("local", [limited], indirect=True)

pytestmark = [pytest.mark.usefixtures("prefect_api"), pytest.mark.xdist_group("worker-in-its-pool")]


class Database(Block):
    """A block with a secret and something else."""

    host: str
    password: SecretStr


def _secret() -> str:
    """Save a Secret block; returns its reference."""
    name = f"canary-{uuid4().hex[:8]}"
    Secret(value=CANARY).save(name)
    return f"{{{{ prefect.blocks.secret.{name} }}}}"


def _exits_well_if(*conditions: str) -> str:
    return pools.command(
        f"import os, sys; e = os.environ; sys.exit(not ({' and '.join(conditions)}))"
    )


def _runs(pool: Pool, command: str, **variables) -> str:
    """Run a job to its end, which must be a good one.

    Returns:
        Everything that the platform and the run's log show of it.
    """
    run_id = pool.start(pool.deploy(command=command, **variables), Pending())
    assert _run_and(pool, run_id, wait_for_container=False).status_code == 0
    platform = pool.local.platform
    return (
        f"{platform.commands()} {platform.workloads()} {pools.messages(run_id)}"
        f" {pools.read(run_id).model_dump_json()}"
    )


@ENFORCING
def test_secret_block_in_a_variable_reaches_the_job_hidden(pool) -> None:
    reference = _secret()
    command = _exits_well_if(
        f"e['PW'] == '{CANARY[::-1]}'[::-1]",
        f"e['URL'] == 'db://u:' + '{CANARY[::-1]}'[::-1] + '@h'",
    )
    shown = _runs(
        pool, command, env={"PW": reference, "URL": f"db://u:{reference}@h", "PLAIN": "seen"}
    )
    assert CANARY not in shown
    assert "seen" in shown


@ENFORCING
def test_secret_field_of_a_block_is_hidden_and_others_are_not(pool) -> None:
    name = f"database-{uuid4().hex[:8]}"
    Database(host="db.example", password=CANARY).save(name)
    env = {
        key: f"{{{{ prefect.blocks.database.{name}.{field} }}}}"
        for key, field in (("PW", "password"), ("H", "host"))
    }
    shown = _runs(
        pool,
        _exits_well_if(f"e['PW'] == '{CANARY[::-1]}'[::-1]", "e['H'] == 'db.' + 'example'"),
        env=env,
    )
    assert CANARY not in shown
    assert "db.example" in shown


@ENFORCING
def test_secret_block_in_the_pools_manifest_is_hidden(local, prefect_api, monkeypatch) -> None:
    for name, value in pools.QUICK.items():
        monkeypatch.setenv(name, value)
    template = CplnWorker.get_default_base_job_template()
    containers = template["job_configuration"]["job_manifest"]["spec"]["template"]["spec"][
        "containers"
    ]
    template["variables"]["properties"]["password"] = {"type": "string", "default": _secret()}
    containers[0]["env"] = [{"name": "PW", "value": "{{ password }}"}]
    waiting = f"import os, time; assert os.environ['PW'] == '{CANARY[::-1]}'[::-1]; time.sleep(60)"
    sidecar = {"name": "proxy", "image": "python", "command": ["python", "-c", waiting]}
    containers.append({**sidecar, "env": [{"name": "PW", "value": "{{ password }}"}]})
    pool = Pool(local, prefect_api, template)
    assert CANARY not in _runs(pool, _exits_well_if(f"e['PW'] == '{CANARY[::-1]}'[::-1]"))


def _made(**values) -> CplnWorkerJobConfiguration:
    template = CplnWorker.get_default_base_job_template()
    return anyio.run(CplnWorkerJobConfiguration.from_template_and_values, template, values)


def test_secret_text_of_a_program_is_taken() -> None:
    made = _made(env={"PW": SecretStr(CANARY)})
    assert [one.get_secret_value() for one in made.secrets.values()] == [CANARY]
    assert CANARY not in f"{made!r} {made.model_dump()}"


@pytest.mark.parametrize("field", ["command", "image", "name", "location"])
def test_secret_elsewhere_than_in_a_variable_is_refused(field) -> None:
    with pytest.raises(
        ConfigurationError,
        match=rf"{field}.*: a secret can only be the value of an environment variable",
    ):
        _made(**{field: f"run {_secret()}"})


def test_mask_of_a_secret_is_refused() -> None:
    refusal = (
        r"env\.PW: the value is \*+, the mask that Prefect's server stores in place of a SecretStr"
    )
    with pytest.raises(ConfigurationError, match=refusal):
        _made(env={"PW": str(SecretStr("x"))})


def test_reference_to_no_block_is_left_to_prefect() -> None:
    with pytest.raises(Exception, match="Block not found: 'nobodys' of type 'secret'"):
        _made(env={"PW": "{{ prefect.blocks.secret.nobodys }}"})


@LIMITED
def test_secret_that_may_not_be_stored_is_an_error(pool) -> None:
    grant(pool.local.url, DOCUMENTED)
    run_id = pool.start(pool.deploy(command="true", env={"PW": _secret()}), Pending())
    refusal = "the values of PW are secrets, and the worker's token may not store them"
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigurationError, match=refusal)):
        _run_and(pool, run_id, wait_for_container=False)
    assert pool.local.platform.workloads() == []


@LIMITED
def test_key_that_may_not_be_stored_travels_in_clear_and_that_is_said(pool, caplog) -> None:
    grant(pool.local.url, DOCUMENTED)
    with temporary_settings({PREFECT_API_KEY: KEY}):
        said = _said_at_start(pool, caplog)
    (warning,) = [text for text in said if "in clear text, visible to anyone" in text]
    assert "PREFECT_API_KEY" in warning
    assert KEY not in warning
    assert "PREFECT_API_KEY" not in _runs(pool, _exits_well_if("e['K'] == '1'"), env={"K": "1"})
    assert KEY in _runs(
        pool, _exits_well_if(f"e['PREFECT_API_KEY'] == '{KEY}'"), env={"PREFECT_API_KEY": KEY}
    )


@ENFORCING
def test_key_is_stored_by_default_and_that_is_said(pool, caplog) -> None:
    with temporary_settings({PREFECT_API_KEY: KEY}):
        said = _said_at_start(pool, caplog)
    assert any(
        "Jobs get the credentials for Prefect's API from the secret prefect-api-" in text
        for text in said
    )
    assert KEY not in f"{said}{pool.local.platform.workloads()}"


@LIMITED
def test_token_that_has_to_store_the_key_and_may_not_is_refused(pool, caplog, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_CPLN_WORKER_STORE_PREFECT_API_IN_SECRET", "true")
    grant(pool.local.url, DOCUMENTED)
    with temporary_settings({PREFECT_API_KEY: KEY}), caplog.at_level(logging.INFO):
        said = _said_at_start(pool, caplog)
    assert any("Not ready to run jobs" in text and "secret" in text for text in said)


def test_key_stays_in_clear_where_the_setting_says_so(pool, caplog, monkeypatch) -> None:
    monkeypatch.setenv("PREFECT_CPLN_WORKER_STORE_PREFECT_API_IN_SECRET", "false")
    with temporary_settings({PREFECT_API_KEY: KEY}):
        _said_at_start(pool, caplog)
    assert pool.local.platform.objects("secret") == []
