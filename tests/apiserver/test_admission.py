"""What the admission policies keep: an agent to its node, a confirmation to its giver, the record to the controller.

The tokens are real service-account tokens, bound to a pod and so to a node, as the kubelet mounts them.
"""

from __future__ import annotations

import pytest

from apiserver.chart import NAMESPACE, token
from apiserver.server import ADMIN, Answer, Json, Server, wait_for

pytestmark = pytest.mark.apiserver

API = "/apis/ringfence.io/v1alpha1"
VMIS = "/apis/kubevirt.io/v1/namespaces/default/virtualmachineinstances"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"
CONTROLLER = f"system:serviceaccount:{NAMESPACE}:ringfence-controller"


def report(node: str) -> Json:
    return {"apiVersion": "ringfence.io/v1alpha1", "kind": "NodeReport", "metadata": {"name": node}}


def lease(name: str) -> Json:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}}


def incident(name: str, **spec: Json) -> Json:
    about = {"node": "n1", "nodeUID": "u", "bootID": "b"}
    return {
        "apiVersion": "ringfence.io/v1alpha1",
        "kind": "Failover",
        "metadata": {"name": name},
        "spec": about | spec,
    }


@pytest.fixture(scope="module")
def armed(governed: Server) -> Server:
    """The API once its policies have taken hold (they do so a moment after they were made)."""
    controller = governed.acting(token(governed, "ringfence-controller", "controller", "n1"))
    unbound = governed.acting(token(governed, "ringfence-agent"))
    failovers, reports = f"{API}/failovers?dryRun=All", f"{API}/nodereports?dryRun=All"
    dry_run = {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": "x"}}
    by_another = incident("x", confirm={"statement": "unplugged", "confirmedBy": "another"})
    for what, refused in {
        "agents": lambda: unbound.call("POST", reports, report("n1")),
        "dry runs": lambda: controller.call("POST", VMIS, dry_run),
        "failovers": lambda: governed.call("POST", failovers, incident("x")),
        "confirmations": lambda: controller.call("POST", failovers, by_another),
    }.items():
        wait_for(f"the policy on {what}", lambda refused=refused: refused().status == 403)
    return governed


@pytest.fixture(scope="module")
def n1(armed: Server) -> Server:
    return armed.acting(token(armed, "ringfence-agent", "agent-n1", "n1"))


@pytest.fixture(scope="module")
def n2(armed: Server) -> Server:
    return armed.acting(token(armed, "ringfence-agent", "agent-n2", "n2"))


@pytest.fixture(scope="module")
def controller(armed: Server) -> Server:
    return armed.acting(token(armed, "ringfence-controller", "controller", "n1"))


def assert_forbidden(answer: Answer, sentence: str) -> None:
    assert answer.status == 403, answer
    assert sentence in answer.message


def test_an_agent_reports_on_its_own_node_only(armed: Server, n1: Server, n2: Server) -> None:
    mine, status = f"{API}/nodereports/n1", {"status": {"bootID": "b1"}}
    n1.must("POST", f"{API}/nodereports", report("n1"))
    assert n1.must("PATCH", f"{mine}/status", status)["status"]["bootID"] == "b1"

    sentence = "the agent of node n1 may write only n1, not n2"
    assert_forbidden(n1.call("POST", f"{API}/nodereports", report("n2")), sentence)
    n2.must("POST", f"{API}/nodereports", report("n2"))
    assert_forbidden(n1.call("PATCH", f"{API}/nodereports/n2/status", status), sentence)
    assert_forbidden(
        n1.call("PATCH", f"{API}/nodereports/n2", {"metadata": {"labels": {"a": "b"}}}), sentence
    )
    assert n1.call("DELETE", mine).status == 403
    assert "status" not in armed.must("GET", f"{API}/nodereports/n2")


def test_an_agent_renews_its_own_lease_only(n1: Server, n2: Server) -> None:
    renewal = {"spec": {"holderIdentity": "u/b", "leaseDurationSeconds": 15}}
    n1.must("POST", LEASES, lease("ringfence-agent-n1"))
    n1.must("PATCH", f"{LEASES}/ringfence-agent-n1", renewal)
    sentence = "the agent of node n1 may write only ringfence-agent-n1, not "
    for name in ("ringfence-agent-n2", "ringfence-controller", "n1"):
        assert_forbidden(n1.call("POST", LEASES, lease(name)), sentence + name)
    n2.must("POST", LEASES, lease("ringfence-agent-n2"))
    assert_forbidden(n1.call("PATCH", f"{LEASES}/ringfence-agent-n2", renewal), sentence)


def test_the_controller_revokes_an_agents_lease(controller: Server) -> None:
    controller.must("POST", LEASES, lease("ringfence-agent-n3"))
    controller.must("PATCH", f"{LEASES}/ringfence-agent-n3", {"spec": {"holderIdentity": ""}})


def test_an_agents_token_must_name_its_node(armed: Server) -> None:
    unbound = armed.acting(token(armed, "ringfence-agent"))
    for path, obj in ((f"{API}/nodereports", report("n1")), (LEASES, lease("ringfence-agent-n1"))):
        assert_forbidden(unbound.call("POST", path, obj), "an agent's token must name its node")


def test_the_controller_alone_writes_the_record(armed: Server, controller: Server, n1: Server) -> None:
    sentence = f"a Failover is made, and its status written, by {CONTROLLER} alone"
    path, proof = f"{API}/failovers/record", {"status": {"proofs": [{"kind": "PoweredOff"}]}}
    assert_forbidden(armed.call("POST", f"{API}/failovers", incident("record")), sentence)
    controller.must("POST", f"{API}/failovers", incident("record"))
    assert_forbidden(armed.call("PATCH", f"{path}/status", proof), sentence)
    assert_forbidden(n1.call("PATCH", f"{path}/status", proof), "cannot patch resource")
    assert "status" not in armed.must("GET", path)
    assert controller.must("PATCH", f"{path}/status", proof)["status"]["proofs"][0]["kind"] == "PoweredOff"


def test_the_controller_makes_and_changes_instances_in_dry_runs_only(
    armed: Server, controller: Server
) -> None:
    def instance(name: str) -> Json:
        return {"apiVersion": "kubevirt.io/v1", "kind": "VirtualMachineInstance", "metadata": {"name": name}}

    sentence, changed = "but in a dry run", {"spec": {"running": True}}
    armed.must("POST", VMIS, instance("db"))
    assert_forbidden(controller.call("POST", VMIS, instance("web")), sentence)
    assert_forbidden(controller.call("PATCH", f"{VMIS}/db", changed), sentence)
    controller.must("POST", f"{VMIS}?dryRun=All", instance("web"))
    controller.must("PATCH", f"{VMIS}/db?dryRun=All", changed)
    assert [each["metadata"]["name"] for each in armed.must("GET", VMIS)["items"]] == ["db"]
    assert "spec" not in armed.must("GET", f"{VMIS}/db")


def test_a_person_confirms_in_their_own_name(armed: Server, controller: Server) -> None:
    path = f"{API}/failovers/confirmed"
    controller.must("POST", f"{API}/failovers", incident("confirmed"))

    def word(by: str) -> Json:
        return {"spec": {"confirm": {"statement": "pulled both cords", "confirmedBy": by}}}

    assert_forbidden(
        armed.call("PATCH", path, word("somebody-else")),
        f"spec.confirm.confirmedBy must be your own user name: say {ADMIN}, not somebody-else",
    )
    armed.must("PATCH", path, word(ADMIN))
    # What stands may be carried along by whoever changes something else.
    other = f"system:serviceaccount:{NAMESPACE}:other"
    said = armed.kubectl(
        f"--as={other}", "--as-group=system:masters", "label", "failovers", "confirmed", "seen=yes"
    )
    assert "labeled" in said


def test_a_person_releases_in_their_own_name(armed: Server, controller: Server) -> None:
    path = f"{API}/failovers/released"
    controller.must("POST", f"{API}/failovers", incident("released"))
    other = {"spec": {"release": {"by": "somebody-else", "reason": "known power work"}}}
    assert_forbidden(
        armed.call("PATCH", path, other), f"spec.release.by must be your own user name: say {ADMIN}"
    )
    armed.must("PATCH", path, {"spec": {"release": {"by": ADMIN, "reason": "known power work"}}})


def test_ringfence_itself_confirms_nothing(armed: Server, controller: Server) -> None:
    word = {"statement": "I read it", "confirmedBy": CONTROLLER}
    assert_forbidden(
        controller.call("POST", f"{API}/failovers", incident("own", confirm=word)), "a person's word"
    )
    controller.must("POST", f"{API}/failovers", incident("unconfirmed"))
    change = '{"spec": {"confirm": {"statement": "I read it", "confirmedBy": "' + CONTROLLER + '"}}}'
    # Its role does not let it touch the spec; the policy holds even for an account that was given too much.
    assert controller.call("PATCH", f"{API}/failovers/unconfirmed", {"spec": {"confirm": word}}).status == 403
    said = armed.kubectl(
        f"--as={CONTROLLER}", "--as-group=system:masters",
        "patch", "failovers", "unconfirmed", "--type=merge", f"--patch={change}",
        ok=False,
    )  # fmt: skip
    assert "ringfence itself can't give them" in said
