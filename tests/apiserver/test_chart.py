"""The chart, as the API server sees it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from apiserver.chart import NAMESPACE, documents, render, rendered, the
from apiserver.server import Json, Server
from ringfence.agent.mailbox import FeederState, Mailbox
from ringfence.core.fencing.selffence import Promise, Word
from ringfence.host.storage_leg import held_at
from ringfence.slots.leg import Leg
from unit.test_metrics import documented

pytestmark = pytest.mark.apiserver

VALUES: dict[str, list[str]] = {
    "as it stands": [],
    "as the lab has it": [
        "image.tag=lab",
        "image.pullPolicy=Never",
        "apiServer.host=10.77.0.1",
        "apiServer.port=6443",
        "agent.bootIdPath=/etc/boot_id",
        "cluster.create=true",
        "cluster.spec.mode=DryRun",
    ],
    "with all capabilities": ['agent.capabilities=["NET_RAW","IPC_LOCK","SYS_NICE"]'],
    "three controllers on the nodes' network": ["controller.replicas=3", "controller.hostNetwork=true"],
    "placed and pulled": [
        'image.pullSecrets=[{"name":"registry"}]',
        'controller.nodeSelector={"pool":"infra"}',
        'controller.tolerations=[{"key":"infra","operator":"Exists"}]',
        'agent.nodeSelector={"kubevirt.io/schedulable":"true"}',
        "agent.maxUnavailable=10%",
    ],
    "with watchdogs": ["agent.watchdog.enabled=true", "agent.watchdog.device=/dev/watchdog0"],
    "without policies": ["admissionPolicies.create=false"],
    "heartbeat in a shared folder": ["slots.enabled=true", "slots.volume.hostPath=/srv/shared"],
    "heartbeat on a claim, guests stopped": [
        "slots.enabled=true",
        "slots.volume.persistentVolumeClaim=heartbeat",
        "slots.stopGuests=true",
        "slots.intervalSeconds=2",
    ],
    "with watchdogs that slots feed": [
        "agent.watchdog.enabled=true",
        'agent.watchdog.legs=["Gossip","Api","Storage"]',
        "slots.enabled=true",
        "slots.volume.hostPath=/srv/shared",
    ],
    "heartbeat on a block claim": [
        "slots.enabled=true",
        "slots.volume.persistentVolumeClaim=heartbeat",
        "slots.volume.volumeMode=Block",
    ],
}


@pytest.mark.parametrize("values", VALUES)
def test_server_accepts_what_helm_renders(governed: Server, values: str) -> None:
    said = governed.kubectl(
        "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict", "-f", "-",
        stdin=rendered(*VALUES[values]),
    )  # fmt: skip
    assert "arning" not in said
    assert "daemonset.apps/ringfence-agent" in said
    assert "deployment.apps/ringfence-controller" in said


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("controller.replicas=many", "at '/controller/replicas': got string, want integer"),
        ("controller.replicas=0", "at '/controller/replicas'"),
        ("agent.bootIdPath=boot_id", "at '/agent/bootIdPath'"),
        ('agent.capabilities=["SYS_ADMIN"]', "at '/agent/capabilities/0'"),
        ("agent.watchdog.device=watchdog", "at '/agent/watchdog/device'"),
        ("agent.watchdog.timeoutSeconds=1.5", "at '/agent/watchdog/timeoutSeconds'"),
        ('agent.watchdog.legs=["Api"]', "at '/agent/watchdog/legs'"),
        ('agent.watchdog.legs=["Gossip","Pigeon"]', "at '/agent/watchdog/legs/1'"),
        ("agent.prot=7947", "additional properties 'prot' not allowed"),
        ("image.pullPolicy=Sometimes", "at '/image/pullPolicy'"),
        ("nodeLeases.rights=never", "at '/nodeLeases/rights'"),
        ("alerts.proofMaxAgeSeconds=60", "at '/alerts/proofMaxAgeSeconds'"),
        ("slots.enabled=true", "slots.volume must name exactly one of persistentVolumeClaim, hostPath"),
        ("slots.intervalSeconds=0.1", "at '/slots/intervalSeconds'"),
        ("slots.volume.blockDevice=sda", "at '/slots/volume/blockDevice'"),
    ],
)
def test_wrong_values_are_refused(setting: str, sentence: str) -> None:
    done = render(setting)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_rights_to_the_remediators_leases_come_where_they_are_asked_for() -> None:
    def places(*settings: str) -> set[str]:
        return {
            each["metadata"].get("namespace", "") for each in documents(*settings) if each["kind"] == "Role"
        }

    assert "medik8s-leases" not in places()
    assert "medik8s-leases" in places("nodeLeases.rights=always")
    assert "far-away" in places("nodeLeases.rights=always", "nodeLeases.namespace=far-away")
    off = ("nodeLeases.namespace=", "nodeLeases.rights=always")
    assert places(*off) == places()
    assert "--node-leases=" in the("Deployment", *off)["spec"]["template"]["spec"]["containers"][0]["args"]


def test_alerts_are_about_metrics_that_there_are() -> None:
    assert all(each["kind"] != "PrometheusRule" for each in documents())
    rule = the("PrometheusRule", "alerts.create=true", "alerts.labels.release=prometheus")
    assert rule["metadata"]["labels"]["release"] == "prometheus"
    (group,) = rule["spec"]["groups"]
    exposed = documented("Of a controller")
    for each in group["rules"]:
        names = set(re.findall(r"ringfence_\w+", each["expr"]))
        assert names, each["alert"]
        assert names <= exposed.keys(), each["alert"]
        assert each["annotations"].keys() == {"summary", "description"}
    (unproved,) = (each for each in group["rules"] if each["alert"] == "RingfenceFenceDeviceUnproved")
    assert unproved["expr"].endswith("> 900")
    assert unproved["annotations"]["summary"] == "{{ $labels.device }} could not fence {{ $labels.node }}"


def test_api_server_address_reaches_both() -> None:
    for kind in ("Deployment", "DaemonSet"):
        (container,) = the(kind, "apiServer.host=10.77.0.1", "apiServer.port=6443")["spec"]["template"][
            "spec"
        ]["containers"]
        values = {each["name"]: each.get("value") for each in container["env"]}
        assert values["KUBERNETES_SERVICE_HOST"] == "10.77.0.1"
        assert values["KUBERNETES_SERVICE_PORT"] == "6443"


def test_host_powers_come_with_the_watchdog_only() -> None:
    plain = the("DaemonSet")["spec"]["template"]["spec"]
    assert "hostPID" not in plain
    assert [each["name"] for each in plain["containers"]] == ["agent"]
    armed = the("DaemonSet", "agent.watchdog.enabled=true")["spec"]["template"]["spec"]
    agent, feeder = armed["containers"]
    assert armed["hostPID"] is True
    assert feeder["securityContext"]["privileged"] is True
    assert agent["securityContext"] == plain["containers"][0]["securityContext"]
    assert not [volume for volume in feeder["volumeMounts"] if volume["name"] == "keys"]


def test_agents_never_see_the_roster_key() -> None:
    volumes = the("DaemonSet")["spec"]["template"]["spec"]["volumes"]
    (keys,) = (each["projected"] for each in volumes if each["name"] == "keys")
    first, changed = (source["secret"] for source in keys["sources"])
    assert first["name"] == "ringfence-gossip"
    assert [each["key"] for each in first["items"]] == ["group.key", "roster.pub"]
    assert "optional" not in first, "without these an agent is none: its pod waits"
    assert changed["name"] == "ringfence-group-keys"
    assert [each["key"] for each in changed["items"]] == ["group-keys.json"]
    assert changed["optional"] is True, (
        "there before the controller of this version leads: a roll-out must not wait"
    )
    assert keys["defaultMode"] == 0o400


def test_agents_are_the_last_to_be_short_of_anything() -> None:
    """No CPU limit (a throttled agent looks like a dying node), all its memory requested, a class that is never evicted."""
    spec = the("DaemonSet")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert "cpu" not in limits
    assert requests["cpu"]
    assert requests["memory"] == limits["memory"]
    assert spec["priorityClassName"] == "system-node-critical"
    assert spec["tolerations"] == [{"operator": "Exists"}]
    assert spec["hostNetwork"] is True


def heartbeat(*settings: str) -> Json:
    found: Json = next(
        each
        for each in documents("slots.enabled=true", *settings)
        if each["kind"] == "DaemonSet" and each["metadata"]["name"] == "ringfence-slots"
    )["spec"]["template"]["spec"]
    return found


def test_two_volumes_for_one_heartbeat_are_refused() -> None:
    done = render("slots.enabled=true", "slots.volume.hostPath=/a", "slots.volume.blockDevice=/dev/a")
    assert "set one, and leave the others empty" in done.stderr
    done = render("slots.enabled=true", "slots.volume.hostPath=/a", "slots.volume.volumeMode=Block")
    assert "volumeMode Block belongs to a persistentVolumeClaim" in done.stderr


def test_the_heartbeat_has_the_hosts_processes_and_kill_only_where_guests_are_stopped() -> None:
    shared = "slots.volume.hostPath=/srv/shared"
    plain, stops = heartbeat(shared), heartbeat(shared, "slots.stopGuests=true")
    assert "hostPID" not in plain
    assert plain["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert stops["hostPID"] is True
    assert stops["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["KILL"]}
    assert "privileged" not in stops["containers"][0]["securityContext"]
    assert (
        heartbeat("slots.volume.blockDevice=/dev/a")["containers"][0]["securityContext"]["privileged"] is True
    )


@pytest.mark.parametrize("heartbeat_first", [True, False])
def test_heartbeat_agent_and_feeder_share_the_run_folder(heartbeat_first: bool, tmp_path: Path) -> None:
    """Whoever comes first after a boot: a heartbeat in the agent's way would leave the watchdog without its word."""
    together = ("slots.enabled=true", "slots.volume.hostPath=/srv/shared", "agent.watchdog.enabled=true")
    words = [
        word
        for each in documents(*together)
        if each["kind"] == "DaemonSet"
        for container in each["spec"]["template"]["spec"]["containers"]
        for word in container["args"]
    ]
    here = [word.partition("=")[2] for word in words if word.startswith(("--run-dir=", "--leg="))]
    (leg,) = (Path(path) for path in here if path != "/run/ringfence")
    mailbox = Mailbox(tmp_path, "boot-1")

    def beat() -> None:
        Leg(tmp_path / leg.relative_to("/run/ringfence"), "boot-1").held(7.5)

    if heartbeat_first:
        beat()
    mailbox.put_word(Word(1.0, 0.0))
    mailbox.put_state(FeederState(armed=False, why="not open yet"))
    mailbox.put_promise(Promise(10.0, 60.0, frozenset({"Gossip"})))
    beat()
    assert mailbox.word() == Word(1.0, 0.0)
    assert (
        held_at(tmp_path / leg.relative_to("/run/ringfence"), "boot-1", 8.0)
        == mailbox.storage_held_at(8.0)
        == 7.5
    )


