"""``metav1.Condition``: the contract that tools wait on (``kubectl wait --for=condition=...``)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ringfence.api.v1alpha1.meta import Model, Sentence, Time, as_map


class Condition(Model):
    """One observation of an object's state, with its reason."""

    type: Annotated[str, Field(min_length=1, max_length=316)]
    """What is true or not, in CamelCase: `Ready`, `Protected`."""
    status: Literal["True", "False", "Unknown"]
    """Whether it is so."""
    reason: Annotated[str, Field(min_length=1, max_length=1024)]
    """Why, in one CamelCase word for programs."""
    message: Sentence = ""
    """Why, in one sentence for people."""
    last_transition_time: Time
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})] | None = None
    """The `metadata.generation` that this was found for; an older one is out of date."""


Conditions = Annotated[list[Condition], Field(max_length=32, json_schema_extra=as_map("type"))]


class Conditioned(Model):
    """The part of a status that most kinds share."""

    conditions: Conditions = Field(default_factory=list)
    """What holds of this object now, each with its reason."""
    observed_generation: Annotated[int, Field(ge=0, json_schema_extra={"format": "int64"})] | None = None
    """The `metadata.generation` that this status was made for."""

    def condition(self, type_: str) -> Condition | None:
        """Find a condition by its type."""
        return next((condition for condition in self.conditions if condition.type == type_), None)
