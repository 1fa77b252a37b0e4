"""For all tests: hypothesis asserts nothing about time, which on a busy machine is the machine's and not the code's."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("ringfence", deadline=None)
settings.load_profile("ringfence")
