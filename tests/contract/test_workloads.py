"""What a workload may be: the fields of its specification, and what the platform makes of them."""

import copy

import pytest

pytestmark = pytest.mark.xdist_group("contract")

fact = pytest.mark.fact


def changed(document, path, value):
    """The document with another value at ``spec.…``; ``main`` is its container."""
    document = copy.deepcopy(document)
    place = document["spec"]
    names = path.split(".")
    if names[0] == "main":
        place, names = place["containers"][0], names[1:]
    for name in names[:-1]:
        place = place.setdefault(name, {})
    place[names[-1]] = value
    return document


def env(name, value="x"):
    return [{"name": name, "value": value}]


def volumes(*paths, uri="scratch://x"):
    return [{"uri": uri, "path": path} for path in paths]


def others(count):
    return [{"name": f"c-{number}", "image": "busybox"} for number in range(count)]


def gpu(model, quantity):
    return {"nvidia": {"model": model, "quantity": quantity}}


def ports(number, protocol="http"):
    return [{"number": number, "protocol": protocol}]


RESERVED_PATHS = ("/dev", "/dev/log", "/tmp", "/var", "/var/log")  # noqa: S108 - as the platform lists them

REFUSED = [
    ("F070", "containers", []),
    ("F070", "containers", others(9)),
    ("F072", "job", None),
    ("F072", "job", {}),
    ("F074", "firewallConfig.internal.inboundAllowType", "everybody"),
    ("F074", "firewallConfig.external.inboundAllowCIDR", ["10.0.0.0/8"] * 251),
    ("F074", "firewallConfig.external.outboundAllowPort", [{"protocol": "udp", "number": 1}]),
    ("F075", "rolloutOptions.terminationGracePeriodSeconds", 901),
    ("F076", "securityOptions.runAsUser", 0),
    ("F076", "securityOptions.filesystemGroupId", 65_535),
    ("F080", "main.name", "cpln-mine"),
    ("F080", "main.name", "debugger-1"),
    *(
        ("F080", "main.name", name)
        for name in ("istio-proxy", "queue-proxy", "istio-validation", "cpln-dbaas-config")
    ),
    ("F031", "main.name", "Main"),
    ("F031", "main.name", "x" * 65),
    ("F031", "main.name", "x"),
    ("F081", "main.image", ""),
    ("F082", "main.cpu", "much"),
    ("F082", "main.cpu", "24m"),
    ("F082", "main.memory", "31Mi"),
    ("F082", "main.memory", "1" * 21),
    ("F082", "main.memory", "401Mi"),
    ("F083", "main.minCpu", "51m"),
    ("F083", "main.minMemory", "129Mi"),
    ("F084", "main.command", ["python"]),
    ("F084", "main.command", "x" * 257),
    ("F084", "main.args", "text"),
    ("F085", "main.env", [{"name": "A", "valueFrom": {"secretKeyRef": {}}}]),
    ("F085", "main.env", env("1A")),
    ("F085", "main.env", env("x" * 121)),
    ("F085", "main.env", env("A", "x" * 4097)),
    *(
        ("F085", "main.env", env(name))
        for name in ("CPLN_X", "K_SERVICE", "K_CONFIGURATION", "K_REVISION")
    ),
    ("F089", "main.workingDir", "here"),
    *(("F090", "main.ports", ports(number)) for number in (79, 65_536, 8012, 9090, 15_021, 41_000)),
    ("F090", "main.ports", ports(8080, "udp")),
    ("F093", "main.volumes", volumes(*(f"/m{n}" for n in range(16)))),
    ("F093", "main.volumes", volumes("/a", uri="ftp://x")),
    ("F093", "main.volumes", volumes("/a", "/a/b")),
    *(("F093", "main.volumes", volumes(path)) for path in RESERVED_PATHS),
    ("F095", "job.schedule", None),
    ("F095", "job.schedule", "* * * *"),
    ("F095", "job.schedule", "61 * * * *"),
    ("F096", "job.concurrencyPolicy", "Maybe"),
    ("F097", "job.historyLimit", 0),
    ("F097", "job.historyLimit", 11),
    ("F098", "job.restartPolicy", "Always"),
    ("F099", "job.activeDeadlineSeconds", 0),
    ("F099", "job.activeDeadlineSeconds", 86_401),
    ("F073", "defaultOptions.timeoutSeconds", 3601),
    ("F091", "main.lifecycle", {"preStop": {"exec": {"command": "true"}}}),
    ("F091", "main.lifecycle", {"postStart": {"exec": {"command": []}}}),
    ("F189", "main.gpu", gpu("v100", 1)),
    ("F189", "main.gpu", gpu("t4", 5)),
    ("F189", "main.gpu", gpu("t4", 0)),
    ("F189", "main.gpu", gpu("a10g", 2)),
]

