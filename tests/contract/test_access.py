"""Tokens, keys and permissions: who is let in, and who may do what."""

import base64

import httpx
import pytest
from websockets.sync.client import connect

from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.xdist_group("contract")

KINDS = ("workload", "org", "secret", "serviceaccount", "image")


@pytest.fixture(scope="module")
def workload(platform) -> str:
    return platform.workload()


@pytest.mark.fact("F018", "F019", "F021", "F051")
@pytest.mark.parametrize(
    "path", ["/org/{org}", '/logs/org/{org}/loki/api/v1/query_range?query=%7Bgvc%3D"x"%7D']
)
@pytest.mark.parametrize(
    ("form", "status"), [("Bearer {}", 200), ("{}", 200), ("", 401), ("Bearer", 401)]
)
def test_a_token_is_taken_with_and_without_bearer(platform, path, form, status) -> None:
    base = platform.url if path.startswith("/org") else platform.logs_url
    header = {"authorization": form.format(platform.token)} if form else {}
    assert (
        httpx.get(
            base + path.format(org=platform.org), headers=header, timeout=PATIENCE_SECONDS
        ).status_code
        == status
    )


@pytest.mark.fact("F020", "F021")
@pytest.mark.parametrize("form", ["Bearer {}", "{}"])
def test_the_websocket_takes_both_forms_too(platform, form) -> None:
    url = (
        platform.logs_url.replace("http", "ws", 1)
        + f"/logs/org/{platform.org}/loki/api/v1/tail?query=%7Bgvc%3D%22none%22%7D"
    )
    with connect(url, additional_headers={"authorization": form.format(platform.token)}) as socket:
        assert socket.ping().wait(30)


@pytest.mark.fact("F007")
def test_discovery_needs_no_token(platform) -> None:
    found = httpx.get(f"{platform.url}/discovery", timeout=PATIENCE_SECONDS)
    assert found.status_code == 200
    assert {"logs", "registry"} <= set(found.json()["endpoints"])


@pytest.mark.fact("F022", "F023", "F115", "F186")
def test_a_key_of_three_parts_is_named_by_its_first_characters(platform) -> None:
    account = platform.create(
        f"{platform.org_link}/serviceaccount", {"name": platform.name("sa"), "tags": {}}
    )
    made = platform.http.post(f"{account}/-addKey", json={"description": "d"}).json()
    _, middle, _ = made["key"].split(".")
    assert made["key"].startswith("s")
    content = base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)).decode()
    assert content.startswith(f"{platform.org}.{account.rsplit('/', 1)[1]}.")
    (stored,) = platform.get(account)["keys"]
    assert stored["name"] == made["key"][:16]
    assert "key" not in stored
    group = f"{platform.org_link}/group/superusers"
    with platform.client(made["key"]) as member:
        assert member.get(platform.gvc_link).status_code == 403
        platform.http.patch(group, json={"$append/memberLinks": [account]}).raise_for_status()
        assert member.get(platform.gvc_link).status_code == 200
        platform.http.patch(group, json={"$drop/memberLinks": [account]}).raise_for_status()
        platform.http.patch(account, json={"$drop/keys": [stored["name"]]}).raise_for_status()
        assert member.get(platform.gvc_link).status_code == 401


@pytest.mark.fact("F114")
def test_groups_are_built_in_and_have_no_identities_as_members(platform) -> None:
    for group in ("superusers", "viewers"):
        assert isinstance(
            platform.get(f"{platform.org_link}/group/{group}").get("memberLinks", []), list
        )
    identity = platform.create(f"{platform.gvc_link}/identity", {"name": platform.name("identity")})
    group = platform.create(f"{platform.org_link}/group", {"name": platform.name("group")})
    assert platform.http.patch(group, json={"$append/memberLinks": [identity]}).status_code == 400


