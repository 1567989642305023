"""What a platform keeps between two runs, and which folders it refuses."""

import asyncio
import contextlib
import errno
import hashlib
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator import (
    ManualClock,
    Platform,
    PlatformConfig,
    ProcessExecutor,
    Script,
    ScriptedExecutor,
    Server,
    StateError,
    StateFolder,
)
from cpln_flows.emulator.authentication import Authentication
from cpln_flows.emulator.autosave import MOMENT_SECONDS
from cpln_flows.emulator.saved import (
    SavedKey,
    SavedObject,
    SavedState,
    SavedStateError,
    decode,
    encode,
)

from .support import COMMANDS, GVC, W1, WORKLOADS, run_body, until, workload

pytestmark = pytest.mark.anyio

SHARED = {"fileSystemType": "shared", "performanceClass": "shared", "initialCapacity": 10}
VOLUMESETS = f"{GVC}/volumeset"
DATA = {"name": "data", "spec": SHARED}
SECRET = {"name": "pass", "type": "opaque", "data": {"payload": "hush", "encoding": "plain"}}
ACCOUNT = "/org/local/serviceaccount/bot"


class Kept:
    """A platform in process that keeps its state, with a client of its own token."""

    def __init__(self, platform, client) -> None:
        self.platform, self.client = platform, client

    async def put(self, collection, document):
        response = await self.client.put(collection, json=document)
        assert response.status_code in (200, 201), response.text

    async def get(self, link):
        response = await self.client.get(link)
        assert response.status_code == 200, response.text
        return response.json()

    async def delete(self, link):
        assert (await self.client.delete(link)).status_code == 202

    async def key(self):
        await self.put("/org/local/serviceaccount", {"name": "bot"})
        return (await self.client.post(f"{ACCOUNT}/-addKey", json={"description": "d"})).json()


@contextlib.asynccontextmanager
async def kept(folder, clock=None, executor=None, **config):
    platform = Platform(
        PlatformConfig(**config),
        clock=clock or ManualClock(),
        executor=executor or ScriptedExecutor(Script()),
        state=StateFolder(folder),
    )
    platform.start()
    transport = httpx.ASGITransport(app=platform.app)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://local", headers={"authorization": platform.token}
    ) as client:
        try:
            yield Kept(platform, client)
        finally:
            await platform.aclose()


async def saved(folder, words):
    """Wait until the file holds some words; it is written by another thread."""

    async def is_there():
        return words.encode() in (folder / "state.json").read_bytes()

    await until(is_there)


async def test_objects_are_as_before_after_a_restart(tmp_path):
    links = [
        "/org/local", GVC, W1, "/org/local/secret/pass/-reveal", f"{VOLUMESETS}/data",
        "/org/local/policy/mine", "/org/local/policy/viewers-org", "/org/local/location/local-1",
    ]  # fmt: skip
    policy = {
        "name": "mine",
        "targetKind": "secret",
        "target": "all",
        "bindings": [{"permissions": ["reveal"], "principalLinks": [f"{GVC}/identity/id-1"]}],
    }
    async with kept(tmp_path) as here:
        await here.put(f"{GVC}/identity", {"name": "id-1"})
        await here.put(WORKLOADS, workload(identityLink=f"{GVC}/identity/id-1"))
        await here.client.patch(W1, json={"tags": {"a": 1}})
        await here.put("/org/local/secret", SECRET)
        await here.put("/org/local/policy", policy)
        await here.put(VOLUMESETS, DATA)
        await here.client.patch("/org/local", json={"description": "mine"})
        before = [await here.get(link) for link in links]
        listed = (await here.get(WORKLOADS))["items"]
    async with kept(tmp_path) as here:
        assert [await here.get(link) for link in links] == before
        assert (await here.get(WORKLOADS))["items"] == listed
        assert (await here.get("/org/local/workload"))["items"] == listed
        assert before[2]["version"] == 2
        assert before[1]["alias"].startswith("a1")


