"""The ports of this machine in place of those that containers declare. Pure but for the choice.

All replicas share this machine's addresses, so each container gets a free port for each port that
it declares. A program learns of it by these rules, in which 4200 is declared and 23456 was chosen:

- ``PORT`` is the chosen port of the container's first port.
- In the command, its arguments and the hooks, ``4200`` that stands by itself becomes 23456
  (``4200``, ``--port=4200``), and so does the port behind an address of this machine
  (``0.0.0.0:4200``).
- A variable whose name ends in ``PORT`` and whose value is ``4200`` becomes 23456, and so does the
  port behind an address of this machine in any variable (``http://localhost:4200/api``). The
  containers of a replica reach each other in this way.
- If nothing names the first port, the variables by which common servers choose theirs
  (``SERVER_PORT_VARIABLES``) are set to 23456.
- An address that means every interface (``0.0.0.0``, ``[::]``) becomes ``127.0.0.1`` in a container
  that declares a port, so that its server does not listen to other machines.
"""

from __future__ import annotations

import random
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import replace

from cpln_flows.emulator.executors.base import Container

HOST = "127.0.0.1"
SERVER_PORT_VARIABLES = (
    "PREFECT_SERVER_API_PORT",
    "UVICORN_PORT",
    "FLASK_RUN_PORT",
    "STREAMLIT_SERVER_PORT",
)
# Below the range from which systems take the ports of outgoing connections.
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 1000
_ALL_INTERFACES = re.compile(
    r"(?<![\d.])0\.0\.0\.0(?![\d.])(?!/\d)|\[::\](?=:\d|$)|(?:^|(?<==))::$"
)
_ADDRESS = re.compile(
    r"((?<![\w.-])(?:localhost|127\.0\.0\.1|0\.0\.0\.0|\[::1?\]):|(?<![\w.\]:-]):)(\d{2,5})(?!\d)"
)
_NUMBER = re.compile(r"(?<![-\w./:])\d{2,5}(?![-\w.])")
_PORT_DIGITS = 5


def choose(count: int, taken: Iterable[int], chance: random.Random) -> list[int]:
    """Choose ports of this machine that nobody listens on.

    Args:
        count: How many.
        taken: Ports that were chosen before and may not be listened on yet.
        chance: Where the candidates come from, so that two platforms rarely try the same.

    Raises:
        OSError: There are no free ports.
    """
    used, chosen = set(taken), list[int]()
    for _ in range(_TRIES * max(count, 1)):
        if len(chosen) == count:
            return chosen
        port = chance.randrange(_LOWEST, _HIGHEST)
        if port not in used and is_free(port):
            chosen.append(port)
            used.add(port)
    raise OSError(f"no free port between {_LOWEST} and {_HIGHEST} was found on this machine")


def mapped(container: Container, own: Mapping[int, int], replica: Mapping[int, int]) -> Container:
    """Return a container that listens on, and connects to, the ports of this machine.

    Args:
        container: The container as its manifest describes it.
        own: The chosen port of each port that it declares; the first one comes first.
        replica: The same for all containers of its replica.
    """
    words = [_in_word(word, own) for word in (container.command or "", *container.args)]
    env = {name: _in_variable(name, value, own, replica) for name, value in container.env.items()}
    if own and not _names_a_port(container, words, env):
        env = {**dict.fromkeys(SERVER_PORT_VARIABLES, str(next(iter(own.values())))), **env}
    return replace(
        container,
        command=container.command and _loopback(words[0], own),
        args=tuple(_loopback(word, own) for word in words[1:]),
        env={name: _loopback(value, own) for name, value in env.items()},
        post_start=tuple(_loopback(_in_word(word, own), own) for word in container.post_start),
        pre_stop=tuple(_loopback(_in_word(word, own), own) for word in container.pre_stop),
    )


def _names_a_port(container: Container, words: list[str], env: Mapping[str, str]) -> bool:
    """Return whether the manifest names the port, other than by what every container gets."""
    return words != [container.command or "", *container.args] or any(
        value != container.env[name] for name, value in env.items() if name != "PORT"
    )


def _in_word(word: str, own: Mapping[int, int]) -> str:
    if not own:
        return word
    return _NUMBER.sub(lambda found: str(own.get(int(found[0]), found[0])), _in_address(word, own))


def _in_variable(name: str, value: str, own: Mapping[int, int], replica: Mapping[int, int]) -> str:
    if name.endswith("PORT") and value.isdecimal() and len(value) <= _PORT_DIGITS:
        return str(own.get(int(value), value))
    return _in_address(value, replica)


def _in_address(text: str, chosen: Mapping[int, int]) -> str:
    return _ADDRESS.sub(lambda found: f"{found[1]}{chosen.get(int(found[2]), found[2])}", text)


def _loopback(text: str, own: Mapping[int, int]) -> str:
    return _ALL_INTERFACES.sub(HOST, text) if own else text


def is_free(port: int) -> bool:
    """Return whether nobody listens on a port of this machine."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
    return True
