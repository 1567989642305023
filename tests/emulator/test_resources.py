import pytest

from .support import GVC, W1, WORKLOADS, local, workload

pytestmark = pytest.mark.anyio


async def test_post_creates_and_answers_with_text_and_a_relative_location():
    async with local() as here:
        response = await here.client.post(WORKLOADS, json=workload())
        assert (response.status_code, response.text, response.headers["location"]) == (
            201,
            "Created",
            W1,
        )
        assert response.headers["date"] == "Sat, 10 Jan 2026 10:00:00 GMT"


async def test_post_answers_with_the_object_when_switched():
    async with local(post_body="json") as here:
        assert (await here.client.post(WORKLOADS, json=workload())).json()["name"] == "w-1"


async def test_post_of_an_existing_name_is_a_conflict():
    async with local() as here:
        await here.create()
        assert (await here.client.post(WORKLOADS, json=workload())).status_code == 409


async def test_put_creates_then_replaces_spec_and_tags_whole():
    async with local() as here:
        first = await here.client.put(WORKLOADS, json=workload())
        assert (first.status_code, first.headers["location"]) == (201, W1)
        changed = {**workload(), "tags": {"new": 1}}
        del changed["spec"]["defaultOptions"]
        second = await here.client.put(WORKLOADS, json=changed)
        assert second.status_code == 200
        assert second.json()["version"] == 2
        assert second.json()["tags"] == {"new": 1}
        assert second.json()["spec"]["defaultOptions"]["suspend"] is False
        assert second.json()["id"] == (await here.get(W1))["id"]


async def test_put_of_the_self_link_upserts():
    async with local() as here:
        document = workload()
        del document["name"]
        assert (await here.client.put(W1, json=document)).status_code == 201
        assert (await here.client.put(W1, json=workload("other"))).status_code == 400


async def test_a_dry_run_shows_what_would_be_and_changes_nothing():
    async with local() as here:
        would_be = await here.client.put(f"{WORKLOADS}?dryRun=true", json=workload())
        assert (would_be.status_code, would_be.json()["version"]) == (200, 1)
        assert (await here.client.get(W1)).status_code == 404
        await here.create()
        assert (await here.client.put(f"{WORKLOADS}?dryRun=true", json=workload())).json()[
            "version"
        ] == 2
        assert (await here.get(W1))["version"] == 1


async def test_a_stored_workload_has_what_clients_rely_on():
    async with local() as here:
        document = workload()
        document["spec"]["containers"][0]["env"] = [
            {"name": "B", "value": "1"},
            {"name": "A", "value": "2"},
        ]
        await here.create(document)
        stored = await here.get(W1)
        assert [link["rel"] for link in stored["links"]] == ["self", "org", "gvc", "deployment"]
        assert [entry["name"] for entry in stored["spec"]["containers"][0]["env"]] == ["A", "B"]
        assert stored["created"] == stored["lastModified"] == "2026-01-10T10:00:00.000Z"
        assert stored["status"]["suspendedStatus"] == "suspended"
        assert stored["health"]["totalLocations"] == 1


async def test_short_links_are_stored_in_full_and_texts_stay():
    async with local() as here:
        assert (
            await here.client.put(f"{GVC}/identity", json={"name": "id-1", "gvc": "quickstart"})
        ).status_code == 201
        document = workload(identityLink="//gvc/quickstart/identity/id-1")
        document["spec"]["containers"][0] |= {"image": "//image/etl:v1", "args": ["//not/a/link"]}
        await here.create(document)
        spec = (await here.get(W1))["spec"]
        assert spec["identityLink"] == f"{GVC}/identity/id-1"
        assert spec["containers"][0]["image"] == "/org/local/image/etl:v1"
        assert spec["containers"][0]["args"] == ["//not/a/link"]


