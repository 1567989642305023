"""A deployment whose flow run is executed again and again, as by a worker that lost its process."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterParentFlowRunId
from prefect.states import Pending

from tests.manifests import texts
from tests.scenarios import pools


class Deployed:
    """One flow run of a program, and the processes that execute it.

    Args:
        url: Prefect's API.
        folder: Where the program is put and runs.
        source: The program.
        flow: Name of the flow in it, whose function is ``parent``.
        environment: Added to that of the processes.
        parameters: Of the flow run.
    """

    def __init__(
        self,
        url: str,
        folder: Path,
        source: str,
        flow: str,
        *,
        environment: dict[str, str],
        parameters: dict[str, Any] | None = None,
    ) -> None:
        (folder / "parent.py").write_text(source)
        self.folder = folder
        self.environment = (
            os.environ | environment | {"PREFECT_API_URL": url, "PYTHONUNBUFFERED": "1"}
        )
        with get_client(sync_client=True) as client:
            flow_id = client.create_flow_from_name(flow)
            deployment_id = client.create_deployment(
                flow_id,
                name=uuid4().hex,
                entrypoint=f"{folder}/parent.py:parent",
                path=str(folder),
                pull_steps=[],
            )
            self.run_id = client.create_flow_run_from_deployment(
                deployment_id, parameters=parameters
            ).id

    def execute(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "prefect.engine", str(self.run_id)],
            env=self.environment | {"PREFECT__FLOW_RUN_ID": str(self.run_id)},
            cwd=self.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def lines(self) -> list[str]:
        """The job's lines in the logs of the parent and its children."""
        with get_client(sync_client=True) as client:
            children = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(
                    parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[self.run_id])
                )
            )
        found = [
            message
            for run_id in [self.run_id, *(run.id for run in children)]
            for message in pools.messages(run_id)
        ]
        return texts("\n".join(sorted(message for message in found if " - line " in message)))

    def kill(self, process: subprocess.Popen[str]) -> None:
        process.kill()
        process.communicate()
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(
                self.run_id, Pending(message="the process is gone"), force=True
            )
