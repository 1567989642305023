import base64

import pytest

from cpln_flows.emulator import Exit, Script

from .support import GVC, W1, local, workload

pytestmark = pytest.mark.anyio


class Runs:
    """A script for every run that remembers what it was given."""

    def __init__(self) -> None:
        self.seen = []

    def __call__(self, run):
        self.seen.append(run)
        return Script((Exit(),))

    @property
    def main(self):
        return self.seen[-1].containers[0]


def with_env(*entries, **container):
    document = workload()
    document["spec"]["containers"][0] |= {
        "env": [{"name": name, "value": value} for name, value in entries],
        **container,
    }
    return document


@pytest.mark.fact("F136")
async def test_an_override_is_merged_by_name():
    runs = Runs()
    async with local(runs) as here:
        await here.create(with_env(("A", "1"), ("B", "2"), args=["old"]))
        override = {
            "name": "main",
            "image": "new",
            "env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}],
        }
        await here.start(overrides=[override])
        assert {name: value for name, value in runs.main.env.items() if len(name) == 1} == {
            "A": "1",
            "B": "3",
            "C": "4",
        }
        assert (runs.main.image, runs.main.command, runs.main.args) == ("new", "true", ("old",))


async def test_an_override_replaces_the_variables_when_switched():
    runs = Runs()
    async with local(runs, env_override="replace") as here:
        await here.create(with_env(("A", "1")))
        await here.start(overrides=[{"name": "main", "env": [{"name": "B", "value": "2"}]}])
        assert "A" not in runs.main.env
        assert runs.main.env["B"] == "2"


@pytest.mark.fact("F009", "F010", "F016", "F017")
async def test_the_injected_variables_tell_a_container_where_it_is():
    runs = Runs()
    async with local(runs) as here:
        await here.create(
            with_env(("WHERE", "$(CPLN_GVC)/$(NOT_SET)/$$(CPLN_GVC)"), args=["$(WHERE)"])
        )
        await here.start()
        env = runs.main.env
        assert env["CPLN_ORG"] == "local"
        assert env["CPLN_GVC"] == "quickstart"
        assert env["CPLN_LOCATION"] == "/org/local/location/local-1"
        assert env["CPLN_WORKLOAD"] == W1
        assert env["CPLN_ENDPOINT"] == "http://local"
        assert env["CPLN_TOKEN"].startswith("w.")
        assert env["CPLN_PROVIDER"] == "local"
        assert env["CPLN_WORKLOAD_VERSION"] == "1"
        assert env["CPLN_MAIN"] == "true"
        assert env["WHERE"] == "quickstart/$(NOT_SET)/$(CPLN_GVC)"
        assert {
            "CPLN_GLOBAL_ENDPOINT",
            "CPLN_GVC_ALIAS",
            "CPLN_IMAGE",
            "CPLN_NAME",
            "CPLN_NAMESPACE",
            "PORT",
        } <= set(env)


async def test_links_can_be_bare_names_when_switched():
    runs = Runs()
    async with local(runs, location_form="name") as here:
        await here.create()
        await here.start()
        assert (runs.main.env["CPLN_LOCATION"], runs.main.env["CPLN_WORKLOAD"]) == (
            "local-1",
            "w-1",
        )


@pytest.mark.fact("F088")
@pytest.mark.parametrize(("inherit", "found"), [(True, "gvc"), (False, None)])
async def test_the_gvcs_variables_are_inherited_on_request(inherit, found):
    runs = Runs()
    async with local(runs) as here:
        await here.client.patch(GVC, json={"spec": {"env": [{"name": "FROM", "value": "gvc"}]}})
        await here.create(with_env(inheritEnv=inherit))
        await here.start()
        assert runs.main.env.get("FROM") == found


async def prepare_secret(here, *, granted, body=None):
    await here.client.put(f"{GVC}/identity", json={"name": "id-1"})
    body = body or {"name": "s-1", "type": "dictionary", "data": {"KEY": "xyz"}}
    assert (await here.client.put("/org/local/secret", json=body)).status_code == 201
    if granted:
        await grant(here)


