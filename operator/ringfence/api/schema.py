"""Make the CRDs from the kinds: ``python -m ringfence.api.schema crds/``.

Pydantic speaks JSON Schema 2020 with references and unions; the API server wants a *structural* schema: every value
has one type, nothing refers, nothing is null. The way from one to the other is short because the models keep to what
both can say; what they can't both say is an error here, never a schema that is silently weaker.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ringfence.api.v1alpha1 import KINDS
from ringfence.api.v1alpha1.meta import CATEGORY, GROUP, REQUIRED_BY_RULE, VERSION, Resource

Schema = dict[str, Any]

_KEPT = frozenset(
    {
        "type",
        "description",
        "default",
        "enum",
        "format",
        "pattern",
        "minimum",
        "maximum",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "maxProperties",
        "x-kubernetes-validations",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
    }
)
_DROPPED = frozenset(
    {"title", "$defs", "properties", "required", "items", "additionalProperties", REQUIRED_BY_RULE}
)
_SAID_BY_RULE = ("minimum", "maximum", "minLength", "minItems", "pattern")
"""What a rule of the field, or of the object around it, says better: two sentences for one mistake are one too many."""

_STANDARD = {
    "apiVersion": {
        "type": "string",
        "description": f"The version of this object's schema: {GROUP}/{VERSION}.",
    },
    "kind": {"type": "string", "description": "The kind of this object."},
    "metadata": {"type": "object"},
}


class SchemaError(TypeError):
    """A model says what a structural schema can't."""


def structural(schema: Mapping[str, Any], defs: Mapping[str, Any], at: str = "") -> Schema:
    """Turn a JSON Schema as pydantic writes it into a structural one.

    ``defs`` are the schema's named parts, ``at`` is the path for errors. Raises SchemaError.
    """
    given = _inlined(schema, defs, at)
    if unknown := sorted(set(given) - _KEPT - _DROPPED):
        raise SchemaError(f"{at or 'the kind'}: a structural schema has no {', '.join(unknown)}")
    if "type" not in given:
        raise SchemaError(f"{at or 'the kind'}: has no single type")
    out = {key: value for key, value in given.items() if key in _KEPT}
    if "description" in out:
        out["description"] = " ".join(out["description"].split())
    if out.get("default", ...) is None:
        del out["default"]
    if "x-kubernetes-validations" in out or REQUIRED_BY_RULE in given:
        for bound in _SAID_BY_RULE:
            out.pop(bound, None)
    match given["type"]:
        case "array":
            out["items"] = structural(given["items"], defs, f"{at}[]")
        case "object" if "properties" in given:
            parts = given["properties"]
            out["properties"] = {name: structural(part, defs, f"{at}.{name}") for name, part in parts.items()}
            required = [name for name in given.get("required", ()) if not parts[name].get(REQUIRED_BY_RULE)]
            if required:
                out["required"] = required
        case "object":
            if not isinstance(given.get("additionalProperties"), dict):
                raise SchemaError(f"{at}: an object needs properties or the type of its values")
            out["additionalProperties"] = structural(given["additionalProperties"], defs, f"{at}{{}}")
    return out


def _inlined(schema: Mapping[str, Any], defs: Mapping[str, Any], at: str) -> Schema:
    """Put what is referred to in its place; ``X or null`` becomes X, because unset fields are left out."""
    own = {key: value for key, value in schema.items() if key not in ("$ref", "anyOf")}
    if "$ref" in schema:
        return {**_inlined(defs[schema["$ref"].removeprefix("#/$defs/")], defs, at), **own}
    if "anyOf" in schema:
        choices = [choice for choice in schema["anyOf"] if choice != {"type": "null"}]
        if len(choices) != 1:
            raise SchemaError(f"{at}: a union of {len(choices)} types; the API server takes one")
        return {**_inlined(choices[0], defs, at), **own}
    return own


def custom_resource_definition(kind: type[Resource]) -> Schema:
    """Build one kind's CRD."""
    names = kind.names
    whole = kind.model_json_schema(by_alias=True)
    defs = whole.get("$defs", {})
    parts = {name: part for name, part in whole["properties"].items() if name not in _STANDARD}
    wanted = [name for name in whole.get("required", ()) if name in parts]
    body = structural({**whole, "properties": parts, "required": wanted}, defs)
    body["properties"] = {**_STANDARD, **body["properties"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.crd, "labels": {"app.kubernetes.io/name": "ringfence"}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": names.kind,
                "listKind": f"{names.kind}List",
                "plural": names.plural,
                "singular": names.singular,
                "shortNames": [names.short],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced" if names.namespaced else "Cluster",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [column.to_json() for column in names.columns],
                    "schema": {"openAPIV3Schema": body},
                }
            ],
        },
    }


class _Plain(yaml.SafeDumper):
    """YAML without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the signature is yaml's
        return True


def manifests() -> dict[str, str]:
    """Give each CRD's file name and text."""
    head = "# Made by `python -m ringfence.api.schema crds/` from operator/ringfence/api; edit the models, not this.\n"
    return {
        f"{kind.names.crd}.yaml": head
        + yaml.dump(
            custom_resource_definition(kind), Dumper=_Plain, sort_keys=False, width=110, allow_unicode=True
        )
        for kind in KINDS
    }


def main(folder: Path) -> None:
    """Write all CRDs into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in manifests().items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "crds"))
