"""Label selectors, as Kubernetes has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from ringfence.api.v1alpha1.meta import Model, Rule, rules


class SelectorRequirement(Model):
    """One demand on a label."""

    key: Annotated[str, Field(min_length=1, max_length=316)]
    """The label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label is compared."""
    values: Annotated[list[Annotated[str, Field(max_length=63)]], Field(max_length=64)] = Field(
        default_factory=list
    )
    """What it is compared with: at least one for `In` and `NotIn`, none for the others."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            Rule(
                "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                "values must be given for the operators In and NotIn, and left out for Exists and DoesNotExist",
                ".values",
            )
        )
    )

    def met_by(self, labels: Mapping[str, str]) -> bool:
        """Whether these labels meet the demand."""
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


class LabelSelector(Model):
    """Objects by their labels; all demands must hold."""

    match_labels: Annotated[dict[str, Annotated[str, Field(max_length=63)]], Field(max_length=32)] = Field(
        default_factory=dict
    )
    """Labels and the values that they must have."""
    match_expressions: Annotated[list[SelectorRequirement], Field(max_length=32)] = Field(
        default_factory=list
    )
    """Further demands on labels."""

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Kubernetes' label selection; an empty selector selects nothing here: all of them has to be said otherwise."""
        if not self.match_labels and not self.match_expressions:
            return False
        if any(labels.get(key) != value for key, value in self.match_labels.items()):
            return False
        return all(want.met_by(labels) for want in self.match_expressions)
