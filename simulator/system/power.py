"""How the fence devices behave when they are asked: BMCs, a PDU's outlets, a storage that shuts a node out."""

from __future__ import annotations

from collections.abc import Callable

from ringfence.core.fencing.proof import Reading, off_since
from ringfence.core.model import PowerState
from simulator.system import machines
from simulator.system.plant import Plant

SLOW = 8.0
"""What a slow device needs for an order."""
HANGS = 5.0
"""What a device that doesn't answer is given."""
RESTARTS = 0.35
"""For how long a node is off whose BMC takes the order for a restart."""
TRIED_AGAIN = 2.0
FLAPS = 3.0
"""Seconds for which a flapping device is away, and there again."""


def use(plant: Plant, device: str, takes: float, act: Callable[[], None]) -> None:
    """One use of a device; while another is under way it is none."""
    if device in plant.working:
        return
    plant.working.add(device)
    box = plant.box(device)

    def end() -> None:
        plant.working.discard(device)
        if (trouble := error(plant, box.mode)) is not None:
            box.error = trouble
            box.next_try_at = plant.now + TRIED_AGAIN
            return
        box.error = None
        act()

    plant.time.after(HANGS if box.mode == "hang" else takes, end)


def error(plant: Plant, mode: str) -> str | None:
    """Why a use comes to nothing."""
    if mode == "flap":
        return "no connection" if int(plant.now / FLAPS) % 2 else None
    return {
        "hang": "no answer within 5 s",
        "unauthorized": "wrong password",
        "no-secret": "its Secret is not there",
    }.get(mode)


def read(plant: Plant, device: str, incident: str) -> None:
    box = plant.box(device)
    lies = box.lied or box.mode == "says-off"
    state = PowerState.ON if gives(plant, device) and not lies else PowerState.OFF
    last = box.readings[-1] if box.readings and box.read_in == incident else None
    before = last.state if last is not None else None
    box.read_in = incident
    box.readings.append(Reading(state, plant.now - 0.05, plant.now))
    box.off_since = off_since(box.off_since, last, box.readings[-1])
    if state is PowerState.OFF and box.ordered_in != incident:
        box.called_off_at = plant.now
    if (before, state) == (PowerState.OFF, PowerState.ON):
        box.back_on_at = plant.now


def gives(plant: Plant, device: str) -> bool:
    """Whether power flows there, in truth."""
    node = plant.nodes[_at(plant, device[4:])]
    return node.outlet if device.startswith("pdu") else node.powered


def _at(plant: Plant, node: str) -> str:
    """The name of the machine that the node's device cuts."""
    return plant.renamed.get(node, node)


def off(plant: Plant, device: str, node: str) -> None:
    node = _at(plant, node)

    def cut() -> None:
        if device.startswith("pdu"):
            plant.nodes[node].outlet = False
        else:
            plant.nodes[node].switched_off = True
        machines.power(plant, node, on=False)

    box = plant.box(device)
    match box.mode:
        case "ok" | "flap" | "handshake":
            cut()
        case "refuse":
            box.error, box.next_try_at = "it refuses the order", plant.now + TRIED_AGAIN
        case "slow":
            plant.time.after(SLOW, cut)
        case "lie":
            box.lied = True
        case "restart":
            cut()
            plant.time.after(RESTARTS, lambda: _restarts(plant, device, node))


def _restarts(plant: Plant, device: str, node: str) -> None:
    """The power is back by itself; a cable that is out stays out."""
    if device.startswith("pdu"):
        plant.nodes[node].outlet = True
    else:
        plant.nodes[node].switched_off = False
    machines.boots_unseen(plant, node)


def on(plant: Plant, device: str, node: str) -> None:
    """A PDU's outlet gives power back; a machine that its BMC has switched off stays off then."""
    node = _at(plant, node)
    if device.startswith("pdu"):
        plant.nodes[node].outlet = True
    else:
        plant.nodes[node].switched_off = False
    machines.power(plant, node, on=True)


def order_takes(plant: Plant, device: str) -> float:
    """Seconds for which an order to it is in work."""
    return {"hang": HANGS, "slow": SLOW}.get(plant.box(device).mode, 0.1)


# --- a storage that shuts a node out ------------------------------------------------------------------------------


def use_storage(plant: Plant, node: str, takes: float, act: Callable[[], None]) -> None:
    key = ("ceph", node)
    if key in plant.working:
        return
    plant.working.add(key)

    def end() -> None:
        plant.working.discard(key)
        act()

    plant.time.after(takes, end)


def read_cut(plant: Plant, node: str) -> None:
    state = PowerState.OFF if plant.nodes[node].shut_out else PowerState.ON
    if plant.cutters[node].mode == "unfenced" or node in plant.cutting:
        state = PowerState.TRANSITION
    elif plant.cutters[node].stale:
        state = PowerState.OFF if plant.set_back is None else PowerState.TRANSITION
    plant.cutters[node].readings.append(Reading(state, plant.now - 0.05, plant.now))


def begin_to_shut(plant: Plant, node: str) -> None:
    """A storage that takes the fence and needs its time: its object stands there without a result until then."""
    plant.cutting.add(node)
    plant.time.after(SLOW, lambda: shut(plant, node, out=True) if node in plant.cutting else None)


def shut(plant: Plant, node: str, *, out: bool) -> None:
    plant.cutting.discard(node)
    plant.cutters[node].stale = False
    if not (out and plant.cutters[node].mode == "ignore"):
        plant.nodes[node].shut_out = out
        if plant.cutters[node].mode == "unfenced":
            plant.cutters[node].mode = "ok"  # what is left of a lifted one goes first