def test_the_slot_feeds_the_watchdog_only_where_both_are_there_and_it_is_said() -> None:
    shared, dog = "slots.volume.hostPath=/srv/shared", "agent.watchdog.enabled=true"
    by_slot = 'agent.watchdog.legs=["Gossip","Api","Storage"]'
    assert "--feeds-watchdog" not in heartbeat(shared, dog)["containers"][0]["args"]
    assert "--feeds-watchdog" not in heartbeat(shared, by_slot)["containers"][0]["args"]
    assert "--feeds-watchdog" in heartbeat(shared, dog, by_slot)["containers"][0]["args"]
    agent = the("DaemonSet", dog)["spec"]["template"]["spec"]["containers"][0]["args"]
    assert "--legs=Gossip,Api" in agent
    done = render(dog, by_slot)
    assert "switch the storage heartbeat on (slots.enabled), or remove Storage" in done.stderr


def test_the_controller_listens_to_heartbeats_only_where_there_are_some() -> None:
    def arguments(*settings: str) -> list[str]:
        (container,) = the("Deployment", *settings)["spec"]["template"]["spec"]["containers"]
        found: list[str] = container["args"]
        return found

    assert not any("slots" in word for word in arguments())
    assert "--slots-port=7950" in arguments("slots.enabled=true", "slots.volume.hostPath=/srv/shared")