async def test_a_patch_merges_counts_up_and_checks_version_and_id():
    async with local() as here:
        await here.create()
        stored = await here.get(W1)
        await here.advance(5)
        lock = {"version": 1, "id": stored["id"]}
        patched = await here.client.patch(
            W1, json={**lock, "spec": {"defaultOptions": {"suspend": "false"}}}
        )
        assert patched.status_code == 200
        assert patched.json()["version"] == 2
        assert patched.json()["lastModified"] == "2026-01-10T10:00:05.000Z"
        assert patched.json()["spec"]["defaultOptions"]["suspend"] is False
        assert (await here.client.patch(W1, json={**lock, "tags": {"a": 1}})).status_code == 409


@pytest.mark.fact("F046")
@pytest.mark.parametrize("status", [400, 412])
async def test_the_status_of_a_version_conflict_can_be_switched(status):
    async with local(version_conflict_status=status) as here:
        await here.create()
        assert (await here.client.patch(W1, json={"version": 7})).status_code == status


async def test_tags_are_set_and_removed_by_patch():
    async with local() as here:
        await here.create()
        tags = {"a": 1, "b": True, "cpln/createdByPrefect": None}
        assert (await here.client.patch(W1, json={"tags": tags})).json()["tags"] == {
            "a": 1,
            "b": True,
        }


@pytest.mark.parametrize(
    ("path", "body", "patch"),
    [
        pytest.param(
            WORKLOADS, workload(), {"spec": {"type": "standard", "job": None}}, id="workload-type"
        ),
        pytest.param(
            "/org/local/secret",
            {"name": "s-1", "type": "dictionary", "data": {}},
            {"type": "opaque"},
            id="secret-type",
        ),
    ],
)
async def test_some_fields_cannot_change(path, body, patch):
    async with local() as here:
        link = (await here.client.post(path, json=body)).headers["location"]
        response = await here.client.patch(link, json=patch)
        assert response.status_code == 405
        assert "may not be changed" in response.json()["message"]


@pytest.mark.fact("F047", "F048", "F055")
async def test_a_deleted_object_stays_readable_for_a_moment_and_then_is_gone():
    async with local() as here:
        await here.create()
        assert (await here.client.delete(W1)).status_code == 202
        assert (await here.client.get(W1)).status_code == 200
        assert (await here.client.delete(W1)).status_code == 409
        assert (await here.client.put(WORKLOADS, json=workload())).status_code == 409
        await here.advance(0.1)
        assert (await here.client.get(W1)).status_code == 404
        assert (await here.client.delete(W1)).status_code == 404
        await here.create()


@pytest.mark.fact("F048")
async def test_a_second_delete_is_404_when_switched():
    async with local(delete_again_status=404) as here:
        await here.create()
        await here.client.delete(W1)
        assert (await here.client.delete(W1)).status_code == 404


async def test_a_protected_object_is_not_deleted():
    async with local() as here:
        await here.create()
        await here.client.patch(W1, json={"tags": {"cpln/protected": "true"}})
        response = await here.client.delete(W1)
        assert response.status_code == 400
        assert "unable to delete" in response.json()["message"]


async def test_deleting_a_gvc_deletes_what_is_in_it():
    async with local(delete_delay_seconds=0) as here:
        await here.create()
        assert (await here.client.delete(GVC)).status_code == 202
        assert (await here.client.get(W1)).status_code == 404
        assert (await here.client.post(WORKLOADS, json=workload())).status_code == 404


async def test_secrets_hide_their_data_until_revealed():
    async with local() as here:
        body = {
            "name": "s-1",
            "type": "opaque",
            "data": {"payload": "x", "encoding": "plain"},
            "tags": {},
        }
        assert (await here.client.post("/org/local/secret", json=body)).status_code == 201
        assert "data" not in await here.get("/org/local/secret/s-1")
        assert (await here.get("/org/local/secret/s-1/-reveal"))["data"]["payload"] == "x"


