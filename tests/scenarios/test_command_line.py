"""The command line as a newcomer uses it."""

import contextlib
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from cpln_flows.examples.quickstart import EXAMPLE
from tests.manifests import FAILING, kubernetes_job
from tests.patience import PATIENCE_SECONDS

BIN = str(Path(sys.executable).parent)
CLI = f"{BIN}/cpln-flows"
pytestmark = pytest.mark.xdist_group("command-line")


def _run(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [CLI, *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), **environment},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


@pytest.mark.proof  # the first command of the README, which CI runs too
def test_quickstart_shows_the_job_live_and_leaves_the_home_as_it_was(tmp_path) -> None:
    done = _run("quickstart", home=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    logged = done.stdout + done.stderr
    assert "Starting a private Prefect server" in done.stderr
    assert [logged.count(f"step {step} of 6") for step in range(1, 7)] == [1] * 6
    moments = re.findall(r"^(\d\d:\d\d:\d\d\.\d+) .*step \d of 6", done.stderr, re.MULTILINE)
    assert len(moments) == 6
    assert len(set(moments)) > 1, "the lines came all at once"
    assert re.search(r"infrastructure pid: local:quickstart:hello-\w+:[0-9a-f-]{36}", done.stdout)
    assert list(tmp_path.iterdir()) == []
    commands = re.findall(r"^  (\S.*)$", done.stdout.partition("Try next:")[2], re.MULTILINE)
    assert [CLI in command or "prefect block register" in command for command in commands] == [
        True
    ] * 3


def _next_steps(path: str) -> list[str]:
    """What quickstart prints at its end in a shell with a PATH: the commands to paste."""
    program = "from cpln_flows.cli import _print_next_steps; _print_next_steps()"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    return re.findall(r"^  (\S.*)$", done.stdout, re.MULTILINE)


@pytest.mark.proof
def test_next_steps_work_when_pasted(tmp_path, prefect_api) -> None:
    """In a shell that has no environment activated."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PREFECT_API_URL": prefect_api}
    run_flow, run_manifest, register = _next_steps(environment["PATH"])
    for command in (run_flow, register):
        done = subprocess.run(
            ["bash", "--norc", "-c", command],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    # Another whole quickstart would start another server.
    program, manifest = run_manifest.split(" quickstart --manifest ")
    assert (program, Path(manifest)) == (CLI, EXAMPLE)


def test_next_steps_are_short_where_the_shell_finds_the_programs() -> None:
    assert [command.split()[0] for command in _next_steps(f"/usr/bin:{BIN}")] == [
        "cpln-flows",
        "cpln-flows",
        "prefect",
    ]


@pytest.mark.proof
def test_quickstart_shows_on_a_terminal_what_takes_time(tmp_path, local, prefect_api) -> None:
    """A spinner, whose line Prefect does not write into."""
    child, terminal = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "cpln_flows.examples.quickstart"],
        env=os.environ
        | local.environment
        | {"PREFECT_API_URL": prefect_api, "TERM": "xterm", "COLUMNS": "120"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=terminal,
    )
    os.close(terminal)
    shown = b""
    with contextlib.suppress(OSError):  # EIO is the end of a terminal
        while data := os.read(child, 4096):
            shown += data
    os.close(child)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, shown
    text = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode()
    assert "Loading Prefect" in text
    assert "Starting a private Prefect server" in text
    assert text.count("step 6 of 6") == 1
    assert b"step 6 of 6" not in out


@pytest.mark.proof
def test_quickstart_with_a_failing_job_fails_and_says_why(tmp_path, local, prefect_api) -> None:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(kubernetes_job(FAILING)))
    done = subprocess.run(
        [sys.executable, "-m", "cpln_flows.examples.quickstart", "job.yaml"],
        env=os.environ | local.environment | {"PREFECT_API_URL": prefect_api},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "The job ran and failed" in done.stderr
    assert "exit code 3" in done.stderr


def test_quickstart_with_a_wrong_manifest_names_the_fields(tmp_path) -> None:
    (tmp_path / "job.yaml").write_text(
        "apiVersion: batch/v1\nkind: Job\nspec: {template: {spec: {containers: []}}}\n"
    )
    done = _run("quickstart", "--manifest", "job.yaml", home=tmp_path)
    assert done.returncode == 1
    assert "spec.template.spec.containers" in done.stderr


def test_a_command_has_the_programs_of_cpln_flows_first_on_its_path(tmp_path) -> None:
    (tmp_path / "python").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "python").chmod(0o755)
    program = "import prefect, shutil, sys; print(sys.executable, shutil.which('cpln-flows'))"
    done = _run(
        "local", "--", "python", "-c", program, home=tmp_path, PATH=f"{tmp_path}:/usr/bin:/bin"
    )
    assert done.stdout.split() == [f"{BIN}/python", CLI], done.stderr


def test_a_command_sees_no_other_platform(tmp_path) -> None:
    program = (
        "import os; print(sorted(name for name in os.environ if 'CPLN_' in name),"
        " os.environ['CPLN_TOKEN'])"
    )
    foreign = {
        "PREFECT_INTEGRATIONS_CPLN_TOKEN": "s.real",
        "PREFECT_INTEGRATIONS_CPLN_ORG": "acme",
        "CPLN_TOKEN": "s.real",
    }
    done = _run("local", "--", "python", "-c", program, home=tmp_path, **foreign)
    names = [
        f"CPLN_{name}" for name in ("ENDPOINT", "GVC", "LOCATION", "LOGS_ENDPOINT", "ORG", "TOKEN")
    ]
    assert done.stdout.startswith(f"{names} s."), done.stderr
    assert "s.real" not in done.stdout


def test_a_port_can_be_chosen_and_a_taken_one_is_named(tmp_path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = _run("local", "--port", str(port), "--", "true", home=tmp_path)
        assert (done.returncode, done.stdout) == (1, "")
        assert (
            done.stderr == f"cpln-flows: port {port} is in use;"
            " choose another --port, or leave it out for a free one\n"
        )
    done = _run(
        "local",
        f"--port={port}",
        "--",
        "sh",
        "-c",
        'echo "$CPLN_ENDPOINT $*"',
        "x",
        "--port",
        "5",
        home=tmp_path,
    )
    assert done.stdout == f"http://127.0.0.1:{port} --port 5\n"
    assert _run("local", "--port", "99999", home=tmp_path).returncode != 0


def test_the_module_is_the_command_line(tmp_path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cpln_flows", "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0
    assert "Usage: cpln-flows" in done.stdout
    assert "--install-completion" in done.stdout


def test_a_shell_completes_the_commands(tmp_path) -> None:
    script = tmp_path / "completion"
    done = _run("--install-completion", "--shell", "bash", "--output", str(script), home=tmp_path)
    assert done.returncode == 0, done.stderr
    asked = (
        f". {script}; COMP_WORDS=(cpln-flows q); COMP_CWORD=1; _cpln_flows; echo ${{COMPREPLY[*]}}"
    )
    completed = subprocess.run(
        ["bash", "--norc", "-c", asked], capture_output=True, text=True, check=False
    )
    assert completed.stdout.split() == ["quickstart"], completed.stderr


@pytest.mark.parametrize("code", [0, 7])
def test_a_command_runs_on_a_local_platform_and_its_code_is_ours(code, tmp_path) -> None:
    program = (
        "import os, sys; print(os.environ['CPLN_ENDPOINT'], os.environ['CPLN_ORG']);"
        f" sys.exit({code})"
    )
    done = _run("local", "--", sys.executable, "-c", program, home=tmp_path)
    assert done.returncode == code
    assert re.match(r"http://127\.0\.0\.1:\d+ local\n", done.stdout), done.stderr


def test_a_command_that_does_not_exist_is_named(tmp_path) -> None:
    done = _run("local", "--", "no-such-program", home=tmp_path)
    assert done.returncode == 127
    assert "no-such-program" in done.stderr


def test_state_is_kept_for_the_next_command(tmp_path) -> None:
    program = (
        "import os, httpx;"
        " link = os.environ['CPLN_ENDPOINT'] + '/org/local/group';"
        " ask = {'headers': {'authorization': os.environ['CPLN_TOKEN']}};"
        " print(httpx.put(link, json={'name': 'mine'}, **ask).status_code)"
    )
    done = [
        _run("local", "--state", "kept", "--", "python", "-c", program, home=tmp_path)
        for _ in range(2)
    ]
    assert [each.stdout for each in done] == ["201\n", "200\n"], done[0].stderr + done[1].stderr


def test_command_gets_the_first_of_several_organizations(tmp_path) -> None:
    arguments = ("local", "--org", "acme", "--org", "other", "--", "sh", "-c", "echo $CPLN_ORG")
    assert _run(*arguments, home=tmp_path).stdout == "acme\n"
    refused = _run("local", "--org", "No", "--", "true", home=tmp_path)
    assert refused.returncode != 0
    assert "cannot name an organization" in refused.stdout + refused.stderr


def test_variables_of_further_organizations_are_printed(tmp_path) -> None:
    import httpx

    with subprocess.Popen(
        [CLI, "local", "--org=acme", "--org=other", "--state=kept"],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        shown = ""
        for line in process.stdout:
            shown += line
            if "Ctrl-C" in line:
                break
        first, _, second = shown.partition("\nFor organization other, the same except:\n\n")
        exports = [dict(re.findall(r"export (\w+)=(.*)", part)) for part in (first, second)]
        assert sorted(exports[1]) == ["CPLN_ORG", "CPLN_TOKEN"]
        for name, found in (("acme", exports[0]), ("other", exports[0] | exports[1])):
            headers = {"authorization": found["CPLN_TOKEN"]}
            url = f"{found['CPLN_ENDPOINT']}/org/{found['CPLN_ORG']}"
            assert httpx.get(url, headers=headers).json()["name"] == name
        assert "it is kept in kept.\n" in second
        process.terminate()
        assert process.wait(timeout=PATIENCE_SECONDS) == 0


def test_damaged_state_is_named_and_what_to_do(tmp_path) -> None:
    file = tmp_path / "kept" / "local" / "state.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    done = _run("local", "--state", "kept", "--", "true", home=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        rf"cpln-flows: the saved state {re.escape(str(file))} is damaged: it is not JSON.*"
        r" move it away .*\n",
        done.stderr,
    )
    assert file.read_text() == "{"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_local_prints_the_environment_and_serves_until_it_is_interrupted(number, tmp_path) -> None:
    import httpx

    with subprocess.Popen(
        [CLI, "local"],
        env={"PATH": os.environ["PATH"]},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        exports = {}
        for line in process.stdout:
            if match := re.match(r"export (\w+)=(.*)", line):
                exports[match[1]] = match[2]
            if "Ctrl-C" in line:
                break
        url = f"{exports['CPLN_ENDPOINT']}/org/{exports['CPLN_ORG']}"
        assert (
            httpx.get(url, headers={"authorization": "Bearer s.local-platform"}).status_code == 401
        )
        assert (
            httpx.get(url, headers={"authorization": f"Bearer {exports['CPLN_TOKEN']}"}).json()[
                "name"
            ]
            == "local"
        )
        process.send_signal(number)
        assert process.wait(timeout=PATIENCE_SECONDS) == 0