TAKEN = [
    ("F070", "containers", others(8)),
    ("F073", "localOptions", [{"location": "//location/{location}", "suspend": True}]),
    ("F073", "defaultOptions.autoscaling", {"metric": "disabled", "minScale": 1, "maxScale": 1}),
    ("F074", "firewallConfig.external.outboundAllowPort", [{"protocol": "tcp", "number": 5432}]),
    ("F074", "firewallConfig.external.outboundAllowCIDR", ["0.0.0.0/0"]),
    ("F074", "firewallConfig.internal.inboundAllowType", "same-gvc"),
    ("F075", "rolloutOptions.terminationGracePeriodSeconds", 0),
    ("F076", "securityOptions.filesystemGroupId", 65_534),
    ("F077", "supportDynamicTags", True),
    ("F077", "requestRetryPolicy", {"attempts": 2}),
    ("F077", "sidecar", {"envoy": {}}),
    ("F080", "main.name", "cplnish"),
    ("F031", "main.name", "x" * 64),
    ("F081", "main.image", "ubuntu:latest"),
    ("F081", "main.image", "{org}.registry.cpln.io/etl:1"),
    ("F082", "main.cpu", "0.5"),
    ("F082", "main.memory", "400Mi"),
    ("F083", "main.minMemory", "64Mi"),
    ("F084", "main.command", "x" * 256),
    ("F084", "main.args", ["-c", "print(1)"]),
    ("F085", "main.env", env("a.b-c_D", "x" * 4096)),
    ("F088", "main.inheritEnv", True),
    ("F089", "main.workingDir", "/srv"),
    ("F090", "main.ports", ports(80, "tcp")),
    ("F103", "main.ports", ports(8080, "grpc")),
    ("F103", "defaultOptions.timeoutSeconds", 60),
    *(
        ("F093", "main.volumes", volumes("/data", uri=uri))
        for uri in ("s3://b", "gs://b", "azureblob://a/b", "cpln://secret/s")
    ),
    ("F095", "job.schedule", "*/15 0-6,12 1 jan mon-fri"),
    *(("F096", "job.concurrencyPolicy", policy) for policy in ("Forbid", "Replace", "Allow")),
    ("F097", "job.historyLimit", 10),
    ("F098", "job.restartPolicy", "OnFailure"),
    ("F099", "job.activeDeadlineSeconds", 86_400),
    ("F104", "defaultOptions.capacityAI", True),
    ("F104", "defaultOptions.capacityAI", False),
    ("F091", "main.lifecycle", {"postStart": {"exec": {"command": ["true"]}}}),
    ("F189", "main.gpu", gpu("t4", 4)),
    ("F189", "main.gpu", gpu("a10g", 1)),
]


def rows(table):
    return [
        pytest.param(
            path, value, id=f"{number}-{path}-{str(value)[:24]}", marks=pytest.mark.fact(number)
        )
        for number, path, value in table
    ]


@pytest.mark.parametrize(("path", "value"), rows(REFUSED))
def test_a_wrong_field_is_refused_and_named(platform, path, value) -> None:
    document = changed(platform.workload_document(), path, value)
    answer = platform.http.post(f"{platform.gvc_link}/workload", json=document)
    platform.remember(f"{platform.gvc_link}/workload/{document['name']}")
    assert answer.status_code == 400
    message = answer.json()["message"]
    assert path.split(".")[-1] in message or "reserved" in message


@pytest.mark.parametrize(("path", "value"), rows(TAKEN))
def test_a_right_field_is_stored(platform, path, value) -> None:
    if path == "localOptions":
        value = [{"location": f"{platform.org_link}/location/{platform.location}", "suspend": True}]
    if isinstance(value, str):
        value = value.replace("{org}", platform.org)
    document = changed(platform.workload_document(), path, value)
    stored = platform.get(platform.create(f"{platform.gvc_link}/workload", document))["spec"]
    wanted = changed(document, path, value)["spec"]
    place, names = (
        (stored["containers"][0], path.split(".")[1:])
        if path.startswith("main.")
        else (stored, path.split("."))
    )
    for name in names:
        place = place[name]
    if path == "containers":
        assert [each["name"] for each in place] == [each["name"] for each in wanted["containers"]]
    else:
        assert place == value


