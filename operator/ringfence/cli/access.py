"""kubectl's options, on every command that asks a cluster.

:func:`reaches_cluster` adds them to a command's own. They may stand before the command as well, as with kubectl; what stands
behind it counts more. ``ringfence --help`` lists them all, a command's own help only those that people need daily.
"""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from ringfence.kube.access import Access, seconds

ACCESS = "ringfence.access"
"""Where what was said is kept, in typer's context."""
DAILY = ("kubeconfig", "context")


def said(context: typer.Context) -> Access:
    """What the command line says of the way to the cluster."""
    access = context.meta.get(ACCESS, Access())
    assert isinstance(access, Access)
    return access


def _options(
    kubeconfig: Annotated[str | None, typer.Option("--kubeconfig", help="Path of the kubeconfig.")] = None,
    context: Annotated[str | None, typer.Option("--context", help="Context in the kubeconfig.")] = None,
    cluster: Annotated[str | None, typer.Option("--cluster", help="Cluster in the kubeconfig.")] = None,
    user: Annotated[str | None, typer.Option("--user", help="User in the kubeconfig.")] = None,
    server: Annotated[str | None, typer.Option("--server", "-s", help="Address of the API server.")] = None,
    token: Annotated[str | None, typer.Option("--token", help="Bearer token for the API server.")] = None,
    certificate_authority: Annotated[
        str | None,
        typer.Option(
            "--certificate-authority", help="File of the authority that signs the API server's key."
        ),
    ] = None,
    insecure_skip_tls_verify: Annotated[
        bool | None,
        typer.Option(
            "--insecure-skip-tls-verify/--no-insecure-skip-tls-verify",
            help="Believe that whoever answers is the API server.",
            show_default=False,
        ),
    ] = None,
    as_user: Annotated[str | None, typer.Option("--as", help="User to impersonate.")] = None,
    as_group: Annotated[
        list[str] | None, typer.Option("--as-group", help="Group to impersonate; may be repeated.")
    ] = None,
    request_timeout: Annotated[
        str | None,
        typer.Option("--request-timeout", metavar="30s", help="How long one request may take; 0: for ever."),
    ] = None,
) -> Access:
    """The options with their defaults; called with what was given it is how to reach the cluster."""
    try:
        patience = None if request_timeout is None else seconds(request_timeout)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--request-timeout") from None
    return Access(
        *(kubeconfig, context, cluster, user, server, token, certificate_authority),
        *(insecure_skip_tls_verify, as_user, tuple(as_group or ()), patience),
    )


_PARAMETERS = inspect.signature(_options, eval_str=True).parameters


def reaches_cluster(command: Callable[..., None]) -> Callable[..., None]:
    """Add kubectl's options to this command, whose first parameter is ``world``, typer's context."""
    return _with_options(command, hidden=frozenset(_PARAMETERS.keys() - set(DAILY)))


def reaches_cluster_openly(command: Callable[..., None]) -> Callable[..., None]:
    """The same, and all of them in its help."""
    return _with_options(command, hidden=frozenset())


def _with_options(command: Callable[..., None], hidden: frozenset[str]) -> Callable[..., None]:
    own = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def reached(world: typer.Context, **given: Any) -> None:
        access = said(world).but(_options(**{name: given.pop(name, None) for name in _PARAMETERS}))
        if (trouble := access.trouble) is not None:
            raise typer.BadParameter(trouble)
        world.meta[ACCESS] = access
        command(world, **given)

    added = [_hidden(one) if one.name in hidden else one for one in _PARAMETERS.values()]
    keyword = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in added]
    reached.__signature__ = own.replace(parameters=[*own.parameters.values(), *keyword])  # type: ignore[attr-defined]
    return reached


def _hidden(parameter: inspect.Parameter) -> inspect.Parameter:
    kind, (option,) = parameter.annotation.__origin__, parameter.annotation.__metadata__
    quiet = copy.copy(option)
    quiet.hidden = True
    return parameter.replace(annotation=Annotated[kind, quiet])
