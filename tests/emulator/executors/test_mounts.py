"""Where the volumes of a process are, and what replaces the paths that its container names."""

import json
from pathlib import Path

import pytest

from cpln_flows.emulator.executors.base import Mount
from cpln_flows.emulator.executors.mounts import VARIABLE, Places

HOME, SCRATCH, VOLUMESETS = Path("/h"), Path("/s"), Path("/v")
MOUNTS = [
    Mount("/keys", "cpln://secret/keys", files={"user": "ada"}),
    Mount("/etc/app.yaml", "cpln://secret/conf.app", text="a: 1"),
    Mount("/work/", "scratch://work", scratch="work"),
    Mount("/data", "cpln://volumeset/data", volumeset="data"),
    Mount("/bucket", "s3://bucket"),
]


@pytest.fixture
def places() -> Places:
    """Those of every kind of volume."""
    return Places(MOUNTS, home=HOME, scratch=SCRATCH, volumesets=VOLUMESETS)


@pytest.mark.parametrize(
    ("text", "mapped"),
    [
        ("/keys", "/h/mount-0"),
        ("/keys/user", "/h/mount-0/user"),
        ("open('/keys/user').read()", "open('/h/mount-0/user').read()"),
        ("--config=/etc/app.yaml", "--config=/h/mount-1/app.yaml"),
        ("cp /work/a /data/b", "cp /s/work/a /v/data/b"),
        ("/keystore", "/keystore"),
        ("/etc/app.yaml.old", "/etc/app.yaml.old"),
        ("/home/keys", "/home/keys"),
        ("/bucket/x", "/bucket/x"),
        ("https://host/data", "https://host/data"),
    ],
)
def test_path_of_a_volume_is_mapped_and_no_other(text, mapped, places) -> None:
    assert places.mapped(text) == mapped


def test_longest_path_is_mapped_first() -> None:
    mounts = [
        Mount("/data", "scratch://a", scratch="a"),
        Mount("/data2", "scratch://b", scratch="b"),
    ]
    places = Places(mounts, home=HOME, scratch=SCRATCH, volumesets=VOLUMESETS)
    assert places.mapped("/data2/x /data/x") == "/s/b/x /s/a/x"


def test_volume_below_the_home_of_images_is_linked() -> None:
    mounts = [
        Mount("/root/.prefect", "cpln://volumeset/data", volumeset="data"),
        Mount("/root/../etc/x", "cpln://volumeset/other", volumeset="other"),
        Mount("/root", "scratch://a", scratch="a"),
    ]
    places = Places(mounts, home=HOME, scratch=SCRATCH, volumesets=VOLUMESETS)
    links = [order for order in places.orders if order[0] == "link"]
    assert links == [("link", "/h/.prefect", {"target": "/v/data"})]


def test_supervisor_makes_folders_and_files(places) -> None:
    assert places.orders == [
        ("folder", "/h/mount-0", {"user": "ada"}),
        ("folder", "/h/mount-1", {"app.yaml": "a: 1"}),
        ("scratch", "/s/work", {}),
        ("volumeset", "/v/data", {}),
    ]
    assert places.absent == ["s3://bucket"]


def test_program_finds_the_places_in_a_variable(places) -> None:
    assert json.loads(places.mapped_variables[VARIABLE]) == {
        "/keys": "/h/mount-0",
        "/etc/app.yaml": "/h/mount-1/app.yaml",
        "/work": "/s/work",
        "/data": "/v/data",
    }


def test_container_without_volumes_is_left_alone() -> None:
    places = Places([], home=HOME, scratch=SCRATCH, volumesets=VOLUMESETS)
    assert (places.mapped("/keys"), dict(places.mapped_variables), places.orders) == (
        "/keys",
        {},
        [],
    )


def test_program_finds_mounted_volumes_where_they_are_named(places) -> None:
    assert json.loads(places.mounted_variables[VARIABLE]) == {
        path: path for path, _ in places.binds
    }
    assert places.binds[0] == ("/keys", "/h/mount-0")


@pytest.mark.parametrize(
    ("needed", "hides"),
    [("/work/venv/bin/python", True), ("/work", True), ("/workshop", False), ("/", False)],
)
def test_volume_hides_what_is_below_its_path(needed, hides, places) -> None:
    assert places.hides([needed]) is hides
