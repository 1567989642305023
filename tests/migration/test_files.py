"""Exported files may hold anything: each fault names its place, and nothing of a file is quoted."""

import json

import pytest

from cpln_flows import ConfigurationError
from cpln_flows.migration import files
from cpln_flows.migration.decide import decide

CANARY = "s.canary-files-0123456789"
BLOCK = {
    "name": "mine",
    "block_type": {"slug": "control-plane-configuration"},
    "data": {"token": CANARY},
}
POOL = {"name": "pool", "type": "cpln", "base_job_template": {}}


def read(tmp_path, text: str, name: str = "export.json"):
    path = tmp_path / name
    path.write_text(text)
    return files.read([path])


YAML = f"""
- name: mine
  block_type: {{slug: control-plane-configuration}}
  data: {{token: {CANARY}}}
- name: pool
  type: cpln
  base_job_template: {{}}
"""


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param(json.dumps([BLOCK, POOL]), "export.json", id="list"),
        pytest.param(
            json.dumps({"block_documents": [BLOCK], "work_pools": [POOL]}),
            "export.json",
            id="lists-by-name",
        ),
        pytest.param(YAML, "export.yaml", id="yaml"),
    ],
)
def test_every_shape_of_export_is_read(text, name, tmp_path) -> None:
    saved = read(tmp_path, text, name)
    assert [found.name for found in (*saved.documents, *saved.pools)] == ["mine", "pool"]
    assert (saved.is_live, saved.wrong) == (False, ())
    assert CANARY not in repr(saved)


def test_single_document_is_read(tmp_path) -> None:
    assert [found.name for found in read(tmp_path, json.dumps(BLOCK)).documents] == ["mine"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        pytest.param(3, "is not a block document, work pool or deployment", id="a number"),
        pytest.param({"name": "odd", "token": CANARY}, "'odd'", id="nothing known"),
        pytest.param({**BLOCK, "data": CANARY}, "data: ", id="data is text"),
        pytest.param({**BLOCK, "id": CANARY}, "id: ", id="no id"),
        pytest.param({**POOL, "type": None}, "type: ", id="no type"),
    ],
)
def test_entry_that_is_none_is_refused_with_its_place(entry, said, tmp_path) -> None:
    saved = read(tmp_path, json.dumps([BLOCK, entry]))
    (item,) = [item for item in decide(saved).items if item.kind == "document"]
    assert "export.json[1]" in item.name
    assert said in item.name + item.refused[0]
    assert CANARY not in repr(item)
    assert len(saved.documents) == 1


def test_other_blocks_are_passed_over(tmp_path) -> None:
    saved = read(tmp_path, json.dumps([{**BLOCK, "block_type": {"slug": "slack-webhook"}}]))
    assert (saved.documents, saved.wrong) == ((), ())


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"a": NaN'])
def test_no_json_is_refused(text, tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=r"export\.json: is neither JSON nor YAML"):
        read(tmp_path, text)


def test_missing_file_is_named(tmp_path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json: cannot be read: No such file"):
        files.read([tmp_path / "none.json"])