def test_controller_never_tolerates_out_of_service() -> None:
    tolerations = the("Deployment")["spec"]["template"]["spec"]["tolerations"]
    assert {each["key"]: each["tolerationSeconds"] for each in tolerations} == {
        "node.kubernetes.io/not-ready": 30,
        "node.kubernetes.io/unreachable": 30,
    }


def test_pod_security(governed: Server) -> None:
    """The controller runs under `restricted`; the agent's exceptions are these and no others."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    name = "restricted"
    governed.must("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": label}})
    for account in ("ringfence-controller", "ringfence-agent"):
        governed.must("POST", f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": account}})

    def admit(kind: str) -> str:
        pod = {"metadata": {"name": "pod"}, "spec": the(kind)["spec"]["template"]["spec"]}
        answer = governed.call(
            "POST", f"/api/v1/namespaces/{name}/pods?dryRun=All", json.loads(json.dumps(pod))
        )
        return "" if answer.ok else answer.message

    assert admit("Deployment") == ""
    refused = admit("DaemonSet")
    for exception in ("host namespaces (hostNetwork=true)", "hostPort", "hostPath", "runAsUser=0"):
        assert exception in refused
    for kept in (
        "allowPrivilegeEscalation",
        "unrestricted capabilities",
        "seccompProfile",
        "privileged (container",
    ):
        assert kept not in refused


def test_rendered_into_its_own_namespace() -> None:
    assert f"namespace: {NAMESPACE}" in rendered()
