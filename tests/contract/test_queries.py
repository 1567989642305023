"""Queries of every kind and of commands, over pages."""

import pytest

pytestmark = pytest.mark.xdist_group("contract")


CHANGES = (3, 0, 5, 1, 6, 2, 4)  # how often each of the family was changed


@pytest.fixture(scope="module")
def family(platform) -> str:
    """A tag's value that seven secrets have; each has a number and says whether it is even."""
    name = platform.name("family")
    for number in range(7):
        platform.create(
            f"{platform.org_link}/secret",
            {
                "name": f"{name}-{number}",
                "type": "opaque",
                "data": {"payload": "p"},
                "description": f"d{9 - number}",
                "tags": {
                    "family": name,
                    "number": number,
                    "even": number % 2 == 0,
                    **({"first": "y"} if number == 0 else {}),
                },
            },
        )
    # By now all have the same version, and were changed in the order of their creation.
    for number, changes in enumerate(CHANGES):
        for count in range(changes):
            platform.http.patch(
                f"{platform.org_link}/secret/{name}-{number}", json={"tags": {"count": count}}
            ).raise_for_status()
    for number in reversed(range(7)):
        platform.http.patch(
            f"{platform.org_link}/secret/{name}-{number}", json={"tags": {"count": None}}
        ).raise_for_status()
    return name


def asked(platform, path, body):
    """The items of all pages."""
    answer = platform.http.post(path, json=body)
    assert answer.status_code == 200, answer.text
    page = answer.json()
    items = list(page["items"])
    while following := next(
        (link["href"] for link in page["links"] if link["rel"] == "next"), None
    ):
        assert following.startswith("/org/")
        page = platform.get(following)
        items += page["items"]
    return items


def found(platform, family, *terms, match="all", by=None, **spec):
    ours = {"op": "=", "tag": "family", "value": family}
    terms = [ours, *terms] if match == "all" else terms
    body = {"kind": "secret", "spec": {"match": match, "terms": list(terms), **spec}}
    items = [
        item
        for item in asked(platform, f"{platform.org_link}/secret/-query", body)
        if item["name"].startswith(family)
    ]
    if by is not None:
        return [item[by] for item in items]
    return [int(item["name"].rsplit("-", 1)[1]) for item in items]


@pytest.mark.fact("F062", "F061")
@pytest.mark.parametrize(
    ("term", "numbers"),
    [
        pytest.param({"tag": "number", "value": 3}, [3], id="equal-is-the-default"),
        pytest.param({"op": "!=", "tag": "number", "value": 3}, [0, 1, 2, 4, 5, 6], id="not-equal"),
        pytest.param({"op": ">", "tag": "number", "value": 4}, [5, 6], id="greater"),
        pytest.param({"op": ">=", "tag": "number", "value": 5}, [5, 6], id="greater-or-equal"),
        pytest.param({"op": "<", "tag": "number", "value": 1}, [0], id="less"),
        pytest.param({"op": "<=", "tag": "number", "value": 1}, [0, 1], id="less-or-equal"),
        pytest.param({"op": "~", "property": "description", "value": "d9"}, [0], id="match"),
        pytest.param(
            {"op": "=~", "property": "description", "value": "^d[89]$"}, [0, 1], id="regex"
        ),
        pytest.param({"op": "exists", "tag": "first"}, [0], id="exists"),
        pytest.param({"op": "!exists", "tag": "first"}, [1, 2, 3, 4, 5, 6], id="exists-not"),
        pytest.param(
            {"op": "contains", "property": "description", "value": "9"}, [0], id="contains"
        ),
    ],
)
def test_a_term_finds_what_it_says(platform, family, term, numbers) -> None:
    assert sorted(found(platform, family, term)) == numbers


@pytest.mark.fact("F064", "F033")
@pytest.mark.parametrize("value", [True, "true"])
def test_tags_are_compared_as_texts(platform, family, value) -> None:
    assert sorted(found(platform, family, {"tag": "even", "value": value})) == [0, 2, 4, 6]


@pytest.mark.fact("F060")
def test_any_and_none_match_otherwise_than_all(platform, family) -> None:
    one, two = ({"property": "name", "value": f"{family}-{number}"} for number in (1, 2))
    assert found(platform, family, one, two) == []
    assert sorted(found(platform, family, one, two, match="any")) == [1, 2]
    assert sorted(found(platform, family, one, two, match="none")) == [0, 3, 4, 5, 6]


