"""What becomes of what was saved, as a table: blocks, pools, deployments, pools of agents."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cpln_flows import CplnWorker
from cpln_flows.migration import blocks, deployments, pools, report
from cpln_flows.migration.decide import decide
from cpln_flows.migration.plan import (
    CancelRuns,
    CreatePool,
    CreateQueue,
    PausePool,
    SaveBlock,
    UpdateDeployment,
    UpdatePool,
)
from cpln_flows.migration.saved import Deployment, Document, Pool, Saved, WaitingRun
from tests.manifests import kubernetes_job
from tests.scenarios import prefect_2

TOKEN = "s.canary-decide-0123456789"
BLOCK_ID, RUN_ID = uuid4(), uuid4()


def document(slug: str, data: dict[str, Any], *, name: str = "mine", **fields: Any) -> Document:
    entry = {
        "block_type": {"slug": slug},
        "name": name,
        "data": data,
        "id": str(fields.pop("id", uuid4())),
        **fields,
    }
    return Document.model_validate(entry)


def infrastructure(*, references: bool = False, **fields: Any) -> Document:
    config = {
        "id": str(uuid4()),
        "name": "token",
        "block_type": {"slug": blocks.INFRASTRUCTURE_CONFIG},
    }
    more = (
        {"block_document_references": {"config": {"block_document": config}}} if references else {}
    )
    return document(blocks.INFRASTRUCTURE, prefect_2.infrastructure(**fields), id=BLOCK_ID, **more)


def deployment(**fields: Any) -> Deployment:
    entry = {
        "id": str(uuid4()),
        "name": "nightly",
        "flow_id": str(uuid4()),
        "flow_name": "report",
        "work_pool_name": "agents",
        "infrastructure_document_id": str(BLOCK_ID),
        **fields,
    }
    return Deployment.model_validate(entry)


def pool(name: str = "agents", kind: str = "prefect-agent", **fields: Any) -> Pool:
    return Pool.model_validate({"name": name, "type": kind, "base_job_template": {}, **fields})


def saved(**fields: Any) -> Saved:
    return Saved(
        **{"documents": (infrastructure(),), "pools": (pool(),), "is_live": True, **fields}
    )


def actions(found: Saved, kind: type) -> list[Any]:
    return [
        action
        for item in decide(found).items
        for action in item.actions
        if isinstance(action, kind)
    ]


class TestBlocks:
    @pytest.mark.parametrize(
        ("slug", "data", "kept"),
        [
            pytest.param(blocks.CONFIG, {"token": TOKEN}, {"token": TOKEN}, id="token"),
            pytest.param(blocks.CONFIG, {"token": None}, {}, id="no token"),
            pytest.param(blocks.CREDENTIALS, {"config": None}, {}, id="no config"),
            pytest.param(
                blocks.CREDENTIALS,
                {"config": {"token": TOKEN, "block_type_slug": blocks.CONFIG}},
                {"config": {"token": TOKEN}},
                id="config inside",
            ),
            pytest.param(
                blocks.JOB,
                {
                    "org": None,
                    "namespace": "",
                    "location": "",
                    "v1_job": kubernetes_job("pass"),
                    "interval_seconds": 5,
                },
                {"v1_job": kubernetes_job("pass"), "interval_seconds": 5},
                id="job with open places",
            ),
        ],
    )
    def test_document_is_stored_in_todays_form(self, slug, data, kept) -> None:
        item = blocks.decide(document(slug, data))
        (action,) = item.actions
        assert isinstance(action, SaveBlock)
        assert (action.ref.slug, action.data, item.verdict) == (slug, kept, "change")

    def test_references_stay_references(self) -> None:
        (action,) = blocks.decide(infrastructure(references=True, config={"token": TOKEN})).actions
        assert isinstance(action, SaveBlock)
        assert "config" not in action.data
        assert (action.references["config"].slug, action.references["config"].name) == (
            blocks.INFRASTRUCTURE_CONFIG,
            "token",
        )

    def test_environment_is_not_written_down(self, monkeypatch) -> None:
        monkeypatch.setenv("CPLN_ORG", "laptop")
        monkeypatch.setenv("CPLN_TOKEN", TOKEN)
        (action,) = blocks.decide(
            document(blocks.JOB, {"org": None, "v1_job": kubernetes_job("pass")})
        ).actions
        assert isinstance(action, SaveBlock)
        assert action.data == {"v1_job": kubernetes_job("pass")}

    def test_image_of_prefect_2_is_not_kept(self) -> None:
        item = blocks.decide(infrastructure())
        (action,) = item.actions
        assert isinstance(action, SaveBlock)
        assert "image" not in action.data
        assert any(prefect_2.PREFECT_2 in change for change in item.changes)

    def test_document_of_today_is_kept(self) -> None:
        checksum = blocks.CLASSES[blocks.CONFIG]._calculate_schema_checksum()
        item = blocks.decide(
            document(blocks.CONFIG, {"token": TOKEN}, block_schema={"checksum": checksum})
        )
        assert (item.verdict, item.actions) == ("keep", ())

    @pytest.mark.parametrize(
        ("slug", "data", "said"),
        [
            pytest.param(
                blocks.CONFIG,
                {"tokn": TOKEN},
                "tokn: is not a field of control-plane-configuration",
                id="unknown",
            ),
            pytest.param(blocks.CONFIG, {"token": 5}, "token: ", id="a number"),
            pytest.param(blocks.CONFIG, {"token": "********"}, "token: is the mask", id="a mask"),
            pytest.param(
                blocks.CREDENTIALS,
                {"config": {"key": TOKEN}},
                "config.key: is not a field",
                id="inside",
            ),
            pytest.param(blocks.CREDENTIALS, {"config": [TOKEN]}, "config: ", id="a list"),
            pytest.param(blocks.JOB, {}, "v1_job: is missing", id="no manifest"),
            pytest.param(
                blocks.JOB,
                {"v1_job": {"kind": "Pod"}},
                "kind: expected Job or CronJob",
                id="no job",
            ),
            pytest.param(
                blocks.INFRASTRUCTURE,
                {"customizations": [{"op": "grow"}]},
                "customizations: [0]",
                id="no patch",
            ),
            pytest.param(
                blocks.INFRASTRUCTURE, {"type": "kubernetes-job"}, "type: ", id="another type"
            ),
        ],
    )
    def test_what_no_version_wrote_is_refused(self, slug, data, said) -> None:
        item = blocks.decide(document(slug, data, name="odd"))
        assert (item.name, item.verdict, item.actions) == (f"{slug}/odd", "refused", ())
        assert said in " ".join(item.refused)
        assert TOKEN not in repr(item)


class TestPools:
    def test_infrastructure_block_becomes_a_pool(self) -> None:
        (action,) = actions(
            saved(documents=(infrastructure(references=True, config={"token": TOKEN}),)), CreatePool
        )
        assert (action.name, action.config.name) == ("mine", "token")
        assert TOKEN not in str(action.template)

    def test_token_inside_of_a_block_becomes_a_document(self) -> None:
        item = pools.published(infrastructure(config={"token": TOKEN}), saved())
        token, action = item.actions
        assert isinstance(token, SaveBlock)
        assert isinstance(action, CreatePool)
        assert (token.ref, token.data) == (action.config, {"token": TOKEN})
        assert TOKEN not in repr(item)

    def test_name_of_an_agent_pool_is_avoided(self) -> None:
        found = saved(pools=(pool("mine"),), deployments=(deployment(work_pool_name="mine"),))
        assert [action.name for action in actions(found, CreatePool)] == ["mine-cpln"]
        assert [action.fields["work_pool_name"] for action in actions(found, UpdateDeployment)] == [
            "mine-cpln"
        ]

    def test_pool_that_was_made_of_the_block_is_kept(self) -> None:
        (action,) = actions(saved(), CreatePool)
        made = pool(
            "mine", "cpln", base_job_template=dict(action.template), description=action.description
        )
        changed = pool("mine", "cpln", description=action.description)
        for existing in (made, changed):
            assert pools.published(infrastructure(), saved(pools=(existing,))).verdict == "keep"

    def test_pool_of_somebody_else_is_refused(self) -> None:
        found = saved(pools=(pool("mine", "cpln"), pool()), deployments=(deployment(),))
        assert [item.verdict for item in decide(found).items if item.kind != "block"] == [
            "refused",
            "refused",
            "keep",
        ]

    def test_limit_of_agents_is_kept(self) -> None:
        found = saved(pools=(pool(concurrency_limit=4),), deployments=(deployment(),))
        assert [action.concurrency_limit for action in actions(found, CreatePool)] == [4]

    def test_nameless_block_of_a_deployment_gets_a_pool(self) -> None:
        nameless = infrastructure().model_copy(update={"is_anonymous": True, "name": "anonymous-1"})
        assert actions(saved(documents=(nameless,)), CreatePool) == []
        (action,) = actions(saved(documents=(nameless,), deployments=(deployment(),)), CreatePool)
        assert action.name == f"infrastructure-{str(BLOCK_ID)[:8]}"

    def test_pool_of_the_forks_pages_is_put_right_once(self) -> None:
        found = pool("ui", "cpln", base_job_template=prefect_2.fork_template(org="acme"))
        item = pools.decide(found)
        (action,) = item.actions
        assert isinstance(action, UpdatePool)
        properties = action.template["variables"]["properties"]
        container = action.template["job_configuration"]["job_manifest"]["spec"]["template"][
            "spec"
        ]["containers"][0]
        assert prefect_2.PREFECT_2 not in str(action.template)
        assert (properties["cpu"]["default"], properties["memory"]["default"]) == ("500m", "512Mi")
        assert container["resources"] == {"limits": {"cpu": "{{ cpu }}", "memory": "{{ memory }}"}}
        assert "parallelism" not in str(action.template)
        assert properties["org"]["default"] == "acme"
        assert action.template["variables"]["definitions"]["CplnConfig"]["secret_fields"] == [
            "token"
        ]
        assert (
            pools.decide(pool("ui", "cpln", base_job_template=dict(action.template))).verdict
            == "keep"
        )

    @pytest.mark.parametrize("manifest", [None, "{{ job_manifest }}"])
    def test_pool_without_a_manifest_gets_one(self, manifest) -> None:
        template = prefect_2.fork_template()
        template["job_configuration"]["job_manifest"] = manifest
        (action,) = pools.decide(pool("ui", "cpln", base_job_template=template)).actions
        assert isinstance(action, UpdatePool)
        assert action.template["job_configuration"]["job_manifest"]["kind"] == "Job"
        assert action.template["variables"]["properties"]["memory"]["default"] == "512Mi"
        assert (
            pools.decide(pool("ui", "cpln", base_job_template=dict(action.template))).verdict
            == "keep"
        )

    def test_pool_of_today_is_kept(self) -> None:
        template = CplnWorker.get_default_base_job_template()
        assert pools.decide(pool("new", "cpln", base_job_template=template)).verdict == "keep"

    def test_template_that_is_none_is_refused(self) -> None:
        assert pools.decide(pool("ui", "cpln")).verdict == "refused"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["kind", "a", "env"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(found: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The paths of everything in a document."""
    if path:
        yield path
    inner = (
        found.items()
        if isinstance(found, dict)
        else enumerate(found)
        if isinstance(found, list)
        else ()
    )
    for key, value in inner:
        yield from places(value, (*path, key))


