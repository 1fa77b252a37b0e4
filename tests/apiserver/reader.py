"""Somebody who types what the pages show: in a copy of what they name, with kubectl, helm, ringfence and make in PATH."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from apiserver.installed import ROOT
from apiserver.programs import binaries, program
from apiserver.server import wait_for
from lab.helm import helm

BOUND = 120.0
"""Seconds that one command may take."""
COPIED = ("crds", "charts/ringfence", "docs/examples")


@dataclass(frozen=True, slots=True)
class Said:
    typed: str
    code: int
    text: str
    """What it printed and what it complained of, in one."""


class Reader:
    def __init__(self, kubeconfig: Path, home: Path) -> None:
        self.home = home
        tools, own = home / "bin", home / ".local/bin"
        for folder in (tools, own):
            folder.mkdir(parents=True)
        for name, words in (
            ("kubectl", program(binaries(), "kubectl")),
            ("helm", [str(helm())]),
            ("ringfence", [str(Path(sys.executable).with_name("ringfence"))]),
            # .venv is there, as these tests run from it; nothing is installed into it.
            ("make", ["/usr/bin/make", "-o", ".venv/.made", "-C", str(ROOT)]),
        ):
            (tools / name).write_text(f'#!/bin/sh\nexec {" ".join(words)} "$@"\n')
            (tools / name).chmod(0o755)
        for folder_ in COPIED:
            shutil.copytree(ROOT / folder_, home / folder_)
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("KUBERNETES_")},
            "PATH": f"{tools}:{own}:/usr/bin:/bin",
            "HOME": str(home),
            "KUBECONFIG": str(kubeconfig),
            "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}",
        }

    def types(self, command: str, answer: str = "") -> Said:
        done = subprocess.run(
            ["bash", "-c", command],
            input=answer,
            cwd=self.home,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=BOUND,
        )
        return Said(command, done.returncode, done.stdout)

    def watches(self, command: str, until: str, meanwhile: Callable[[], object]) -> Said:
        """Start what goes on for ever, do something once it has begun to print, and interrupt it when it has printed ``until``.

        By its own id: the shell and the wrapper become the command. The code is negative where the signal has ended it.
        """
        file = self.home / "watched"
        with file.open("wb") as out:
            process = subprocess.Popen(
                # Whoever runs the tests may ignore the signal, and that is inherited.
                ["bash", "-c", f"exec env --default-signal=INT {command}"],
                cwd=self.home,
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(f"a first word of {command}", file.read_text, BOUND)
            meanwhile()
            wait_for(f"{command} to print {until}", lambda: re.search(until, file.read_text()), BOUND)
        finally:
            process.send_signal(signal.SIGINT)
            try:
                code = process.wait(BOUND)
            finally:
                process.kill()
        return Said(command, code, file.read_text())
