"""How a person's command shall reach the cluster: kubectl's options, as values.

Nothing of Kubernetes is imported here, so that ``--help`` need not wait for it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Access:
    """Each None, or empty: as the kubeconfig has it."""

    kubeconfig: str | None = None
    context: str | None = None
    cluster: str | None = None
    user: str | None = None
    server: str | None = None
    token: str | None = None
    certificate_authority: str | None = None
    insecure_skip_tls_verify: bool | None = None
    as_user: str | None = None
    as_group: tuple[str, ...] = ()
    request_timeout: float | None = None
    """Seconds for one request; 0: for ever."""

    def but(self, other: Access) -> Access:
        """This, but for what ``other`` says."""
        said = {one.name: getattr(other, one.name) for one in fields(other)}
        return Access(
            **{
                name: getattr(self, name) if value is None or value == () else value
                for name, value in said.items()
            }
        )

    @property
    def trouble(self) -> str | None:
        """What is asked for and can't be together, as kubectl refuses it; None: nothing."""
        if self.certificate_authority is not None and self.insecure_skip_tls_verify:
            return "--certificate-authority says whom to trust and --insecure-skip-tls-verify to trust anybody: give one of them"
        if self.as_group and self.as_user is None:
            return "--as-group needs --as: whose groups are they?"
        return None


def seconds(text: str) -> float:
    """A duration as kubectl takes it: ``30s``, ``1m30s``, ``500ms``, or seconds without a unit; ``0`` is for ever.

    Raises ValueError.
    """
    if re.fullmatch(r"\d+", text):
        return float(text)
    parts = re.findall(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration; write 30s or 1m30s")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
