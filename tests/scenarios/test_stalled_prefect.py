"""Prefect's log API takes lines and never answers.

The job's result and the states of its runs are there in time all the same.
"""

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from tests.manifests import kubernetes_job
from tests.patience import PATIENCE_SECONDS
from tests.scenarios import programs

pytestmark = [pytest.mark.usefixtures("prefect_api")]

SCRIPT = "for n in range(300): print('line', n)"
PROGRAM = """
from pathlib import Path
from prefect import flow
from cpln_flows import CplnJob, run_namespaced_job

@flow
def parent():
    return run_namespaced_job(CplnJob(v1_job=MANIFEST))

Path("result.part").write_text(parent())
Path("result.part").rename("result")
"""


class Stalling:
    """Forwards requests to Prefect's server, except for logs: it keeps these and never answers."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}{parts.path}"
        self._stall = f"POST {parts.path}/logs/ ".encode()
        self.stalled = 0

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._pass_on, args=(client,), daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _pass_on(self, client: socket.socket) -> None:
        with client, socket.create_connection(self._server) as server:
            stalls = False
            while True:
                for one in select.select([client, server], [], [])[0]:
                    content = one.recv(65536)
                    if not content:
                        return
                    if one is client and content.startswith(self._stall):
                        stalls = True
                        self.stalled += 1
                    if not stalls:
                        (server if one is client else client).sendall(content)


@contextmanager
def _stalling(url: str) -> Iterator[Stalling]:
    proxy = Stalling(url)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()


def test_a_log_api_that_never_answers_does_not_hold_up_the_job(
    local, prefect_api_url, tmp_path
) -> None:
    source = PROGRAM.replace("MANIFEST", repr(kubernetes_job(SCRIPT)))
    result = tmp_path / "result"
    # Whoever waited for an answer would wait longer than this test does.
    never = {"PREFECT_API_REQUEST_TIMEOUT": str(100 * PATIENCE_SECONDS)}
    with _stalling(prefect_api_url) as proxy:
        process = programs.start(
            source, tmp_path, local.environment | never | {"PREFECT_API_URL": proxy.url}
        )
        try:
            programs.until(lambda: result.exists() or process.poll() is not None)
        finally:
            process.kill()  # at exit, Prefect tries to send its logs, however long that takes
            output, _ = process.communicate()
    assert proxy.stalled, output
    assert len(result.read_text().splitlines()) == 300, output