@fact("F072")
def test_another_workload_than_cron_has_no_job(platform) -> None:
    document = changed(platform.workload_document(), "type", "standard")
    assert platform.http.post(f"{platform.gvc_link}/workload", json=document).status_code == 400


@fact("F034", "F082")
def test_a_tag_relaxes_the_ratio_of_memory_to_cpu(platform) -> None:
    document = changed(
        platform.workload_document(tags={"cpln/relaxMemoryToCpuRatio": "true"}),
        "main.memory",
        "1600Mi",
    )
    assert platform.create(f"{platform.gvc_link}/workload", document)
    more = changed(
        platform.workload_document(tags={"cpln/relaxMemoryToCpuRatio": "true"}),
        "main.memory",
        "1601Mi",
    )
    assert platform.http.post(f"{platform.gvc_link}/workload", json=more).status_code == 400


@fact("F034", "F075")
@pytest.mark.parametrize(("seconds", "status"), [(3600, 201), (3601, 400)])
def test_tag_relaxes_the_longest_grace(platform, seconds, status) -> None:
    document = changed(
        platform.workload_document(tags={"cpln/relaxGracePeriodMax": "true"}),
        "rolloutOptions.terminationGracePeriodSeconds",
        seconds,
    )
    answer = platform.http.post(f"{platform.gvc_link}/workload", json=document)
    platform.remember(f"{platform.gvc_link}/workload/{document['name']}")
    assert answer.status_code == status


@fact("F189")
def test_workload_with_a_gpu_has_no_capacity_ai(platform) -> None:
    document = changed(platform.workload_document(), "main.gpu", gpu("t4", 1))
    wrong = changed(document, "defaultOptions.capacityAI", True)
    answer = platform.http.post(f"{platform.gvc_link}/workload", json=wrong)
    platform.remember(f"{platform.gvc_link}/workload/{document['name']}")
    assert answer.status_code == 400
    assert "capacityAI" in answer.json()["message"]


@fact("F071", "F081")
@pytest.mark.parametrize(
    "form",
    ["//gvc/{gvc}/identity/{name}", "/org/{org}/gvc/{gvc}/identity/{name}", "//identity/{name}"],
)
def test_links_are_stored_in_full(platform, form) -> None:
    identity = platform.create(f"{platform.gvc_link}/identity", {"name": platform.name("identity")})
    link = form.format(gvc=platform.gvc, org=platform.org, name=identity.rsplit("/", 1)[1])
    document = changed(platform.workload_document(), "identityLink", link)
    stored = platform.get(
        platform.create(
            f"{platform.gvc_link}/workload", changed(document, "main.image", "//image/etl:v1")
        )
    )
    assert stored["spec"]["identityLink"] == identity
    assert stored["spec"]["containers"][0]["image"] == f"{platform.org_link}/image/etl:v1"


@fact("F087")
def test_the_environment_is_stored_in_order_of_names(platform) -> None:
    document = changed(platform.workload_document(), "main.env", [*env("B"), *env("C"), *env("A")])
    stored = platform.get(platform.create(f"{platform.gvc_link}/workload", document))
    assert [entry["name"] for entry in stored["spec"]["containers"][0]["env"]] == ["A", "B", "C"]


@fact("F082", "F088", "F096", "F097", "F098")
def test_what_a_workload_does_not_say_is_filled_in(platform) -> None:
    document = platform.workload_document()
    document["spec"]["containers"] = [{"name": "main", "image": "busybox"}]
    stored = platform.get(platform.create(f"{platform.gvc_link}/workload", document))["spec"]
    (container,) = stored["containers"]
    assert (container["cpu"], container["memory"], container["inheritEnv"]) == (
        "50m",
        "128Mi",
        False,
    )
    job = stored["job"]
    assert (job["concurrencyPolicy"], job["historyLimit"], job["restartPolicy"]) == (
        "Forbid",
        5,
        "Never",
    )


@fact("F196")
def test_firewall_and_grace_are_filled_in(platform) -> None:
    document = platform.workload_document()
    document["spec"]["firewallConfig"] = {"external": {"outboundAllowCIDR": ["0.0.0.0/0"]}}
    stored = platform.get(platform.create(f"{platform.gvc_link}/workload", document))["spec"]
    external, internal = (stored["firewallConfig"][name] for name in ("external", "internal"))
    assert external["outboundAllowCIDR"] == ["0.0.0.0/0"]
    assert external["inboundAllowCIDR"] == external["outboundAllowHostname"] == []
    assert (internal["inboundAllowType"], internal["inboundAllowWorkload"]) == ("none", [])
    assert stored["rolloutOptions"]["terminationGracePeriodSeconds"] == 90


