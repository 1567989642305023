"""The ports of this machine in place of those that containers declare."""

import contextlib
import random
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.executors.base import Container
from cpln_flows.emulator.serving import ports
from cpln_flows.emulator.serving.ports import (
    HOST,
    SERVER_PORT_VARIABLES,
    choose,
    is_free,
    mapped,
)

OWN = {4200: 23456, 9000: 23457}
ALL = {**OWN, 5432: 23458, 43210: 23459}


class Dice(random.Random):
    """Throws what it is told to."""

    def __init__(self, *numbers):
        super().__init__()
        self.numbers = list(numbers)

    def randrange(self, *_):
        return self.numbers.pop(0)


@contextlib.contextmanager
def listening():
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


def container(*args, command=None, **env):
    return Container("main", "image", command=command, args=args, env=env)


def words(*args, own=OWN, replica=ALL):
    return mapped(container(*args), own, replica).args


def variables(own=OWN, **env):
    found = mapped(container(**env), own, ALL).env
    return {name: found[name] for name in env}


# The choice


def test_chosen_ports_are_free_and_distinct() -> None:
    chosen = choose(50, (), random.Random())  # noqa: S311 - ports, not secrets
    assert len(set(chosen)) == 50
    assert all(20_000 <= port < 32_000 for port in chosen)


def test_no_ports_are_chosen_for_none() -> None:
    assert choose(0, (), Dice()) == []


def test_taken_ports_are_passed_over(monkeypatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda _port: True)
    assert choose(2, [1], Dice(1, 2, 1, 2, 3)) == [2, 3]


def test_busy_ports_are_passed_over(monkeypatch) -> None:
    monkeypatch.setattr(ports, "is_free", lambda port: port != 1)
    assert choose(2, (), Dice(1, 2, 1, 3)) == [2, 3]


def test_choice_ends_without_free_ports() -> None:
    with pytest.raises(OSError, match="no free port"):
        choose(2, range(20_000, 32_000), random.Random(1))  # noqa: S311 - ports, not secrets


def test_listener_makes_a_port_busy() -> None:
    with listening() as port:
        assert not is_free(port)


def test_closed_listener_frees_its_port() -> None:
    with listening() as port:
        pass
    assert is_free(port)


# Arguments


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        pytest.param("4200", "23456", id="alone"),
        pytest.param("--port=4200", "--port=23456", id="option"),
        pytest.param("--port 4200", "--port 23456", id="words-in-one"),
        pytest.param("0.0.0.0:4200", f"{HOST}:23456", id="every-interface"),
        pytest.param("[::]:4200", f"{HOST}:23456", id="every-interface-of-ipv6"),
        pytest.param("localhost:4200", "localhost:23456", id="localhost"),
        pytest.param(":4200", ":23456", id="only-a-port"),
        pytest.param("http://127.0.0.1:4200/api", "http://127.0.0.1:23456/api", id="address"),
        pytest.param("4200,9000", "23456,23457", id="two"),
        pytest.param("exec app -p 4200 -q 9000", "exec app -p 23456 -q 23457", id="shell"),
        pytest.param("5432", "5432", id="of-another-container"),
        pytest.param("42000", "42000", id="longer"),
        pytest.param("14200", "14200", id="longer-before"),
        pytest.param("v4200", "v4200", id="in-a-name"),
        pytest.param("4200ms", "4200ms", id="with-a-unit"),
        pytest.param("4200.5", "4200.5", id="decimal"),
        pytest.param("1.4200", "1.4200", id="after-a-dot"),
        pytest.param("-4200", "-4200", id="negative"),
        pytest.param("4200-4300", "4200-4300", id="range"),
        pytest.param("/srv/4200", "/srv/4200", id="path"),
        pytest.param("--host=0.0.0.0", f"--host={HOST}", id="host"),
        pytest.param("--host=::", f"--host={HOST}", id="host-of-ipv6"),
        pytest.param("10.0.0.0", "10.0.0.0", id="another-address"),
        pytest.param("0.0.0.0.1", "0.0.0.0.1", id="no-address"),
        pytest.param("std::string", "std::string", id="colons-in-a-name"),
        pytest.param("::1", "::1", id="loopback-of-ipv6"),
        pytest.param("", "", id="empty"),
    ],
)
def test_port_in_an_argument_is_replaced(word, expected) -> None:
    assert words(word) == (expected,)


def test_command_is_treated_like_arguments() -> None:
    found = mapped(container(command="serve 0.0.0.0:4200"), OWN, ALL)
    assert found.command == f"serve {HOST}:23456"


def test_missing_command_stays_missing() -> None:
    assert mapped(container("4200"), OWN, ALL).command is None


