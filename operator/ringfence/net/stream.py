"""The verdict stream: how controllers learn from agents what the ring sees.

TCP on the gossip port, inside TLS 1.3. The agent's certificate is its own and vouches for nothing; instead both sides
prove that they hold the group key, by a MAC over both sides' nonces and the fingerprint of the certificate that was
really shown, so nobody in the middle can pass the proofs on. Then the agent sends an AgentView on every change and at
least every half second; a reader that hears nothing for longer takes the stream for dead.

Frames are a 4-byte length and MessagePack. Errors: StreamError (the other side is not what it should be, or has gone
quiet) and OSError (the network).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ringfence.core.gossip.report import AgentView


class StreamError(Exception):
    """The other side broke the protocol, failed to prove itself, or has gone quiet."""


class StreamClient:
    """Subscribes to agents' views. One object serves any number of agents."""

    def __init__(self, group_key: bytes) -> None:
        self._group_key = group_key

    async def views(self, address: str, port: int) -> AsyncIterator[AgentView]:
        """Connect, prove, and yield views until the stream is lost; then StreamError or OSError. Redial to go on."""
        raise NotImplementedError(address, port)
        yield  # an async generator
