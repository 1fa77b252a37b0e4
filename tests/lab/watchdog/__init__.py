"""A watchdog for nodes that have none: a shim in front of libc, and a timer outside the node that bites."""
