"""The command line: `cpln-flows quickstart`, `local`, `plan`, `policy`, `migrate` and others."""

from __future__ import annotations

import errno
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console

from cpln_flows import deploy
from cpln_flows.emulator.organizations import check_names
from cpln_flows.local import LocalPlatform, StateError, local_platform, overview, programs
from cpln_flows.provision.permissions import Feature
from cpln_flows.settings import process_environment

app: App = App(
    name="cpln-flows", help="Run Control Plane jobs as Prefect flows.", version_flags=["--version"]
)
app.register_install_completion_command(
    help="Install completion for your shell: bash, zsh or fish."
)

_FAILED = 1
_NOT_FOUND = 127
_PORT_MAX = 65_535
# Prefect's own 20 s is not enough for the first start of its temporary server on a slow machine.
_PATIENCE = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "600"}


def _check_orgs(_type: object, orgs: Sequence[str] | None) -> None:
    check_names(orgs or ())


@app.command
def quickstart(*, manifest: Path | None = None) -> int:
    """Run the main job end to end on a local Control Plane.

    Needs no account and no server, and leaves the user's own Prefect profile, server and data
    alone.

    Args:
        manifest: Manifest of a Kubernetes Job to run instead of the example.
    """
    command = [sys.executable, "-m", "cpln_flows.examples.quickstart"]
    if manifest is not None:
        command.append(str(manifest.resolve()))
    with tempfile.TemporaryDirectory(prefix="cpln-flows-") as home, local_platform() as local:
        environment = local.environment_for(
            process_environment(without=("PREFECT_", "CPLN_"))
        ) | _private_prefect(home)
        # Prefect also reads settings from files in the working folder, which are the user's.
        code = _run(command, environment, folder=home)
    if code == 0:
        _print_next_steps()
    return code


@app.command
def local(
    *command: Annotated[str, Parameter(allow_leading_hyphen=True)],
    port: Annotated[int, Parameter(validator=Number(gte=0, lte=_PORT_MAX))] = 0,
    org: Annotated[list[str] | None, Parameter(validator=_check_orgs, negative="")] = None,
    state: Path | None = None,
) -> int:
    """Serve a local Control Plane until interrupted, or while a command runs there.

    Shows what runs: each replica with its state, its ports on this machine and its restarts. With a
    command, exits with its code.

    Args:
        command: What to run, after `--`: `cpln-flows local -- python my_flow.py`. The programs
            that are installed beside cpln-flows come first on its PATH.
        port: Where to listen on 127.0.0.1. Default: a free port.
        org: Organization; repeat it for several. Each has a token, which opens no other. A command
            gets the first. Default: `local`.
        state: Folder in which objects, volumes and tokens are kept between runs; commands and logs
            are not. Default: nothing is kept.
    """
    with ExitStack() as stack:
        try:
            running = stack.enter_context(local_platform(port=port, orgs=org or (), state=state))
        except StateError as error:
            print(f"cpln-flows: {error}", file=sys.stderr)
            return _FAILED
        except OSError as error:
            reason = (
                "is in use"
                if error.errno == errno.EADDRINUSE
                else f"cannot be used: {error.strerror}"
            )
            print(
                f"cpln-flows: port {port} {reason}; choose another --port, or leave it out for a"
                " free one",
                file=sys.stderr,
            )
            return _FAILED
        if command:
            return _run(command, _PATIENCE | running.environment_for(process_environment()))
        _print_environment(running, state)
        platforms = [running.platform, *(each.platform for each in running.others)]
        overview.show_until(
            _interrupted(),
            lambda: [replica for each in platforms for replica in each.running()],
            Console(),
        )
        return 0


@app.command
def plan(
    manifest: Path,
    *,
    org: str | None = None,
    gvc: str | None = None,
    shared: bool = False,
    strict: bool = False,
    offline: bool = False,
    json: bool = False,
) -> int:
    """Show what a run of a manifest would create and use on Control Plane.

    Also shows how that differs from what exists. Changes nothing.

    Args:
        manifest: File with a Kubernetes Job, a CronJob or a native cron workload.
        org: Organization. Default: CPLN_ORG.
        gvc: GVC. Default: CPLN_GVC.
        shared: Whether the job shares its workload with jobs of the same specification, as the
            jobs of a worker do.
        strict: Whether a field that has no effect is an error.
        offline: Send no request to the platform.
        json: Print JSON.
    """
    from cpln_flows import CplnError, CplnJob  # noqa: PLC0415 - Prefect takes seconds to import
    from cpln_flows.flows import plan as plans  # noqa: PLC0415

    given = {
        name: value for name, value in {"org": org, "namespace": gvc}.items() if value is not None
    }
    try:
        job = CplnJob.from_yaml_file(
            manifest, delete_after_completion=not shared, strict=strict, **given
        )
        found = plans.plan(job if offline else plans.checked(job), offline=offline)
    except (CplnError, OSError) as error:
        print(f"cpln-flows: {error}", file=sys.stderr)
        return _FAILED
    print(plans.as_json(found) if json else plans.as_text(found))
    return 0 if found.is_complete else _FAILED


