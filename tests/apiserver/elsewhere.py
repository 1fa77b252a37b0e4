"""The commands of the pages that are not run on an API server: why not, and which test plays them instead, if any."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Elsewhere:
    command: str
    """As shown, or the words with which all of its variants begin."""
    why: str
    test: str = ""
    """The test that does the same, by its path; empty: nothing here does."""
    part: str = ""
    """What stands in that test of it."""

    def covers(self, line: str) -> bool:
        return line == self.command or line.startswith(f"{self.command} ")


A_LAB = "needs root and the lab"
A_MEASUREMENT = "root, and minutes to hours of measuring"
DOCKER = "needs docker, which is not here"
OF_ITSELF = "runs these tests, or what runs beside them"
WRITES = "writes into the repository"

ELSEWHERE = (
    Elsewhere("docker kill", DOCKER, "tests/contract/test_kind_power.py", "kill)"),
    Elsewhere("docker start", DOCKER, "tests/contract/test_kind_power.py", "start)"),
    Elsewhere("docker inspect", DOCKER, "tests/contract/test_kind_power.py", "inspect)"),
    Elsewhere("docker network disconnect --force kind ringfence-worker", DOCKER),
    Elsewhere("docker pause ringfence-worker", DOCKER),
    Elsewhere("docker unpause", DOCKER),
    Elsewhere("etcdctl compact", "etcdctl is not here; a compaction is asked of etcd itself", "tests/contract/apiserver.py", "kv/compaction"),
    Elsewhere("kubectl -n ringfence-system exec", "needs a kubelet and a container", "tests/unit/slots/test_process.py", '"ringfence.slots", "show"'),
    Elsewhere("make bench-detector", A_MEASUREMENT, "tests/bench/test_detector.py", "bench/detector.py"),
    Elsewhere("make bench-failover", A_MEASUREMENT),
    Elsewhere("make bench-fencing", A_MEASUREMENT, "tests/bench/test_fencing.py", "bench/fencing.py"),
    Elsewhere("make bench-scale", A_MEASUREMENT),
    Elsewhere("make bench-slots", A_MEASUREMENT),
    Elsewhere("make bench-volumes", A_MEASUREMENT),
    Elsewhere("make chaos", A_LAB, "tests/e2e/test_chaos.py", "make chaos"),
    Elsewhere("make check", OF_ITSELF),
    Elsewhere("make demo", A_LAB),
    Elsewhere("make docs", OF_ITSELF),
    Elsewhere("make fuzz", "minutes of computing; its corpus is replayed", "tests/fuzz/test_corpus.py", "TARGETS"),
    Elsewhere("make image", "needs root", "tests/e2e/test_image_made_twice.py", "image.build"),
    Elsewhere("make kind-demo", DOCKER),
    Elsewhere("make kind-down", DOCKER),
    Elsewhere("make kind-up", f"{DOCKER}; kind reads its config", "tests/apiserver/test_kind.py", "kind-config.yaml"),
    Elsewhere("make lab-down", A_LAB, "tests/e2e/test_a0_lab_leaves_no_trace.py", '"down"'),
    Elsewhere("make lab-up", A_LAB, "tests/e2e/test_a0_lab_leaves_no_trace.py", '"up"'),
    Elsewhere("make picture", WRITES, "tests/unit/test_picture.py", "make picture"),
    Elsewhere("make sim", "minutes of computing", "tests/unit/simulator/test_system_schedules.py", '"play", "--from"'),
    Elsewhere("make sim-ring", "minutes of computing", "tests/unit/simulator/test_invariants.py", '"fuzz", "--seeds"'),
    Elsewhere("make test", OF_ITSELF),
    Elsewhere("make test-all", OF_ITSELF),
    Elsewhere("make trace", f"root; {WRITES}"),
    Elsewhere("modprobe softdog", "changes the kernel that this runs on", "tests/contract/test_softdog.py", "softdog"),
    Elsewhere("pip install '.[cli]'", "asks the registry"),
    Elsewhere("podman build", "needs a container engine; the lab builds the image without", "tests/e2e/test_image_made_twice.py", "image.build"),
    Elsewhere("python -m lab", A_LAB, "tests/e2e/test_a0_lab_leaves_no_trace.py", '"-m", "lab"'),
    Elsewhere("python -m publish.api_reference", "its page is compared", "tests/unit/publish/test_pages.py", "publish.api_reference"),
    Elsewhere("python -m publish.refusals", "its page is compared", "tests/unit/publish/test_pages.py", "refusals.page()"),
    Elsewhere("python -m publish.verdicts", "its page is compared", "tests/unit/publish/test_pages.py", "verdicts.page()"),
    Elsewhere("python -m simulator", "minutes of computing", "tests/unit/simulator/test_invariants.py", '"fuzz", "--seeds"'),
    Elsewhere("python bench/flood.py", A_MEASUREMENT, "tests/bench/test_flood.py", "bench/flood.py"),
    Elsewhere("virtctl start", "virtctl and KubeVirt's API are not here"),
)  # fmt: skip
