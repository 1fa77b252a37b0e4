"""A lab's plan: its name and index decide every address, device name and folder, so two labs never meet."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/var/tmp/ringfence-lab")
SERVICES = "10.96.0.0/16"
USER, PASSWORD = "operator", "power-of-the-lab"
"""What the BMCs want to hear."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What belongs to one node."""

    name: str
    index: int
    address: str
    pods: str
    zone: str
    folder: Path
    tag: str
    """Its network namespace, its cgroups and its end of the cable on the host."""
    bmc_port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What belongs to one lab. *grace*: seconds until Kubernetes itself calls a silent node Unknown."""

    name: str = "lab"
    index: int = 0
    nodes: int = 3
    zones: int = 0
    grace: int = 50

    @property
    def network(self) -> str:
        return f"10.{97 + self.index}"

    @property
    def address(self) -> str:
        """The bridge's address: the API server and the BMCs listen there."""
        return f"{self.network}.0.254"

    @property
    def loopback(self) -> str:
        """Where etcd listens: an address of its own per lab that no node can reach."""
        return f"127.97.{self.index}.1"

    @property
    def pods(self) -> str:
        return f"{self.network}.128.0/17"

    @property
    def bridge(self) -> str:
        return f"rf{self.index}"

    @property
    def api_port(self) -> int:
        return 6443

    @property
    def api(self) -> str:
        return f"https://{self.address}:{self.api_port}"

    @property
    def folder(self) -> Path:
        return ROOT / self.name

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    @property
    def shared(self) -> Path:
        """What every node sees as /srv/shared: the shared storage."""
        return self.folder / "shared"

    @property
    def etcd(self) -> Path:
        """etcd's data: a tmpfs, because its fsyncs are the slowest part of a start."""
        return self.folder / "etcd"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    def node(self, index: int) -> NodePlan:
        """The plan of node number *index*, from 1."""
        return NodePlan(
            name=f"n{index}",
            index=index,
            address=f"{self.network}.0.{10 + index}",
            pods=f"{self.network}.{128 + index}.0/24",
            zone="abc"[(index - 1) % self.zones] if self.zones else "",
            folder=self.folder / "nodes" / f"n{index}",
            tag=f"{self.bridge}-n{index}",
            bmc_port=8000 + index,
        )

    def all_nodes(self) -> tuple[NodePlan, ...]:
        return tuple(self.node(index) for index in range(1, self.nodes + 1))
