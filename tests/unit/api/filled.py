"""Objects with every field set, for tests that nothing gets lost on the way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ringfence.api.v1alpha1.meta import Resource

_BY_NAME: dict[str, Any] = {
    "address": "https://10.0.0.9",
    "operator": "In",
    "driver": "redfish",
    "program": "fence_apc",
    "allowedAddresses": ["10.0.8.0/24"],
    "levels": [{"devices": ["item"], "hedgeAfterSeconds": 5.5}, {"devices": ["last"]}],
    "cidrs": ["10.20.0.0/16", "fd00:20::/64"],
    "assumeSeconds": 9000.5,
    "legs": ["Gossip", "Storage"],
    "dependsOn": [{"name": "another"}],
    "insecureSkipVerify": False,
    "signature": "c2lnbmF0dXJl",
}


# What the driver of a device needs; only its own block may be there.
_BLOCKS: dict[str, dict[str, Any]] = {
    "redfish": {},
    "ipmi": {"address": "10.0.0.9:623"},
    "agent": {
        "secretParameters": {"password": {"name": "pdu", "key": "word"}},
        "nodeParameters": {"item": {"plug": "3"}},
    },
    "storage": {"secretRef": None, "addresses": [{"node": "item", "cidrs": ["10.1.0.7/32"]}]},
}
DRIVERS = tuple(_BLOCKS)


def filled(kind: type[Resource], name: str = "full", driver: str = "redfish") -> dict[str, Any]:
    """Make an object of ``kind`` from its model's own schema, with every field that the model has.

    Of a FenceDevice's blocks it has the ``driver``'s.
    """
    schema = kind.model_json_schema(by_alias=True)
    parts = {part: each for part, each in schema["properties"].items() if part in ("spec", "status")}
    made = {part: _value(part, each, schema["$defs"]) for part, each in parts.items()}
    if kind.names.kind == "FenceDevice":
        block = {**made["spec"][driver], **_BLOCKS[driver]}
        block = {key: value for key, value in block.items() if value is not None}
        made["spec"] = {key: value for key, value in made["spec"].items() if key not in _BLOCKS}
        made["spec"] |= {"driver": driver, driver: block}
        if driver == "storage":
            del made["spec"]["maxConcurrentOrders"]
    if kind.names.kind == "HAPolicy":
        del made["spec"]["allVms"]  # there is a selector
    return {
        "apiVersion": "ringfence.io/v1alpha1",
        "kind": kind.names.kind,
        "metadata": {"name": "default" if kind.names.kind == "HACluster" else name},
        **made,
    }


def _value(name: str, schema: Mapping[str, Any], defs: Mapping[str, Any]) -> Any:
    if "$ref" in schema:
        return _value(name, defs[schema["$ref"].removeprefix("#/$defs/")], defs)
    if "anyOf" in schema:
        return _value(name, next(each for each in schema["anyOf"] if each != {"type": "null"}), defs)
    if name in _BY_NAME:
        return _BY_NAME[name]
    if "enum" in schema:
        return schema["enum"][-1]
    match schema["type"]:
        case "object" if "properties" in schema:
            return {part: _value(part, each, defs) for part, each in schema["properties"].items()}
        case "object":
            return {"key": _value("", schema["additionalProperties"], defs)}
        case "array":
            return [_value("", schema["items"], defs)]
        case "boolean":
            return True
        case "integer":
            return int(schema.get("minimum", 0)) + 1
        case "number":
            return schema.get("maximum", 60.25) / 2
        case "string" if schema.get("format") == "date-time":
            return "2026-11-23T14:20:21.123456Z"
    return name.lower() or "item"
