"""The command line: a table of contents; each command asks, shows and ends.

Exit codes, also in docs/command-line.md:

====  =====================================================================================
0     done, or shown
1     refused: nothing waits, the node lives, the flag that confirms is missing, or the API server says no
2     the command line itself is wrong, or the story that `simulate` shall play
3     the API server can't be reached, or the kubeconfig can't be used
4     not there: the node, VM, failover or story, or ringfence's kinds in this cluster
5     forbidden: this user's rights don't reach
6     asked for and under way, but you stopped waiting before it was done
7     looked at, and something would stand in the way of a failover (`doctor`, `dry-run`), or an invariant broke (`simulate`)
====  =====================================================================================

rich, the Kubernetes client and YAML are imported by the command that needs them, so ``--help`` and completion answer
at once.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Never

import typer

from ringfence import __version__
from ringfence.cli import (
    bundle,
    confirmation,
    doctor,
    guest,
    incident,
    leave,
    simulation,
    subject,
    supposition,
)
from ringfence.cli import devices as fence_devices
from ringfence.cli import keys as group_keys
from ringfence.cli.access import reaches_cluster, reaches_cluster_openly, said
from ringfence.cli.chronicle import EventRow, event_rows
from ringfence.cli.picture import NotInstalledError, Reader, failover_rows, gather, objects
from ringfence.cli.ring import ring
from ringfence.cli.waiting import waiting
from ringfence.kube.access import Access
from ringfence.ports import ClusterError, Forbidden, NotFound, Unavailable

if TYPE_CHECKING:
    from ringfence.cli.show import Format

WATCH_EVERY = 2.0
"""Seconds between two looks of a watch."""
REFUSED, USAGE, UNREACHABLE, NOT_THERE, FORBIDDEN, NOT_DONE, NOT_WELL = 1, 2, 3, 4, 5, 6, 7


@dataclass(frozen=True, slots=True)
class World:
    """What the commands have around them; a test gives its own."""

    connect: Callable[[Access], Reader]
    """Raises ClusterError."""
    now: Callable[[], datetime]
    again: Callable[[], bool]
    """Waits until a watch should look again; False ends it."""


SHELLS = ("bash", "zsh", "fish")

app = typer.Typer(
    name="ringfence",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
fence_app = typer.Typer(
    help="Fence devices, and a person's part in fencing.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(fence_app, name="fence")
failover_app = typer.Typer(help="One failover.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(failover_app, name="failover")
keys_app = typer.Typer(help="The ring's group keys, and their change.", rich_markup_mode=None)
app.add_typer(keys_app, name="keys")

Namespace = Annotated[
    str | None, typer.Option("--namespace", "-n", help="Only protected VMs of this namespace; default: all.")
]
Everywhere = Annotated[
    bool, typer.Option("--all-namespaces", "-A", help="Protected VMs of all namespaces, whatever -n says.")
]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="table|wide|json|yaml", help="Form of the output.")
]
Release = Annotated[str, typer.Option("--release-namespace", help="Where ringfence is installed.")]


@app.callback()
@reaches_cluster_openly
def everywhere(world: typer.Context) -> None:
    """High availability for KubeVirt VMs: what ringfence sees, does and refuses."""


@app.command()
@reaches_cluster
def status(
    world: typer.Context,
    namespace: Namespace = None,
    everywhere: Everywhere = False,
    output: Output = "table",
) -> None:
    """Zones, nodes with their verdicts, protected VMs, open failovers."""
    form = _format(output)
    with _sentences():
        picture = gather(_reader(world), None if everywhere else namespace)
    from ringfence.cli import show  # noqa: PLC0415

    if form in {show.Format.JSON, show.Format.YAML}:
        typer.echo(show.as_text(picture, form))
    else:
        show.picture(show.console(sys.stdout), picture, _world(world).now(), wide=form is show.Format.WIDE)


@app.command()
@reaches_cluster
def failovers(
    world: typer.Context,
    output: Output = "table",
) -> None:
    """All failovers on record, oldest first."""
    form = _format(output)
    with _sentences():
        rows = failover_rows(objects(_reader(world), "failovers"))
    from ringfence.cli import show  # noqa: PLC0415

    if form in {show.Format.JSON, show.Format.YAML}:
        typer.echo(show.as_text(rows, form))
    elif not rows:
        typer.echo("no failover is on record")
    else:
        table = show.failovers(rows, _world(world).now(), wide=form is show.Format.WIDE)
        show.console(sys.stdout).print(table)


@app.command()
@reaches_cluster
def explain(
    world: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="NODE|VM|FAILOVER",
            help="A name, KIND/NAME (node/n1, vm/db, failover/n1-0a1b2c3d-x1) or NAMESPACE/NAME of a VM.",
        ),
    ],
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Of the VM; default: the context's.")
    ] = None,
    everywhere: Annotated[
        bool, typer.Option("--all-namespaces", "-A", help="The VM may be in any namespace.")
    ] = False,
    release: Release = "ringfence-system",
    output: Output = "table",
) -> None:
    """What is known of a node, a VM or a failover, what was decided and why, what it waits for, what you could do."""
    form = _format(output)
    told: incident.Incident | guest.GuestStory
    with _sentences():
        reader = _reader(world)
        about = subject.resolve(reader, what, namespace, everywhere=everywhere)
        match about.sort:
            case subject.Sort.VM:
                told = guest.investigate(reader, about.namespace, about.name)
            case subject.Sort.FAILOVER:
                told = incident.investigate_failover(reader, about.name, release)
            case subject.Sort.NODE:
                told = incident.investigate(reader, about.name, release)
    from ringfence.cli import show  # noqa: PLC0415

    if form in {show.Format.JSON, show.Format.YAML}:
        typer.echo(show.as_text(told, form))
    elif isinstance(told, guest.GuestStory):
        show.guest(show.console(sys.stdout), told)
    else:
        show.incident(show.console(sys.stdout), told)


@app.command()
@reaches_cluster
def members(
    world: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show it anew every 2 s, until Ctrl-C.")
    ] = False,
    release: Release = "ringfence-system",
    output: Output = "table",
) -> None:
    """The ring: each member's verdict, state, path, agent; with -o wide who observes it, and who says what of it."""
    form = _format(output)
    with _sentences():
        reader = _reader(world)
        from ringfence.cli import show  # noqa: PLC0415

        while True:
            shown = ring(reader.members(release))
            if form in {show.Format.JSON, show.Format.YAML}:
                typer.echo(show.as_text(shown, form))
            else:
                show.ring(show.console(sys.stdout), shown, wide=form is show.Format.WIDE)
            if not (watch and _world(world).again()):
                return