async def grant(here):
    binding = {"permissions": ["reveal"], "principalLinks": ["//gvc/quickstart/identity/id-1"]}
    policy = {
        "name": "p-1",
        "targetKind": "secret",
        "targetLinks": ["//secret/s-1"],
        "bindings": [binding],
    }
    assert (await here.client.put("/org/local/policy", json=policy)).status_code == 201


@pytest.mark.fact("F123")
@pytest.mark.parametrize(
    ("body", "value", "expected"),
    [
        pytest.param(
            {"type": "dictionary", "data": {"KEY": "xyz"}}, ".KEY", "xyz", id="dictionary-key"
        ),
        pytest.param(
            {"type": "dictionary", "data": {"KEY": "xyz"}},
            "",
            '{"KEY":"xyz"}',
            id="whole-dictionary",
        ),
        pytest.param(
            {"type": "userpass", "data": {"username": "u", "password": "p"}},
            ".username",
            "u",
            id="userpass",
        ),
        pytest.param(
            {"type": "opaque", "data": {"payload": "eA=="}},
            ".payload",
            "eA==",
            id="opaque-is-verbatim",
        ),
        pytest.param(
            {
                "type": "opaque",
                "data": {"payload": base64.b64encode(b"text").decode(), "encoding": "base64"},
            },
            ".payload",
            "text",
            id="opaque-base64-is-decoded",
        ),
        pytest.param({"type": "gcp", "data": '{"a":1}'}, "", '{"a":1}', id="json-text"),
    ],
)
async def test_secrets_are_resolved_where_a_policy_grants_reveal(body, value, expected):
    runs = Runs()
    async with local(runs) as here:
        await prepare_secret(here, granted=True, body={"name": "s-1", **body})
        document = with_env(("S", f"cpln://secret/s-1{value}"))
        document["spec"]["identityLink"] = "//gvc/quickstart/identity/id-1"
        await here.create(document)
        await here.start()
        assert runs.main.env["S"] == expected


async def test_a_run_waits_for_the_missing_reveal_and_says_so():
    runs = Runs()
    async with local(runs) as here:
        await prepare_secret(here, granted=False)
        await here.create(workload(identityLink="//gvc/quickstart/identity/id-1"))
        secret = {"name": "S", "value": "cpln://secret/s-1.KEY"}
        link = await here.start(overrides=[{"name": "main", "env": [secret]}])
        command = await here.get(link)
        assert command["lifecycleStage"] == "pending"
        assert (
            'requires permission "reveal" on /org/local/secret/s-1'
            in command["status"]["messages"][0]
        )
        await grant(here)
        await here.advance(5)
        assert await here.stage(link) == "completed"
        assert runs.main.env["S"] == "xyz"


@pytest.mark.fact("F124")
@pytest.mark.parametrize(
    ("identity", "value", "says"),
    [
        pytest.param(None, "cpln://secret/s-1.KEY", "without identity", id="no-identity"),
        pytest.param("id-1", "cpln://secret/none.KEY", "does not exist", id="no-such-secret"),
    ],
)
async def test_a_workload_whose_secret_cannot_be_read_is_not_ready(identity, value, says):
    async with local() as here:
        await prepare_secret(here, granted=False)
        document = with_env(("S", value))
        if identity:
            document["spec"]["identityLink"] = f"//gvc/quickstart/identity/{identity}"
        await here.create(document)
        status = await here.deployment()
        assert status["ready"] is False
        assert says in status["message"]


@pytest.mark.parametrize(
    ("position", "command", "args"), [("keep", "true", ("old",)), ("drop", None, ())]
)
async def test_an_override_without_a_command_keeps_the_workloads_unless_switched(
    position, command, args
):
    runs = Runs()
    async with local(runs, override_command=position) as here:
        await here.create(with_env(args=["old"]))
        await here.start(overrides=[{"name": "main", "image": "new"}])
        assert (runs.main.command, runs.main.args) == (command, args)


async def test_only_the_first_container_is_the_main_one():
    runs = Runs()
    async with local(runs) as here:
        await here.create(
            workload(containers=[{"name": name, "image": "ubuntu"} for name in ("main", "side")])
        )
        await here.start()
        main, side = runs.seen[-1].containers
        assert main.env["CPLN_MAIN"] == "true"
        assert "CPLN_MAIN" not in side.env
        assert set(main.env) - set(side.env) == {"CPLN_MAIN"}
