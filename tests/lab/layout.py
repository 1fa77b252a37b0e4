"""Where a lab lives: its folder, its addresses, its names. Two labs have different indices and share nothing."""

from __future__ import annotations

import fcntl
import json
from dataclasses import dataclass
from pathlib import Path

HOME = Path("/var/tmp/ringfence-labs")
LARGEST_INDEX = 40
API_PORT = 6443
BMC_PORT = 8000
IPMI_PORT = 8600


@dataclass(frozen=True, slots=True)
class Layout:
    """All that follows from a lab's name and index."""

    name: str
    index: int

    @classmethod
    def claim(cls, name: str) -> Layout:
        """The lab of that name; a new one gets the first index that is free, under a lock."""
        HOME.mkdir(parents=True, exist_ok=True)
        with (HOME / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            taken = {p.parent.name: json.loads(p.read_text())["index"] for p in HOME.glob("*/lab.json")}
            if name in taken:
                return cls(name, taken[name])
            index = next(i for i in range(LARGEST_INDEX) if i not in taken.values())
            layout = cls(name, index)
            layout.root.mkdir(parents=True, exist_ok=True)
            (layout.root / "lab.json").write_text(json.dumps({"name": name, "index": index}))
            return layout

    @classmethod
    def find(cls, name: str) -> Layout | None:
        """The lab of that name, if there is (or was, and has left something of) one."""
        path = HOME / name / "lab.json"
        return cls(name, json.loads(path.read_text())["index"]) if path.exists() else None

    @property
    def root(self) -> Path:
        return HOME / self.name

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def shared(self) -> Path:
        """What every node sees as /srv/shared: the shared storage."""
        return self.root / "shared"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def kubeconfig(self) -> Path:
        return self.root / "admin.kubeconfig"

    @property
    def prefix(self) -> str:
        """Of bridge, namespaces, links and cgroups; short, since a link's name has 15 characters."""
        return f"rfl{self.index}"

    @property
    def net(self) -> str:
        return f"10.{60 + self.index}"

    @property
    def host(self) -> str:
        """The machine's own address on the lab's bridge: the API server and the BMCs listen there."""
        return f"{self.net}.0.254"

    @property
    def api(self) -> str:
        return f"https://{self.host}:{API_PORT}"

    def node_ip(self, number: int) -> str:
        return f"{self.net}.0.{10 + number}"

    def pod_net(self, number: int) -> str:
        return f"{self.net}.{100 + number}.0/24"
