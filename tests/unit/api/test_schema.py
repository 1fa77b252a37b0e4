from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from ringfence.api.schema import SchemaError, custom_resource_definition, main, manifests, structural
from ringfence.api.v1alpha1 import KINDS, Resource
from ringfence.api.v1alpha1.meta import Model

CRDS = Path(__file__).parents[3] / "crds"


def test_committed_crds_are_those_of_the_models(tmp_path: Path) -> None:
    main(tmp_path)
    committed = {path.name: path.read_text() for path in CRDS.glob("*.yaml")}
    made = {path.name: path.read_text() for path in tmp_path.glob("*.yaml")}
    assert committed == made == manifests(), "run: python -m ringfence.api.schema crds/"


def _parts(schema: dict[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield at, schema
    for name, part in schema.get("properties", {}).items():
        yield from _parts(part, f"{at}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield from _parts(schema[inner], f"{at}[]")


def _schema(kind: type[Resource]) -> dict[str, Any]:
    schema = custom_resource_definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    assert isinstance(schema, dict)
    return schema


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.names.kind)
def test_every_field_is_described_and_bounded(kind: type[Resource]) -> None:
    for at, part in _parts(_schema(kind)):
        if at in (".metadata", ".apiVersion", ".kind"):
            continue
        assert part["type"]
        assert "description" in part or at.endswith("[]"), f"{at} has no docstring"
        if part["type"] == "array":
            assert "maxItems" in part, f"{at} has no bound"
        if "additionalProperties" in part:
            assert "maxProperties" in part, f"{at} has no bound"
        if part["type"] == "string":
            assert "maxLength" in part or "enum" in part, f"{at} has no bound"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.names.kind)
def test_every_rule_says_a_sentence(kind: type[Resource]) -> None:
    for at, part in _parts(_schema(kind)):
        for rule in part.get("x-kubernetes-validations", ()):
            assert len(rule["message"].split()) > 5, f"{at}: {rule['message']}"
            assert rule["message"] != rule["rule"]


def test_nothing_preserves_unknown_fields() -> None:
    assert not any("preserve-unknown-fields" in text for text in manifests().values())


def test_names() -> None:
    assert {kind.names.kind: kind.names.short for kind in KINDS} == {
        "HACluster": "hac",
        "NodeMaintenance": "nm",
        "HAPolicy": "hap",
        "HAZone": "haz",
        "ProtectedVM": "pvm",
        "FenceDevice": "fd",
        "Failover": "fo",
        "NodeReport": "nr",
    }
    assert [kind.model_fields["kind"].default for kind in KINDS] == [kind.names.kind for kind in KINDS]


class _Union(Model):
    part: int | str


class _Loose(Model):
    part: Any


class _Exclusive(Model):
    part: Annotated[float, Field(gt=0)]


@pytest.mark.parametrize("model", [_Union, _Loose, _Exclusive])
def test_what_a_structural_schema_cannot_say_is_an_error(model: type[Model]) -> None:
    schema = model.model_json_schema()
    with pytest.raises(SchemaError, match=r"\.part"):
        structural(schema, schema.get("$defs", {}))
