import httpx
import pytest

from cpln_flows.emulator import Exit, Platform, PlatformConfig, Script
from cpln_flows.emulator.permissions import granted_by

from .support import COMMANDS, GVC, RANGE, W1, WORKLOADS, local, run_body, stop_body, workload

pytestmark = pytest.mark.anyio

LOGS = f"{RANGE}?" + str(httpx.QueryParams({"query": '{gvc="quickstart"}'}))
SUPERUSER, ACCOUNT = "/org/local/group/superusers", "/org/local/serviceaccount/sa-1"
ACCOUNT_TOKEN = "s.account"
NEVER = Script(())
TOKENS = {"s.root": SUPERUSER, ACCOUNT_TOKEN: ACCOUNT, "s.viewer": "/org/local/group/viewers"}


def as_(token):
    return {"authorization": token}


@pytest.fixture
async def guarded(anyio_backend):
    async with local(Script(()), token="s.root", tokens=TOKENS) as here:
        await here.client.post("/org/local/serviceaccount", json={"name": "sa-1"})
        await here.create()
        yield here


async def allow(here, *permissions, kind="workload", principal="//serviceaccount/sa-1", **target):
    bindings = [{"permissions": list(permissions), "principalLinks": [principal]}]
    policy = {
        "name": "p-1",
        "targetKind": kind,
        "bindings": bindings,
        **(target or {"target": "all"}),
    }
    response = await here.client.put("/org/local/policy", json=policy)
    assert response.status_code in (200, 201), response.text


async def ask(here, method, path, json=None, token=ACCOUNT_TOKEN):
    return (await here.client.request(method, path, json=json, headers=as_(token))).status_code


@pytest.mark.parametrize(
    ("header", "status"),
    [
        pytest.param("Bearer s.root", 200, id="bearer"),
        pytest.param("bearer s.root", 200, id="lower-case-bearer"),
        pytest.param("s.root", 200, id="raw"),
        pytest.param("s.unknown", 401, id="unknown"),
        pytest.param("", 401, id="empty"),
        pytest.param("Bearer ", 401, id="only-the-word"),
    ],
)
async def test_a_token_is_accepted_raw_and_as_bearer(guarded, header, status):
    assert (await guarded.client.get("/org/local", headers=as_(header))).status_code == status


@pytest.mark.parametrize(
    "config", [{}, {"tokens": {}}, {"tokens": TOKENS}], ids=["open", "no-further", "enforced"]
)
async def test_tokens_nobody_issued_are_refused(config):
    """Also one that looks like a container's: with it anybody could read the organisation."""
    async with local(**config) as here:
        for token in (
            "",
            "anything",
            "s.test2",
            "s.tes",
            "w.",
            "w.made-up",
            "Bearer",
            "Bearer w.made-up",
        ):
            answer = await here.client.get("/org/local", headers=as_(token))
            assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED"), token


async def test_issued_tokens_are_valid_where_nothing_is_enforced():
    """The key of an account, and the token of a container until its run has ended."""
    async with local(Script((Exit(1),))) as here:
        await here.client.post("/org/local/serviceaccount", json={"name": "sa-1"})
        key = (await here.client.post(f"{ACCOUNT}/-addKey", json={})).json()["key"]
        token = await injected_token(here, None, Script((Exit(1),)))
        for issued in (key, token):
            assert await ask(here, "GET", "/org/local", token=issued) == 200
        await here.advance(1)
        assert await ask(here, "GET", "/org/local", token=token) == 401


def test_each_platform_has_a_token_of_its_own():
    tokens = {Platform().token for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) > 40


def test_a_token_is_in_no_representation():
    platform = Platform(PlatformConfig(token="s.hush", tokens={"s.hush-too": SUPERUSER}))
    assert "hush" not in f"{platform!r} {platform.config!r} {Platform(platform.config)!r}"


@pytest.mark.parametrize("token", ["", "a b", "a\n", "ä"])
def test_a_token_no_header_can_carry_is_refused(token):
    with pytest.raises(ValueError, match="token"):
        Platform(PlatformConfig(token=token))