@app.command()
@reaches_cluster
def events(
    world: typer.Context,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing new ones, until Ctrl-C.")
    ] = False,
    output: Output = "table",
) -> None:
    """What ringfence has told of late: verdicts, acts, refusals, oldest first (as long as the cluster keeps Events)."""
    form = _format(output)
    with _sentences():
        reader = _reader(world)
        rows = event_rows(reader.list_events())
        from ringfence.cli import show  # noqa: PLC0415

        if watch:
            _follow(world, reader, rows)
        elif form in {show.Format.JSON, show.Format.YAML}:
            typer.echo(show.as_text(rows, form))
        elif not rows:
            typer.echo("no event of ringfence is on record")
        else:
            show.console(sys.stdout).print(show.events(rows))


def _follow(context: typer.Context, reader: Reader, rows: list[EventRow]) -> None:
    from ringfence.cli import show  # noqa: PLC0415

    told: set[str] = set()
    while True:
        for row in rows:
            if row.uid not in told:
                typer.echo(show.event_line(row))
        told = {row.uid for row in rows}
        if not _world(context).again():
            return
        rows = event_rows(reader.list_events())


@app.command("doctor")
@reaches_cluster
def examine(
    world: typer.Context,
    only: Annotated[
        list[str] | None,
        typer.Option("--only", metavar="PART", help=f"One of {', '.join(doctor.PARTS)}; may be repeated."),
    ] = None,
    wait: Annotated[
        int,
        typer.Option(
            "--wait", metavar="SECONDS", min=0, help="Look again for so long while something is broken."
        ),
    ] = 0,
    release: Release = "ringfence-system",
    output: Output = "table",
) -> None:
    """What would stand in the way of a failover: the installation, nodes, fences, KubeVirt, storage, tolerations.

    Changes nothing. Ends with 7 if anything is broken. `--only uninstall` says what would stay behind.
    """
    form = _format(output)
    if unknown := [part for part in only or () if part not in doctor.PARTS]:
        raise typer.BadParameter(f"{unknown[0]!r} is none of {', '.join(doctor.PARTS)}", param_hint="--only")
    until = _world(world).now() + timedelta(seconds=wait)
    with _sentences(), waiting("looking at the cluster"):
        while True:
            look = doctor.Look(_reader(world), release, _world(world).now())
            findings = doctor.examine(look, only or ())
            well = not any(finding.level is doctor.Level.BROKEN for finding in findings)
            if well or look.now >= until or not _world(world).again():
                break
    from ringfence.cli import show  # noqa: PLC0415

    if form in {show.Format.JSON, show.Format.YAML}:
        typer.echo(show.as_text(findings, form))
    else:
        show.findings(show.console(sys.stdout), findings, wide=form is show.Format.WIDE)
    if not well:
        raise typer.Exit(NOT_WELL)


