"""Launchers' tolerations, where the API server takes a while."""

from __future__ import annotations

from typing import Any, cast

from ringfence.controller.evidence import Witness
from ringfence.controller.launchers import LIMITED, Launchers
from ringfence.controller.narrator import Narrator
from ringfence.controller.refusals import Refusals
from ringfence.controller.world import World
from ringfence.core import timing
from ringfence.kube.client import ApiServer
from ringfence.kube.objects import PodObject, VmiObject
from ringfence.metrics import ControllerMetrics
from ringfence.net.crypto import verify
from ringfence.ports import Cluster, Unavailable

VMS = ("a", "b", "c")


class Site:
    """Three protected VMs that run, and a webhook for pods in which whatever is asked of some of them hangs."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.hang: set[str] = set()
        self.asked: list[str] = []
        world = World(
            cast("ApiServer", None), self, "ringfence-system", Witness(verify), lambda: 0.5, lambda: None
        )
        for version, vm in enumerate(VMS, 1):
            meta = {"name": vm, "namespace": "shop", "uid": f"vmi-{vm}"}
            stored = meta | {"resourceVersion": str(version)}
            world.own.seen("protectedvms", {"metadata": stored, "spec": {"vm": {"name": vm}}})
            world.vmis.store["shop", vm] = VmiObject.from_raw({"metadata": meta})
            labels = {"kubevirt.io": "virt-launcher", "kubevirt.io/created-by": f"vmi-{vm}"}
            tolerations = [{"key": key, "effect": "NoExecute", "tolerationSeconds": 300} for key in LIMITED]
            world.pods.store["shop", f"launcher-{vm}"] = PodObject.from_raw(
                {
                    "metadata": {
                        "name": f"launcher-{vm}",
                        "namespace": "shop",
                        "uid": f"pod-{vm}",
                        "labels": labels,
                    },
                    "spec": {"nodeName": "n1", "tolerations": tolerations},
                }
            )
        cluster = cast("Cluster", self)
        refusals = Refusals(self, Narrator(cluster), ControllerMetrics(), lambda: 0.5)
        self.launchers = Launchers(cluster, world, refusals, lambda: self.now + 3.0)

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return self.now

    async def lift_tolerations(self, _namespace: str, pod: str, _uid: str, **_how: Any) -> bool:
        self.asked.append(pod.removeprefix("launcher-"))
        if self.asked[-1] in self.hang:
            self.now += 5.0
            raise Unavailable("no answer within 5 s")
        return True


async def test_a_round_waits_for_one_launcher_that_nobody_answers_for_and_the_next_goes_on_to_the_others() -> (
    None
):
    site = Site()
    site.hang = {"a", "b"}
    for _ in range(4):
        before = site.now
        await site.launchers.lift()
        assert site.now - before <= 5.0, "it waits for one of them"
        site.now += 1.0
    assert set(site.asked) == set(VMS)
    site.hang.clear()
    site.now += 2 * timing.WRITE_UNANSWERED
    site.asked.clear()
    await site.launchers.lift()
    assert site.asked == list(VMS)
