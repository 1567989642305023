"""Local platforms as a program serves them: their organizations, and what they keep."""

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


def test_organizations_have_settings_and_environments_of_their_own() -> None:
    with local_platform(orgs=["acme", "other"]) as running:
        (other,) = running.others
        assert (running.settings.org, other.settings.org) == ("acme", "other")
        assert running.url == other.url == other.settings.endpoint
        differ = {
            name for name, value in running.environment.items() if value != other.environment[name]
        }
        assert differ == {"CPLN_ORG", "CPLN_TOKEN"}
        with client_of(other) as client:
            assert client.get("/org/other").json()["name"] == "other"
            assert client.get("/org/acme").status_code == 404


def test_each_organization_is_kept_in_a_folder_of_its_own(tmp_path) -> None:
    with local_platform(orgs=["acme", "other"], state=tmp_path) as running:
        with client_of(running.others[0]) as client:
            client.put("/org/other/secret", json=SECRET)
        tokens = [each.platform.token for each in (running, *running.others)]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["acme", "other"]
    with local_platform(orgs=["other"], state=tmp_path) as running, client_of(running) as client:
        assert client.get("/org/other/secret/pass").status_code == 200
        assert running.platform.token == tokens[1]


def test_all_folders_are_free_if_one_is_refused(tmp_path) -> None:
    with local_platform(orgs=["other"], state=tmp_path):
        with (
            pytest.raises(StateError, match="other is in use"),
            local_platform(orgs=["acme", "other"], state=tmp_path),
        ):
            pass
        with local_platform(orgs=["acme"], state=tmp_path):
            pass


def test_organizations_made_by_hand_are_served_too() -> None:
    made = [Platform(PlatformConfig(org=org, gvc=f"{org}-gvc")) for org in ("acme", "other")]
    with local_platform(made[0], others=made[1:]) as running:
        assert running.others[0].platform is made[1]
        assert running.others[0].environment["CPLN_GVC"] == "other-gvc"


@pytest.mark.parametrize("orgs", [["acme", "acme"], ["../up"]])
def test_names_of_organizations_are_checked_first(orgs, tmp_path) -> None:
    with pytest.raises(ValueError, match="organization"), local_platform(orgs=orgs, state=tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