async def test_nothing_is_allowed_without_a_policy_and_the_message_names_the_permission(guarded):
    response = await guarded.client.get(W1, headers=as_("s.account"))
    assert response.status_code == 403
    assert 'requires permission "view" on workload ' + W1 in response.json()["message"]


async def test_hidden_objects_are_404_when_switched():
    async with local(token="s.root", tokens=TOKENS, hidden_status=404) as here:
        await here.create()
        assert await ask(here, "GET", W1) == 404


@pytest.mark.fact("F116", "F052")
@pytest.mark.parametrize(
    ("permission", "method", "path", "body", "status"),
    [
        pytest.param("view", "GET", W1, None, 200, id="view"),
        pytest.param("edit", "GET", W1, None, 200, id="edit-implies-view"),
        pytest.param("manage", "GET", W1, None, 200, id="manage-implies-view"),
        pytest.param("view", "PATCH", W1, {"tags": {"a": 1}}, 403, id="view-is-not-edit"),
        pytest.param("edit", "PATCH", W1, {"tags": {"a": 1}}, 200, id="edit"),
        pytest.param("edit", "DELETE", W1, None, 403, id="edit-is-not-delete"),
        pytest.param("delete", "DELETE", W1, None, 202, id="delete"),
        pytest.param("edit", "POST", WORKLOADS, workload("w-2"), 403, id="edit-is-not-create"),
        pytest.param("view", "POST", COMMANDS, run_body(), 403, id="view-is-not-exec"),
        pytest.param("exec.runCronWorkload", "POST", COMMANDS, run_body(), 201, id="run"),
        pytest.param("exec", "POST", COMMANDS, run_body(), 201, id="exec-implies-run"),
        pytest.param(
            "exec.runCronWorkload", "POST", COMMANDS, stop_body("x"), 403, id="run-is-not-stop"
        ),
        pytest.param("exec.stopReplica", "POST", COMMANDS, stop_body("x"), 201, id="stop"),
    ],
)
async def test_a_permission_allows_what_it_says_and_what_it_implies(  # noqa: PLR0917 - a table's columns
    guarded, permission, method, path, body, status
):
    await allow(guarded, permission)
    assert await ask(guarded, method, path, body) == status


async def test_creating_needs_create_and_the_gvc_to_be_seen(guarded):
    await allow(guarded, "create")
    assert await ask(guarded, "POST", WORKLOADS, workload("w-2")) == 403
    policy = {
        "name": "p-2",
        "targetKind": "gvc",
        "target": "all",
        "bindings": [{"permissions": ["view"], "principalLinks": ["//serviceaccount/sa-1"]}],
    }
    await guarded.client.put("/org/local/policy", json=policy)
    assert await ask(guarded, "POST", WORKLOADS, workload("w-2")) == 201


async def test_a_dry_run_of_a_creation_needs_the_permission_to_create(guarded):
    await allow(guarded, "view", kind="gvc")
    assert await ask(guarded, "PUT", f"{WORKLOADS}?dryRun=true", workload("w-2")) == 403
    await allow(guarded, "create", "view", kind="gvc")
    assert await ask(guarded, "PUT", f"{GVC}?dryRun=true", {"spec": {}}) == 403
    assert await ask(guarded, "PUT", "/org/local/gvc?dryRun=true", {"name": "another"}) == 200


@pytest.mark.parametrize(
    "query",
    [
        {"spec": {"terms": "x"}},
        {"kind": "secret"},
        {"spec": {"match": "some"}},
        {"spec": {"terms": [{"op": "=~", "tag": "a", "value": "("}]}},
    ],
    ids=["terms", "kind", "match", "pattern"],
)
async def test_a_policy_with_a_query_that_cannot_be_read_is_refused_and_breaks_no_other(
    guarded, query
):
    bindings = [{"permissions": ["view"], "principalLinks": ["//serviceaccount/sa-1"]}]
    policy = {"name": "p-2", "targetKind": "workload", "targetQuery": query, "bindings": bindings}
    refused = await guarded.client.post("/org/local/policy", json=policy)
    assert (refused.status_code, "targetQuery." in refused.json()["message"]) == (400, True)
    await allow(guarded, "view")
    assert await ask(guarded, "GET", W1) == 200