@pytest.mark.fact("F066", "F069", "F060")
@pytest.mark.parametrize(
    ("by", "numbers"),
    [
        ("name", range(7)),
        ("description", range(6, -1, -1)),
        ("created", range(7)),
        ("version", sorted(range(7), key=CHANGES.__getitem__)),
        ("lastModified", None),
        ("id", None),
    ],
)
def test_all_pages_come_in_the_order_that_was_asked_for(platform, family, by, numbers) -> None:
    up = found(platform, family, sort={"by": by, "order": "asc"})
    down = found(platform, family, sort={"by": by, "order": "desc"})
    assert sorted(up) == sorted(down) == list(range(7))
    if numbers is not None:
        assert up == list(numbers)
        assert down == list(reversed(numbers))
    # Times within the same millisecond have no order among themselves, and ids have no known order.
    values = found(platform, family, by=by, sort={"by": by, "order": "asc"})
    assert values == sorted(values)
    assert found(platform, family, by=by, sort={"by": by, "order": "desc"}) == values[::-1]
    if by == "lastModified":
        assert up != sorted(up)


@pytest.mark.fact("F067", "F060")
def test_an_answer_repeats_the_query_with_its_defaults(platform) -> None:
    body = {"spec": {"terms": [{"tag": "x", "value": "1"}]}}
    answer = platform.http.post(f"{platform.org_link}/secret/-query", json=body).json()
    assert (answer["kind"], answer["itemKind"]) == ("queryresult", "secret")
    assert answer["query"]["spec"]["match"] == "all"
    assert answer["query"]["spec"]["terms"] == [{"op": "=", "tag": "x", "value": "1"}]


@pytest.mark.fact("F068", "F060")
def test_items_are_whole_objects_unless_links_are_asked_for(platform, family) -> None:
    body = {"spec": {"terms": [{"tag": "first", "value": "y"}, {"tag": "family", "value": family}]}}
    path = f"{platform.org_link}/secret/-query"
    (item,) = asked(platform, path, body)
    assert item == platform.get(f"{platform.org_link}/secret/{family}-0")
    assert asked(platform, path, {**body, "fetch": "links"}) == [
        f"{platform.org_link}/secret/{family}-0"
    ]


@pytest.mark.fact("F061", "F050")
@pytest.mark.parametrize(
    "term",
    [
        {"tag": "x", "rel": "gvc", "value": 1},
        {"value": 1},
        {"op": "like", "tag": "x", "value": 1},
        {"tag": "x"},
    ],
)
def test_a_wrong_term_is_refused(platform, term) -> None:
    answer = platform.http.post(
        f"{platform.org_link}/secret/-query", json={"spec": {"terms": [term]}}
    )
    assert answer.status_code == 400


@pytest.mark.fact("F058")
@pytest.mark.parametrize(
    "kind",
    ["gvc", "location", "identity", "policy", "secret", "workload", "group", "serviceaccount"],
)
def test_every_kind_can_be_queried(platform, kind) -> None:
    answer = platform.http.post(
        f"{platform.org_link}/{kind}/-query", json={"kind": kind, "spec": {"terms": []}}
    )
    assert (answer.status_code, answer.json()["itemKind"]) == (200, kind)


@pytest.mark.fact("F058")
@pytest.mark.parametrize("kind", ["workload", "identity"])
def test_what_is_of_a_gvc_is_queried_in_the_organisation_only(platform, kind) -> None:
    assert platform.http.post(f"{platform.gvc_link}/{kind}/-query", json={}).status_code == 404


@pytest.mark.fact("F063")
def test_a_workload_is_found_by_the_bare_name_of_its_gvc(platform) -> None:
    tag = platform.name("team")
    link = platform.create(
        f"{platform.gvc_link}/workload", platform.workload_document(tags={"team": tag})
    )
    path = f"{platform.org_link}/workload/-query"

    def of(gvc):
        return asked(
            platform,
            path,
            {"spec": {"terms": [{"rel": "gvc", "value": gvc}, {"tag": "team", "value": tag}]}},
        )

    assert [item["links"][0]["href"] for item in of(platform.gvc)] == [link]
    assert of("another") == []


@pytest.mark.fact("F059", "F065", "F128", "F143")
def test_commands_are_found_by_type_stage_and_tag_newest_first(platform) -> None:
    workload = platform.workload()
    commands = [
        platform.start(workload, tags={"prefect.io/flow-run-id": run}) for run in ("a", "b", "b")
    ]
    for command in commands:
        platform.ended(command)

    def of(*terms):
        sort = {"by": "created", "order": "desc"}
        body = {"spec": {"match": "all", "sort": sort, "terms": list(terms)}}
        return [item["id"] for item in asked(platform, f"{workload}/-command/-query", body)]

    kind = {"op": "=", "property": "type", "value": "runCronWorkload"}
    stage = {"op": "=", "property": "lifecycleStage", "value": "completed"}
    tag = {"op": "=", "tag": "prefect.io/flow-run-id", "value": "b"}
    ids = [link.rsplit("/", 1)[1] for link in commands]
    assert of(kind, stage) == [ids[2], ids[1], ids[0]]
    assert of(kind, stage, tag) == [ids[2], ids[1]]
    assert of({"property": "id", "value": ids[0]}) == [ids[0]]
    assert of({**kind, "value": "stopReplica"}) == []
