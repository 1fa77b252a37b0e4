"""The chart, as the API server sees it."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.x509 import DNSName, load_pem_x509_certificate
from cryptography.x509.verification import PolicyBuilder, Store

from apiserver.chart import CHART, NAMESPACE, OPERATOR, documents, render, rendered, the
from apiserver.server import Json, Server
from lab.helm import helm
from ringfence.agent.mailbox import FeederState, Mailbox
from ringfence.controller.admission import KINDS
from ringfence.controller.handlers import ASKED
from ringfence.core.fencing.selffence import Promise, Word
from ringfence.host.storage_leg import held_at
from ringfence.slots.leg import Leg

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
    "without webhook": ["webhook.enabled=false"],
    "without policies": ["admissionPolicies.create=false", "networkPolicy.create=false"],
    "on nodes of their own, watched": [
        "controller.replicas=3",
        "controller.antiAffinity=required",
        'networkPolicy.from=[{"namespaceSelector":{"matchLabels":{"name":"monitoring"}}}]',
        "monitoring.board=true",
    ],
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
        stdin=rendered(*VALUES[values], more=()),
    )  # fmt: skip
    assert "arning" not in said
    assert "pod/ringfence-test" in said
    assert "job.batch/ringfence-uninstall" in said
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
        ("alerts.create=sometimes", "at '/alerts/create'"),
        ("controller.antiAffinity=none", "at '/controller/antiAffinity'"),
        ("agent.resources.limts.cpu=1", "at '/agent/resources': additional properties 'limts' not allowed"),
        (
            'controller.tolerations=[{"kye":"x"}]',
            "at '/controller/tolerations/0': additional properties 'kye'",
        ),
        ("alerts.proofMaxAgeSeconds=60", "at '/alerts/proofMaxAgeSeconds'"),
        ("webhook.certManager=perhaps", "at '/webhook/certManager'"),
        ("webhook.port=0", "at '/webhook/port'"),
        ("slots.enabled=true", "slots.volume must name exactly one of persistentVolumeClaim, hostPath"),
        ("slots.intervalSeconds=0.1", "at '/slots/intervalSeconds'"),
        ("slots.volume.blockDevice=sda", "at '/slots/volume/blockDevice'"),
    ],
)
def test_wrong_values_are_refused(setting: str, sentence: str) -> None:
    done = render(setting)
    assert done.returncode != 0
    assert sentence in done.stderr


def parts(schema: Json, path: str = "") -> dict[str, Json]:
    """Every object of the schema, by its path."""
    found = {path: schema}
    for name, part in schema.get("properties", {}).items():
        if part.get("type") == "object" or "properties" in part:
            found |= parts(part, f"{path}.{name}".strip("."))
    return found


def test_no_value_may_be_of_another_type(tmp_path: Path) -> None:
    """Every one of values.yaml at once, each with what it can't be: helm names them all."""
    wrong = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    leaves = set(spoilt(wrong))
    path = tmp_path / "values.yaml"
    path.write_text(yaml.safe_dump(wrong))
    done = render(more=("--values", str(path)))
    assert done.returncode
    named = set(re.findall(r"at '([^']+)'", done.stderr))
    assert len(leaves) > 50
    assert leaves <= named, sorted(leaves - named)


