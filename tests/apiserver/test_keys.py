"""Real controllers change the group keys on a real API server, with the rights that the chart gives them, and are killed on the way.

Kubelets and agents are played: what a NodeReport says is what an agent would have found in its mounted Secret.
"""

from __future__ import annotations

import base64

import pytest

from apiserver.chart import NAMESPACE
from apiserver.controllers import NODES, RINGFENCE, Controllers, boot, ringfence
from apiserver.server import Json, Server, wait_for
from ringfence.core.gossip.keys import KeySet, open_keys

pytestmark = pytest.mark.apiserver

SECRETS = f"/api/v1/namespaces/{NAMESPACE}/secrets"
BOUND = 60.0


def told(server: Server) -> Json:
    found: Json = server.must("GET", f"{RINGFENCE}/haclusters/default").get("status", {})
    return found


def stored(server: Server) -> KeySet:
    data = server.must("GET", f"{SECRETS}/ringfence-group-keys")["data"]
    return open_keys(base64.b64decode(data["group-keys.json"]).decode())


def report(server: Server, node: str, keys: KeySet) -> None:
    """As the node's agent, once its kubelet has brought it these keys."""
    if not server.call("GET", f"{RINGFENCE}/nodereports/{node}").ok:
        kind = {"apiVersion": "ringfence.io/v1alpha1", "kind": "NodeReport"}
        server.must("POST", f"{RINGFENCE}/nodereports", {**kind, "metadata": {"name": node}})
    uid = server.must("GET", f"/api/v1/nodes/{node}")["metadata"]["uid"]
    status = {"nodeUID": uid, "bootID": boot(node), "keys": {"held": list(keys.ids), "used": keys.used}}
    server.must("PATCH", f"{RINGFENCE}/nodereports/{node}/status", {"status": status})


def test_killed_after_every_step_the_next_one_goes_on(cluster: Server, controllers: Controllers) -> None:
    def wait(step: str, *waiting: str) -> None:
        def there() -> bool:
            keys = told(cluster).get("keys", {})
            return (keys.get("step"), keys.get("waitingFor")) == (step, list(waiting))

        wait_for(f"{step}, waiting for {' and '.join(waiting) or 'nobody'}", there, BOUND)

    wait("Settled")
    first = stored(cluster)
    once = cluster.must("GET", f"{SECRETS}/ringfence-gossip")
    assert first.keys[0].secret == base64.b64decode(once["data"]["group.key"]), (
        "the key of the version before"
    )
    for node in NODES:
        report(cluster, node, first)
    seen = [first]
    said = ringfence(cluster, "keys", "rotate", "--no-wait")
    assert said.returncode == 0, said.stderr

    for step in ("Installing", "Using", "Removing"):
        wait(step, "n1", "n2")
        controllers.replace()
        keys = stored(cluster)
        assert keys not in seen, "each step has been stored once"
        seen.append(keys)
        report(cluster, "n1", keys)
        wait(step, "n2")
        assert stored(cluster) == keys
        report(cluster, "n2", keys)
    wait("Settled")

    last = stored(cluster)
    assert [(keys.ids, keys.used) for keys in seen] == [((0,), 0), ((0, 1), 0), ((0, 1), 1), ((1,), 1)]
    assert last == seen[-1]
    assert last.keys[0] in seen[1].keys
    assert cluster.must("GET", f"{SECRETS}/ringfence-gossip")["data"] == once["data"]
    (condition,) = [c for c in told(cluster)["conditions"] if c["type"] == "KeysSettled"]
    assert (condition["status"], condition["reason"]) == ("True", "Settled")
    shown = ringfence(cluster, "keys", "rotate", "--without", "n2", "--no-wait")
    assert shown.returncode == 0, shown.stderr
    wait("Installing", "n1")
    for key in (*last.keys, *stored(cluster).keys):
        assert base64.b64encode(key.secret).decode() not in controllers.logs()
        assert key.secret.hex() not in controllers.logs()