async def test_token_stays_unless_one_is_configured(tmp_path):
    async with kept(tmp_path) as here:
        token = here.platform.token
    async with kept(tmp_path) as here:
        assert here.platform.token == token
    async with kept(tmp_path, token="s.mine") as here:
        assert here.platform.token == "s.mine"


async def test_a_new_platform_is_saved_before_it_is_used(tmp_path):
    async with kept(tmp_path) as here:
        assert here.platform.token.encode() in (tmp_path / "state.json").read_bytes()


async def test_key_works_after_a_restart_and_stands_nowhere_in_clear(tmp_path):
    async with kept(tmp_path, tokens={}) as here:
        key = (await here.key())["key"]
        account = await here.get(ACCOUNT)
        other = (await here.key())["key"]
        await here.client.patch(ACCOUNT, json={"keys": account["keys"]})
    content = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert hashlib.sha256(key.encode()).hexdigest().encode() in content
    assert key.encode() not in content
    assert key.rsplit(".", 1)[1].encode() not in content
    async with kept(tmp_path, tokens={}) as here:
        given = {"authorization": key}
        response = await here.client.get("/org/local/gvc", headers=given)
        assert (response.status_code, response.json()["items"]) == (200, [])
        dropped = await here.client.get("/org/local/gvc", headers={"authorization": other})
        assert dropped.status_code == 401
        await here.client.patch(ACCOUNT, json={"keys": []})
        assert (await here.client.get("/org/local/gvc", headers=given)).status_code == 401


async def test_keys_of_a_deleted_account_are_not_kept(tmp_path):
    async with kept(tmp_path, delete_delay_seconds=0) as here:
        key = (await here.key())["key"]
        await here.delete(ACCOUNT)
    async with kept(tmp_path) as here:
        response = await here.client.get("/org/local", headers={"authorization": key})
        assert response.status_code == 401
    assert decode((tmp_path / "state.json").read_bytes(), "local").keys == ()


async def test_file_and_folder_are_the_users_alone(tmp_path):
    folder = tmp_path / "new" / "state"
    async with kept(folder):
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "state.json")]
    assert modes == [0o700, 0o600]


async def test_change_is_saved_a_moment_later(tmp_path):
    clock = ManualClock()
    async with kept(tmp_path, clock) as here:
        first = (tmp_path / "state.json").read_bytes()
        await here.put("/org/local/secret", SECRET)
        clock.advance(MOMENT_SECONDS / 2)
        assert (tmp_path / "state.json").read_bytes() == first
        clock.advance(MOMENT_SECONDS / 2)
        await saved(tmp_path, "hush")


async def test_change_while_the_file_is_written_is_saved_too(tmp_path):
    clock = ManualClock()
    async with kept(tmp_path, clock) as here:
        await here.put("/org/local/secret", SECRET)
        clock.advance(MOMENT_SECONDS)
        await here.put("/org/local/secret", {**SECRET, "name": "later"})

        async def is_there():
            clock.advance(MOMENT_SECONDS)
            return b'"later"' in (tmp_path / "state.json").read_bytes()

        await until(is_there)


async def test_commands_are_neither_kept_nor_a_reason_to_save(tmp_path):
    clock = ManualClock()
    async with kept(tmp_path, clock) as here:
        await here.put(WORKLOADS, workload())
        clock.advance(MOMENT_SECONDS)
        await saved(tmp_path, "w-1")
        # Every replacement of the file makes a new one.
        number = (tmp_path / "state.json").stat().st_ino
        assert (await here.client.post(COMMANDS, json=run_body())).status_code == 201
        clock.advance(MOMENT_SECONDS)
    assert (tmp_path / "state.json").stat().st_ino == number
    async with kept(tmp_path) as here:
        assert here.platform.commands() == []
        assert (await here.get(f"{W1}/deployment/local-1"))["status"]["jobExecutions"] == []