@given(st.lists(st.text().filter(lambda word: "0.0.0.0" not in word and "::" not in word)))
def test_words_without_the_number_stay(given_words) -> None:
    own = {4200: 23456}
    kept = [word for word in given_words if "4200" not in word]
    assert words(*kept, own=own, replica=own) == tuple(kept)


@given(st.lists(st.from_regex(r"(--[a-z]+=)?[0-9]{1,6}[a-z]?", fullmatch=True), max_size=5))
def test_other_numbers_in_words_stay(given_words) -> None:
    own = {4200: 23456}
    kept = [word for word in given_words if "4200" not in word]
    assert words(*kept, own=own, replica=own) == tuple(kept)


@given(st.integers(10, 65_535), st.integers(20_000, 31_999))
def test_any_declared_port_is_replaced(declared, chosen) -> None:
    own = {declared: chosen}
    assert words(f"--port={declared}", own=own, replica=own) == (f"--port={chosen}",)


# Variables


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        pytest.param("PORT", "4200", "23456", id="port"),
        pytest.param("APP_PORT", "4200", "23456", id="name-ends-so"),
        pytest.param("ADMIN_PORT", "9000", "23457", id="second-port"),
        pytest.param("APP_PORT", "5432", "5432", id="port-of-another-container"),
        pytest.param("APP_PORT", "42000", "42000", id="other-number"),
        pytest.param("PORT_RANGE", "4200", "4200", id="name-only-begins-so"),
        pytest.param("LIMIT", "4200", "4200", id="no-port"),
        pytest.param("URL", "http://localhost:4200/api", "http://localhost:23456/api", id="url"),
        pytest.param("URL", "http://localhost:5432", "http://localhost:23458", id="sibling"),
        pytest.param("DSN", "db://u:p@127.0.0.1:5432/x", "db://u:p@127.0.0.1:23458/x", id="dsn"),
        pytest.param("BIND", "0.0.0.0:4200", f"{HOST}:23456", id="every-interface"),
        pytest.param("BIND", ":4200", ":23456", id="only-a-port"),
        pytest.param("BIND", "[::1]:4200", "[::1]:23456", id="loopback-of-ipv6"),
        pytest.param("APP_PORT", "tcp://localhost:4200", "tcp://localhost:23456", id="port-as-url"),
        pytest.param("URL", "localhost:42000", "localhost:42000", id="longer-number"),
        pytest.param("URL", "localhost:432100", "localhost:432100", id="no-port-number"),
        pytest.param("URL", "http://db.cpln.local:5432", "http://db.cpln.local:5432", id="foreign"),
        pytest.param("URL", "my-localhost:4200", "my-localhost:4200", id="only-ends-so"),
        pytest.param("URL", "127.0.0.12:4200", "127.0.0.12:4200", id="another-address"),
        pytest.param("TWO", "localhost:4200,localhost:9000", "localhost:23456,localhost:23457",
                     id="two"),
        pytest.param("HOST", "0.0.0.0", HOST, id="host"),
        pytest.param("HOST", "::", HOST, id="host-of-ipv6"),
    ],
)  # fmt: skip
def test_port_in_a_variable_is_replaced(name, value, expected) -> None:
    assert variables(**{name: value}) == {name: expected}


# Servers that take their port from a variable


def chosen_by_variables(*args, own=OWN, **env):
    found = mapped(container(*args, **env), own, ALL).env
    return {name: found[name] for name in SERVER_PORT_VARIABLES if name in found}


def test_unnamed_port_goes_to_common_servers() -> None:
    expected = dict.fromkeys(SERVER_PORT_VARIABLES, "23456")
    assert chosen_by_variables("serve") == expected
    assert chosen_by_variables("serve", PORT="4200") == expected


@pytest.mark.parametrize(
    ("args", "env"),
    [
        pytest.param(["--port=4200"], {}, id="in-an-argument"),
        pytest.param([], {"APP_PORT": "4200"}, id="in-a-variable"),
        pytest.param([], {"BIND": "0.0.0.0:4200"}, id="in-an-address"),
    ],
)
def test_named_port_needs_no_variables(args, env) -> None:
    assert chosen_by_variables(*args, **env) == {}


def test_no_declared_port_needs_no_variables() -> None:
    assert chosen_by_variables("serve", own={}) == {}


def test_own_variables_of_a_server_win() -> None:
    found = chosen_by_variables("serve", UVICORN_PORT="8000")
    assert found["UVICORN_PORT"] == "8000"
    assert found["FLASK_RUN_PORT"] == "23456"


def test_the_rest_of_a_container_stays() -> None:
    given_container = Container("main", "image", working_dir="/4200", cpu="4200m", env={"A": "b"})
    found = mapped(given_container, OWN, ALL)
    assert (found.name, found.image, found.working_dir, found.cpu) == (
        "main", "image", "/4200", "4200m",
    )  # fmt: skip
    assert given_container.env == {"A": "b"}
