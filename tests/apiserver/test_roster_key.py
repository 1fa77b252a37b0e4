"""The Secret with the roster's key is lost: what heals by itself, what a person is told, and what never happens silently.

Real controllers with the chart's rights and real agents, on a real API server. The tests of this file follow one another: what
runs at the end of one is what the next begins with. How long a controller leaves a lost Secret to others is tried in virtual time
(``tests/unit/controller/test_bootstrap.py``).
"""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator

import pytest

from apiserver.agents import AgentPod, zones_of
from apiserver.chart import NAMESPACE
from apiserver.controllers import NODES, RINGFENCE, Controllers, ringfence
from apiserver.server import Json, Server, wait_for
from ringfence.core.rosterkey import fingerprint
from ringfence.net.crypto import make_group_keys

pytestmark = pytest.mark.apiserver

SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/ringfence-gossip"
ROSTER = f"/api/v1/namespaces/{NAMESPACE}/configmaps/ringfence-roster"
KEYS = ("gossip", "group-keys")
BOUND = 90.0


@pytest.fixture(scope="module")
def agents(
    cluster: Server, controllers: Controllers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, AgentPod]]:
    folder = tmp_path_factory.mktemp("agents")
    wait_for(
        "the keys", lambda: all(cluster.call("GET", SECRET.replace("gossip", s)).ok for s in KEYS), BOUND
    )
    pods = {
        node: AgentPod(cluster, folder, node, f"127.0.78.{number}", free_port())
        for number, node in enumerate(NODES, start=1)
    }
    for pod in pods.values():
        pod.start()
    yield pods
    for pod in pods.values():
        pod.end()
        print(pod.log()[-3000:])


def free_port() -> int:
    with socket.create_server(("127.0.78.1", 0)) as listening:
        return int(listening.getsockname()[1])


def trust(server: Server) -> Json:
    status = server.must("GET", f"{RINGFENCE}/haclusters/default").get("status", {})
    found = [c for c in status.get("conditions", []) if c["type"] == "RosterTrusted"]
    return found[0] if found else {}


def told(server: Server, reason: str, *words: str) -> Json:
    def so() -> Json | None:
        found = trust(server)
        whole = found.get("reason") == reason and all(word in found["message"] for word in words)
        return found if whole else None

    found: Json = wait_for(f"RosterTrusted says {reason}, {words}", so, BOUND)
    return found


def public(server: Server) -> bytes:
    return base64.b64decode(server.must("GET", SECRET)["data"]["roster.pub"])


def gone_by(server: Server, node: str) -> str:
    """The roster key by which the node's agent goes, as it reports."""
    report = server.call("GET", f"{RINGFENCE}/nodereports/{node}")
    return str(report.body.get("status", {}).get("rosterKey", "")) if report.ok else ""


def change_roster(server: Server, zone: str) -> None:
    """A roster that says something new has to be published."""
    labels = {"topology.kubernetes.io/zone": zone}
    server.must("PATCH", "/api/v1/nodes/n1", {"metadata": {"labels": labels}})


def publishes(server: Server, zone: str) -> None:
    """A controller leads, and has signed a roster that says something new."""
    change_roster(server, zone)

    def published() -> bool:
        found = server.call("GET", ROSTER)
        return found.ok and zone in zones_of(found.body["data"]["roster.json"])

    wait_for(f"the roster of zone {zone}", published, BOUND)


def takes_rosters(server: Server, pod: AgentPod, zone: str) -> None:
    """What the agent keeps on its node's disk it has taken for true."""
    change_roster(server, zone)
    wait_for(f"{pod.node} takes the roster of zone {zone}", lambda: zone in pod.zones(), BOUND)