async def test_cron_workloads_run_by_schedule_and_command_again(tmp_path):
    async with kept(tmp_path) as here:
        await here.put(WORKLOADS, workload(defaultOptions={"suspend": False}))
    clock = ManualClock()
    async with kept(tmp_path, clock) as here:
        clock.advance(60)
        assert here.platform.jobs_started == 1
        assert (await here.get(f"{W1}/deployment/local-1"))["status"]["ready"] is True
        assert (await here.client.post(COMMANDS, json=run_body())).status_code == 201

        async def has_run():
            return here.platform.jobs_started == 2

        await until(has_run)


async def test_deletion_that_was_under_way_is_completed(tmp_path):
    async with kept(tmp_path, delete_delay_seconds=600) as here:
        await here.put(WORKLOADS, workload())
        await here.put(VOLUMESETS, DATA)
        (tmp_path / "volumes" / "quickstart" / "data").mkdir(parents=True)
        await here.delete(W1)
        await here.delete(f"{VOLUMESETS}/data")
    async with kept(tmp_path, executor=ProcessExecutor()) as here:
        assert here.platform.workloads() == here.platform.objects("volumeset") == []
    assert not (tmp_path / "volumes" / "quickstart" / "data").exists()
    assert b"w-1" not in (tmp_path / "state.json").read_bytes()


async def test_location_that_is_configured_later_is_created(tmp_path):
    async with kept(tmp_path, delete_delay_seconds=0) as here:
        old = await here.get("/org/local/location/local-1")
        await here.delete(GVC)
    async with kept(tmp_path, locations=("local-1", "new-1")) as here:
        locations = (await here.get("/org/local/location"))["items"]
        assert [each["name"] for each in locations] == ["local-1", "new-1"]
        assert locations[0] == old
        assert (await here.get(GVC))["name"] == "quickstart"


KILLED = """
import os, pathlib, signal, sys
from cpln_flows.emulator import StateFolder
from cpln_flows.emulator.saved import SavedState
folder = StateFolder(pathlib.Path(sys.argv[1]))
assert folder.open("local") is not None
pathlib.Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
folder.write(SavedState("local", "s.other"))
"""


async def test_kill_in_the_middle_of_a_save_leaves_the_old_state(tmp_path):
    async with kept(tmp_path) as here:
        await here.put("/org/local/secret", SECRET)
    before = (tmp_path / "state.json").read_bytes()
    killed = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", KILLED, str(tmp_path)], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    assert b"s.other" in (tmp_path / "state.json.new").read_bytes()
    assert (tmp_path / "state.json").read_bytes() == before
    async with kept(tmp_path) as here:
        assert (await here.get("/org/local/secret/pass"))["name"] == "pass"


async def test_save_that_fails_is_reported_and_made_up_at_the_end(tmp_path, monkeypatch, caplog):
    clock = ManualClock()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async with kept(tmp_path, clock) as here:
        before = (tmp_path / "state.json").read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", full)
            await here.put("/org/local/secret", SECRET)
            clock.advance(MOMENT_SECONDS)

            async def is_reported():
                return bool(caplog.messages)

            await until(is_reported)
        assert "No space left" in caplog.text
        assert "hush" not in caplog.text
        assert (tmp_path / "state.json").read_bytes() == before
    assert b"hush" in (tmp_path / "state.json").read_bytes()


WORKLOAD_OBJECT = {"gvc": "quickstart", "deleted": False, "document": {
    "kind": "workload", "name": "w-1", "id": "x", "version": 1, "spec": {
        "type": "cron", "containers": [{"name": "main", "image": "i"}],
        "job": {"schedule": "* * * * *"},
    },
}}  # fmt: skip
POLICY = {"kind": "policy", "name": "p", "id": "x", "version": 1, "targetKind": "gvc"}


def content(*objects, **fields):
    return orjson.dumps(
        {"format": 1, "org": "local", "token": "s.t", "keys": [], "objects": objects} | fields
    )


def broken(**changes):
    return content({**WORKLOAD_OBJECT, "document": WORKLOAD_OBJECT["document"] | changes})


