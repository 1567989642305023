"""Volumes of every kind, and where they are mounted."""

import pytest

from cpln_flows.manifest.kubernetes import fields
from tests.manifest.kubernetes.jobs import MAIN, POD, converted, faults, notes

VOLUME = f"{POD}.volumes[0]"
ITEMS = [{"key": "pw", "path": "password.txt"}, {"key": "user", "path": "in/user", "mode": 0o400}]


def _volume(source, *mounts):
    found = (
        [{"name": "v", "mountPath": "/v"}]
        if not mounts
        else [{"name": "v", **mount} for mount in mounts]
    )
    return [(f"{POD}.volumes", [{"name": "v", **source}]), (f"{MAIN}.volumeMounts", found)]


def _secret(**fields_):
    return {"secret": {"secretName": "keys", **fields_}}


@pytest.mark.parametrize(
    ("changes", "mounted"),
    [
        pytest.param(_volume(_secret()), {"/v": "cpln://secret/keys"}, id="secret"),
        pytest.param(
            _volume({"configMap": {"name": "conf"}}), {"/v": "cpln://secret/conf"}, id="config-map"
        ),
        pytest.param(
            _volume(
                _secret(), {"mountPath": "/etc/tls.crt", "subPath": "tls.crt", "readOnly": True}
            ),
            {"/etc/tls.crt": "cpln://secret/keys.tls.crt"},
            id="key-of-a-secret",
        ),
        pytest.param(
            _volume(_secret(items=ITEMS), {"mountPath": "/v/"}),
            {"/v/password.txt": "cpln://secret/keys.pw", "/v/in/user": "cpln://secret/keys.user"},
            id="chosen-keys",
        ),
        pytest.param(
            _volume(
                _secret(items=ITEMS),
                {"mountPath": "/p", "subPath": "password.txt"},
                {"mountPath": "/d", "subPath": "in"},
            ),
            {"/p": "cpln://secret/keys.pw", "/d/user": "cpln://secret/keys.user"},
            id="parts-of-chosen-keys",
        ),
        pytest.param(
            _volume(
                {
                    "projected": {
                        "sources": [
                            {"secret": {"name": "keys", "items": ITEMS[:1]}},
                            {"configMap": {"name": "conf", "items": [{"key": "a", "path": "a"}]}},
                        ]
                    }
                }
            ),
            {"/v/password.txt": "cpln://secret/keys.pw", "/v/a": "cpln://secret/conf.a"},
            id="projected",
        ),
        pytest.param(
            _volume({"projected": {"sources": [{"secret": {"name": "keys"}}]}}),
            {"/v": "cpln://secret/keys"},
            id="projected-alone",
        ),
        pytest.param(
            _volume({"persistentVolumeClaim": {"claimName": "data"}}),
            {"/v": "cpln://volumeset/data"},
            id="claim",
        ),
        pytest.param(
            _volume({"emptyDir": {}}, {"mountPath": "/v", "readOnly": False}),
            {"/v": "scratch://v"},
            id="scratch",
        ),
        pytest.param(
            _volume({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
            {"/v": "scratch://v"},
            id="ephemeral",
        ),
        pytest.param(
            _volume({"emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}),
            {"/v": "scratch://v"},
            id="in-memory",
        ),
        pytest.param(
            _volume({"emptyDir": {}}, {"mountPath": "/var/log"}),
            {},
            id="folder-that-is-writable-anyway",
        ),
    ],
)
def test_mounts_of_a_volume(changes, mounted) -> None:
    volumes = converted(*changes).main.extra.get("volumes", [])
    assert {volume["path"]: volume["uri"] for volume in volumes} == mounted


def test_secrets_of_volumes_are_known() -> None:
    assert converted(*_volume(_secret(items=ITEMS))).secrets == {"keys"}


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        pytest.param(
            _volume({"emptyDir": {"medium": "Memory"}}), f"{VOLUME}.emptyDir.medium", id="medium"
        ),
        pytest.param(
            _volume({"emptyDir": {"sizeLimit": "1Gi"}}), f"{VOLUME}.emptyDir.sizeLimit", id="size"
        ),
        pytest.param(
            _volume(_secret(defaultMode=0o400)), f"{VOLUME}.secret.defaultMode", id="mode"
        ),
        pytest.param(_volume(_secret(optional=True)), f"{VOLUME}.secret.optional", id="optional"),
        pytest.param(
            _volume(_secret(items=ITEMS)), f"{VOLUME}.secret.items[1].mode", id="mode-of-a-key"
        ),
        pytest.param(
            _volume({"persistentVolumeClaim": {"claimName": "data"}}),
            f"{VOLUME}.persistentVolumeClaim.claimName",
            id="claim",
        ),
        pytest.param(
            _volume({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
            f"{VOLUME}.ephemeral.volumeClaimTemplate",
            id="ephemeral",
        ),
        pytest.param(
            _volume({"emptyDir": {}}, {"mountPath": "/v", "readOnly": True}),
            f"{MAIN}.volumeMounts[0].readOnly",
            id="read-only",
        ),
        pytest.param(
            _volume({"emptyDir": {}}, {"mountPath": "/var/log"}),
            f"{MAIN}.volumeMounts[0].mountPath",
            id="left-out",
        ),
    ],
)
def test_what_a_volume_loses_is_noted(changes, path) -> None:
    assert list(notes(converted(*changes))) == [path]


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        *(
            pytest.param(_volume({kind: {"x": 1}}), f"{VOLUME}.{kind}", id=kind)
            for kind, rule in fields.VOLUME.items()
            if rule.outcome == "refused"
        ),
        pytest.param(
            _volume({"secret": {}}), f"{VOLUME}.secret.secretName", id="secret-without-a-name"
        ),
        pytest.param(
            _volume({"secret": {"name": "keys", "secretName": "keys"}}),
            f"{VOLUME}.secret.name",
            id="name-of-another-kind",
        ),
        pytest.param(_volume({"odd": {}}), VOLUME, id="unknown-kind"),
        pytest.param(_volume({**_secret(), "emptyDir": {}}), VOLUME, id="two-kinds"),
        pytest.param(
            _volume(_secret(items=[{"key": "a", "path": "../a"}])),
            f"{VOLUME}.secret.items[0].path",
            id="way-out",
        ),
        pytest.param(
            _volume(_secret(items=[{"key": "a", "path": "/a"}])),
            f"{VOLUME}.secret.items[0].path",
            id="from-the-root",
        ),
        pytest.param(
            _volume(_secret(items=[{"key": "a/b", "path": "a"}])),
            f"{VOLUME}.secret.items[0].key",
            id="odd-key",
        ),
        pytest.param(
            _volume(_secret(items=ITEMS), {"mountPath": "/v", "subPath": "other"}),
            f"{MAIN}.volumeMounts[0].subPath",
            id="no-file",
        ),
        pytest.param(
            _volume({"emptyDir": {}}, {"mountPath": "/v", "subPath": "x"}),
            f"{MAIN}.volumeMounts[0].subPath",
            id="part-of-scratch",
        ),
        pytest.param(
            _volume(_secret(), {"mountPath": "/v", "subPath": "../x"}),
            f"{MAIN}.volumeMounts[0].subPath",
            id="part-outside",
        ),
        pytest.param(
            _volume(
                {
                    "projected": {
                        "sources": [{"secret": {"name": "keys"}}, {"configMap": {"name": "conf"}}]
                    }
                }
            ),
            f"{VOLUME}.projected.sources",
            id="two-whole-sources",
        ),
        *(
            pytest.param(
                _volume({"projected": {"sources": [{kind: {"x": 1}}]}}),
                f"{VOLUME}.projected.sources[0].{kind}",
                id=f"projected-{kind}",
            )
            for kind in fields.SOURCE
        ),
        pytest.param(
            _volume(_secret(), {"mountPath": "/var/log"}),
            f"{MAIN}.volumeMounts[0].mountPath",
            id="secret-in-a-reserved-place",
        ),
    ],
)
def test_volume_that_cannot_be_had_is_one_fault(changes, path) -> None:
    assert path in faults(*changes)


def test_scratch_that_containers_share_is_not_left_out() -> None:
    side = {"name": "side", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/x"}]}
    found = faults(
        *_volume({"emptyDir": {}}, {"mountPath": "/var/log"}), (f"{POD}.containers[1]", side)
    )
    assert list(found) == [f"{MAIN}.volumeMounts[0].mountPath"]
