"""Every request of the vendor's command line that needs no Docker.

One row for each: its exit code and its effect.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
import pytest
import yaml

from tests.contract.target import Target
from tests.contract.vendor_cli import VendorCli, install
from tests.patience import PATIENCE_SECONDS

pytestmark = pytest.mark.xdist_group("vendor-cli")

FOREVER = "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.1)"


@pytest.fixture(scope="module")
def cli(
    platform: Target, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> VendorCli:
    program = install(request.config)
    return VendorCli(program, platform, tmp_path_factory.mktemp("cpln-home"))


@dataclass
class Row:
    """What a row works with: the platform, names of its own, and the finished command."""

    platform: Target
    folder: Path
    words: dict[str, str] = field(default_factory=dict)
    input: str | None = None
    done: subprocess.CompletedProcess[str] | None = None

    def workload(self, script: str = "print('hello')", **arguments) -> None:
        self.words["w"] = self.platform.workload(script, **arguments).rsplit("/", 1)[1]

    def run_of(self, script: str = "print('hello')", *, until: str = "ended", **arguments) -> None:
        """A workload with a run."""
        self.workload(script, **arguments)
        command = self.platform.start(self.link)
        found = getattr(self.platform, until)(command)
        self.words |= {"command": command, "id": found["id"], "replica": found["status"]["replica"]}

    def object(self, kind: str, word: str, **body) -> None:
        name = self.words[word] = self.platform.name(kind)
        parent = self.platform.gvc_link if kind == "identity" else self.platform.org_link
        self.platform.create(f"{parent}/{kind}", {"name": name, **body})

    def new(self, kind: str, word: str) -> None:
        """A name that the command is to give to an object."""
        name = self.words[word] = self.platform.name(kind)
        parent = (
            self.platform.gvc_link if kind in ("identity", "workload") else self.platform.org_link
        )
        self.platform.remember(f"{parent}/{kind}/{name}")

    def file(self, word: str, text: str) -> None:
        self.words[word] = str(self.folder / word)
        Path(self.words[word]).write_text(text)

    @property
    def link(self) -> str:
        return f"{self.platform.gvc_link}/workload/{self.words['w']}"

    @property
    def stored(self) -> dict:
        return self.platform.get(self.link)

    @property
    def out(self) -> str:
        assert self.done is not None
        return self.done.stdout

    @property
    def json(self) -> dict:
        return json.loads(self.out)

    def of_org(self, kind: str, word: str) -> dict:
        return self.platform.get(f"{self.platform.org_link}/{kind}/{self.words[word]}")

    def of_gvc(self, kind: str, word: str) -> dict:
        return self.platform.get(f"{self.platform.gvc_link}/{kind}/{self.words[word]}")

    def commands(self) -> list[dict]:
        return self.platform.get(f"{self.link}/-command")["items"]


def names(row: Row) -> list[str]:
    return [item["name"] for item in row.json["items"]]


def new_command(row: Row) -> dict:
    (item,) = row.json["items"]
    return row.platform.ended(f"{row.link}/-command/{item['id']}")


ROWS: list = []


def row(
    command: str,
    *,
    before: Callable[[Row], None] = lambda _: None,
    code: int = 0,
    facts: tuple[str, ...] = (),
    is_proof: bool = False,
):
    """Enter a row; the decorated function checks whether the command has had its effect.

    Each row starts Node.js, which takes a second of CPU: rows for objects that jobs do not need run
    only in the long profile.
    """

    def enter(effect: Callable[[Row], None]) -> Callable[[Row], None]:
        title = " ".join(shlex.split(command)[:3]) + f" ({effect.__name__.replace('_', ' ')})"
        marks = [pytest.mark.fact(*facts)] * bool(facts) + [pytest.mark.proof] * is_proof
        ROWS.append(pytest.param(command, before, code, effect, id=title, marks=marks))
        return effect

    return enter


rare_row = partial(row, is_proof=True)


def with_workload(**arguments) -> Callable[[Row], None]:
    return lambda row: row.workload(**arguments)


def with_run(
    script: str = "print('hello')", until: str = "ended", **arguments
) -> Callable[[Row], None]:
    return lambda row: row.run_of(script, until=until, **arguments)


# Objects


@rare_row("org get {org} -o json")
def the_organisation_is_shown(row):
    assert row.json["name"] == row.platform.org


@rare_row("org permissions")
def the_permissions_are_listed(row):
    assert "readLogs" in row.out


@rare_row("location get -o names")
def every_location_is_named(row):
    assert row.platform.location in row.out.split()


@rare_row("gvc get {gvc} -o json")
def the_gvc_is_shown(row):
    assert row.json["alias"]


@rare_row("gvc create --name {g} --location {location}", before=lambda row: row.new("gvc", "g"))
def the_gvc_is_in_its_location(row):
    links = row.of_org("gvc", "g")["spec"]["staticPlacement"]["locationLinks"]
    assert links == [f"{row.platform.org_link}/location/{row.platform.location}"]


@rare_row("identity create --name {i}", before=lambda row: row.new("identity", "i"))
def the_identity_exists(row):
    assert row.words["i"] in row.out
    assert row.of_gvc("identity", "i")["kind"] == "identity"


def a_secret(row: Row) -> None:
    row.object("secret", "s", type="opaque", data={"payload": "hush", "encoding": "plain"})


def a_secret_and_a_policys_name(row: Row) -> None:
    a_secret(row)
    row.new("policy", "p")


@rare_row(
    "policy create --name {p} --target-kind secret --resource {s}",
    before=a_secret_and_a_policys_name,
)
def the_policy_has_its_target(row):
    assert row.of_org("policy", "p")["targetLinks"] == [
        f"{row.platform.org_link}/secret/{row.words['s']}"
    ]


def a_file_and_a_secrets_name(row: Row) -> None:
    row.file("f", "the payload\n")
    row.new("secret", "s")


@rare_row(
    "secret create-opaque --name {s} --file {f} --encoding plain", before=a_file_and_a_secrets_name
)
def the_secret_has_its_payload(row):
    revealed = row.platform.get(f"{row.platform.org_link}/secret/{row.words['s']}/-reveal")
    assert revealed["data"] == {"payload": "the payload\n", "encoding": "plain"}


@rare_row("secret reveal {s} -o json", before=a_secret)
def the_data_is_shown(row):
    assert row.json["data"]["payload"] == "hush"


@rare_row("serviceaccount create --name {sa}", before=lambda row: row.new("serviceaccount", "sa"))
def the_service_account_exists(row):
    assert row.of_org("serviceaccount", "sa")["kind"] == "serviceaccount"


@rare_row(
    "serviceaccount add-key {sa} --description d",
    before=lambda row: row.object("serviceaccount", "sa"),
)
def the_key_opens_the_api(row):
    key = row.json["key"]
    # A new account may do nothing; that it is known shows in the refusal.
    with row.platform.client(key) as client:
        assert client.get(f"{row.platform.org_link}/gvc/{row.platform.gvc}").status_code == 403


@rare_row(
    "group add-member superusers --serviceaccount {sa}",
    before=lambda row: row.object("serviceaccount", "sa"),
)
def the_account_is_a_member(row):
    group = row.platform.get(f"{row.platform.org_link}/group/superusers")
    member = f"{row.platform.org_link}/serviceaccount/{row.words['sa']}"
    assert member in group["memberLinks"]
    row.platform.http.patch(
        f"{row.platform.org_link}/group/superusers", json={"$drop/memberLinks": [member]}
    )


# Workloads


@rare_row(
    "workload create --name {w} --image nginx:1.27", before=lambda row: row.new("workload", "w")
)
def a_standard_workload_exists(row):
    assert row.stored["spec"]["type"] == "standard"
    assert row.stored["spec"]["containers"][0]["image"] == "nginx:1.27"


@rare_row("workload get {w}", before=with_workload())
def the_workload_is_ready_in_the_table(row):
    (line,) = [line for line in row.out.splitlines() if row.words["w"] in line]
    assert "|true" in line


@rare_row("workload get -o json --max 0", before=with_workload())
def all_pages_are_listed(row):
    assert row.words["w"] in names(row)
    wanted = httpx.get(
        f"{row.platform.url}{row.platform.gvc_link}/workload", headers=row.platform.http.headers
    ).json()
    assert len(names(row)) >= len(wanted["items"])


def six_tagged(row: Row) -> None:
    row.words["t"] = row.platform.name("team")
    for _ in range(6):
        document = row.platform.workload_document(tags={"team": row.words["t"]})
        row.platform.create(f"{row.platform.gvc_link}/workload", document)


@row("workload query --tag team={t} --rel gvc={gvc} -o json", before=six_tagged)
def the_query_finds_over_all_pages(row):
    assert len(names(row)) == 6


@rare_row(
    "workload query --tag marked=true --rel gvc={gvc} -o json",
    before=with_workload(tags={"marked": "true"}),
)
def a_boolean_finds_a_text(row):
    assert row.words["w"] in names(row)


@rare_row(
    "workload tag {w} --tag a=1 --tag b=x --remove-tag old", before=with_workload(tags={"old": "y"})
)
def tags_are_set_and_removed(row):
    assert row.stored["tags"] == {"a": 1, "b": "x"}


@rare_row("workload update {w} --set spec.defaultOptions.suspend=false", before=with_workload())
def a_text_becomes_a_boolean(row):
    assert row.stored["spec"]["defaultOptions"]["suspend"] is False
    assert row.stored["version"] == 2


def a_live_workload(row: Row) -> None:
    row.workload(defaultOptions={"suspend": False, "capacityAI": False})


@rare_row("workload stop {w}", before=a_live_workload)
def the_workload_is_suspended(row):
    assert row.stored["spec"]["defaultOptions"]["suspend"] is True
    assert row.stored["status"]["suspendedStatus"] == "suspended"


@rare_row("workload start {w}", before=with_workload())
def the_workload_is_live(row):
    assert row.stored["spec"]["defaultOptions"]["suspend"] is False


@rare_row("workload force-redeployment {w}", before=with_workload())
def the_time_of_deployment_is_a_tag(row):
    assert "cpln/deployTimestamp" in row.stored["tags"]


@rare_row("workload permissions")
def the_permissions_name_the_commands(row):
    assert {"exec.runCronWorkload", "exec.stopReplica"} <= {
        each["name"] for each in row.json["permissions"]
    }


@rare_row("workload get-deployments {w} -o json", before=with_workload())
def each_location_has_a_deployment(row):
    assert row.platform.location in names(row)


@rare_row("workload delete {w}", before=with_workload())
def the_workload_goes(row):
    assert row.platform.until(lambda: row.platform.http.get(row.link).status_code == 404)


@row("workload get {absent}", code=1)
def an_absent_workload_is_an_error_in_an_array(row):
    assert json.loads(row.done.stderr)[0]["status"] == 404


# Runs


@row(
    "workload cron start {w} --location {location} -o json", before=with_workload(), facts=("F153",)
)
def the_run_is_active_and_completes(row):
    assert row.json["items"][0]["status"] == "active"
    assert new_command(row)["lifecycleStage"] == "completed"


@row(
    "workload cron start {w} --location {location} --env A=1 --command python"
    " --arg=-c --arg=\"import os; print('A is', os.environ['A'])\""
    " --active-deadline-seconds 600 -o json",
    before=with_workload(),
)
def the_override_reaches_the_container(row):
    command = new_command(row)
    assert command["spec"]["activeDeadlineSeconds"] == 600
    assert command["lifecycleStage"] == "completed"
    query = f'{{gvc="{row.platform.gvc}", workload="{row.words["w"]}"}}'
    assert row.platform.until(lambda: row.platform.lines(query)) == ["A is 1"]


@rare_row("workload cron start {w} -o json", before=with_workload())
def every_location_gets_a_run(row):
    gvc = row.platform.get(row.platform.gvc_link)
    locations = sorted(
        link.rsplit("/", 1)[1] for link in gvc["spec"]["staticPlacement"]["locationLinks"]
    )
    assert sorted(item["location"] for item in row.json["items"]) == locations


@rare_row("workload cron get {w} -o json", before=with_run(), facts=("F153",))
def the_run_is_listed_as_successful(row):
    assert [(item["id"], item["status"]) for item in row.json["items"]] == [
        (row.words["id"], "successful")
    ]


@row(
    "workload cron stop {w} --replica-name {replica} --location {location}",
    before=with_run(FOREVER, until="running"),
)
def the_replica_of_the_run_is_stopped(row):
    assert row.platform.ended(row.words["command"])["lifecycleStage"] in ("failed", "cancelled")


@rare_row(
    "workload replica stop {w} --replica-name {replica} --location {location}",
    before=with_run(FOREVER, until="running"),
)
def the_replica_is_stopped(row):
    assert row.platform.ended(row.words["command"])["lifecycleStage"] in ("failed", "cancelled")


@rare_row(
    "workload replica get {w} --location {location} -o json",
    before=with_run(FOREVER, until="running"),
)
def the_replica_is_named(row):
    assert row.json["items"] == [row.words["replica"]]


@rare_row("rest get {command}", before=with_run())
def the_command_is_shown(row):
    assert row.json["lifecycleStage"] == "completed"


def a_run_and_a_query(row: Row) -> None:
    row.run_of()
    term = {"op": "=", "property": "lifecycleStage", "value": "completed"}
    row.file("q", json.dumps({"spec": {"match": "all", "terms": [term]}}))
    row.words["commands"] = f"{row.link}/-command/-query"


@rare_row("rest post {commands} -f {q}", before=a_run_and_a_query)
def the_command_is_found(row):
    assert [item["id"] for item in row.json["items"]] == [row.words["id"]]


@rare_row(
    "workload cron run --image {image} --location {location} --env A=5"
    " -- python -c \"import os; assert os.environ['A'] == '5'\""
)
def the_run_is_awaited(row):
    assert row.json["status"] == "completed"
    row.platform.remember(f"{row.platform.gvc_link}/workload/{row.json['workload']}")


@row(
    'workload cron run --image {image} --location {location} -- python -c "raise SystemExit(3)"',
    code=1,
)
def a_failed_run_says_why(row):
    assert row.json["status"] == "failed"
    assert "3" in row.json["message"]


# Logs


def with_lines(count: int) -> Callable[[Row], None]:
    def before(row: Row) -> None:
        row.run_of(f"print(*(f'line {{n}}' for n in range({count})), sep='\\n')")
        row.words["Q"] = f'{{gvc="{row.platform.gvc}", workload="{row.words["w"]}"}}'
        query = row.words["Q"] + f' |= "line {count - 1}"'
        row.platform.until(lambda: row.platform.lines(query))

    return before


@row("logs '{Q}' --since 1h -o raw", before=with_lines(3))
def the_lines_are_printed(row):
    assert row.out.split("\n")[:3] == ["line 0", "line 1", "line 2"]


@row("logs '{Q}' --limit 2000 -o raw", before=with_lines(1500))
def pages_repeat_and_skip_nothing(row):
    assert row.out.splitlines() == [f"line {n}" for n in range(1500)]


@row("logs '{Q}' --limit 0 -o raw", before=with_lines(1500))
def without_a_limit_all_pages_are_read(row):
    assert row.out.splitlines() == [f"line {n}" for n in range(1500)]


# Manifests


def documents(row: Row) -> None:
    platform, words = row.platform, row.words
    for kind in ("secret", "gvc"):
        row.new(kind, kind)
    words |= {kind: platform.name(kind) for kind in ("workload", "identity", "policy", "volumeset")}
    platform.remember(f"{platform.org_link}/policy/{words['policy']}")
    identity = f"//gvc/{words['gvc']}/identity/{words['identity']}"
    workload = platform.workload_document(name=words["workload"], identityLink=identity)
    placed = {"staticPlacement": {"locationLinks": [f"//location/{platform.location}"]}}
    disk = {
        "fileSystemType": "ext4",
        "performanceClass": "general-purpose-ssd",
        "initialCapacity": 10,
    }
    bindings = [{"permissions": ["reveal"], "principalLinks": [identity]}]
    target = {"targetKind": "secret", "targetLinks": [f"//secret/{words['secret']}"]}
    text = yaml.safe_dump_all(
        [
            {"kind": "workload", "gvc": words["gvc"], **workload},
            {"kind": "policy", "name": words["policy"], **target, "bindings": bindings},
            # The GVC of the document before holds for those that name none.
            {"kind": "volumeset", "name": words["volumeset"], "spec": disk},
            {"kind": "identity", "name": words["identity"], "gvc": words["gvc"]},
            {
                "kind": "secret",
                "name": words["secret"],
                "type": "dictionary",
                "data": {"KEY": "xyz"},
            },
            {"kind": "gvc", "name": words["gvc"], "spec": placed},
        ]
    )
    row.file("all", text)


ORDER = ["secret", "gvc", "identity", "volumeset", "policy", "workload"]


@row("apply -f {all}", before=documents, facts=("F177", "F178", "F179", "F180"))
def documents_in_any_order_are_created(row):
    created = [line.split("/")[-2] for line in row.out.splitlines() if line.startswith("Created")]
    assert created == ORDER
    gvc = f"{row.platform.org_link}/gvc/{row.words['gvc']}"
    stored = row.platform.get(f"{gvc}/workload/{row.words['workload']}")
    assert stored["spec"]["identityLink"] == f"{gvc}/identity/{row.words['identity']}"


def applied_documents(row: Row) -> None:
    documents(row)
    row.object(
        "gvc",
        "gvc",
        spec={"staticPlacement": {"locationLinks": [f"//location/{row.platform.location}"]}},
    )
    documents_of = {
        "secret": row.platform.org_link,
        "identity": f"{row.platform.org_link}/gvc/{row.words['gvc']}",
    }
    text = []
    for kind, parent in documents_of.items():
        body = {
            "name": row.words[kind],
            **({"type": "opaque", "data": {"payload": "p"}} if kind == "secret" else {}),
        }
        row.platform.create(f"{parent}/{kind}", body)
        text.append(
            {"kind": kind, **body, **({"gvc": row.words["gvc"]} if kind == "identity" else {})}
        )
    row.file("all", yaml.safe_dump_all(text))


@row("delete -f {all}", before=applied_documents, facts=("F178",))
def documents_are_deleted_in_the_reverse_order(row):
    assert [line.split()[1] for line in row.out.splitlines() if line.startswith("Deleted")] == [
        "identity",
        "secret",
    ]


def documents_that_exist(row: Row) -> None:
    row.workload()
    document = row.platform.workload_document(name=row.words["w"])
    row.file("again", yaml.safe_dump({"kind": "workload", "gvc": row.platform.gvc, **document}))


@row(
    "apply -f {again} --ready --debug", before=documents_that_exist, facts=("F155", "F179", "F181")
)
def an_update_is_awaited_until_ready(row):
    assert f"Updated workload '{row.words['w']}'" in row.out
    asked = re.findall(r"^> GET (\S+)$", row.done.stdout + row.done.stderr, re.MULTILINE)
    looks = [path for path in asked if path.startswith(row.link)]
    # Three good looks in a row; before them may be others.
    assert len(looks) >= 6
    assert looks[-6:] == [row.link, f"{row.link}/deployment"] * 3


def two_secrets(row: Row) -> list[dict]:
    row.new("secret", "one")
    row.new("secret", "two")
    content = {"type": "opaque", "data": {"payload": "p"}}
    return [{"kind": "secret", "name": row.words[word], **content} for word in ("one", "two")]


def both_secrets_exist(row: Row) -> None:
    assert {row.of_org("secret", word)["type"] for word in ("one", "two")} == {"opaque"}


def a_json_list(row: Row) -> None:
    row.file(
        "list.json", json.dumps({"kind": "list", "itemKind": "secret", "items": two_secrets(row)})
    )


@row("apply -f {list.json}", before=a_json_list, facts=("F177",))
def a_list_of_documents_is_applied(row):
    both_secrets_exist(row)


def an_array_on_standard_input(row: Row) -> None:
    row.input = json.dumps(two_secrets(row))


@rare_row("apply -f -", before=an_array_on_standard_input, facts=("F177",))
def standard_input_is_applied(row):
    both_secrets_exist(row)


def a_folder_of_documents(row: Row) -> None:
    for number, document in enumerate(two_secrets(row)):
        row.file(f"{number}.yaml", yaml.safe_dump(document))
    row.words["folder"] = str(row.folder)


@rare_row("apply -f {folder}", before=a_folder_of_documents, facts=("F177",))
def a_folder_is_applied(row):
    both_secrets_exist(row)


@row("apply -f {again} --gvc another", before=documents_that_exist, code=1, facts=("F180",))
def two_different_gvcs_are_an_error(row):
    assert "does not match" in row.done.stdout + row.done.stderr


def a_wrong_document(row: Row) -> None:
    row.new("secret", "s")
    wrong = {"kind": "secret", "name": "x", "type": "opaque", "data": {}}
    right = {"kind": "secret", "name": row.words["s"], "type": "opaque", "data": {"payload": "p"}}
    row.file("two", yaml.safe_dump_all([wrong, right]))


@row("apply -f {two}", before=a_wrong_document, code=1, facts=("F182",))
def a_refused_document_is_told_and_the_others_are_applied(row):
    assert "400" in row.done.stderr + row.out
    assert row.of_org("secret", "s")["type"] == "opaque"


def _filled(word: str, words: dict[str, str]) -> str:
    return re.sub(r"\{([\w.]+)\}", lambda found: words[found.group(1)], word)


@pytest.mark.parametrize(("command", "before", "code", "effect"), ROWS)
def test_a_row_of_the_vendors_command_line(cli, tmp_path, *, command, before, code, effect) -> None:
    platform = cli.platform
    row = Row(platform, tmp_path)
    row.words |= {
        "org": platform.org,
        "gvc": platform.gvc,
        "location": platform.location,
        "image": "python:3.12-slim",
    }
    row.words["absent"] = platform.name("absent")
    before(row)
    row.done = cli.run(*(_filled(word, row.words) for word in shlex.split(command)), text=row.input)
    assert row.done.returncode == code, row.done.stderr + row.done.stdout
    effect(row)


def test_the_vendors_command_line_runs_below_the_local_command(cli) -> None:
    local = str(Path(sys.executable).with_name("cpln-flows"))
    command = [local, "local", "--", str(cli.program), "gvc", "get", "-o", "names"]
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("CONTRACT_")
    }
    environment |= {"CPLN_HOME": str(cli.home), "CPLN_SKIP_UPDATE_CHECK": "1"}
    done = subprocess.run(
        command,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout.split()) == (0, ["quickstart"]), done.stderr


def test_the_tail_of_the_vendors_command_line_is_live(cli, platform) -> None:
    workload = platform.workload("print('said', flush=True)")
    query = f'{{gvc="{platform.gvc}", workload="{workload.rsplit("/", 1)[1]}"}}'
    first = platform.ended(platform.start(workload))["status"]["replica"]
    with cli.following("logs", query, "--tail") as tail:
        # The first line was there before; only what comes after it is live.
        assert first in tail.wait_for("said")
        second = platform.running(platform.start(workload))["status"]["replica"]
        assert second in tail.wait_for("said")


def test_a_profile_of_the_vendors_command_line_serves_as_well_as_the_environment(
    cli, platform, tmp_path
) -> None:
    own = VendorCli(cli.program, platform, tmp_path)
    environment = {
        name: value for name, value in own.environment.items() if not name.startswith("CPLN_")
    }
    environment |= {"CPLN_HOME": str(tmp_path), "CPLN_SKIP_UPDATE_CHECK": "1"}

    def run(*words):
        return subprocess.run(
            [str(cli.program), *words], env=environment, capture_output=True, text=True, check=False
        )

    assert run("workload", "get").returncode == 1
    context = ["--endpoint", f"{platform.url}/", "--org", platform.org, "--gvc", platform.gvc]
    assert run("profile", "create", "mine", "--token", platform.token, *context).returncode == 0
    assert run("gvc", "get", platform.gvc, "--profile", "mine", "-o", "names").returncode == 0
