"""Stand-ins of `cpln` and `docker`, which record how they are called and build nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

_SCRIPT = """#!{python} -IS
import json, os, pathlib, sys
here = pathlib.Path(__file__).parent
call = dict(program=pathlib.Path(__file__).name, arguments=sys.argv[1:])
call |= dict(environment=dict(os.environ), stdin=sys.stdin.read())
if sys.argv[1:] != ["buildx", "version"]:
    with (here / "calls.jsonl").open("a") as file:
        file.write(json.dumps(call) + "\\n")
for failing in (here / "failing").read_text().splitlines():
    if failing in " ".join([call["program"], *sys.argv[1:]]):
        print("step 3 of 4", flush=True)
        print("the base image was not found", file=sys.stderr)
        sys.exit(17)
print("built by the stand-in", call["program"], os.environ.get("CPLN_TOKEN"))
"""


class StandIns:
    """The programs in a folder that goes to the front of PATH.

    Args:
        folder: Where they are put.
        programs: Which of them there are.
    """

    def __init__(self, folder: Path, *programs: str) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        for program in programs:
            path = folder / program
            path.write_text(_SCRIPT.format(python=sys.executable))
            path.chmod(0o755)
        self.fail()

    def fail(self, *commands: str) -> None:
        """Let every command line fail that contains one of these."""
        (self.folder / "failing").write_text("\n".join(commands))

    @property
    def calls(self) -> list[dict]:
        """Each call: program, arguments, environment and standard input."""
        path = self.folder / "calls.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines]

    @property
    def lines(self) -> list[str]:
        """The command line of each call."""
        return [" ".join([call["program"], *call["arguments"]]) for call in self.calls]
