"""What all kinds share: names in the API, metadata, and the rules that the API server checks for us.

A kind is a pydantic model. Reading ignores fields it does not know (a newer release may have written them), writing
is ``model_dump(by_alias=True, exclude_none=True)``. The docstring after each field becomes the description that
``kubectl explain`` shows; the :class:`Rule` s become CEL in the CRD, so that bad input is refused where it is typed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

GROUP = "ringfence.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "ringfence"
CLUSTER_NAME = "default"
"""The one name that an HACluster may have."""

_INITIALISMS = frozenset({"uid", "id"})


def camel(name: str) -> str:
    """Name a field as the Kubernetes API does: ``boot_id`` is ``bootID``, ``node_uid`` is ``nodeUID``."""
    first, *rest = name.split("_")
    return first + "".join(part.upper() if part in _INITIALISMS else part.capitalize() for part in rest)


class Model(BaseModel):
    """The base of every object inside a kind."""

    model_config = ConfigDict(
        alias_generator=camel,
        populate_by_name=True,
        extra="ignore",
        use_attribute_docstrings=True,
        validate_default=True,
    )

    def to_json(self) -> dict[str, Any]:
        """Return the object as the API wants it: camelCase, without what is unset."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True, slots=True)
class Rule:
    """One CEL rule of a CRD.

    ``message`` names the field and the mend: it is all that the person at the keyboard gets to read.
    ``field`` (``.address``) is where the API server points when the rule stands at the object around the field.
    """

    expression: str
    message: str
    field: str | None = None
    reason: Literal["FieldValueInvalid", "FieldValueRequired", "FieldValueForbidden"] = "FieldValueInvalid"

    def to_json(self) -> dict[str, Any]:
        rule = {"rule": self.expression, "message": self.message, "reason": self.reason}
        return rule if self.field is None else {**rule, "fieldPath": self.field}


REQUIRED_BY_RULE = "x-ringfence-required-by-rule"
"""Marks a field whose absence, emptiness or wrong form a rule of the object around it reports: with a mend in it."""


def rules(*given: Rule) -> dict[str, Any]:
    """Put rules into a field's or a model's JSON schema."""
    return {"x-kubernetes-validations": [rule.to_json() for rule in given]}


def required_by_rule() -> dict[str, Any]:
    """Leave it to a rule of the object around this field to say that it is missing or malformed."""
    return {REQUIRED_BY_RULE: True}


def within(low: float, high: float, message: str) -> Any:
    """A number's bounds, refused by one sentence of ours instead of two of the schema's."""
    return Field(ge=low, le=high, json_schema_extra=rules(Rule(f"self >= {low} && self <= {high}", message)))


def as_set() -> dict[str, Any]:
    """A list without duplicates, merged item by item under server-side apply."""
    return {"x-kubernetes-list-type": "set"}


def as_map(*keys: str) -> dict[str, Any]:
    """A list whose items are told apart by ``keys`` and merged one by one under server-side apply."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=_SUBDOMAIN)]
"""The name of a Kubernetes object, in a spec."""
Name = Annotated[str, Field(max_length=253)]
"""The name of a Kubernetes object, as found: a status is never refused for it."""
UID = Annotated[str, Field(max_length=128)]
Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
"""An instant as RFC 3339, to the microsecond where we write it."""


def _cut(limit: int) -> BeforeValidator:
    # A record that the API server refuses is a lost act; a sentence may lose its end instead.
    def cut(value: Any) -> Any:
        return value[: limit - 1] + "…" if isinstance(value, str) and len(value) > limit else value

    return BeforeValidator(cut)


Sentence = Annotated[str, _cut(1024), Field(max_length=1024)]
"""A sentence for people; what is longer is cut, not refused."""
Text = Annotated[str, _cut(4096), Field(max_length=4096)]
"""What others said, a device or KubeVirt: longer than a sentence of ours, and cut rather than refused."""


class ObjectMeta(Model):
    """What we read of an object's metadata."""

    name: str = ""
    namespace: str | None = None
    uid: str | None = None
    resource_version: str | None = None
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    finalizers: list[str] | None = None
    owner_references: list[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of ``kubectl get``."""

    name: str
    path: str
    type: Literal["string", "integer", "number", "boolean", "date"] = "string"
    wide: bool = False
    """Only with ``-o wide``."""

    def to_json(self) -> dict[str, Any]:
        column: dict[str, Any] = {"name": self.name, "type": self.type, "jsonPath": self.path}
        return {**column, "priority": 1} if self.wide else column


AGE = Column("Age", ".metadata.creationTimestamp", "date")


@dataclass(frozen=True, slots=True)
class Names:
    """How a kind is called in URLs and at the command line."""

    kind: str
    plural: str
    short: str
    namespaced: bool = False
    columns: tuple[Column, ...] = (AGE,)

    @property
    def singular(self) -> str:
        return self.kind.lower()

    @property
    def crd(self) -> str:
        return f"{self.plural}.{GROUP}"


class Resource(Model):
    """The base of every kind; a subclass sets ``names`` and has ``status``, most also ``spec``."""

    names: ClassVar[Names]

    api_version: str = API_VERSION
    kind: str
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)
