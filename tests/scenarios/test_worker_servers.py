"""A worker under a Prefect server of its own, which tears down what does not cancel.

With SQLite, and with PostgreSQL.
"""

import getpass
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.states import Cancelling, Running

from cpln_flows.local import local_platform
from tests import conftest
from tests.manifests import FOREVER, LINES
from tests.scenarios import pools, programs
from tests.scenarios.pools import Pool

pytestmark = [pytest.mark.xdist_group("worker-servers"), pytest.mark.proof]

_BIN = next(
    (path for path in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None
)
# It looks supervised, and ignores a cancellation.
_HANGS = f"{pools.command(FOREVER)} prefect flow-run execute"


def _user() -> str | None:
    """PostgreSQL does not run as root; Debian's packages bring a user for it."""
    return "postgres" if getpass.getuser() == "root" else None


@pytest.fixture
def postgres(tmp_path) -> Iterator[str]:
    if _BIN is None:
        pytest.skip("PostgreSQL is not installed: there is no /usr/lib/postgresql")
    # Not in a folder of pytest, which is closed to other users.
    folder, port, user = (
        Path(tempfile.gettempdir(), f"cpln-flows-postgres-{os.getpid()}"),
        conftest._free_port(),
        _user(),
    )
    folder.mkdir()
    if user:
        shutil.chown(folder, user)
    data = folder / "data"
    made = [str(_BIN / "initdb"), "-D", str(data), "-U", "prefect", "-A", "trust", "--no-sync"]
    subprocess.run(made, user=user, cwd=folder, check=True, capture_output=True)
    started = [
        str(_BIN / "postgres"),
        "-D",
        str(data),
        "-p",
        str(port),
        "-k",
        str(folder),
        "-h",
        "127.0.0.1",
        "-F",
    ]
    with (tmp_path / "postgres.log").open("w") as log:
        process = subprocess.Popen(started, user=user, cwd=folder, stdout=log, stderr=log)
    try:
        ready = [str(_BIN / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
        programs.until(
            lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0
        )
        yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(20)
        shutil.rmtree(folder)


@pytest.fixture
def sqlite(tmp_path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / conftest.DATABASE}"


@pytest.fixture(params=["sqlite", "postgres"])
def server(request, tmp_path) -> Iterator[str]:
    """A Prefect server that does not wait long for a cancellation."""
    database = request.getfixturevalue(request.param)
    port = conftest._free_port()
    url = f"http://127.0.0.1:{port}/api"
    environment = {
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_CANCELLING_TIMEOUT_SECONDS": "5",
        "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_LOOP_SECONDS": "2",
    }
    with (tmp_path / "server.log").open("w") as log:
        command = [
            sys.executable,
            "-m",
            "prefect",
            "server",
            "start",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    try:
        programs.until(lambda: conftest._answers(f"{url}/health"))
        with conftest._settings(url):
            yield url
    finally:
        pools.end(process)


def test_a_run_of_a_worker_and_one_that_the_server_tears_down(server, tmp_path) -> None:
    with local_platform() as local:
        pool, log = Pool(local, server), tmp_path / "worker.log"
        done = pool.start(pool.deploy(command=pools.command(LINES)))
        hanging = pool.start(pool.deploy(command=_HANGS))
        # The worker itself would wait: here it is the server that acts.
        worker = pool.worker(log=log, CPLN_CANCEL_GRACE="600")
        try:
            assert "without starting the flow" in pools.final(done).state.message
            assert pools.lines(done, 5) == [f"line {n}" for n in range(5)]
            programs.until(lambda: pools.read(hanging).infrastructure_pid)
            pools.set_state(hanging, Running())
            pools.set_state(hanging, Cancelling())
            programs.until(lambda: not local.platform.active_jobs)
            assert pools.final(hanging).state.is_cancelled()
        finally:
            pools.end(worker)
        with get_client(sync_client=True) as client:
            assert client.read_work_pool(pool.name).type == "cpln"
        assert "Sending stopReplica: Prefect asks for it" in log.read_text()