PERMISSIONS = [
    pytest.param(
        "workload",
        "view create delete edit connect configureLoadBalancer exec exec.runCronWorkload"
        " exec.stopReplica",
        {"edit": "view", "exec": "exec.runCronWorkload exec.stopReplica"},
        marks=pytest.mark.fact("F116"),
    ),
    pytest.param(
        "org",
        "view edit readLogs readMetrics readUsage grafanaAdmin exec exec.echo viewAccessReport",
        {"readLogs": "view"},
        marks=pytest.mark.fact("F117"),
    ),
    pytest.param(
        "secret",
        "view create delete use reveal edit",
        {"use": "view", "reveal": "view", "edit": "view reveal"},
        marks=pytest.mark.fact("F118"),
    ),
    pytest.param(
        "serviceaccount", "view create delete edit addKey", {}, marks=pytest.mark.fact("F119")
    ),
    pytest.param(
        "image",
        "view pull create edit delete",
        {"pull": "view", "create": "pull view", "edit": "view"},
        marks=pytest.mark.fact("F120"),
    ),
]


@pytest.mark.parametrize(
    ("kind", "names", "implied"), PERMISSIONS, ids=lambda value: value if value in KINDS else ""
)
def test_the_permissions_of_a_kind_are_listed_with_what_they_imply(
    platform, kind, names, implied
) -> None:
    path = (
        "/org/-schema/permissions"
        if kind == "org"
        else f"{platform.org_link}/{kind}/-schema/permissions"
    )
    listed = {each["name"]: set(each["implies"]) for each in platform.get(path)["permissions"]}
    assert {*names.split(), "manage"} <= set(listed)

    def reached(name):
        return listed[name].union(*(reached(each) for each in listed[name]))

    for name, wanted in implied.items():
        assert reached(name) == set(wanted.split()), name
    assert set(names.split()) <= reached("manage")


@pytest.mark.fact("F052", "F116")
@pytest.mark.parametrize(
    ("permission", "allowed", "refused"),
    [
        ("view", ["get"], ["patch", "start", "delete"]),
        ("edit", ["get", "patch"], ["start", "delete"]),
        ("exec", ["start"], ["patch", "delete"]),
        ("exec.runCronWorkload", ["start"], ["patch", "delete"]),
        ("manage", ["get", "patch", "start"], []),
    ],
)
def test_a_permission_allows_what_it_implies_and_a_refusal_names_the_missing_one(
    platform, workload, permission, allowed, refused
) -> None:
    run = {"type": "runCronWorkload", "spec": {"location": platform.location}}
    calls = {
        "get": ("view", "GET", workload, None),
        "patch": ("edit", "PATCH", workload, {"tags": {"seen": "1"}}),
        "start": ("exec.runCronWorkload", "POST", f"{workload}/-command", run),
        "delete": ("delete", "DELETE", workload, None),
    }
    binding = {"targetKind": "workload", "targetLinks": [workload], "permissions": [permission]}
    with platform.member(binding) as member:
        for name in allowed + refused:
            needed, method, path, body = calls[name]
            answer = member.request(method, path, json=body)
            assert (answer.status_code == 403) is (name in refused), name
            if name in refused:
                assert f'requires permission "{needed}"' in answer.json()["message"]


@pytest.mark.fact("F118", "F122")
@pytest.mark.parametrize(
    ("permission", "status"),
    [("view", 403), ("use", 403), ("reveal", 200), ("edit", 200), ("manage", 200)],
)
def test_a_secret_is_revealed_to_those_who_may(platform, permission, status) -> None:
    body = {
        "name": platform.name("secret"),
        "type": "opaque",
        "data": {"payload": "hush", "encoding": "plain"},
    }
    secret = platform.create(f"{platform.org_link}/secret", body)
    with platform.member(
        {"targetKind": "secret", "targetLinks": [secret], "permissions": [permission]}
    ) as member:
        shown = member.get(secret)
        assert (shown.status_code, "data" in shown.json()) == (200, False)
        revealed = member.get(f"{secret}/-reveal")
    assert revealed.status_code == status
    if status == 200:
        assert revealed.json()["data"]["payload"] == "hush"


