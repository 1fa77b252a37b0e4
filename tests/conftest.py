"""For all tests: hypothesis asserts nothing about time, which on a busy machine is the machine's and not the code's."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("ringfence", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ringfence")
