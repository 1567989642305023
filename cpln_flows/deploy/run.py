"""Run the commands of a plan, and show their output as it comes."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress

from pydantic import SecretStr

from cpln_flows.deploy.plan import Command, Plan
from cpln_flows.errors import ImageError

_LAST_LINES = 10
_LONGEST_LINE = 4096
_HIDDEN = "********"


def run(plan: Plan, environment: Mapping[str, str], token: SecretStr | None) -> None:
    """Run the commands of a plan.

    Args:
        plan: What to run.
        environment: The environment of the commands.
        token: For the command that reads it from its standard input.

    Raises:
        ImageError: One of them failed.
    """
    try:
        for command in plan.commands:
            _run(command, environment, token)
    except BaseException:
        with suppress(ImageError):  # what failed first is what matters
            _run_last(plan, environment, token)
        raise
    _run_last(plan, environment, token)


def _run_last(plan: Plan, environment: Mapping[str, str], token: SecretStr | None) -> None:
    if plan.last is not None:
        _run(plan.last, environment, token)


def _run(command: Command, environment: Mapping[str, str], token: SecretStr | None) -> None:
    text = token.get_secret_value() if token is not None else ""
    shown = shlex.join(command.arguments)
    sys.stdout.write(f"$ {shown}\n")
    lines: deque[str] = deque(maxlen=_LAST_LINES)
    try:
        code = _stream(command, environment, text, lines)
    except OSError as error:
        raise ImageError(f"{shown}: it could not be run: {error}; {command.advice}") from error
    if code:
        last = [f"\n  {line}" for line in lines if line.strip()]
        head = f"{shown}: exit code {code}; {command.advice}"
        raise ImageError(
            "".join([head, "\nLast lines:", *last] if last else [head]), exit_code=code
        )


def _stream(command: Command, environment: Mapping[str, str], token: str, lines: deque[str]) -> int:
    """Run one command, show its output and keep the last lines; return its exit code."""
    with subprocess.Popen(  # noqa: S603 - the arguments were checked, and there is no shell
        command.arguments,
        env=environment,
        stdin=subprocess.PIPE if command.takes_token else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        try:
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # it ended before it read; its lines tell why
                    process.stdin.write(token)
                    process.stdin.close()
            while process.stdout is not None and (line := process.stdout.readline(_LONGEST_LINE)):
                shown = line.replace(token, _HIDDEN) if token else line
                lines.append(shown.rstrip("\n"))
                sys.stdout.write(shown)
                sys.stdout.flush()
        except BaseException:
            process.terminate()
            raise
    return process.returncode
