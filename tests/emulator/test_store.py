from hypothesis import given
from hypothesis import strategies as st

from cpln_flows.emulator.query import Pages, parse_query
from cpln_flows.emulator.store import Store

TAG_VALUES = ("a", "b", True, 1)


def add(store, name, **tags):
    document = {"id": name, "name": name, "version": 1, "tags": tags}
    return store.add(
        kind="workload",
        scope="/g/workload",
        wide_scope="/workload",
        gvc="g",
        name=name,
        document=document,
    )


def names(records):
    return [record.name for record in records]


def test_a_collection_and_the_wide_list_hold_an_object_until_it_is_removed():
    store = Store()
    record = add(store, "w-1")
    assert store.get("/g/workload/w-1") is record
    assert names(store.in_scope("/g/workload")) == names(store.in_scope("/workload")) == ["w-1"]
    store.remove(record)
    store.remove(record)
    assert store.get("/g/workload/w-1") is None
    assert store.in_scope("/workload") == []
    assert store._index == {}


def test_a_change_keeps_the_old_document_whole():
    store = Store()
    record = add(store, "w-1", x="a")
    before = record.document
    store.replace(record, {**before, "tags": {"x": "b"}})
    assert before["tags"] == {"x": "a"}
    assert record.document["tags"] == {"x": "b"}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "tag", "remove"]), st.integers(0, 9), st.sampled_from(TAG_VALUES)
    ),
    max_size=40,
)


@given(
    STEPS,
    st.sampled_from(TAG_VALUES),
    st.integers(1, 4),
    st.sampled_from(["name", "created", None]),
    st.booleans(),
)
def test_indexed_pages_find_what_a_plain_search_finds(steps, wanted, size, by, descending):
    store = Store()
    for step, number, value in steps:
        record = store.get(f"/g/workload/w-{number}")
        if step == "add" and record is None:
            add(store, f"w-{number}", x=value)
        elif step == "tag" and record is not None:
            store.replace(record, {**record.document, "tags": {"x": value}})
        elif step == "remove" and record is not None:
            store.remove(record)
    spec = {"terms": [{"tag": "x", "value": wanted}]}
    if by:
        spec["sort"] = {"by": by, "order": "desc" if descending else "asc"}
    query = parse_query("workload", {"spec": spec})
    plain = [record for record in store.in_scope("/workload") if query.matches(record)]
    if by == "name":
        plain.sort(key=lambda record: record.name)
    if by and descending:
        plain.reverse()
    found, cursor, pages = [], None, Pages(store)
    while True:
        records, cursor = pages.page("/workload", query, cursor, size=size, shown=lambda _: True)
        found += names(records)
        if cursor is None:
            break
    assert found == names(plain)


def test_a_page_looks_at_no_more_objects_than_it_needs():
    store = Store()
    for number in range(10_000):
        add(store, f"w-{number}", even=number % 2 == 0)
    seen = []

    def shown(record):
        seen.append(record)
        return True

    query = parse_query("workload", {"spec": {"terms": [{"tag": "even", "value": True}]}})
    records, cursor = Pages(store).page("/workload", query, None, size=10, shown=shown)
    assert (len(records), len(seen)) == (10, 11)
    assert cursor is not None
