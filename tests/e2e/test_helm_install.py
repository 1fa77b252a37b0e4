"""From `helm install` to every declared VM `Protected=True`: half a minute at most, images pulled before."""

from __future__ import annotations

import time

import pytest

from e2e.helm import none_installed
from lab.cluster import Lab

pytestmark = pytest.mark.lab

VMS = ("db", "web")
WITHIN = 30.0


def test_protected_within_half_a_minute(bare: Lab) -> None:
    lab = bare
    for name in VMS:
        lab.create_vm(name)
    for name in VMS:
        lab.wait_vm_running(name)
    with none_installed(lab):
        lab.declare()
        for name in VMS:
            lab.protect(name)
        began = time.monotonic()
        lab.helm("install", *lab.chart_words())
        installed = time.monotonic() - began
        for name in VMS:
            lab.wait_condition("protectedvm", name, "Protected", "True", namespace="default", seconds=120)
        took = time.monotonic() - began
        print(
            f"helm install took {installed:.1f} s; all of {len(VMS)} VMs Protected=True after {took:.1f} s",
            flush=True,
        )
        assert took <= WITHIN
        lab.kubectl(
            "wait", "--for=condition=Protected", "protectedvms", "--all", "-n", "default", "--timeout=10s"
        )
        lab.helm("test", "ringfence", "--namespace", "ringfence-system", "--logs")