@pytest.mark.fact("F119")
@pytest.mark.parametrize(
    ("permission", "allowed"),
    [
        ("view", {"get"}),
        ("edit", {"patch"}),
        ("addKey", {"key"}),
        ("delete", {"delete"}),
        ("manage", {"get", "patch", "key", "delete"}),
    ],
)
def test_an_account_is_changed_by_those_who_may(platform, permission, allowed) -> None:
    account = platform.create(f"{platform.org_link}/serviceaccount", {"name": platform.name("sa")})
    calls = {
        "get": ("GET", account, None),
        "patch": ("PATCH", account, {"tags": {"seen": "1"}}),
        "key": ("POST", f"{account}/-addKey", {"description": "d"}),
        "delete": ("DELETE", account, None),
    }
    with platform.member(
        {"targetKind": "serviceaccount", "targetLinks": [account], "permissions": [permission]}
    ) as member:
        done = {
            name
            for name, (method, path, body) in calls.items()
            if member.request(method, path, json=body).status_code < 300
        }
    assert done == allowed


@pytest.mark.fact("F052", "F117", "F174")
def test_logs_are_read_by_those_who_may(platform) -> None:
    path = f"{platform.logs_url}/logs/org/{platform.org}/loki/api/v1/query_range"
    for permissions, status in ((["view"], 403), (["readLogs"], 200)):
        with platform.member(
            {"targetKind": "org", "target": "all", "permissions": permissions}
        ) as member:
            answer = member.get(path, params={"query": '{gvc="none"}'})
            # readLogs implies view.
            assert member.get(platform.org_link).status_code == 200
        assert answer.status_code == status
        if status == 403:
            assert 'requires permission "readLogs" in org' in answer.json()["message"]


@pytest.mark.fact("F112")
@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ({"target": "all"}, True),
        ({"targetLinks": ["{workload}"]}, True),
        ({"targetLinks": []}, False),
        ({"targetQuery": {"spec": {"terms": []}}}, True),
        ({"targetQuery": {"spec": {"terms": [{"tag": "none", "value": "x"}]}}}, False),
    ],
)
def test_a_policy_covers_its_targets(platform, workload, target, seen) -> None:
    if target.get("targetLinks"):
        target = {"targetLinks": [workload]}
    with platform.member({"targetKind": "workload", **target, "permissions": ["view"]}) as member:
        assert (member.get(workload).status_code == 200) is seen


@pytest.mark.fact("F112")
@pytest.mark.parametrize(
    "policy",
    [
        {"targetKind": "nothing"},
        {"targetKind": "workload", "target": "all", "targetLinks": []},
        {"targetKind": "workload", "targetQuery": {"spec": {"terms": "all"}}},
        {"targetKind": "workload", "targetLinks": ["//workload/x"] * 201},
        {
            "targetKind": "workload",
            "bindings": [{"permissions": ["fly"], "principalLinks": ["//group/viewers"]}],
        },
        {"targetKind": "workload", "bindings": [{"permissions": ["view"], "principalLinks": []}]},
        {
            "targetKind": "workload",
            "bindings": [{"permissions": ["view"], "principalLinks": ["//group/viewers"]}] * 51,
        },
    ],
    ids=["kind", "two-targets", "query", "targets", "permission", "nobody", "bindings"],
)
def test_a_wrong_policy_is_refused(platform, policy) -> None:
    answer = platform.http.post(
        f"{platform.org_link}/policy", json={"name": platform.name("policy"), **policy}
    )
    assert answer.status_code == 400, answer.text


@pytest.mark.fact("F112")
def test_the_superusers_have_a_builtin_policy_for_workloads(platform) -> None:
    policy = platform.get(f"{platform.org_link}/policy/superusers-workload")
    assert policy["origin"] in ("default", "builtin")
