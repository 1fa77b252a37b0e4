"""Dry runs that find the API server's dead connections to a virt-api, before KubeVirt's own writes do.

Kube-apiserver keeps idle connections to each webhook. Those to a virt-api whose node was lost are dead, but nothing
says so: whoever is the next to use one waits for the webhook's ten seconds and fails. On the way of a VM to its new
node that happens up to four times in a row. A request that is given up is cancelled down to that connection, which is
closed; so a few dry runs at once over the same webhooks, each given up after a second, clear the way while the hold
and the fence run. (Each webhook has a pool of its own: hence the three kinds of requests.)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from ringfence.kube import kinds
from ringfence.ports import Cluster, ClusterError, PortError, Unavailable

logger = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds for one dry run; a virt-api that lives answers within a tenth of it."""
AT_ONCE = 3
"""Dry runs of a kind at the same time, so that more than one idle connection is met."""
ROUNDS = 6


async def rehearse(cluster: Cluster, namespace: str, name: str, deadline: Callable[[], float]) -> None:
    """Send dry runs about this VM until a round goes through, or for six rounds. Raises PortError."""
    vmi = await cluster.get(kinds.VMI, name, namespace)
    copy = {
        "metadata": {"generateName": "ringfence-dry-run-", "namespace": namespace},
        "spec": vmi.get("spec", {}),
    }

    async def update_vmi() -> None:
        await cluster.patch(
            kinds.VMI, name, namespace, {}, deadline=deadline(), dry_run=True, timeout=PATIENCE
        )

    async def create_vmi() -> None:
        await cluster.create(kinds.VMI, copy, deadline=deadline(), dry_run=True, timeout=PATIENCE)

    async def update_vm() -> None:
        await cluster.patch_status(
            kinds.VM, name, namespace, {}, deadline=deadline(), dry_run=True, timeout=PATIENCE
        )

    for number in range(1, ROUNDS + 1):
        answers = await asyncio.gather(
            *(ask() for ask in (update_vmi, create_vmi, update_vm) for _ in range(AT_ONCE)),
            return_exceptions=True,
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, PortError):
                raise answer
        # A refusal is an answer: the connection lives.
        silent = sum(isinstance(answer, Unavailable) for answer in answers)
        refused = next(
            (a for a in answers if isinstance(a, ClusterError) and not isinstance(a, Unavailable)), None
        )
        logger.info(
            "dry runs, round %d: %d of %d without an answer%s",
            number,
            silent,
            len(answers),
            f"; refused: {refused}" if refused else "",
        )
        if not silent:
            return