def replaced(document: Any, path: tuple[str | int, ...], value: Any) -> Any:
    made = copy.deepcopy(document)
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return made


class TestHostile:
    """Any value at any place of a document is refused or accepted, and never ends the migration."""

    @given(st.sampled_from(list(places(prefect_2.fork_template()))), JSON)
    def test_templates(self, path, value) -> None:
        template = replaced(prefect_2.fork_template(), path, value)
        item = pools.decide(pool("ui", "cpln", base_job_template=template))
        for action in item.actions:
            assert isinstance(action, UpdatePool)
            assert (
                pools.decide(pool("ui", "cpln", base_job_template=dict(action.template))).verdict
                == "keep"
            )

    @given(st.sampled_from(list(places(prefect_2.infrastructure(config={"token": TOKEN})))), JSON)
    def test_infrastructure_blocks(self, path, value) -> None:
        data = replaced(prefect_2.infrastructure(config={"token": TOKEN}), path, value)
        found = saved(
            documents=(document(blocks.INFRASTRUCTURE, data, id=BLOCK_ID),),
            deployments=(deployment(),),
        )
        plan = decide(found)
        assert TOKEN not in report.as_json(plan, applied=False)
        refusals = {item.kind for item in plan.items if item.refused}
        assert refusals in (set(), {"block", "work pool", "deployment"})

    @given(JSON, st.sampled_from(sorted(blocks.CLASSES)))
    def test_other_blocks(self, value, slug) -> None:
        if isinstance(value, dict):
            blocks.decide(document(slug, value))


