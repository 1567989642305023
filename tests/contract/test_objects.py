"""What all objects have in common: names, fields, links, verbs, errors."""

import re

import pytest

pytestmark = pytest.mark.xdist_group("contract")

MOMENT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"


@pytest.fixture(scope="module")
def secrets(platform) -> str:
    return f"{platform.org_link}/secret"


@pytest.fixture(scope="module")
def workloads(platform) -> str:
    return f"{platform.gvc_link}/workload"


def opaque(name, **more):
    return {"name": name, "type": "opaque", "data": {"payload": "p", "encoding": "plain"}, **more}


@pytest.mark.fact("F029", "F050")
@pytest.mark.parametrize("name", ["a", "ab", "Abc", "1bc", "a_b", "abc-", "a" * 64, "", None])
def test_a_wrong_name_is_refused(platform, secrets, name) -> None:
    answer = platform.http.post(secrets, json=opaque(name))
    assert answer.status_code == 400
    assert set(answer.json()) >= {"status", "message", "code", "id"}
    assert "name" in answer.json()["message"]


@pytest.mark.fact("F029")
def test_the_longest_name_is_taken(platform, secrets) -> None:
    assert platform.create(secrets, opaque((platform.name("s") + "x" * 63)[:63]))


@pytest.mark.fact("F030")
@pytest.mark.parametrize("end", ["x" * 49, "-headless"])
def test_a_wrong_name_of_a_workload_is_refused(platform, workloads, end) -> None:
    document = platform.workload_document(name=platform.name("w") + end)
    assert platform.http.post(workloads, json=document).status_code == 400


@pytest.mark.fact("F030")
def test_the_longest_name_of_a_workload_is_taken(platform, workloads) -> None:
    assert platform.create(
        workloads, platform.workload_document(name=(platform.name("w") + "x" * 49)[:49])
    )


@pytest.mark.fact("F032", "F050")
@pytest.mark.parametrize(
    ("description", "status"), [("x" * 250, 201), ("x" * 251, 400), (" x", 400), ("x ", 400)]
)
def test_a_description_has_its_length_and_no_blanks_around(
    platform, secrets, description, status
) -> None:
    name = platform.name("s")
    platform.remember(f"{secrets}/{name}")
    assert (
        platform.http.post(secrets, json=opaque(name, description=description)).status_code
        == status
    )


@pytest.mark.fact("F033")
@pytest.mark.parametrize(
    ("tags", "status"),
    [
        ({f"t{n}": 1 for n in range(50)}, 201),
        ({f"t{n}": 1 for n in range(51)}, 400),
        ({"a": {}}, 400),
    ],
)
def test_tags_are_fifty_scalars_at_most(platform, secrets, tags, status) -> None:
    name = platform.name("s")
    platform.remember(f"{secrets}/{name}")
    assert platform.http.post(secrets, json=opaque(name, tags=tags)).status_code == status


@pytest.mark.fact("F033", "F044")
def test_a_tag_that_is_set_to_null_is_removed(platform, secrets) -> None:
    link = platform.create(secrets, opaque(platform.name("s"), tags={"old": "y", "kept": True}))
    answer = platform.http.patch(link, json={"tags": {"old": None, "new": 1}})
    assert (answer.status_code, answer.json()["tags"]) == (200, {"kept": True, "new": 1})


@pytest.mark.fact("F034", "F050")
def test_tags_of_the_platform_are_taken_and_protection_blocks_deletion(platform, secrets) -> None:
    link = platform.create(
        secrets, opaque(platform.name("s"), tags={"cpln/protected": "true", "cpln/specHash": "x"})
    )
    refused = platform.http.delete(link)
    assert (refused.status_code, "unable to delete" in refused.json()["message"].lower()) == (
        400,
        True,
    )
    platform.http.patch(link, json={"tags": {"cpln/protected": None}}).raise_for_status()
    assert platform.http.delete(link).status_code == 202