@pytest.mark.parametrize(
    ("damaged", "problem"),
    [
        pytest.param(b"", "is not JSON", id="empty"),
        pytest.param(content()[:-20], "is not JSON", id="cut"),
        pytest.param(b"\xff\x00", "is not JSON", id="bytes"),
        pytest.param(b"[]", '"format"', id="array"),
        pytest.param(content(format=True), '"format"', id="format-flag"),
        pytest.param(content(format=2), "has format 2, and this version", id="other-format"),
        pytest.param(content(org="acme"), "belongs to organization 'acme', not", id="other-org"),
        pytest.param(content(org=None), '"org" is not a string', id="no-org"),
        pytest.param(content(token=""), '"token" is not a token', id="no-token"),
        pytest.param(content(token="a b"), '"token" is not a token', id="token-with-blank"),
        pytest.param(content(objects={}), '"objects" is not an array', id="objects"),
        pytest.param(content(1), r'"objects\[0\]" is not an object', id="object"),
        pytest.param(content({"gvc": None, "deleted": False}), "document", id="no-document"),
        pytest.param(broken(kind="pod"), "is not a kind", id="unknown-kind"),
        pytest.param(broken(kind="command"), "is not a kind", id="command"),
        pytest.param(content({**WORKLOAD_OBJECT, "gvc": None}), "gvc", id="no-gvc"),
        pytest.param(content({**WORKLOAD_OBJECT, "gvc": "../x"}), "gvc", id="gvc-path"),
        pytest.param(content({**WORKLOAD_OBJECT, "deleted": 0}), "deleted", id="deleted"),
        pytest.param(broken(name="../../x"), '"name"', id="name-path"),
        pytest.param(broken(name=".."), '"name"', id="name-dots"),
        pytest.param(broken(id=None), '"id"', id="no-id"),
        pytest.param(broken(version=True), '"version"', id="version"),
        pytest.param(broken(tags=[]), '"tags"', id="tags"),
        pytest.param(broken(spec=[]), '"spec"', id="spec"),
        pytest.param(broken(spec={}), "containers", id="no-containers"),
        pytest.param(
            broken(spec={**WORKLOAD_OBJECT["document"]["spec"], "job": {"schedule": "never"}}),
            "schedule",
            id="schedule",
        ),
        pytest.param(
            content({"gvc": None, "deleted": False, "document": {**POLICY, "targetKind": 1}}),
            "targetKind",
            id="policy-kind",
        ),
        pytest.param(
            content(
                {
                    "gvc": None,
                    "deleted": False,
                    "document": {**POLICY, "targetQuery": {"spec": {"match": "no"}}},
                }
            ),
            "targetQuery",
            id="policy-query",
        ),
        pytest.param(content(WORKLOAD_OBJECT, WORKLOAD_OBJECT), "twice", id="twice"),
        pytest.param(
            content(keys=[{"account": "/org/local/serviceaccount/x", "name": "s", "sha256": "x"}]),
            "digest",
            id="no-digest",
        ),
        pytest.param(
            content(keys=[{"account": "/x", "name": "s", "sha256": "0" * 64}]),
            "service account that is not in it",
            id="key-of-nobody",
        ),
    ],
)
async def test_file_that_cannot_be_used_is_refused_and_stays(damaged, problem, tmp_path):
    file = tmp_path / "state.json"
    file.write_bytes(damaged)
    with pytest.raises(StateError, match=problem) as refused:
        Platform(state=StateFolder(tmp_path))
    assert str(refused.value).startswith(f"the saved state {file} ")
    assert "\n" not in str(refused.value)
    assert file.read_bytes() == damaged
    # The folder is free again.
    file.unlink()
    async with kept(tmp_path):
        pass


async def test_content_of_these_tables_is_accepted_when_whole(tmp_path):
    (tmp_path / "state.json").write_bytes(
        content(WORKLOAD_OBJECT, {"gvc": None, "deleted": False, "document": POLICY})
    )
    async with kept(tmp_path) as here:
        assert (await here.get(W1))["id"] == "x"


HOLDING = """
import pathlib, sys
from cpln_flows.emulator import Platform, StateFolder
platform = Platform(state=StateFolder(pathlib.Path(sys.argv[1])))
print("ready", flush=True)
sys.stdin.read()
"""