async def test_a_superuser_key_is_made_as_the_cli_does():
    async with local() as here:
        await here.client.post("/org/local/serviceaccount", json={"name": "sa-1", "tags": {}})
        key = (
            await here.client.post(
                "/org/local/serviceaccount/sa-1/-addKey", json={"description": "d"}
            )
        ).json()
        assert key["key"].startswith("s")
        assert key["key"].count(".") == 2
        assert key["name"] == key["key"][:16]
        assert "key" not in (await here.get("/org/local/serviceaccount/sa-1"))["keys"][0]
        change = {"$append/memberLinks": ["/org/local/serviceaccount/sa-1"]}
        group = await here.client.patch("/org/local/group/superusers", json=change)
        assert group.json()["memberLinks"] == ["/org/local/serviceaccount/sa-1"]


async def test_the_permissions_of_a_kind_are_listed():
    async with local() as here:
        names = [
            each["name"]
            for each in (await here.get("/org/local/workload/-schema/permissions"))["permissions"]
        ]
        assert {"exec.runCronWorkload", "exec.stopReplica", "view"} <= set(names)


async def test_locations_are_fixed_and_a_gvc_needs_ones_that_exist():
    async with local(locations=("aws-eu-central-1",)) as here:
        location = await here.get("/org/local/location/aws-eu-central-1")
        assert (location["provider"], location["region"]) == ("aws", "eu-central-1")
        spec = {"staticPlacement": {"locationLinks": ["//location/aws-eu-central-1"]}}
        assert (
            await here.client.post("/org/local/gvc", json={"name": "g-1", "spec": spec})
        ).status_code == 201
        gvc = await here.get("/org/local/gvc/g-1")
        assert gvc["spec"]["staticPlacement"]["locationLinks"] == [
            "/org/local/location/aws-eu-central-1"
        ]
        assert [link["rel"] for link in gvc["links"]] == ["self", "org", "workload", "identity"]
        assert gvc["alias"]
        spec = {"staticPlacement": {"locationLinks": ["//location/mars-1"]}}
        assert (
            await here.client.post("/org/local/gvc", json={"name": "g-2", "spec": spec})
        ).status_code == 400
        assert (
            await here.client.post("/org/local/location", json={"name": "mars-1"})
        ).status_code == 405


@pytest.mark.parametrize(
    "path",
    ["/org/other", "/org/local/nothing", f"{WORKLOADS}/none", "/org/local/workload/w-1/x", "/else"],
)
async def test_what_is_not_there_is_404_with_an_error_body(path):
    async with local() as here:
        response = await here.client.get(path)
        assert response.status_code == 404
        assert set(response.json()) == {"status", "message", "code", "id"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", WORKLOADS),
        ("POST", W1),
        ("GET", "/org/local/workload/-query"),
        ("POST", "/org/local/workload"),
    ],
)
async def test_other_methods_are_405(method, path):
    async with local() as here:
        await here.create()
        assert (await here.client.request(method, path, json=workload("w-2"))).status_code == 405


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff"])
async def test_a_body_that_is_no_json_object_is_400(body):
    async with local() as here:
        assert (await here.client.post(WORKLOADS, content=body)).status_code == 400


async def test_builtin_objects_cannot_be_deleted():
    async with local() as here:
        for link in ("/org/local", "/org/local/group/superusers", "/org/local/location/local-1"):
            assert (await here.client.delete(link)).status_code == 400


@pytest.mark.parametrize(("status", "body"), [(200, "Accepted"), (202, "Accepted"), (204, "")])
async def test_the_status_of_an_accepted_delete_can_be_switched(status, body):
    async with local(delete_status=status) as here:
        await here.create()
        answer = await here.client.delete(W1)
        assert (answer.status_code, answer.text) == (status, body)


@pytest.mark.fact("F043")
@pytest.mark.parametrize(("put_tags", "tags"), [("replace", {"b": 2}), ("merge", {"a": 1, "b": 2})])
async def test_a_put_keeps_other_tags_when_switched(put_tags, tags):
    async with local(put_tags=put_tags) as here:
        await here.create({**workload(), "tags": {"a": 1}})
        assert (await here.client.put(WORKLOADS, json={**workload(), "tags": {"b": 2}})).json()[
            "tags"
        ] == tags