@pytest.mark.fact("F035", "F113")
def test_an_object_has_its_base_fields(platform, secrets) -> None:
    link = platform.create(secrets, opaque(platform.name("s"), tags={"a": "b"}))
    stored = platform.get(link)
    assert {
        "id",
        "name",
        "kind",
        "version",
        "description",
        "tags",
        "created",
        "lastModified",
        "links",
    } <= set(stored)
    assert (stored["kind"], stored["version"], stored["type"]) == ("secret", 1, "opaque")
    assert re.fullmatch(MOMENT, stored["created"])
    assert {"rel": "self", "href": link} in stored["links"]
    assert platform.http.patch(link, json={"description": "new"}).json()["version"] == 2


@pytest.mark.fact("F036", "F108")
def test_a_gvc_has_its_links_and_locations(platform) -> None:
    gvc = platform.get(platform.gvc_link)
    assert {"self", "org", "workload", "identity"} <= {link["rel"] for link in gvc["links"]}
    assert (
        f"{platform.org_link}/location/{platform.location}"
        in gvc["spec"]["staticPlacement"]["locationLinks"]
    )
    spec = {
        "staticPlacement": {"locationLinks": [f"//location/{platform.location}"]},
        "loadBalancer": {"dedicated": False, "trustedProxies": 0},
        "env": [{"name": "A", "value": "1"}],
        "pullSecretLinks": [],
    }
    stored = platform.get(
        platform.create(f"{platform.org_link}/gvc", {"name": platform.name("gvc"), "spec": spec})
    )
    assert stored["spec"]["staticPlacement"]["locationLinks"] == [
        f"{platform.org_link}/location/{platform.location}"
    ]
    assert (stored["spec"]["env"], stored["spec"]["loadBalancer"]) == (
        spec["env"],
        spec["loadBalancer"],
    )


@pytest.mark.fact("F037")
def test_a_workload_has_its_links(platform, workloads) -> None:
    stored = platform.get(platform.create(workloads, platform.workload_document()))
    assert {"self", "org", "gvc", "deployment"} <= {link["rel"] for link in stored["links"]}


@pytest.mark.fact("F038", "F111")
def test_post_creates_with_a_location_that_can_be_read_at_once(platform) -> None:
    name = platform.name("identity")
    answer = platform.http.post(
        f"{platform.gvc_link}/identity", json={"kind": "identity", "name": name}
    )
    assert (answer.status_code, answer.headers["location"]) == (
        201,
        f"{platform.gvc_link}/identity/{name}",
    )
    assert platform.get(platform.remember(answer.headers["location"]))["name"] == name


@pytest.mark.fact("F039", "F055")
def test_post_of_a_taken_name_is_a_conflict(platform, secrets) -> None:
    body = opaque(platform.name("s"))
    platform.create(secrets, body)
    assert platform.http.post(secrets, json=body).status_code == 409


@pytest.mark.fact("F040", "F041")
@pytest.mark.parametrize("own", [False, True], ids=["collection", "self"])
def test_put_creates_and_updates(platform, secrets, own) -> None:
    body = opaque(platform.name("s"))
    link = platform.remember(f"{secrets}/{body['name']}")
    first = platform.http.put(link if own else secrets, json=body)
    assert (first.status_code, first.headers["location"]) == (201, link)
    second = platform.http.put(link if own else secrets, json={**body, "tags": {"a": "b"}})
    assert second.status_code == 200
    assert platform.get(link)["tags"] == {"a": "b"}


