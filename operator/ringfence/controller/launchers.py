"""Keep Kubernetes from killing what we keep alive: lift the launchers' time-limited tolerations (DESIGN §3).

A launcher tolerates ``not-ready`` and ``unreachable`` for 300 s by default. A kubelet or an API server that is away for
longer costs a healthy VM its life *when it comes back*. For protected VMs the limit is lifted from the running pod:
whether the node is dead is the ring's to say, not the clock's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from ringfence.controller.refusals import Refusals, unanswered
from ringfence.controller.restarts import protected as protected_vms
from ringfence.controller.world import World
from ringfence.kube.objects import PodObject, PodRole
from ringfence.ports import Cluster, ClusterError, NotFound

logger = logging.getLogger(__name__)

LIMITED = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class Launchers:
    def __init__(
        self, cluster: Cluster, world: World, refusals: Refusals, deadline: Callable[[], float]
    ) -> None:
        self._cluster = cluster
        self._refusals = refusals
        self._world = world
        self._deadline = deadline
        self._limited = world.pods.store.index(_limited)
        self._vmis = world.vmis.store.index(lambda vmi: (vmi.uid,))

    async def lift(self) -> None:
        """Lift what is still limited, of every protected VM's launchers, migration targets included."""
        protected = protected_vms(self._world)
        for pod in tuple(self._limited.of(PodRole.LAUNCHER).values()):
            if (
                not protected.keys().isdisjoint(self._vmis.of(pod.vmi_uid))
                and pod.node
                and not pod.deleting
                and self._refusals.due(("tolerations", pod.uid))
            ):
                try:
                    if await self._cluster.lift_tolerations(
                        pod.namespace, pod.name, pod.uid, deadline=self._deadline()
                    ):
                        logger.info(
                            "launcher %s/%s stays through outages of its kubelet and of the API",
                            pod.namespace,
                            pod.name,
                        )
                except NotFound:
                    continue
                except ClusterError as error:
                    what = f"the tolerations of launcher {pod.namespace}/{pod.name}"
                    self._refusals.failed(("tolerations", pod.uid), what, error)
                    if unanswered(error):
                        return  # each of the others might take as long, and all chores stand behind
                else:
                    self._refusals.taken(("tolerations", pod.uid))


def _limited(pod: PodObject) -> tuple[PodRole, ...]:
    """A launcher that would be evicted after a while from a node that is not ready or unreachable."""
    limited = any(t.key in LIMITED and t.seconds is not None for t in pod.tolerations)
    return (pod.role,) if limited and pod.role is PodRole.LAUNCHER else ()
