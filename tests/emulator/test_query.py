import pytest

from .support import COMMANDS, GVC, W1, WORKLOADS, local, run_body, workload

pytestmark = pytest.mark.anyio


async def fill(here, count=7):
    for index in range(count):
        document = workload(f"w-{index}")
        document["tags"] = {"number": index, "even": index % 2 == 0, "name": f"n-{index}"}
        await here.create(document)
        await here.advance(1)


async def names(here, spec, path="/org/local/workload/-query", **more):
    response = await here.client.post(path, json={"spec": spec, **more})
    assert response.status_code == 200, response.text
    body = response.json()
    found = [item["name"] for item in body["items"]]
    while following := next(
        (link["href"] for link in body["links"] if link["rel"] == "next"), None
    ):
        assert following.startswith("/")
        body = (await here.client.get(following)).json()
        assert body["kind"] == "queryresult"
        found += [item["name"] for item in body["items"]]
    return found


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param(
            {"terms": [{"tag": "even", "value": "true"}]}, [0, 2, 4, 6], id="text-finds-a-boolean"
        ),
        pytest.param(
            {"terms": [{"tag": "even", "value": True}]}, [0, 2, 4, 6], id="boolean-finds-a-boolean"
        ),
        pytest.param(
            {"terms": [{"op": "!=", "tag": "number", "value": 3}]},
            [0, 1, 2, 4, 5, 6],
            id="not-equal",
        ),
        pytest.param({"terms": [{"op": ">", "tag": "number", "value": 4}]}, [5, 6], id="greater"),
        pytest.param(
            {"terms": [{"op": ">=", "tag": "number", "value": 5}]}, [5, 6], id="greater-or-equal"
        ),
        pytest.param({"terms": [{"op": "<", "tag": "number", "value": "1"}]}, [0], id="less"),
        pytest.param(
            {"terms": [{"op": "<=", "tag": "number", "value": 1}]}, [0, 1], id="less-or-equal"
        ),
        pytest.param({"terms": [{"op": "~", "property": "name", "value": "-3"}]}, [3], id="match"),
        pytest.param(
            {"terms": [{"op": "=~", "tag": "name", "value": "^n-[12]$"}]}, [1, 2], id="regex"
        ),
        pytest.param(
            {"terms": [{"op": "contains", "tag": "name", "value": "-6"}]}, [6], id="contains"
        ),
        pytest.param(
            {"terms": [{"op": "exists", "tag": "even"}]}, [0, 1, 2, 3, 4, 5, 6], id="exists"
        ),
        pytest.param({"terms": [{"op": "!exists", "tag": "even"}]}, [], id="exists-not"),
        pytest.param(
            {"terms": [{"rel": "gvc", "value": "quickstart"}]}, [0, 1, 2, 3, 4, 5, 6], id="rel"
        ),
        pytest.param({"terms": [{"rel": "gvc", "value": "other"}]}, [], id="rel-to-another"),
        pytest.param(
            {
                "match": "any",
                "terms": [{"tag": "number", "value": 1}, {"tag": "number", "value": 2}],
            },
            [1, 2],
            id="any",
        ),
        pytest.param(
            {"match": "none", "terms": [{"tag": "even", "value": True}]}, [1, 3, 5], id="none"
        ),
        pytest.param(
            {"terms": [{"property": "spec.type", "value": "cron"}]},
            [0, 1, 2, 3, 4, 5, 6],
            id="nested-property",
        ),
        pytest.param(
            {"sort": {"by": "name", "order": "desc"}}, [6, 5, 4, 3, 2, 1, 0], id="sort-by-name"
        ),
        pytest.param(
            {"sort": {"by": "created", "order": "desc"}},
            [6, 5, 4, 3, 2, 1, 0],
            id="sort-by-created",
        ),
        pytest.param({"sort": {"by": "version"}}, [0, 1, 2, 3, 4, 5, 6], id="equal-sort-keys"),
        pytest.param({}, [0, 1, 2, 3, 4, 5, 6], id="everything"),
    ],
)
@pytest.mark.parametrize("page_size", [2, 100])
async def test_a_query_finds_what_fits_over_all_pages(spec, expected, page_size):
    async with local(page_size=page_size) as here:
        await fill(here)
        assert await names(here, spec) == [f"w-{number}" for number in expected]


async def test_an_answer_repeats_the_query_with_its_defaults():
    async with local() as here:
        body = (
            await here.client.post(
                "/org/local/workload/-query", json={"spec": {"terms": [{"tag": "x", "value": 1}]}}
            )
        ).json()
        assert body["itemKind"] == "workload"
        terms = [{"op": "=", "tag": "x", "value": 1}]
        assert body["query"] == {
            "kind": "workload",
            "fetch": "items",
            "spec": {"match": "all", "terms": terms},
        }


