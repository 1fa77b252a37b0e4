"""The lab: a real KubeVirt cluster on one machine, to take apart and put together again.

``python -m lab up`` starts it, ``python -m lab down`` removes it without a trace; tests use :class:`lab.cluster.Lab`.
"""