@app.command("support-bundle")
@reaches_cluster
def support_bundle(
    world: typer.Context,
    file: Annotated[
        Path | None, typer.Option("--file", "-f", help="Where to write it; default: a name with the time.")
    ] = None,
    release: Release = "ringfence-system",
) -> None:
    """What somebody needs who shall help you: objects, Events, logs and the doctor's findings, in one archive.

    Secrets are never read. What looks like one elsewhere is blacked out; look through it before you give it away.
    """
    now = _world(world).now()
    target = file or Path(f"ringfence-support-{now:%Y%m%d-%H%M%S}.tar.gz")
    with _sentences(), waiting("collecting objects, Events and logs"):
        packed = bundle.collect(_reader(world), release, now)
    try:
        bundle.write(packed, target)
    except OSError as error:
        _end(f"{target} can't be written: {error.strerror or error}", REFUSED)
    typer.echo(f"{target}: {len(packed.files)} files")
    for line in packed.missing:
        typer.echo(f"not in it: {line}")


@app.command("dry-run")
@reaches_cluster
def dry_run(
    world: typer.Context,
    kill: Annotated[
        list[str], typer.Option("--kill", metavar="NODE", help="The node; repeated: all of them at once.")
    ],
    release: Release = "ringfence-system",
    output: Output = "table",
) -> None:
    """What would be decided if NODE fell silent now: verdict, limits, fence, VMs. Nothing is done, nothing is written.

    The acting controller answers, by the code and the view of the cluster by which it would act. Ends with 7 if the
    VMs of one of the nodes would not be restarted without anybody's help.
    """
    form = _format(output)
    with _sentences(), waiting("asking the acting controller"):
        answer = supposition.ask(_reader(world), release, kill)
    from ringfence.cli import show  # noqa: PLC0415

    rows = supposition.read(answer)
    if form in {show.Format.JSON, show.Format.YAML}:
        typer.echo(show.as_text(answer, form))
    else:
        show.supposed(show.console(sys.stdout), rows)
    if not all(row.good for row in rows):
        raise typer.Exit(NOT_WELL)


@app.command()
def simulate(
    story: Annotated[
        str | None,
        typer.Argument(
            help="A story, or a folder with your own cluster.yaml and script.txt. Without it: which stories there are.",
            autocompletion=simulation.known,
        ),
    ] = None,
    output: Output = "table",
) -> None:
    """Play an incident in virtual time, in seconds: the code that decides, in a modelled cluster. Needs none of yours.

    Ends with 7 if an invariant broke on the way: a VM ran twice, a node was fenced that lives, and the like.
    """
    form = _format(output)
    with _sentences(), waiting("playing"):
        told = simulation.stories() if story is None else simulation.perform(story)
    from ringfence.cli import show  # noqa: PLC0415

    if form in {show.Format.JSON, show.Format.YAML}:
        typer.echo(show.as_text(told, form))
    elif isinstance(told, simulation.Played):
        show.played(show.console(sys.stdout), told)
    else:
        show.console(sys.stdout).print(show.stories(told))
    if isinstance(told, simulation.Played) and told.broken:
        _end(f"an invariant broke: {told.broken}", NOT_WELL)


@app.command()
def version(output: Output = "table") -> None:
    """The version of this command."""
    form = _format(output)
    from ringfence.cli import show  # noqa: PLC0415

    if form in {show.Format.JSON, show.Format.YAML}:
        typer.echo(show.as_text({"version": __version__}, form))
    else:
        typer.echo(f"ringfence {__version__}")


@app.command()
def completion(
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish", help="Your shell.")],
) -> None:
    """The script that lets your shell complete ringfence's commands: source <(ringfence completion bash)."""
    if shell not in SHELLS:
        raise typer.BadParameter(f"{shell!r} is none of {', '.join(SHELLS)}", param_hint="SHELL")
    from typer._completion_shared import get_completion_script  # noqa: PLC0415

    typer.echo(get_completion_script(prog_name="ringfence", complete_var="_RINGFENCE_COMPLETE", shell=shell))