def test_second_process_is_refused_until_the_first_is_gone(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as first:
        try:
            assert first.stdout.readline() == b"ready\n"
            with pytest.raises(StateError, match=rf"in use by .* \(process {first.pid}\)\. Stop"):
                Platform(state=StateFolder(tmp_path))
        finally:
            first.kill()
    folder = StateFolder(tmp_path)
    assert folder.open("local") is None
    folder.close()


async def test_second_platform_of_one_process_is_refused(tmp_path):
    async with kept(tmp_path) as here:
        with pytest.raises(StateError, match="in use"):
            Platform(state=StateFolder(tmp_path))
        await here.put("/org/local/secret", SECRET)
    async with kept(tmp_path) as here:
        assert (await here.get("/org/local/secret/pass"))["name"] == "pass"


async def test_closed_platform_saves_no_more(tmp_path):
    async with kept(tmp_path) as here:
        await here.platform.aclose()
        here.platform.start()
        await here.put("/org/local/secret", SECRET)
    assert b"hush" not in (tmp_path / "state.json").read_bytes()


def test_folder_that_others_may_change_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(StateError, match=r"can be changed by other users.*chmod 700"):
        Platform(state=StateFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"file cannot hold the state: File exists\. Choose"):
        Platform(state=StateFolder(tmp_path / "file"))


async def test_server_begins_to_save_or_does_not_serve(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    platform = Platform(state=StateFolder(tmp_path))
    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        server = Server(platform)
        with pytest.raises(StateError, match="No space left"):
            await server.__aenter__()
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(server.url)
    await platform.aclose()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.text(st.characters(exclude_categories=["Cs"]), max_size=8), children, max_size=3
        )
    ),
    max_leaves=10,
)
NAMES = st.from_regex(r"[a-z][-a-z0-9]{1,20}[a-z0-9]", fullmatch=True)


@st.composite
def states(draw):
    names = draw(st.lists(NAMES, unique=True, max_size=4))
    objects = [
        SavedObject(
            draw(NAMES) if kind == "identity" else None,
            {
                "kind": kind,
                "name": name,
                "id": "i",
                "version": draw(st.integers(1, 2**53)),
                "tags": draw(st.dictionaries(NAMES, st.booleans() | st.integers(0, 9))),
                "data": draw(JSON),
                "extra": draw(JSON),
            },
            draw(st.booleans()),
        )
        for name in names
        for kind in ("secret", "identity", "serviceaccount")
    ]
    keys = [
        SavedKey(
            f"/org/acme/serviceaccount/{name}", name, draw(st.binary(min_size=32, max_size=32))
        )
        for name in names
    ]
    return SavedState(
        "acme", draw(st.from_regex(r"[!-~]{1,50}", fullmatch=True)), (*keys,), (*objects,)
    )


@given(states())
def test_saving_what_was_loaded_gives_the_same_bytes(state):
    first = encode(state)
    assert decode(first, "acme") == state
    assert encode(decode(first, "acme")) == first


@given(st.binary(max_size=60) | JSON.map(orjson.dumps))
def test_any_content_is_read_or_refused_with_an_explanation(found):
    with contextlib.suppress(SavedStateError):
        decode(found, "local")


def test_no_secret_stands_in_the_form_for_readers():
    state = SavedState(
        "o", "s.token", (SavedKey("/a", "n", b"digest"),), (SavedObject(None, SECRET),)
    )
    assert not any(word in repr(state) for word in ("s.token", "digest", "hush"))


def test_accepted_tokens_are_known_by_their_digests_only():
    authentication = Authentication(
        PlatformConfig(token="s.own", tokens={"s.user": "/org/local/user/u"})
    )
    authentication.add_key("s0123456789abcdefghi", ACCOUNT)
    run = authentication.issue_workload_token(None)
    held = b"".join(
        digest + issued.digest + str(issued.key).encode()
        for digest, issued in authentication._issued.items()
    )
    for token in ("s.own", "s.user", "s0123456789abcdefghi", run):
        assert token.encode() not in held
        assert authentication.principal(f"Bearer {token}") is not None