def spoilt(values: Json, above: str = "") -> Iterator[str]:
    """Put what is of no fitting type into each leaf; where it stands."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from spoilt(value, f"{above}/{key}")
        else:
            values[key] = 7.5 if isinstance(value, dict) else {"of": {"another": "type"}}
            yield f"{above}/{key}"


def test_no_object_takes_a_key_that_nobody_knows() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    free = {"global", "cluster.spec"}
    for path, part in parts(schema).items():
        assert path in free or "additionalProperties" in part, path
        if part.get("additionalProperties") is False:
            done = render(f"{path}.strange=1".strip("."))
            where = "/" + path.replace(".", "/") if path else ""
            assert f"at '{where}': additional properties 'strange' not allowed" in done.stderr


def test_values_and_their_schema_know_the_same_names() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    for path, part in parts(json.loads((CHART / "values.schema.json").read_text())).items():
        here: Any = values
        for name in filter(None, path.split(".")):
            here = here.get(name, {})
        if "properties" in part and path != "global":
            assert here.keys() == part["properties"].keys() - {"global"}, path


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


def kinds(*settings: str, more: tuple[str, ...] = ("--no-hooks",)) -> set[str]:
    return {each["kind"] for each in documents(*settings, more=more)}


def test_what_only_the_prometheus_operator_knows_comes_where_it_is_or_is_asked_for() -> None:
    watched = {"PodMonitor", "PrometheusRule", "ConfigMap"}
    assert not kinds() & watched
    assert kinds(more=OPERATOR) >= watched
    off = ("alerts.create=false", "monitoring.podMonitors=false", "monitoring.board=false")
    assert not kinds(*off, more=OPERATOR) & watched
    on = ("alerts.create=true", "monitoring.podMonitors=true", "monitoring.board=true")
    assert kinds(*on) >= watched


def test_podmonitors_find_the_pods_that_there_are() -> None:
    monitors = [
        each
        for each in documents("monitoring.labels.release=prometheus", more=OPERATOR)
        if each["kind"] == "PodMonitor"
    ]
    assert len(monitors) == 2
    pods = [each["spec"]["template"] for each in (the("Deployment"), the("DaemonSet"))]
    for monitor, pod in zip(monitors, pods, strict=True):
        assert monitor["metadata"]["labels"]["release"] == "prometheus"
        assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
        assert endpoint["port"] in {port["name"] for port in pod["spec"]["containers"][0]["ports"]}


def test_the_board_reaches_grafana_as_it_stands() -> None:
    (board,) = (
        each
        for each in documents(more=OPERATOR)
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "ringfence-board"
    )
    assert board["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(board["data"]["ringfence.json"]) == json.loads(
        (CHART / "files" / "board.json").read_text()
    )


def test_a_drain_takes_one_controller_at_a_time() -> None:
    budget = the("PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1
    labels = the("Deployment")["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert "PodDisruptionBudget" not in kinds("controller.replicas=1"), (
        "it would keep the node from being drained"
    )


def test_controllers_keep_apart() -> None:
    def apart(*settings: str) -> Json:
        found: Json = the("Deployment", *settings)["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"]
        return found

    preferred = apart()["preferredDuringSchedulingIgnoredDuringExecution"]
    assert [each["podAffinityTerm"]["topologyKey"] for each in preferred] == [
        "kubernetes.io/hostname",
        "topology.kubernetes.io/zone",
    ]
    assert "requiredDuringSchedulingIgnoredDuringExecution" not in apart()
    (required,) = apart("controller.antiAffinity=required")["requiredDuringSchedulingIgnoredDuringExecution"]
    assert required["topologyKey"] == "kubernetes.io/hostname"


def test_the_way_in_is_shut_and_no_way_out() -> None:
    policy = the("NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress"]
    ports = the("Deployment")["spec"]["template"]["spec"]["containers"][0]["ports"]
    assert [each["name"] for each in ports] == ["metrics", "webhook"]
    assert policy["ingress"] == [
        {"ports": [{"port": port["containerPort"], "protocol": "TCP"}]} for port in ports
    ]
    assert len(the("NetworkPolicy", "webhook.enabled=false")["spec"]["ingress"]) == 1
    peers = 'networkPolicy.from=[{"namespaceSelector":{"matchLabels":{"name":"monitoring"}}}]'
    metrics, webhook = the("NetworkPolicy", peers)["spec"]["ingress"]
    assert len(metrics["from"]) == 1
    assert "from" not in webhook, "nobody knows from where the API server comes"
    assert "NetworkPolicy" not in kinds("controller.hostNetwork=true"), "it would say what it can't do"


def test_notes_give_the_next_three_commands() -> None:
    said = notes("ha")
    assert commands_of(said) == [
        "helm test ringfence -n ha",
        "ringfence doctor --release-namespace ha",
        "kubectl apply -f docs/examples/",
    ]


@pytest.mark.parametrize("values", VALUES)
def test_notes_fit_the_values(values: str) -> None:
    said = notes(NAMESPACE, *VALUES[values])
    assert commands_of(said)[:2] == ["helm test ringfence -n ringfence-system", "ringfence doctor"]
    armed = "agent.watchdog.enabled=true" in VALUES[values]
    assert ("Before you uninstall or delete the namespace" in said) is armed
    away = "helm upgrade ringfence charts/ringfence -n ringfence-system --reset-then-reuse-values --set agent.watchdog.enabled=false"
    assert (away in commands_of(said)) is armed


def commands_of(said: str) -> list[str]:
    return re.findall(r"^  (\S.*?)(?:  .*)?$", said, re.MULTILINE)


def notes(namespace: str, *settings: str) -> str:
    words = [
        word
        for each in settings
        for word in ("--set-json" if "=[" in each or "={" in each else "--set", each)
    ]
    install = ["install", "ringfence", str(CHART), "--namespace", namespace, "--dry-run=client", *words]
    done = subprocess.run([str(helm()), *install], text=True, capture_output=True, check=True, timeout=60)
    return done.stdout.partition("NOTES:")[2]


@pytest.mark.parametrize(
    ("hook", "parts", "wait"), [("test", "installation kubevirt", 60), ("pre-delete", "uninstall", 0)]
)
def test_hooks_ask_the_doctor_as_the_controller_and_as_an_ordinary_pod(
    hook: str, parts: str, wait: int
) -> None:
    (found,) = (
        each
        for each in documents(more=())
        if each["metadata"].get("annotations", {}).get("helm.sh/hook") == hook
    )
    spec = found["spec"] if hook == "test" else found["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["command"] == ["ringfence", "doctor"]
    assert container["args"] == [
        "--release-namespace=$(POD_NAMESPACE)", *(f"--only={part}" for part in parts.split()), f"--wait={wait}"
    ]  # fmt: skip
    assert spec["serviceAccountName"] == "ringfence-controller"
    assert spec["restartPolicy"] == "Never"


def test_uninstalling_asks_first_unless_told_not_to() -> None:
    assert "Job" in kinds(more=())
    assert "Job" not in kinds("uninstall.check=false", more=())


@pytest.mark.parametrize("values", VALUES)
def test_both_helms_render_the_same(values: str) -> None:
    assert but_for_the_certificate(*VALUES[values], version="3.17.3") == but_for_the_certificate(
        *VALUES[values], version="4.3.1"
    )


def but_for_the_certificate(*settings: str, version: str) -> list[Json]:
    """What helm renders, without the webhook's certificate, which is another each time; in one order, which helm 4 has changed."""
    found = sorted(
        documents(*settings, version=version), key=lambda each: (each["kind"], str(each["metadata"]))
    )
    for each in found:
        if each["kind"] == "Secret":
            assert each.pop("data").keys() == {"ca.crt", "tls.crt", "tls.key"}
        if each["kind"] == "ValidatingWebhookConfiguration":
            assert each["webhooks"][0]["clientConfig"].pop("caBundle")
    return found