@app.command
def policy(
    *features: Feature,
    org: str | None = None,
    gvc: str | None = None,
    name: str = "prefect-worker",
    secret: Annotated[list[str] | None, Parameter(negative="")] = None,
    one_key: Annotated[bool, Parameter(negative="")] = False,
    output: Annotated[Literal["table", "yaml", "json"], Parameter(name="--format")] = "table",
) -> int:
    """Show which permissions each feature needs on Control Plane, and for which call.

    `cpln-flows policy --format yaml | cpln apply --file -` makes the identities, the service
    account and the policies. Sends no request.

    Args:
        features: What to allow. Default: what a worker and the deployments of `prefect.yaml` use.
        org: Organization. Default: CPLN_ORG.
        gvc: GVC in which jobs run. Default: CPLN_GVC.
        name: Name of the worker's service account and identity.
        secret: Secret of which jobs may take all keys (`envFrom`); repeat it for several.
        one_key: Whether sync and clean-up use the worker's key instead of an identity each.
        output: A table, YAML for `cpln apply`, or JSON for programs.
    """
    from cpln_flows import ConfigurationError  # noqa: PLC0415 - only what is used is imported
    from cpln_flows.provision import report  # noqa: PLC0415

    try:
        print(
            report.of_features(
                features, output, org=org, gvc=gvc, name=name, secrets=secret, one_key=one_key
            ),
            end="",
        )
    except ConfigurationError as error:
        print(f"cpln-flows: {error}", file=sys.stderr)
        return _FAILED
    return 0


@app.command
def migrate(
    *paths: Path,
    apply: Annotated[bool, Parameter(name="--apply", negative="--dry-run")] = False,
    json: bool = False,
    report: Path | None = None,
) -> int:
    """Migrate what Prefect 2 saved: blocks, work pools, deployments, programs and settings.

    Changes nothing without `--apply`. Without files, examines the server of PREFECT_API_URL;
    `cpln-flows migrate deploy.py` shows what would change in a program. Exits with 1 if something
    is left to do by hand. Can be repeated, even after an interruption.

    Args:
        paths: Programs (.py), and exports of blocks, pools and deployments (.json, .yaml).
        apply: Make the changes; `--dry-run` only shows them.
        json: Print JSON.
        report: File for a report in markdown.
    """
    import anyio  # noqa: PLC0415 - Prefect takes seconds to import

    from cpln_flows import ConfigurationError  # noqa: PLC0415
    from cpln_flows.migration import report as reports  # noqa: PLC0415
    from cpln_flows.migration.run import migrate  # noqa: PLC0415

    try:
        plan = anyio.run(partial(migrate, paths, apply=apply, progress=_show_progress))
        if report is not None:
            report.write_text(reports.as_markdown(plan, applied=apply), encoding="utf-8")
    except (ConfigurationError, OSError) as error:
        print(f"cpln-flows: {error}", file=sys.stderr)
        return _FAILED
    print(reports.as_json(plan, applied=apply) if json else reports.as_text(plan, applied=apply))
    return 0 if plan.is_complete else _FAILED


def _show_progress(step: str) -> None:
    print(step, file=sys.stderr)


@app.command
def prefect_yaml() -> int:
    """Print the file with every deployment of this package.

    Usage: `cpln-flows prefect-yaml > prefect.yaml`
    """
    print(deploy.prefect_yaml(), end="")
    return 0


def main() -> None:
    """Run the command line."""
    sys.exit(app())


def _private_prefect(home: str) -> dict[str, str]:
    """Return settings that keep Prefect inside one folder.

    It gets a server of its own, which ends with the program.
    """
    return {
        "PREFECT_HOME": home,
        "PREFECT_PROFILES_PATH": str(Path(home) / "profiles.toml"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        **_PATIENCE,
    }


def _run(command: Sequence[str], environment: Mapping[str, str], folder: str | None = None) -> int:
    """Run a command, pass SIGTERM on to it, and return its exit code."""
    environment = {**environment, "PATH": programs.search_path(environment.get("PATH"))}
    try:
        process = subprocess.Popen(command, env=environment, cwd=folder)  # noqa: S603 - the user's own command
    except OSError as error:
        print(f"cpln-flows: cannot run {command[0]!r}: {error.strerror}", file=sys.stderr)
        return _NOT_FOUND
    # Ctrl-C reaches the command by itself. Whatever ends the command, the platform must live until
    # the command has stopped its jobs.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, lambda *_: process.terminate())
    code = process.wait()
    return code if code >= 0 else 128 - code


def _print_environment(running: LocalPlatform, state: Path | None) -> None:
    print(f"A local Control Plane is running at {running.url}. In another shell:\n")
    for name, value in running.environment.items():
        print(f"export {name}={value}")
    for other in running.others:
        print(f"\nFor organization {other.platform.config.org}, the same except:\n")
        for name, value in other.environment.items():
            if value != running.environment[name]:
                print(f"export {name}={value}")
    end = "ends with the platform" if state is None else f"is kept in {state}"
    print(f"\nWhoever has a token can run programs on this machine; it {end}.")
    print("Ctrl-C stops the platform and every job on it.", flush=True)


def _print_next_steps() -> None:
    path = process_environment().get("PATH")
    ours, prefect = programs.typed("cpln-flows", path), programs.typed("prefect", path)
    flow, job = (
        shlex.quote(str(resources.files("cpln_flows.examples") / name))
        for name in ("hello_flow.py", "hello-job.yaml")
    )
    print("\nTry next:")
    for command, text in (
        (
            f"{ours} local -- python {flow}",
            "a flow on a local Control Plane; copy the file to start your own",
        ),
        (f"{ours} quickstart --manifest {job}", "a Kubernetes Job; copy its file the same way"),
        (f"{prefect} block register -m cpln_flows.blocks", "the blocks on your own Prefect server"),
    ):
        print(f"  {command}\n      {text}")


def _interrupted() -> threading.Event:
    """Return the event that a signal to end sets."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended
