"""The storage heartbeat: a process of its own, so that a mount that hangs stops nothing else of its node."""