def test_a_deleted_secret_is_written_again_as_it_was_and_a_controller_that_starts_waits_for_it(
    cluster: Server, controllers: Controllers, agents: dict[str, AgentPod]
) -> None:
    takes_rosters(cluster, agents["n1"], "a")
    before = cluster.must("GET", SECRET)
    with controllers.frozen():
        cluster.must("DELETE", SECRET)
        log = controllers.start()
        wait_for(
            "it to leave the Secret to the leader",
            lambda: "is gone: a controller that still knows it" in log.read_text(),
            BOUND,
        )
    wait_for("the Secret is back", lambda: cluster.call("GET", SECRET).ok, BOUND)
    after = cluster.must("GET", SECRET)
    assert after["data"] == before["data"]
    assert after["immutable"] is True
    assert after["metadata"]["uid"] != before["metadata"]["uid"]
    # The controller that has started meanwhile has it from there, and the agents, never restarted, go on believing.
    controllers.kill(keep=1)
    takes_rosters(cluster, agents["n2"], "b")
    told(cluster, "Trusted", fingerprint(public(cluster)))
    seed = after["data"]["roster.key"]
    assert seed not in controllers.logs()
    assert base64.b64decode(seed).hex() not in controllers.logs()


def test_whoever_puts_another_key_there_replaces_nobodys_trust_and_is_told_of(
    cluster: Server, controllers: Controllers, agents: dict[str, AgentPod]
) -> None:
    """A thief of rights: the Secret is his now. What runs goes on as before and says so; deleting it undoes it."""
    takes_rosters(cluster, agents["n1"], "c")
    before = cluster.must("GET", SECRET)
    thiefs = {name: base64.b64encode(value).decode() for name, value in make_group_keys().items()}
    cluster.must("DELETE", SECRET)
    cluster.must(
        "POST", SECRET.rpartition("/")[0], {"metadata": {"name": "ringfence-gossip"}, "data": thiefs}
    )
    said = told(cluster, "SecretHasAnotherKey", fingerprint(base64.b64decode(thiefs["roster.pub"])))
    assert said["status"] == "False"
    takes_rosters(cluster, agents["n2"], "d")
    cluster.must("DELETE", SECRET)
    told(cluster, "Trusted")
    assert cluster.must("GET", SECRET)["data"] == before["data"]


def test_keys_that_nobody_knows_any_more_are_made_anew_and_it_is_said_whom_to_restart(
    cluster: Server, controllers: Controllers, agents: dict[str, AgentPod]
) -> None:
    """The roster is gone with the Secret, as in a namespace that was emptied: then nobody is waited for."""
    takes_rosters(cluster, agents["n1"], "e")
    takes_rosters(cluster, agents["n2"], "f")
    old = fingerprint(public(cluster))
    controllers.kill()
    for lost in (SECRET, ROSTER):
        cluster.must("DELETE", lost)
    controllers.start()
    wait_for("new keys", lambda: cluster.call("GET", SECRET).ok, BOUND)
    new = fingerprint(public(cluster))
    assert new != old

    said = told(cluster, "AgentsGoByAnotherKey", "n1, n2", old, new)
    assert said["status"] == "False"
    command = f"kubectl -n {NAMESPACE} rollout restart daemonset -l app.kubernetes.io/name=ringfence"
    assert command in said["message"]
    doctor = ringfence(cluster, "doctor", "--only", "installation", f"--release-namespace={NAMESPACE}")
    assert command in " ".join(doctor.stdout.split()), doctor.stdout + doctor.stderr
    # Running agents adopt nothing: neither the new key nor what it has signed.
    publishes(cluster, "g")
    wait_for("its refusal", lambda: "a roster was refused" in agents["n1"].log(), BOUND)
    assert gone_by(cluster, "n1") == old
    assert "f" in agents["n1"].zones()

    agents["n1"].end()
    agents["n1"].start()
    told(cluster, "AgentsGoByAnotherKey", "agents of n2 go")
    agents["n2"].end()
    agents["n2"].start()
    told(cluster, "Trusted", new)
    takes_rosters(cluster, agents["n1"], "h")
    takes_rosters(cluster, agents["n2"], "i")
    assert gone_by(cluster, "n2") == new
    events = cluster.must("GET", "/apis/events.k8s.io/v1/events")["items"]
    (changed,) = [e for e in events if e["reason"] == "RosterKeyChanged"]
    assert old in changed["note"]
    assert new in changed["note"]
