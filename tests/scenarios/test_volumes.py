"""What was converted is there when the job runs.

Secrets as files, scratch space, claims, steps and sidecars.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import anyio
import pytest

from cpln_flows import CplnCredentials, CplnJob, ManifestError, apply_manifests, run_namespaced_job
from cpln_flows.api import secrets
from cpln_flows.api.client import CplnClient
from cpln_flows.emulator import Platform, executors
from cpln_flows.emulator.executors.process import ProcessExecutor
from tests.manifests import changed, kubernetes_job, texts
from tests.scenarios import programs

pytestmark = pytest.mark.usefixtures("prefect_api")

EXECUTORS = Path(executors.__file__).parent
POD = "spec.template.spec"
MAIN = f"{POD}.containers[0]"
SHARED = {"fileSystemType": "shared", "performanceClass": "shared", "initialCapacity": 10}
VOLUMESET = {"kind": "volumeset", "name": "data", "spec": SHARED}

MAPPED_OR_NOT = pytest.mark.parametrize(
    "local",
    [Platform, lambda: Platform(executor=ProcessExecutor(namespaces=False))],
    ids=["default", "mapped"],
    indirect=True,
)


def _allows_mounts() -> bool:
    with tempfile.TemporaryDirectory() as root:
        code = (
            f"import sys; sys.path.append({str(EXECUTORS)!r});"
            f" import namespace; namespace.enter([], {root!r})"
        )
        return (
            subprocess.run(
                [sys.executable, "-c", code], capture_output=True, check=False
            ).returncode
            == 0
        )


@pytest.fixture(autouse=True)
def stored(local) -> None:
    """A secret with two keys, and a volumeset."""

    async def put() -> None:
        async with CplnClient(local.settings.api()) as client:
            await client.put("/org/local/gvc/quickstart/volumeset", VOLUMESET)
            await secrets.put_dictionary(
                client, "local", "keys", {"user": "ada", "pw": "hush"}, description="for tests"
            )

    anyio.run(put)


def _run(script: str, *changes, shared: bool = False) -> list[str]:
    job = CplnJob(
        v1_job=changed(kubernetes_job(script), *changes),
        delete_after_completion=not shared,
        log_containers=["main"],
    )
    return texts(run_namespaced_job(job))


def _mounted(*volumes):
    """Volumes, each with where it is mounted."""
    return [
        (f"{POD}.volumes", [{"name": f"v{n}", **source} for n, (source, _) in enumerate(volumes)]),
        (
            f"{MAIN}.volumeMounts",
            [{"name": f"v{n}", "mountPath": path} for n, (_, path) in enumerate(volumes)],
        ),
    ]


@MAPPED_OR_NOT
def test_secret_is_a_folder_with_a_file_for_each_key() -> None:
    script = (
        "import os\nfor name in sorted(os.listdir('/keys')):"
        " print(name, open(f'/keys/{name}').read())"
    )
    assert _run(script, *_mounted(({"secret": {"secretName": "keys"}}, "/keys"))) == [
        "pw hush",
        "user ada",
    ]


def test_volumes_stand_where_a_program_looks_for_them() -> None:
    """Also for a program that joins its paths, in the machine's folders, beside existing files."""
    if not _allows_mounts():
        pytest.skip("this machine lets no process mount anything, so paths are mapped instead")
    volumes = [
        ("keys", "keys"),
        ("usr", "share", "cpln-flows", "of-a-test"),
        ("etc", "cpln-flows-of-a-test"),
    ]
    script = (
        f"import os; there = [os.path.join('/', *parts) for parts in {volumes}];"
        " print(*(open(os.path.join(path, 'pw')).read() for path in there));"
        " print(len(os.listdir('/etc')) > 1, os.getuid());"
        " open(os.path.join(there[1], 'note'), 'w').close()"
    )
    found = _run(
        script,
        *_mounted(
            *(({"secret": {"secretName": "keys"}}, "/" + "/".join(parts)) for parts in volumes)
        ),
    )
    assert found == ["hush hush hush", f"True {os.getuid()}"]
    assert not any(Path("/", *parts).exists() for parts in volumes)


def test_chosen_keys_are_files_of_their_paths() -> None:
    items = [{"key": "pw", "path": "in/password.txt"}]
    script = "print(open('/conf/in/password.txt').read())"
    assert _run(
        script, *_mounted(({"secret": {"secretName": "keys", "items": items}}, "/conf"))
    ) == ["hush"]


@MAPPED_OR_NOT
def test_claim_keeps_its_files_for_the_next_job() -> None:
    volume = _mounted(({"persistentVolumeClaim": {"claimName": "data"}}, "/data"))
    assert _run("open('/data/note', 'w').write('kept')", *volume) == []
    assert _run("print(open('/data/note').read())", *volume) == ["kept"]


def test_claim_without_its_volumeset_is_said_before_the_start(local) -> None:
    volume = _mounted(({"persistentVolumeClaim": {"claimName": "absent"}}, "/data"))
    with pytest.raises(
        ManifestError, match="there is no volumeset 'absent' in the GVC quickstart"
    ) as caught:
        _run("pass", *volume)
    assert local.platform.workloads() == []
    document = re.search(r"\{.*\}", str(caught.value))
    apply_manifests(CplnCredentials(), document[0])
    assert _run("print('runs')", *volume) == ["runs"]


def test_scratch_space_is_shared_with_a_sidecar_and_goes_with_the_job() -> None:
    writer = (
        "import time\nopen('/work/note', 'w').write('from beside')\nwhile True: time.sleep(0.1)"
    )
    side = {
        "name": "side",
        "image": "i",
        "command": ["python", "-c", writer],
        "restartPolicy": "Always",
    }
    side["volumeMounts"] = [{"name": "v0", "mountPath": "/work"}]
    script = (
        "import os, pathlib, time\nnote = pathlib.Path('/work/note')\n"
        "while not (note.exists() and note.read_text()): time.sleep(0.02)\nprint(note.read_text())"
    )
    assert _run(
        script, *_mounted(({"emptyDir": {}}, "/work")), (f"{POD}.initContainers", [side])
    ) == ["from beside"]
    programs.until(lambda: not list(Path(tempfile.gettempdir()).glob("cpln-command-*-scratch")))


def test_step_before_the_main_program_prepares_its_scratch_space() -> None:
    volume = _mounted(({"emptyDir": {}}, "/work"))
    step = {
        "name": "init",
        "image": "python:3.12-slim",
        "command": ["sh", "-c", "echo prepared > /work/note"],
    }
    step["volumeMounts"] = [{"name": "v0", "mountPath": "/work"}]
    assert _run(
        "print(open('/work/note').read(), end='')", *volume, (f"{POD}.initContainers", [step])
    ) == ["prepared"]


def test_job_that_asks_for_a_gpu_runs() -> None:
    resources = (
        f"{MAIN}.resources",
        {"limits": {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": 1}},
    )
    assert _run("print('done')", resources, ("metadata.annotations", {"cpln/gpuModel": "t4"})) == [
        "done"
    ]


@MAPPED_OR_NOT
def test_working_folder_may_be_a_volume() -> None:
    changes = [*_mounted(({"emptyDir": {}}, "/work")), (f"{MAIN}.workingDir", "/work")]
    assert _run(
        "import os\nopen('x', 'w').close()\nprint(os.path.exists('/work/x'))", *changes
    ) == ["True"]