@fence_app.command()
@reaches_cluster
def confirm(
    world: typer.Context,
    node: Annotated[str, typer.Argument(help="Name of the node that is off.")],
    *,
    checked: Annotated[
        bool,
        typer.Option(
            confirmation.FLAG, help="Confirm. Without it you are shown what to check, and nothing is done."
        ),
    ] = False,
    statement: Annotated[
        str | None, typer.Option("--statement", help="How you know that it is off; kept on record.")
    ] = None,
    release: Release = "ringfence-system",
) -> None:
    """State that NODE is off, so that its VMs may start elsewhere. Refused while the node shows a sign of life.

    Nothing checks this statement: if the node still runs, its VMs run twice on the same disks.
    """
    if statement is not None and not statement.strip():
        raise typer.BadParameter(
            "say how you know that the node is off, or leave it out", param_hint="--statement"
        )
    with _sentences():
        reader = _reader(world)
        asked = confirmation.prepare(reader, node, release, _world(world).now())
        for line in asked.lines():
            typer.echo(line)
        if not checked:
            typer.echo("")
            for line in asked.checks():
                typer.echo(line)
            _end("nothing was confirmed", REFUSED)
        said = statement or f"I have checked that {node} is off ({confirmation.FLAG})"
        confirmation.give(reader, asked, said.strip())
    typer.echo(f"{asked.failover}: confirmed as {asked.user}")


