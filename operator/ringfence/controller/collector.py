"""Keep Python's collector of cycles from stopping the loop.

A full collection looks at every object. The caches of a cluster with 20,000 VMs are a million of them, and that takes half a second
and more in which nobody is judged; and all for nothing, since what is cached has no cycles and goes when it is replaced. So
there is none while the caches fill, and then all that is there is *frozen*: later collections look at what has come since.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable

THRESHOLDS = (700, 10, 1000)
"""Python's own but for the last: so many collections of the younger before a full one is thought of."""
LOOK_EVERY = 60.0
GROWN = 100_000
"""Objects that have come since and stay; to look at so many takes some 50 ms."""


async def tend(filled: Awaitable[None]) -> None:
    """For as long as the process lives; ``filled`` ends when the caches are."""
    gc.set_threshold(*THRESHOLDS)
    await filled
    while True:
        if len(gc.get_objects(generation=2)) >= GROWN:
            gc.collect()  # what is garbage now would be kept for ever
            gc.freeze()
        await asyncio.sleep(LOOK_EVERY)