def test_the_webhook_stands_in_nobodys_way_and_asks_for_nothing_that_is_ours() -> None:
    (webhook,) = the("ValidatingWebhookConfiguration")["webhooks"]
    assert webhook["failurePolicy"] == "Ignore"
    assert webhook["timeoutSeconds"] == 2
    (rule,) = webhook["rules"]
    assert not [each for each in rule["resources"] if "/" in each or each in {"failovers", "nodereports"}], (
        "what controllers and agents write is never asked about"
    )
    assert rule["resources"] == [*KINDS]
    assert webhook["clientConfig"]["service"]["path"] == f"/{ASKED}"


def test_the_certificate_is_for_the_name_by_which_the_api_server_comes() -> None:
    found = documents()
    (secret,) = (each for each in found if each["kind"] == "Secret")
    client = next(each for each in found if each["kind"] == "ValidatingWebhookConfiguration")["webhooks"][0][
        "clientConfig"
    ]
    authority, own = (
        load_pem_x509_certificate(base64.b64decode(text))
        for text in (client["caBundle"], secret["data"]["tls.crt"])
    )
    service = client["service"]
    name = DNSName(f"{service['name']}.{service['namespace']}.svc")
    verifier = PolicyBuilder().store(Store([authority])).build_server_verifier(name)
    assert verifier.verify(own, [])[0] == own
    assert (own.not_valid_after_utc - own.not_valid_before_utc).days == 3650


