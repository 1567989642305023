"""Local platforms as a program serves them: what they keep between two runs."""

import socket

import httpx
import pytest

from cpln_flows.emulator import Platform, PlatformConfig
from cpln_flows.local import StateError, local_platform

SECRET = {"name": "pass", "type": "opaque", "data": {"payload": "hush", "encoding": "plain"}}


def client_of(running):
    token = running.environment["CPLN_TOKEN"]
    return httpx.Client(base_url=running.url, headers={"authorization": token})


def test_nothing_is_kept_unless_asked_for(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with local_platform() as first, client_of(first) as client:
        assert client.put("/org/local/secret", json=SECRET).status_code == 201
    with local_platform() as second, client_of(second) as client:
        assert client.get("/org/local/secret/pass").status_code == 404
        assert second.platform.token != first.platform.token
    assert list(tmp_path.iterdir()) == []


def test_objects_and_exported_variables_outlive_a_restart(tmp_path) -> None:
    with local_platform(state=tmp_path) as first, client_of(first) as client:
        assert client.put("/org/local/secret", json=SECRET).status_code == 201
        exported = first.environment
        port = int(first.url.rsplit(":", 1)[1])
    with local_platform(state=tmp_path, port=port) as second, client_of(second) as client:
        assert second.environment == exported
        shown = client.get("/org/local/secret/pass/-reveal").json()
        assert shown["data"]["payload"] == "hush"
    assert [path.name for path in tmp_path.iterdir()] == ["local"]


def test_one_folder_serves_one_platform_at_a_time(tmp_path) -> None:
    with (
        local_platform(state=tmp_path),
        pytest.raises(StateError, match="in use"),
        local_platform(state=tmp_path),
    ):
        pass
    with local_platform(state=tmp_path):
        pass


def test_state_of_a_platform_made_by_hand_is_given_to_it(tmp_path) -> None:
    with (
        pytest.raises(ValueError, match="made by hand"),
        local_platform(Platform(PlatformConfig()), state=tmp_path),
    ):
        pass


def test_folder_is_free_after_a_start_that_failed(tmp_path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use"),
        local_platform(port=taken.getsockname()[1], state=tmp_path),
    ):
        pass
    assert not (tmp_path / "local" / "state.json").exists()
    with local_platform(state=tmp_path):
        assert (tmp_path / "local" / "state.json").exists()
