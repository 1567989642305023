"""The shared fixtures: one private Prefect server for the whole run, a local platform for a test.

Nothing of the user's own environment reaches a test.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import certifi
import httpx
import pytest
from hypothesis import settings

from tests.patience import PATIENCE_SECONDS

# Compiled files are kept, whatever the environment says: the suite starts a hundred processes, and
# each would compile everything anew.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

pytest_plugins = ["pytester", "tests.facts", "tests.proof"]

SHARED = "CPLN_FLOWS_TESTS_SHARED"  # a folder that all processes of this test run know

# With several connections to SQLite, requests that write at the same time get a 503, and Prefect's
# client then waits for seconds. Prefect's server opens a single connection when it finds this word
# in the address; the file is an ordinary one.
DATABASE = "prefect:memory:.db"
# What no test needs only takes time.
_SERVER = {
    f"PREFECT_SERVER_SERVICES_{name}_ENABLED": "false"
    for name in (
        "CLEANUP_RECONCILER",
        "LATE_RUNS",
        "PAUSE_EXPIRATIONS",
        "REPOSSESSOR",
        "SCHEDULER",
        "TRIGGERS",
    )
}


def _forget_the_user(shared: str) -> None:
    for name in list(os.environ):
        if name.startswith(("PREFECT_", "CPLN_")) and name != SHARED:
            del os.environ[name]
    os.environ |= {
        "DO_NOT_TRACK": "1",
        "PREFECT_HOME": f"{shared}/home",
        "PREFECT_PROFILES_PATH": f"{shared}/profiles.toml",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
        "CPLN_LOG_SETTLE": "0.5",  # the local platform's lines come at once
    }


# A shell that runs the tests in the background makes them ignore Ctrl-C, and so does every program
# that they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _trust_one(shared: str) -> None:
    """Have every program trust one authority instead of a hundred.

    Nothing here speaks TLS, but each client of httpx reads all certificates, for 40 ms of CPU, and
    a run creates thousands of clients.
    """
    certificates, mark = Path(certifi.where()).read_text(), "-----END CERTIFICATE-----\n"
    path = Path(shared, "one-authority.pem")
    if not path.exists():
        path.write_text(certificates[: certificates.index(mark)] + mark)
    os.environ["SSL_CERT_FILE"] = str(path)


if SHARED not in os.environ:
    os.environ[SHARED] = tempfile.mkdtemp(prefix="cpln-flows-tests-")
_forget_the_user(os.environ[SHARED])
_trust_one(os.environ[SHARED])


# No clock decides a test: how long an example takes is a matter of the machine.
settings.register_profile("suite", max_examples=40, deadline=None)
settings.register_profile("long", max_examples=55_000, deadline=None)
settings.load_profile("suite")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add what makes simulations and logs longer, or repeats one world."""
    parser.addoption("--worlds", type=int, help="how many worlds to simulate")
    parser.addoption("--world", type=int, help="the seed of the one world to simulate")
    parser.addoption(
        "--lines", type=int, default=900, help="how many lines the logs have that meet every fault"
    )


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the server, once, in the process that the others were started by."""
    if hasattr(config, "workerinput"):
        return
    shared = Path(os.environ[SHARED])
    if "prefect" in sys.modules:
        _drain_prefect()  # at its exit the process would try in vain for more than a minute
    if (pid := shared / "pid").exists():
        _end(int(pid.read_text()))
    subprocess.run(["rm", "-rf", str(shared)], check=False)


def _drain_prefect() -> None:
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    APILogWorker.drain_all(timeout=10)
    EventsWorker.drain_all(timeout=10)


def _end(pid: int) -> None:
    for number, seconds in ((signal.SIGTERM, 10), (signal.SIGKILL, 10)):
        until = time.monotonic() + seconds
        try:
            os.killpg(pid, number)
            while time.monotonic() < until:
                os.killpg(pid, 0)
                time.sleep(0.05)
        except (ProcessLookupError, PermissionError):
            return


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _start_server(shared: Path) -> None:
    port = _free_port()
    # A launcher that ends at once starts it: the server outlives the test process that happens to
    # need it first.
    launcher = (
        "import subprocess, sys; log = open(sys.argv[1], 'wb');"
        " print(subprocess.Popen(sys.argv[2:], stdout=log, stderr=log,"
        " stdin=subprocess.DEVNULL, start_new_session=True).pid)"
    )
    server = [
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
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", launcher, str(shared / "server.log"), *server],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ
        | _SERVER
        | {"PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{shared / DATABASE}"},
    )
    (shared / "pid").write_text(done.stdout)
    (shared / "url.part").write_text(f"http://127.0.0.1:{port}/api")
    (shared / "url.part").rename(shared / "url")


@pytest.fixture(scope="session")
def prefect_api_url() -> str:
    """Address of the Prefect server of this test run."""
    shared = Path(os.environ[SHARED])
    try:
        (shared / "starting").mkdir()
    except FileExistsError:
        pass
    else:
        _start_server(shared)
    url = _wait_for(lambda: (shared / "url").read_text() if (shared / "url").exists() else None)
    _wait_for(lambda: _answers(f"{url}/health"))
    return url


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _wait_for(look):
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if found := look():
            return found
        time.sleep(0.1)
    raise TimeoutError(
        f"the Prefect server of the tests did not start within {PATIENCE_SECONDS:.0f} s"
    )


@contextmanager
def _settings(url: str) -> Iterator[None]:
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}):
        yield


@pytest.fixture
def anyio_backend() -> str:
    """The event loop that Prefect needs; older versions of anyio would try trio too."""
    return "asyncio"


@pytest.fixture
def prefect_api(prefect_api_url: str) -> Iterator[str]:
    """Make this test talk to the Prefect server of the test run."""
    with _settings(prefect_api_url):
        yield prefect_api_url


@pytest.fixture
def local(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Start a local platform for this test and point the environment at it.

    Parametrize it with a function that creates the Platform.
    """
    from cpln_flows.emulator import Platform, PlatformConfig
    from cpln_flows.local.pytest_plugin import pointed_at

    # Deleted things go at once, so that a test can look whether they are gone.
    make = getattr(request, "param", lambda: Platform(PlatformConfig(delete_delay_seconds=0)))
    with pointed_at(make(), monkeypatch) as running:
        yield running