@pytest.mark.fact("F042")
def test_a_dry_run_changes_nothing(platform, secrets) -> None:
    body = opaque(platform.name("s"))
    answer = platform.http.put(f"{secrets}?dryRun=true", json=body)
    assert (answer.status_code // 100, answer.json()["name"]) == (2, body["name"])
    assert platform.http.get(f"{secrets}/{body['name']}").status_code == 404
    assert (
        platform.http.put(f"{secrets}?dryRun=true", json={**body, "type": "none"}).status_code
        == 400
    )


@pytest.mark.fact("F043")
def test_put_replaces_the_spec_and_fills_in_defaults(platform, workloads) -> None:
    document = platform.workload_document()
    document["spec"]["rolloutOptions"] = {"terminationGracePeriodSeconds": 7}
    link = platform.create(workloads, document)
    del document["spec"]["rolloutOptions"]
    del document["spec"]["defaultOptions"]
    assert platform.http.put(workloads, json=document).status_code == 200
    stored = platform.get(link)["spec"]
    assert stored.get("rolloutOptions", {}).get("terminationGracePeriodSeconds", 90) == 90
    assert stored["defaultOptions"]["suspend"] is False
    assert stored["job"]["concurrencyPolicy"] == "Forbid"


@pytest.mark.fact("F044")
def test_patch_merges_deeply(platform, workloads) -> None:
    link = platform.create(workloads, platform.workload_document())
    answer = platform.http.patch(link, json={"spec": {"job": {"historyLimit": 3}}})
    assert answer.status_code == 200
    assert answer.json()["spec"]["job"]["historyLimit"] == 3
    assert answer.json()["spec"]["job"]["schedule"] == "0 0 1 1 *"


@pytest.mark.fact("F045")
@pytest.mark.parametrize(
    ("patch", "env", "tags"),
    [
        (
            {
                "spec": {
                    "$patch/containers": [{"name": "main", "env": [{"name": "B", "value": "2"}]}]
                }
            },
            ["B"],
            {"a": "1", "b": "2"},
        ),
        (
            {
                "spec": {
                    "$patch/containers": [
                        {"name": "main", "$append/env": [{"name": "B", "value": "2"}]}
                    ]
                }
            },
            ["A", "B"],
            {"a": "1", "b": "2"},
        ),
        (
            {"spec": {"$patch/containers": [{"name": "main", "$drop/env": ["A"]}]}},
            [],
            {"a": "1", "b": "2"},
        ),
        ({"$replace/tags": {"c": "3"}}, ["A"], {"c": "3"}),
        ({"tags": {"$drop": ["a"]}}, ["A"], {"b": "2"}),
    ],
    ids=["patch", "append", "drop-item", "replace", "drop-field"],
)
def test_patch_has_operators(platform, workloads, patch, env, tags) -> None:
    document = platform.workload_document(tags={"a": "1", "b": "2"})
    document["spec"]["containers"][0]["env"] = [{"name": "A", "value": "1"}]
    link = platform.create(workloads, document)
    assert platform.http.patch(link, json=patch).status_code == 200
    stored = platform.get(link)
    assert [entry["name"] for entry in stored["spec"]["containers"][0]["env"]] == env
    assert stored["tags"] == tags


@pytest.mark.fact("F046")
def test_an_outdated_version_in_a_patch_is_refused(platform, secrets) -> None:
    link = platform.create(secrets, opaque(platform.name("s")))
    stored = platform.get(link)
    lock = {"version": stored["version"], "id": stored["id"]}
    assert platform.http.patch(link, json={**lock, "description": "one"}).status_code == 200
    assert platform.http.patch(link, json={**lock, "description": "two"}).status_code in (
        400,
        409,
        412,
    )
    assert platform.get(link)["description"] == "one"


@pytest.mark.fact("F047", "F048", "F053")
def test_a_delete_is_accepted_and_takes_effect_in_time(platform, secrets) -> None:
    link = platform.create(secrets, opaque(platform.name("s")))
    assert platform.http.delete(link).status_code == 202
    assert platform.http.delete(link).status_code in (404, 409)
    platform.until(lambda: platform.http.get(link).status_code == 404)
    gone = platform.http.get(link).json()
    assert (gone["status"], set(gone) >= {"message", "code", "id"}) == (404, True)


@pytest.mark.fact("F049")
def test_a_workload_keeps_its_name(platform, workloads) -> None:
    link = platform.create(workloads, platform.workload_document())
    assert platform.http.patch(link, json={"name": platform.name("other")}).status_code in (
        400,
        405,
    )
    assert platform.get(link)["name"] == link.rsplit("/", 1)[1]


@pytest.mark.fact("F049", "F054")
def test_a_workload_keeps_its_type(platform, workloads) -> None:
    link = platform.create(workloads, platform.workload_document())
    answer = platform.http.patch(link, json={"spec": {"type": "standard", "job": None}})
    assert answer.status_code == 405
    assert "may not be changed" in answer.json()["message"]


@pytest.mark.fact("F049", "F125")
def test_a_secret_keeps_its_type(platform, secrets) -> None:
    link = platform.create(secrets, opaque(platform.name("s")))
    change = {"type": "dictionary", "$replace/data": {"A": "1"}}
    assert platform.http.patch(link, json=change).status_code in (400, 405)
    assert platform.get(link)["type"] == "opaque"


@pytest.mark.fact("F049", "F110")
def test_a_volume_set_keeps_its_class_and_has_its_bounds(platform) -> None:
    volumesets = f"{platform.gvc_link}/volumeset"

    def body(**spec):
        given = {
            "fileSystemType": "ext4",
            "performanceClass": "general-purpose-ssd",
            "initialCapacity": 10,
            **spec,
        }
        return {"name": platform.name("vs"), "spec": given}

    for wrong in (
        {"fileSystemType": "fat"},
        {"initialCapacity": 9},
        {"initialCapacity": 65_537},
        {"performanceClass": "fast"},
    ):
        assert platform.http.post(volumesets, json=body(**wrong)).status_code == 400
    fast = {"performanceClass": "high-throughput-ssd", "initialCapacity": 199}
    assert platform.http.post(volumesets, json=body(**fast)).status_code == 400
    link = platform.create(volumesets, body())
    for change in (
        {"fileSystemType": "xfs"},
        {"performanceClass": "high-throughput-ssd", "initialCapacity": 200},
    ):
        assert platform.http.patch(link, json={"spec": change}).status_code in (400, 405)


@pytest.mark.fact("F113", "F121")
@pytest.mark.parametrize(
    ("kind", "data", "status"),
    [
        ("opaque", {"payload": "x", "encoding": "base64"}, 201),
        ("opaque", {"payload": "x", "encoding": "hex"}, 400),
        ("dictionary", {"A": "1", "b.c-d": "2"}, 201),
        ("dictionary", {"a b": "1"}, 400),
        ("userpass", {"username": "u", "password": "p", "encoding": "plain"}, 201),
        ("tls", {"key": "k", "cert": "c"}, 201),
        ("keypair", {"secretKey": "s", "publicKey": "p"}, 201),
        ("aws", {"accessKey": "a", "secretKey": "s"}, 201),
        ("ecr", {"accessKey": "a", "secretKey": "s", "repos": []}, 201),
        ("gcp", '{"type": "service_account"}', 201),
        ("docker", '{"auths": {}}', 201),
        ("azure-sdk", "no json", 400),
        ("azure-sdk", "{}", 201),
        ("azure-connector", {"url": "https://x", "code": "c"}, 201),
        ("nats-account", {"accountId": "a", "privateKey": "k"}, 201),
        ("magic", {}, 400),
    ],
)
def test_secrets_have_types(platform, secrets, kind, data, status) -> None:
    name = platform.name("s")
    platform.remember(f"{secrets}/{name}")
    assert (
        platform.http.post(secrets, json={"name": name, "type": kind, "data": data}).status_code
        == status
    )


@pytest.mark.fact("F107")
def test_the_organisation_can_be_read(platform) -> None:
    assert platform.get(platform.org_link)["name"] == platform.org


@pytest.mark.fact("F050", "F053")
@pytest.mark.parametrize(
    ("path", "status"), [("/gvc/nowhere-1/workload/none", 404), ("/nothing/none", 404)]
)
def test_what_is_not_there_is_404(platform, path, status) -> None:
    assert platform.http.get(platform.org_link + path).status_code == status
