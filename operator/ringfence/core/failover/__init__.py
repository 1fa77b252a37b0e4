"""From a verdict to VMs that run again: limits, the machine, recovery."""