def mounted(*settings: str, more: tuple[str, ...] = ("--no-hooks",)) -> Json:
    """The Secret that controllers have the webhook's certificate from."""
    (deployment,) = (each for each in documents(*settings, more=more) if each["kind"] == "Deployment")
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    found: Json = next(each["secret"] for each in volumes if each["name"] == "webhook")
    return found


def test_cert_manager_makes_the_certificate_where_it_is_or_is_asked_for() -> None:
    there = ("--no-hooks", "--api-versions=cert-manager.io/v1/Certificate")
    for settings, more in (
        (("webhook.certManager=true",), ("--no-hooks",)),
        ((), there),
    ):
        found = {(each["kind"], each["metadata"]["name"]): each for each in documents(*settings, more=more)}
        assert "Secret" not in {kind for kind, _ in found}
        certificate = found["Certificate", "ringfence-webhook"]["spec"]
        authority = found["Certificate", "ringfence-webhook-authority"]["spec"]
        webhook = found["ValidatingWebhookConfiguration", "ringfence"]
        assert certificate["dnsNames"] == [f"ringfence-webhook.{NAMESPACE}.svc"]
        issuer = found["Issuer", certificate["issuerRef"]["name"]]["spec"]
        assert issuer == {"ca": {"secretName": authority["secretName"]}}
        assert authority["privateKey"]["rotationPolicy"] == "Never", (
            "else renewals would need two authorities"
        )
        assert webhook["metadata"]["annotations"] == {
            "cert-manager.io/inject-ca-from": f"{NAMESPACE}/ringfence-webhook"
        }
        assert "caBundle" not in webhook["webhooks"][0]["clientConfig"], "cert-manager writes it"
        assert certificate["secretName"] == mounted(*settings, more=more)["secretName"]
    assert "Issuer" not in kinds("webhook.certManager=false", more=there)
    assert mounted()["secretName"] == "ringfence-webhook"
    assert mounted()["optional"] is True, "no controller waits for a certificate"


def test_without_the_webhook_nothing_of_it_is_there() -> None:
    off = documents("webhook.enabled=false")
    assert not {each["kind"] for each in off} & {"ValidatingWebhookConfiguration", "Service", "Secret"}
    assert "webhook" not in yaml.dump(the("Deployment", "webhook.enabled=false"))


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