class TestDeployments:
    def test_deployment_moves_with_its_queue(self) -> None:
        agents = pool(queues=[{"name": "urgent", "priority": 2, "concurrency_limit": 3}])
        found = saved(pools=(agents,), deployments=(deployment(work_queue_name="urgent"),))
        assert actions(found, CreateQueue) == [CreateQueue("mine", "urgent", 2, 3, False)]
        (action,) = actions(found, UpdateDeployment)
        assert action.fields == {
            "work_pool_name": "mine",
            "work_queue_name": "urgent",
            "infrastructure_document_id": None,
        }

    def test_names_with_dots_become_objects(self) -> None:
        given = {"env.A": "1", "env.B": "2", "image": prefect_2.PREFECT_2, "memory": "1Gi"}
        (action,) = actions(saved(deployments=(deployment(job_variables=given),)), UpdateDeployment)
        assert action.fields["job_variables"] == {"env": {"A": "1", "B": "2"}, "memory": "1Gi"}

    def test_override_without_a_variable_is_refused(self) -> None:
        found = saved(deployments=(deployment(job_variables={"customizations": [], "job": {}}),))
        (item,) = [item for item in decide(found).items if item.kind == "deployment"]
        assert (
            "infra_overrides: customizations, job: the work pool has no such variable"
            in item.refused[0]
        )
        assert actions(found, PausePool) == []

    def test_storage_that_is_gone_is_left_to_do(self) -> None:
        storage = uuid4()
        for where in ("agents", "mine"):
            fields = {"storage_document_id": str(storage), "work_pool_name": where}
            fields |= {} if where == "agents" else {"infrastructure_document_id": None}
            found = saved(
                pools=(
                    pool(),
                    pool("mine", "cpln", description="Made of the infrastructure block mine."),
                ),
                deployments=(deployment(**fields),),
                storages={storage: "s3"},
            )
            (item,) = [item for item in decide(found).items if item.kind == "deployment"]
            assert "its code comes from a s3, which Prefect 3 does not have" in item.by_hand[0]

    @pytest.mark.parametrize("storage", ["local-file-system", "remote-file-system"])
    def test_storage_that_is_left_is_no_work(self, storage) -> None:
        storage_id = uuid4()
        found = saved(
            deployments=(deployment(storage_document_id=str(storage_id)),),
            storages={storage_id: storage},
        )
        assert decide(found).is_complete

    def test_deployment_of_a_pool_loses_an_image_of_prefect_2(self) -> None:
        ours = pool("ui", "cpln", base_job_template=CplnWorker.get_default_base_job_template())
        given = deployment(
            work_pool_name="ui",
            infrastructure_document_id=None,
            job_variables={"image": prefect_2.PREFECT_2, "cpu": "1"},
        )
        (action,) = actions(saved(pools=(ours,), deployments=(given,)), UpdateDeployment)
        assert action.fields == {"job_variables": {"cpu": "1"}}

    def test_deployments_elsewhere_are_none_of_ours(self) -> None:
        elsewhere = deployment(infrastructure_document_id=str(uuid4()))
        assert deployments.decide(elsewhere, saved(deployments=(elsewhere,))) is None

    def test_export_leaves_the_move_to_do(self) -> None:
        found = saved(deployments=(deployment(),), is_live=False)
        (item,) = [item for item in decide(found).items if item.kind == "deployment"]
        assert item.verdict == "by hand"
        assert actions(found, PausePool) == []


