"""That something is waited for, said to whoever sits at the terminal: a line on stderr with a clock, gone when it is over."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show it meanwhile. Nothing is shown where stderr is no terminal: logs and pipes get no animation."""
    if not sys.stderr.isatty():
        yield
        return
    import rich.console  # noqa: PLC0415 - slow, and not every command waits
    import rich.progress  # noqa: PLC0415

    shown = rich.progress.Progress(
        rich.progress.SpinnerColumn(),
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.TimeElapsedColumn(),
        console=rich.console.Console(stderr=True, highlight=False),
        transient=True,
        # What a command prints meanwhile goes above the line; into a pipe it goes as ever.
        redirect_stdout=sys.stdout.isatty(),
    )
    with shown:
        shown.add_task(what, total=None)
        yield