async def test_fetching_links_gives_links():
    async with local() as here:
        await here.create()
        body = (
            await here.client.post("/org/local/workload/-query", json={"fetch": "links"})
        ).json()
        assert body["items"] == [W1]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(
            {"spec": {"terms": [{"op": "like", "tag": "x", "value": 1}]}}, id="unknown-op"
        ),
        pytest.param(
            {"spec": {"terms": [{"tag": "x", "rel": "gvc", "value": 1}]}}, id="two-subjects"
        ),
        pytest.param({"spec": {"terms": [{"tag": "x"}]}}, id="no-value"),
        pytest.param({"spec": {"match": "some"}}, id="unknown-match"),
        pytest.param({"spec": {"sort": {"by": "spec"}}}, id="not-sortable"),
        pytest.param({"kind": "secret"}, id="another-kind"),
        pytest.param({"spec": {"terms": [{"op": "=~", "tag": "x", "value": "("}]}}, id="bad-regex"),
    ],
)
async def test_a_wrong_query_is_400(body):
    async with local() as here:
        assert (await here.client.post("/org/local/workload/-query", json=body)).status_code == 400


async def test_workloads_are_queried_organisation_wide_only():
    async with local() as here:
        assert (await here.client.post(f"{WORKLOADS}/-query", json={})).status_code == 404


async def test_lists_come_in_pages_by_relative_links():
    async with local(page_size=3) as here:
        await fill(here)
        for path in (WORKLOADS, "/org/local/workload"):
            found, following = [], path
            while following:
                body = await here.get(following)
                assert (body["kind"], body["itemKind"]) == ("list", "workload")
                found += [item["name"] for item in body["items"]]
                following = next(
                    (link["href"] for link in body["links"] if link["rel"] == "next"), None
                )
            assert found == [f"w-{index}" for index in range(7)]


async def test_a_page_repeats_and_skips_nothing_when_objects_come_and_go():
    async with local(page_size=2, delete_delay_seconds=0) as here:
        await fill(here)
        first = await here.get(WORKLOADS)
        await here.client.delete(f"{WORKLOADS}/w-0")
        await here.create(workload("w-new"))
        found, body = [item["name"] for item in first["items"]], first
        while following := next(
            (link["href"] for link in body["links"] if link["rel"] == "next"), None
        ):
            body = await here.get(following)
            found += [item["name"] for item in body["items"]]
        assert found == [*(f"w-{index}" for index in range(7)), "w-new"]


async def test_a_made_up_cursor_is_400():
    async with local() as here:
        assert (await here.client.get(f"{WORKLOADS}?next=nonsense")).status_code == 400


async def test_commands_are_queried_by_type_stage_and_tag():
    async with local() as here:
        await here.create()
        first = await here.start(tags={"prefect.io/flow-run-id": "a"})
        await here.start(tags={"prefect.io/flow-run-id": "b"})
        terms = [
            {"property": "type", "value": "runCronWorkload"},
            {"property": "lifecycleStage", "value": "completed"},
            {"tag": "prefect.io/flow-run-id", "value": "a"},
        ]
        body = (
            await here.client.post(
                f"{COMMANDS}/-query", json={"spec": {"match": "all", "terms": terms}}
            )
        ).json()
        assert [item["links"][0]["href"] for item in body["items"]] == [first]
        assert body["itemKind"] == "command"


async def test_a_new_command_may_be_invisible_to_queries_and_lists_for_a_while():
    async with local(command_visible_delay_seconds=5) as here:
        await here.create()
        link = await here.start(tags={"x": "1"})
        assert (await here.client.get(link)).status_code == 200
        query = {"spec": {"terms": [{"tag": "x", "value": "1"}]}}
        assert (await here.client.post(f"{COMMANDS}/-query", json=query)).json()["items"] == []
        assert (await here.get(COMMANDS))["items"] == []
        await here.advance(5)
        assert len((await here.client.post(f"{COMMANDS}/-query", json=query)).json()["items"]) == 1


async def test_queries_of_other_kinds_work():
    async with local() as here:
        await here.client.post(f"{GVC}/identity", json={"name": "id-1"})
        assert await names(
            here, {"terms": [{"rel": "gvc", "value": "quickstart"}]}, "/org/local/identity/-query"
        ) == ["id-1"]
        assert await names(here, {}, "/org/local/gvc/-query") == ["quickstart"]


async def test_a_conflict_query_refuses_a_second_command():
    async with local(start_delay_seconds=1) as here:
        await here.create()
        body = {
            **run_body({"unique": "1"}),
            "conflictQuery": {"spec": {"terms": [{"tag": "unique", "value": "1"}]}},
        }
        assert (await here.client.post(COMMANDS, json=body)).status_code == 201
        refused = await here.client.post(COMMANDS, json=body)
        assert refused.status_code == 400
        assert "already exists" in refused.json()["message"]