@failover_app.command("release")
@reaches_cluster
def failover_release(
    world: typer.Context,
    name: Annotated[str, typer.Argument(help="Name of the Failover, or of its node.")],
    *,
    reason: Annotated[
        str, typer.Option("--reason", help="Why the limit need not hold now; kept on record.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Let a node be fenced against a limit that weighs what is likely: too many at once, planned work. No other can be overruled."""
    if not reason.strip():
        raise typer.BadParameter("say why the limit need not hold now", param_hint="--reason")
    with _sentences():
        reader = _reader(world)
        asked = leave.prepare(reader, name)
        for line in asked.lines():
            typer.echo(line)
        if not yes and not typer.confirm("Release it?"):
            _end("nothing was released", REFUSED)
        leave.give(reader, asked, reason.strip())
    typer.echo(f"{asked.failover}: released as {asked.user}")


@fence_app.command("status")
@reaches_cluster
def fence_status(world: typer.Context, output: Output = "table") -> None:
    """Every fence device and node: whether it would work now, when that was last proved, its last drill."""
    form = _format(output)
    with _sentences():
        rows = fence_devices.device_rows(_reader(world))
    from ringfence.cli import show  # noqa: PLC0415

    if form in {show.Format.JSON, show.Format.YAML}:
        typer.echo(show.as_text(rows, form))
    elif not rows:
        typer.echo("there is no FenceDevice: after a node's death a person must confirm that it is off")
    else:
        table = show.devices(rows, _world(world).now(), wide=form is show.Format.WIDE)
        show.console(sys.stdout).print(table)


@fence_app.command()
@reaches_cluster
def drill(
    world: typer.Context,
    device: Annotated[str, typer.Argument(help="Name of the FenceDevice.")],
    node: Annotated[str, typer.Argument(help="Name of the node; it must be cordoned and empty.")],
    *,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show what becomes of it, until it is over.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Switch NODE off and on by DEVICE, to prove that it cuts exactly this node.

    The controller refuses it while the node carries guests, takes pods, or anything fails over.
    """
    with _sentences():
        reader = _reader(world)
        question = f"This switches {node} off, and on again. A device that is wired to another node switches that one off. Go on?"
        if not yes and not typer.confirm(question):
            _end("no drill was asked for", REFUSED)
        request = fence_devices.ask(reader, device, node, _world(world).now())
        typer.echo(f"{device}: a drill with {node} is asked for")
        if watch:
            with waiting(f"waiting for the drill of {device}"):
                _watch_drill(world, reader, device, request)


def _watch_drill(context: typer.Context, reader: Reader, device: str, request: str) -> None:
    """Tell what changes until it is over; ends with its exit code unless it passed."""
    told = ""
    while True:
        try:
            state = fence_devices.look(reader, device, request)
        except Unavailable as error:  # the node that goes off may carry the API server: this passes
            state = fence_devices.DrillState(str(error), over=False, passed=False)
        if state.sentence != told:
            told = state.sentence
            typer.echo(told)
        if state.over:
            if not state.passed:
                _end(f"the drill of {device} has proved nothing", REFUSED)
            return
        if not _world(context).again():
            _end("you stopped watching; the drill goes on: ringfence fence status", NOT_DONE)


@keys_app.callback(invoke_without_command=True)
@reaches_cluster
def keys(world: typer.Context, output: Output = "table") -> None:
    """The ring's group keys, and their change; without a command as `keys status`."""
    if world.invoked_subcommand is None:
        keys_status(world, output=output)


@keys_app.command("status")
@reaches_cluster
def keys_status(world: typer.Context, output: Output = "table") -> None:
    """The keys' generation, how far a change of them has come, and which agents it waits for."""
    form = _format(output)
    with _sentences():
        row = group_keys.look(_reader(world))
    from ringfence.cli import show  # noqa: PLC0415

    if form in {show.Format.JSON, show.Format.YAML}:
        typer.echo(show.as_text(row, form))
    else:
        show.keys(show.console(sys.stdout), row)


@keys_app.command("rotate")
@reaches_cluster
def keys_rotate(
    world: typer.Context,
    *,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="NODE", help="Don't wait for this node's agent; may be repeated."),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Show the progress until it is done.")
    ] = True,
) -> None:
    """Change the group key that seals all that agents say to each other, while they go on.

    Takes up to five minutes: each of three steps waits until every kubelet has brought the changed Secret to its agent.
    """
    with _sentences():
        reader = _reader(world)
        wanted = group_keys.ask(reader, without or ())
        typer.echo(f"generation {wanted} of the group keys is asked for")
        with waiting("waiting for the agents"):
            done = not wait or _show_rotation(world, reader, wanted)
        if not done:
            _end("you stopped waiting; it goes on in the cluster: ringfence keys status", NOT_DONE)


def _show_rotation(context: typer.Context, reader: Reader, wanted: int) -> bool:
    """Tell what changes until it is done; False where the person would not wait for that."""
    told = ""
    try:
        while True:
            try:
                row = group_keys.look(reader)
            except Unavailable as error:  # minutes are long: this passes, and the change goes on
                sentence, done = str(error), False
            else:
                sentence, done = row.sentence, row.done and row.generation >= wanted
            if sentence != told:
                told = sentence
                typer.echo(told)
            if done or not _world(context).again():
                return done
    except KeyboardInterrupt:
        return False


def main() -> Never:
    """The console script."""
    sys.exit(app(obj=World(connect=_connect, now=lambda: datetime.now(UTC), again=_pause)))


def _pause() -> bool:
    try:
        time.sleep(WATCH_EVERY)
    except KeyboardInterrupt:
        return False
    return True


def _connect(access: Access) -> Reader:
    from ringfence.kube.kubeconfig import KubeconfigReader  # noqa: PLC0415 - a second's import

    return KubeconfigReader(access)


def _world(context: typer.Context) -> World:
    world = context.obj
    assert isinstance(world, World)
    return world


def _reader(context: typer.Context) -> Reader:
    return _world(context).connect(said(context))


def _format(text: str) -> Format:
    from ringfence.cli.show import Format  # noqa: PLC0415

    try:
        return Format(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(Format)}", param_hint="--output") from None


@contextmanager
def _sentences() -> Iterator[None]:
    """Every foreseen failure is one sentence on stderr and an exit code."""
    try:
        yield
    except (
        confirmation.NotAskedError,
        leave.NoLeaveError,
        fence_devices.NoDrillError,
        group_keys.NothingToldError,
    ) as error:
        _end(str(error), REFUSED)
    except simulation.BadScriptError as error:
        _end(str(error), USAGE)
    except (
        NotInstalledError,
        incident.UnknownNodeError,
        subject.UnknownSubjectError,
        simulation.NoStageError,
        supposition.NothingSupposedError,
        NotFound,
    ) as error:
        _end(str(error), NOT_THERE)
    except Forbidden as error:
        _end(str(error), FORBIDDEN)
    except ClusterError as error:
        unusable = isinstance(error, Unavailable) or error.status == 0
        _end(str(error), UNREACHABLE if unusable else REFUSED)


def _end(sentence: str, code: int) -> Never:
    typer.echo(f"ringfence: {sentence}", err=True)
    raise typer.Exit(code)