@fact("F196")
def test_stateful_workload_has_no_unavailable_replicas(platform) -> None:
    document = changed(platform.workload_document(), "type", "stateful")
    del document["spec"]["job"]
    document["spec"]["rolloutOptions"] = {"maxUnavailableReplicas": "1", "minReadySeconds": 1}
    stored = platform.get(platform.create(f"{platform.gvc_link}/workload", document))["spec"]
    assert stored["rolloutOptions"]["minReadySeconds"] == 1
    assert "maxUnavailableReplicas" not in stored["rolloutOptions"]


@fact("F100")
def test_suspension_is_a_default_option(platform) -> None:
    link = platform.create(f"{platform.gvc_link}/workload", platform.workload_document())
    assert platform.get(link)["status"]["suspendedStatus"] == "suspended"
    live = platform.http.patch(link, json={"spec": {"defaultOptions": {"suspend": False}}})
    assert live.json()["spec"]["defaultOptions"]["suspend"] is False
    assert platform.get(link)["status"]["suspendedStatus"] == "notSuspended"
    job = changed(platform.workload_document(), "job.suspend", True)
    del job["spec"]["defaultOptions"]
    answer = platform.http.post(f"{platform.gvc_link}/workload", json=job)
    stored = (
        {}
        if answer.status_code == 400
        else platform.get(platform.remember(answer.headers["location"]))["spec"]
    )
    assert not stored.get("defaultOptions", {}).get("suspend")


@fact("F078", "F079")
def test_status_and_health_are_shown_and_not_taken(platform) -> None:
    document = {
        **platform.workload_document(),
        "status": {"endpoint": "mine"},
        "health": {"readiness": "mine"},
    }
    link = platform.create(f"{platform.gvc_link}/workload", document)
    locations = len(platform.get(platform.gvc_link)["spec"]["staticPlacement"]["locationLinks"])
    stored = platform.until(
        lambda: (it := platform.get(link))["health"]["readyLocations"] == locations and it
    )
    status, health = stored["status"], stored["health"]
    types = {
        "parentId": str, "canonicalEndpoint": str, "endpoint": str, "replicaInternalNames": list,
        "healthCheck": dict, "resolvedImages": dict, "loadBalancer": list,
    }  # fmt: skip
    assert {name: type(status[name]) for name in types} == types
    assert status["endpoint"] != "mine"
    assert status["internalName"] == f"{stored['name']}.{platform.gvc}.cpln.local"
    assert (status["suspendedStatus"], status["currentReplicaCount"]) == ("suspended", 0)
    assert health == {
        "readiness": "ready", "syncFailed": False, "readyLocations": locations,
        "totalLocations": locations, "readyReplicas": 0, "totalReplicas": 0,
    }  # fmt: skip


@fact("F094")
@pytest.mark.parametrize(("file_system", "status"), [("shared", 201), ("ext4", 400)])
def test_a_cron_workload_mounts_shared_volume_sets_only(platform, file_system, status) -> None:
    performance = "shared" if file_system == "shared" else "general-purpose-ssd"
    spec = {"fileSystemType": file_system, "performanceClass": performance, "initialCapacity": 10}
    name = platform.name("vs")
    platform.create(f"{platform.gvc_link}/volumeset", {"name": name, "spec": spec})
    document = changed(
        platform.workload_document(),
        "main.volumes",
        volumes("/data", uri=f"cpln://volumeset/{name}"),
    )
    platform.remember(f"{platform.gvc_link}/workload/{document['name']}")
    assert platform.http.post(f"{platform.gvc_link}/workload", json=document).status_code == status


@fact("F102")
def test_a_cron_workload_is_in_all_locations_of_its_gvc(platform) -> None:
    link = platform.workload(
        localOptions=[
            {"location": f"{platform.org_link}/location/{platform.location}", "suspend": True}
        ]
    )
    gvc = platform.get(platform.gvc_link)
    locations = {
        place.rsplit("/", 1)[1] for place in gvc["spec"]["staticPlacement"]["locationLinks"]
    }
    assert {item["name"] for item in platform.get(f"{link}/deployment")["items"]} == locations
