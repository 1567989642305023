import pytest

from .support import GVC, local

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("path", "body", "says"),
    [
        pytest.param("secret", {"type": "magic", "data": {}}, '"type"', id="secret-type"),
        pytest.param(
            "secret",
            {"type": "opaque", "data": {"payload": "x", "more": 1}},
            "data.more",
            id="secret-key",
        ),
        pytest.param(
            "secret",
            {"type": "opaque", "data": {"payload": "x", "encoding": "hex"}},
            "data.encoding",
            id="encoding",
        ),
        pytest.param(
            "secret", {"type": "dictionary", "data": {"A": 1}}, "data.A", id="dictionary-value"
        ),
        pytest.param("secret", {"type": "gcp", "data": "{"}, "holds JSON", id="json-text"),
        pytest.param(
            "secret",
            {"kind": "Secret", "type": "opaque", "data": {}},
            '"kind"',
            id="kind-is-lower-case",
        ),
        pytest.param(
            "gvc", {"spec": {"env": [{"name": "CPLN_X", "value": ""}]}}, "reserved", id="gvc-env"
        ),
        pytest.param(
            "gvc/quickstart/volumeset",
            {"spec": {"fileSystemType": "fat"}},
            "fileSystemType",
            id="file-system",
        ),
        pytest.param(
            "gvc/quickstart/volumeset",
            {"spec": {"performanceClass": "high-throughput-ssd", "initialCapacity": 10}},
            "initialCapacity",
            id="capacity",
        ),
        pytest.param(
            "gvc/quickstart/identity", {"gvc": "other"}, '"gvc"', id="gvc-of-another-path"
        ),
        pytest.param("serviceaccount", {"keys": [], "nothing": 1}, '"nothing"', id="unknown-field"),
    ],
)
async def test_a_wrong_object_is_400_and_the_message_names_the_field(path, body, says):
    async with local() as here:
        response = await here.client.post(f"/org/local/{path}", json={"name": "n-1", **body})
        assert response.status_code == 400
        assert says in response.json()["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param(
            "secret",
            {"type": "userpass", "data": {"username": "u", "password": "p", "encoding": "plain"}},
            id="userpass",
        ),
        pytest.param("secret", {"type": "docker", "data": '{"auths":{}}'}, id="docker"),
        pytest.param("gvc/quickstart/identity", {"description": "d", "tags": {}}, id="identity"),
        pytest.param(
            "gvc/quickstart/volumeset",
            {
                "spec": {
                    "fileSystemType": "ext4",
                    "performanceClass": "general-purpose-ssd",
                    "initialCapacity": 10,
                }
            },
            id="volumeset",
        ),
        pytest.param(
            "policy",
            {"targetKind": "secret", "tags": {}, "targetLinks": ["/org/local/secret/s-1"]},
            id="policy",
        ),
        pytest.param("group", {}, id="group"),
        pytest.param("agent", {}, id="agent"),
        pytest.param("cloudaccount", {"provider": "aws", "data": {}}, id="cloudaccount"),
    ],
)
async def test_an_object_lives_from_post_to_delete(path, body):
    async with local(delete_delay_seconds=0) as here:
        created = await here.client.post(f"/org/local/{path}", json={"name": "n-1", **body})
        assert created.status_code == 201, created.text
        link = created.headers["location"]
        found = await here.get(link)
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
        } <= set(found)
        assert (await here.client.patch(link, json={"description": "new"})).json()["version"] == 2
        assert (await here.client.delete(link)).status_code == 202
        assert (await here.client.get(link)).status_code == 404


async def test_the_organisation_is_read_and_changed():
    async with local() as here:
        assert (await here.get("/org"))["items"][0]["name"] == "local"
        change = {"spec": {"observability": {"logsRetentionDays": 7}}}
        assert (await here.client.patch("/org/local", json=change)).json()["spec"] == change["spec"]
        assert (await here.client.put("/org/local", json={})).status_code == 405


async def test_an_identity_must_be_of_the_same_gvc():
    async with local() as here:
        await here.client.post("/org/local/gvc", json={"name": "other", "spec": {}})
        await here.client.post("/org/local/gvc/other/identity", json={"name": "id-1"})
        spec = {
            "type": "standard",
            "containers": [{"name": "main", "image": "x"}],
            "identityLink": "//gvc/other/identity/id-1",
        }
        response = await here.client.post(f"{GVC}/workload", json={"name": "w-1", "spec": spec})
        assert response.status_code == 400
        assert "same gvc" in response.json()["message"]


async def test_a_missing_identity_can_be_tolerated():
    async with local(missing_identity="accept") as here:
        link = "//gvc/quickstart/identity/later"
        spec = {
            "type": "standard",
            "containers": [{"name": "main", "image": "x"}],
            "identityLink": link,
        }
        assert (
            await here.client.post(f"{GVC}/workload", json={"name": "w-1", "spec": spec})
        ).status_code == 201
