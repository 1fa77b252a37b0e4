"""The whole system in virtual time: nodes, devices and a KubeVirt that behaves as measured, and a controller that decides.

Stories (``tests/scenarios``) and random fault schedules (``python -m simulator.system``) are played in the same world.
"""