def test_what_signs_an_agent_off_outlasts_the_release_only_where_watchdogs_are_on() -> None:
    def kept(*settings: str) -> set[tuple[str, str]]:
        return {
            (each["kind"], each["metadata"]["name"])
            for each in documents(*settings)
            if each["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
        }

    assert kept() == set()
    kinds_kept = ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount")
    assert kept("agent.watchdog.enabled=true") == {(kind, "ringfence-agent") for kind in kinds_kept}


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


EXCEPTION = re.compile(r"(?:^|, )(\S[^,(]*?) \(((?:[^()]|\([^()]*\))*)\)")
PLAIN: dict[str, set[str]] = {
    "host namespaces": {"hostNetwork=true"},
    "hostPort": {'container "agent" uses hostPorts 7947, 7948'},
    "restricted volume types": {'volumes "state", "boot-id" use restricted volume type "hostPath"'},
    "runAsNonRoot != true": {'pod or container "agent" must set securityContext.runAsNonRoot=true'},
    "runAsUser=0": {'container "agent" must not set runAsUser=0'},
}
"""What an agent's pod does that Pod Security `restricted` forbids: all of it, and in these words of the API server's."""
FED = {
    "host namespaces": {"hostNetwork=true, hostPID=true"},
    "privileged": {'container "feeder" must not set securityContext.privileged=true'},
    "allowPrivilegeEscalation != false": {
        'container "feeder" must set securityContext.allowPrivilegeEscalation=false'
    },
    "unrestricted capabilities": {'container "feeder" must set securityContext.capabilities.drop=["ALL"]'},
    "restricted volume types": {'volumes "state", "boot-id", "run" use restricted volume type "hostPath"'},
    "runAsNonRoot != true": {
        'pod or containers "agent", "feeder" must set securityContext.runAsNonRoot=true'
    },
    "runAsUser=0": {'containers "agent", "feeder" must not set runAsUser=0'},
}
HEARTBEAT = {
    "host namespaces": {"hostNetwork=true"},
    "hostPort": {'container "slots" uses hostPort 7950'},
    "restricted volume types": {'volumes "run", "boot-id" use restricted volume type "hostPath"'},
    "runAsNonRoot != true": {'pod or container "slots" must set securityContext.runAsNonRoot=true'},
    "runAsUser=0": {'container "slots" must not set runAsUser=0'},
}
CLAIM = ("slots.enabled=true", "slots.volume.persistentVolumeClaim=hearts")
EXCEPTIONS: dict[str, tuple[str, tuple[str, ...], dict[str, set[str]]]] = {
    "the agent": ("ringfence-agent", (), PLAIN),
    "the agent that may ask by ICMP": (
        "ringfence-agent",
        ('agent.capabilities=["NET_RAW"]',),
        PLAIN
        | {
            "unrestricted capabilities": {
                'container "agent" must not include "NET_RAW" in securityContext.capabilities.add'
            }
        },
    ),
    "the agent with a watchdog's feeder": ("ringfence-agent", ("agent.watchdog.enabled=true",), PLAIN | FED),
    "the heartbeat": ("ringfence-slots", CLAIM, HEARTBEAT),
    "the heartbeat that stops guests": (
        "ringfence-slots",
        (*CLAIM, "slots.stopGuests=true"),
        HEARTBEAT
        | {
            "host namespaces": {"hostNetwork=true, hostPID=true"},
            "unrestricted capabilities": {
                'container "slots" must not include "KILL" in securityContext.capabilities.add'
            },
        },
    ),
}


@pytest.fixture(scope="module")
def restricted(governed: Server) -> str:
    """The pods of a namespace under Pod Security `restricted`."""
    label = {"pod-security.kubernetes.io/enforce": "restricted"}
    name = "restricted"
    governed.must("POST", "/api/v1/namespaces", {"metadata": {"name": name, "labels": label}})
    for part in ("controller", "agent", "slots"):
        account = {"metadata": {"name": f"ringfence-{part}"}}
        governed.must("POST", f"/api/v1/namespaces/{name}/serviceaccounts", account)
    return f"/api/v1/namespaces/{name}/pods?dryRun=All"


def test_controller_and_hooks_run_under_pod_security_restricted(governed: Server, restricted: str) -> None:
    pods = [
        each["spec"] if each["kind"] == "Pod" else each["spec"]["template"]["spec"]
        for each in documents(more=())
        if each["kind"] in {"Deployment", "Pod", "Job"}
    ]
    assert len(pods) == 3
    for spec in pods:
        governed.must("POST", restricted, {"metadata": {"name": "pod"}, "spec": spec})


@pytest.mark.parametrize("which", EXCEPTIONS)
def test_pod_security_has_these_exceptions_and_no_others(
    governed: Server, restricted: str, which: str
) -> None:
    name, settings, expected = EXCEPTIONS[which]
    (spec,) = (
        each["spec"]["template"]["spec"]
        for each in documents(*settings)
        if each["kind"] == "DaemonSet" and each["metadata"]["name"] == name
    )
    answer = governed.call("POST", restricted, {"metadata": {"name": "pod"}, "spec": spec})
    found = EXCEPTION.findall(answer.message.partition('"restricted:latest": ')[2])
    assert {kind: {words} for kind, words in found} == expected


def test_rendered_into_its_own_namespace() -> None:
    assert f"namespace: {NAMESPACE}" in rendered()
