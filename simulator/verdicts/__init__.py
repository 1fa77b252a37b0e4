"""The detector's verdicts in virtual time: the agents' machines of ``simulator.world`` with controllers that judge by what these say.

``cluster.yaml`` with ``ring:`` is played here. ``story`` tells, ``controller`` is the real eye, verdict and election without their shells, ``api``
what is written in Kubernetes, ``attacks`` who holds one node's keys and lies.
"""