@pytest.mark.parametrize(
    ("target", "status"),
    [
        pytest.param({"target": "all"}, 200, id="all"),
        pytest.param({"targetLinks": [W1]}, 200, id="this-link"),
        pytest.param({"targetLinks": [f"{WORKLOADS}/w-2"]}, 403, id="another-link"),
        pytest.param({"targetLinks": []}, 403, id="no-link"),
        pytest.param({"targetQuery": {"spec": {"terms": []}}}, 200, id="query-without-terms"),
        pytest.param(
            {"targetQuery": {"spec": {"terms": [{"tag": "cpln/createdByPrefect", "value": True}]}}},
            200,
            id="fitting-query",
        ),
        pytest.param(
            {"targetQuery": {"spec": {"terms": [{"tag": "none", "value": 1}]}}},
            403,
            id="other-query",
        ),
        pytest.param({"targetQuery": None, "targetLinks": []}, 403, id="no-query"),
    ],
)
async def test_a_policy_covers_its_target_only(guarded, target, status):
    await allow(guarded, "view", **target)
    assert await ask(guarded, "GET", W1) == status


async def test_members_of_a_group_have_what_it_has(guarded):
    await guarded.client.patch(SUPERUSER, json={"$append/memberLinks": [ACCOUNT]})
    assert await ask(guarded, "PATCH", W1, {"tags": {"a": 1}}) == 200


async def test_viewers_view_and_do_nothing_else(guarded):
    assert await ask(guarded, "GET", W1, token="s.viewer") == 200
    assert await ask(guarded, "PATCH", W1, {}, token="s.viewer") == 403
    assert await ask(guarded, "GET", "/org/local/secret/s-1/-reveal", token="s.viewer") == 404


async def test_lists_and_queries_show_what_may_be_seen(guarded):
    await guarded.create(workload("w-2"))
    await allow(guarded, "view", targetLinks=[W1])
    found = (await guarded.client.get("/org/local/workload", headers=as_("s.account"))).json()[
        "items"
    ]
    assert [item["name"] for item in found] == ["w-1"]


async def test_reveal_needs_its_own_permission(guarded):
    await guarded.client.post(
        "/org/local/secret", json={"name": "s-1", "type": "dictionary", "data": {"A": "1"}}
    )
    await allow(guarded, "view", kind="secret")
    assert await ask(guarded, "GET", "/org/local/secret/s-1") == 200
    assert await ask(guarded, "GET", "/org/local/secret/s-1/-reveal") == 403
    await allow(guarded, "edit", kind="secret")
    assert await ask(guarded, "GET", "/org/local/secret/s-1/-reveal") == 200


async def test_logs_need_read_logs_on_the_organisation(guarded):
    refused = await guarded.client.get(LOGS, headers=as_("s.account"))
    assert refused.status_code == 403
    assert 'requires permission "readLogs" in org local' in refused.json()["message"]
    await allow(guarded, "readLogs", kind="org")
    assert await ask(guarded, "GET", LOGS) == 200
    assert await ask(guarded, "GET", "/org/local") == 200


async def test_another_organisation_is_403_for_a_known_token(guarded):
    assert await ask(guarded, "GET", "/org/other", token="s.root") == 403


async def injected_token(here, identity, then=NEVER):
    tokens = []

    def script(run):
        tokens.append(run.env["CPLN_TOKEN"])
        return then

    here.platform._parts.executor._script_for = script
    await here.create(workload("w-id", **({"identityLink": identity} if identity else {})))
    await here.start(f"{WORKLOADS}/w-id")
    return tokens[0]