class TestAgents:
    def runs(self, deployment_id: UUID, *scheduled: bool) -> tuple[WaitingRun, ...]:
        return tuple(
            WaitingRun(id=uuid4(), deployment_id=deployment_id, pool="agents", auto_scheduled=made)
            for made in scheduled
        )

    def test_late_runs_are_cancelled_and_the_pool_paused(self) -> None:
        moved = deployment()
        waiting = self.runs(moved.id, True, True, False)
        found = saved(deployments=(moved,), waiting=waiting)
        assert actions(found, CancelRuns) == [CancelRuns(tuple(run.id for run in waiting[:2]))]
        assert actions(found, PausePool) == [PausePool("agents")]
        assert not decide(found).is_complete, "a run that somebody asked for was forgotten"

    def test_runs_of_a_deployment_that_has_moved_are_cancelled(self) -> None:
        moved = deployment(work_pool_name="mine", infrastructure_document_id=None)
        found = saved(deployments=(moved,), waiting=self.runs(moved.id, True))
        assert len(actions(found, CancelRuns)) == 1

    def test_pool_with_other_deployments_goes_on(self) -> None:
        other = deployment(name="other", infrastructure_document_id=str(uuid4()))
        found = saved(deployments=(deployment(), other), waiting=self.runs(other.id, True))
        assert actions(found, PausePool) == []
        assert actions(found, CancelRuns) == []
        (item,) = [item for item in decide(found).items if item.name == "agents"]
        assert "report/other would run elsewhere" in item.changes[0]

    def test_paused_pool_is_paused_already(self) -> None:
        assert actions(saved(pools=(pool(is_paused=True),)), PausePool) == []
