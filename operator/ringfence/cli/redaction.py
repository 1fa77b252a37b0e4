"""What must not leave the cluster is blacked out, wherever it stands.

The bundle never reads a Secret. But secrets get into places where nobody means them to be: a parameter of a fence agent, a variable of a
pod, an annotation that repeats a whole manifest, an address with a password in it, a line of a log. The rule is to lose a harmless
word rather than to show one that isn't: what a name or a shape gives away goes, and a fence agent's parameters go unless they are known
to be harmless.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

BLACK = "<redacted>"

_TELLING = re.compile(
    r"pass(word|wd|phrase)?|pwd|secret|token|credential|community|api-?_?key|private-?_?key|auth(orization)?(_|-|$)|cookie",
    re.IGNORECASE,
)
"""A field, parameter or variable of such a name holds a secret."""
_REFERENCES = frozenset({"name", "key", "namespace", "optional", "defaultMode", "items", "path", "kind"})
"""Fields of a reference to a Secret: where one is, not what it says."""
_SHOWN_PARAMETERS = frozenset(
    {"ip", "ipaddr", "ipport", "plug", "port", "ssl", "lanplus", "cipher", "method", "clusterID"}
)
_DROPPED = frozenset({"managedFields", "kubectl.kubernetes.io/last-applied-configuration"})

_SHAPES: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL),
        BLACK,
    ),
    (re.compile(r"(\w+://)[^/\s@]+@"), rf"\1{BLACK}@"),
    (re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {BLACK}"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)?"), BLACK),
    (
        re.compile(
            r"(?i)\b([\w-]*(?:password|passwd|passphrase|secret|token|community)[\w-]*[\"']?\s*[=:]\s*)"
            r"(\"[^\"]*\"|'[^']*'|[^\s,;]+)"
        ),
        rf"\1{BLACK}",
    ),
)


def text(said: str) -> str:
    """A line or a page without what has the shape of a secret."""
    for shape, instead in _SHAPES:
        said = shape.sub(instead, said)
    return said


def tree(value: object) -> object:
    """An object of the API as it may be shown."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, Mapping):
        return _mapping(value)
    if isinstance(value, Sequence):
        return [tree(item) for item in value]
    return value


def _mapping(value: Mapping[str, object]) -> dict[str, object]:
    shown: dict[str, object] = {}
    a_secret = value.get("kind") == "Secret"
    a_variable = _telling(value.get("name"))
    for key, item in value.items():
        if key in _DROPPED:
            continue
        if (a_secret and key in {"data", "stringData"}) or (a_variable and key == "value"):
            shown[key] = BLACK
        elif key in {"parameters", "nodeParameters"}:
            shown[key] = _parameters(item)
        elif _telling(key):
            shown[key] = _hidden(item)
        else:
            shown[key] = tree(item)
    return shown


def _telling(name: object) -> bool:
    return isinstance(name, str) and _TELLING.search(name) is not None


def _parameters(value: object) -> object:
    """Of a fence agent or a storage: what each is called, and of those that are harmless what it is."""
    if isinstance(value, Mapping):
        return {
            key: tree(item) if key in _SHOWN_PARAMETERS and isinstance(item, str) else _parameters(item)
            for key, item in value.items()
        }
    return BLACK


def _hidden(value: object) -> object:
    """Under a telling name: references stay, values go."""
    if isinstance(value, Mapping):
        return {
            key: tree(item) if key in _REFERENCES and isinstance(item, str | bool | int) else _hidden(item)
            for key, item in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_hidden(item) for item in value]
    return value if isinstance(value, bool) or value is None else BLACK
