"""The API reference, made from the kinds: ``python -m publish.api_reference > docs/api-reference.md``.

It reads the same structural schemas that become the CRDs, so what ``kubectl explain`` says and what this page says is one text. A field is
a row, by its whole path; what a rule demands stands below its kind in the words in which the API server refuses.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

from ringfence.api.schema import custom_resource_definition
from ringfence.api.v1alpha1 import KINDS
from ringfence.api.v1alpha1.meta import GROUP, VERSION, Resource

Schema = dict[str, Any]
MADE = (
    "<!-- Made by `python -m publish.api_reference`; edit the models in operator/ringfence/api, not this. -->"
)
_BOUNDS = (
    ("minimum", "≥ {}"),
    ("maximum", "≤ {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("maxProperties", "at most {} entries"),
)


def page() -> str:
    """The whole page."""
    kinds = sorted(KINDS, key=lambda kind: kind.names.kind)
    head = [
        MADE,
        "# API reference",
        "",
        f"All kinds of `{GROUP}/{VERSION}`. `kubectl explain hazone.spec.fencing` says the same. *Spec* is yours, *status* is ringfence's.",
        "**Bold** fields must be given.",
        "",
        "| kind | short | scope | |",
        "|---|---|---|---|",
        *(
            f"| [{kind.names.kind}](#{kind.names.kind.lower()}) | `{kind.names.short}` | {_scope(kind)} | {_body(kind).get('description', '')} |"
            for kind in kinds
        ),
        "",
    ]
    return "\n".join([*head, *(line for kind in kinds for line in _kind(kind))])


def _scope(kind: type[Resource]) -> str:
    return "namespace" if kind.names.namespaced else "cluster"


def _body(kind: type[Resource]) -> Schema:
    (version,) = custom_resource_definition(kind)["spec"]["versions"]
    body: Schema = version["schema"]["openAPIV3Schema"]
    return body


def _kind(kind: type[Resource]) -> Iterator[str]:
    body = _body(kind)
    yield f"## {kind.names.kind}"
    yield ""
    yield f"{body.get('description', '')} `kubectl get {kind.names.plural}`, or `{kind.names.short}`."
    yield ""
    for part in ("spec", "status"):
        schema = body["properties"].get(part)
        if schema is None:
            continue
        yield f"### {kind.names.kind} {part}"
        yield ""
        yield "| field | type | meaning |"
        yield "|---|---|---|"
        yield from _rows(schema, "")
        yield ""
        if refusals := list(dict.fromkeys(_refusals(schema))):
            yield "Refused are, in these words:"
            yield ""
            yield from (f"- {_escaped(words)}" for words in refusals)
            yield ""


def _rows(schema: Schema, before: str) -> Iterator[str]:
    wanted = set(schema.get("required", ())) | set(_required_by_rule(schema))
    for name, field in schema.get("properties", {}).items():
        path = f"{before}{name}"
        shown = f"**`{path}`**" if name in wanted else f"`{path}`"
        yield f"| {shown} | {_type(field)} | {_meaning(field)} |"
        yield from _inside(field, path)


def _inside(field: Schema, path: str) -> Iterator[str]:
    if "properties" in field:
        yield from _rows(field, f"{path}.")
    elif field.get("type") == "array":
        yield from _inside(field["items"], f"{path}[]")
    elif "additionalProperties" in field:
        yield from _inside(field["additionalProperties"], f"{path}.*")


def _required_by_rule(schema: Schema) -> Iterator[str]:
    """Fields whose absence a rule reports, in its own words."""
    for rule in schema.get("x-kubernetes-validations", ()):
        if rule.get("reason") == "FieldValueRequired" and rule["rule"].startswith("has(self."):
            yield rule["fieldPath"].removeprefix(".")


def _type(field: Schema) -> str:
    match field["type"]:
        case "array":
            return f"list of {_type(field['items'])}"
        case "object" if "additionalProperties" in field:
            return f"map of {_type(field['additionalProperties'])}"
        case "string" if field.get("format") == "date-time":
            return "time"
        case word:
            return str(word)


def _meaning(field: Schema) -> str:
    said = [_escaped(field.get("description", ""))]
    if "enum" in field:
        said.append(f"One of {', '.join(f'`{word}`' for word in field['enum'])}.")
    if field.get("default") not in (None, "", [], {}):
        said.append(f"Default `{json.dumps(field['default'])}`.")
    if bounds := [words.format(field[name]) for name, words in _BOUNDS if name in field]:
        said.append(f"({', '.join(bounds)})")
    return " ".join(filter(None, said))


def _refusals(schema: Schema) -> Iterator[str]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield rule["message"]
    for part in (
        *schema.get("properties", {}).values(),
        schema.get("items"),
        schema.get("additionalProperties"),
    ):
        if isinstance(part, dict):
            yield from _refusals(part)


def _escaped(words: str) -> str:
    return words.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(page())
