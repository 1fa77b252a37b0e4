#!/bin/bash
# Process 1 of a stand-in node: as node-init.sh, but what runs on it is played by one program, which takes over as process 1.
# From the environment: NODE, DIR (the node's folder; DIR/disk outlives power cuts), PYTHON and its PYTHONPATH.
set -eu
mount --make-rprivate /
hostname "$NODE"
mount -t tmpfs -o mode=755 run /run
cat /proc/sys/kernel/random/uuid >/run/boot_id
exec "$PYTHON" -m lab.standin "$DIR" # its output is the node's init.log