@pytest.mark.fact("F027")
async def test_the_injected_token_has_its_identitys_permissions_on_the_api_only(guarded):
    await guarded.client.put(f"{GVC}/identity", json={"name": "id-1"})
    token = await injected_token(guarded, "//gvc/quickstart/identity/id-1")
    assert await ask(guarded, "GET", W1, token=token) == 403
    await allow(guarded, "view", principal="//gvc/quickstart/identity/id-1")
    assert await ask(guarded, "GET", W1, token=token) == 200
    await allow(guarded, "readLogs", kind="org", principal="//gvc/quickstart/identity/id-1")
    refused = await guarded.client.get(LOGS, headers=as_(token))
    assert refused.status_code == 403
    assert "readLogs" in refused.json()["message"]


@pytest.mark.fact("F028")
async def test_a_workload_without_identity_can_read_its_organisation_and_nothing_else(guarded):
    token = await injected_token(guarded, None)
    assert await ask(guarded, "GET", "/org/local", token=token) == 200
    assert await ask(guarded, "GET", W1, token=token) == 403


async def test_a_key_made_by_add_key_works_until_its_account_is_gone(guarded):
    key = (await guarded.client.post(f"{ACCOUNT}/-addKey", json={"description": "d"})).json()["key"]
    await allow(guarded, "view")
    assert await ask(guarded, "GET", W1, token=key) == 200
    await guarded.client.delete(ACCOUNT)
    await guarded.advance(1)
    assert await ask(guarded, "GET", W1, token=key) == 401


@pytest.mark.parametrize(
    "policy",
    [
        pytest.param({"targetKind": "nothing"}, id="kind"),
        pytest.param({}, id="no-kind"),
        pytest.param(
            {"targetKind": "workload", "target": "all", "targetLinks": []}, id="two-targets"
        ),
        pytest.param(
            {
                "targetKind": "workload",
                "bindings": [{"permissions": ["fly"], "principalLinks": [ACCOUNT]}],
            },
            id="permission",
        ),
        pytest.param(
            {
                "targetKind": "workload",
                "bindings": [{"permissions": ["view"], "principalLinks": []}],
            },
            id="nobody",
        ),
        pytest.param(
            {
                "targetKind": "workload",
                "bindings": [{"permissions": ["view"], "principalLinks": [W1]}],
            },
            id="principal",
        ),
    ],
)
async def test_a_wrong_policy_is_400(guarded, policy):
    assert (
        await guarded.client.post("/org/local/policy", json={"name": "p-1", **policy})
    ).status_code == 400


async def test_identities_cannot_be_members_of_a_group(guarded):
    change = {"$append/memberLinks": [f"{GVC}/identity/id-1"]}
    assert (await guarded.client.patch(SUPERUSER, json=change)).status_code == 400


@pytest.mark.parametrize(
    ("kind", "permission", "by"),
    [
        ("workload", "exec.stopReplica", {"exec.stopReplica", "exec", "manage"}),
        ("org", "view", {"view", "readLogs", "manage"}),
        ("secret", "view", {"view", "use", "reveal", "edit", "manage"}),
        ("image", "view", {"view", "pull", "create", "edit", "manage"}),
        ("identity", "view", {"view", "edit", "manage"}),
    ],
)
def test_implied_permissions_are_followed_to_the_end(kind, permission, by):
    assert granted_by(kind, permission) == by


async def test_who_may_view_a_workload_may_list_and_query_its_commands(guarded):
    await guarded.start()
    await allow(guarded, "view")
    listed = await guarded.client.get(COMMANDS, headers=as_(ACCOUNT_TOKEN))
    found = await guarded.client.post(f"{COMMANDS}/-query", json={}, headers=as_(ACCOUNT_TOKEN))
    assert len(listed.json()["items"]) == len(found.json()["items"]) == 1


async def test_the_permissions_of_the_organisation_are_listed(guarded):
    listed = await guarded.get("/org/-schema/permissions")
    assert "readLogs" in [each["name"] for each in listed["permissions"]]
