"""Processes for tests, forked from a server that has imported the program once: each is there at once."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

PRELOADED = ["lightning_app.maps.scoring", "lightning_app.training.program"]


def context() -> multiprocessing.context.ForkServerContext:
    """The context of such processes."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(PRELOADED)
    return server


class Forked:
    """A process that calls a function as a script would: in a folder and environment of its own, output to a file.

    Args:
        function: What to call, of a module.
        args: Its arguments.
        cwd: Working folder.
        environment: All variables.
    """

    def __init__(self, function: Callable[..., Any], *args: Any, cwd: Path, environment: dict[str, str]) -> None:
        self.log = cwd / f"process{len(list(cwd.glob('process*.log')))}.log"
        self.log.touch()
        self._ours, theirs = multiprocessing.Pipe()
        self._said = False
        work = (function, args, cwd, environment, self.log, theirs)
        self.process: ForkServerProcess = context().Process(target=_call, args=work)
        self.process.start()
        theirs.close()

    def say(self) -> None:
        """Send the one line that it waits for on its standard input."""
        if not self._said:
            self._ours.send("go on\n")
            self._said = True

    def text(self) -> str:
        """What it has said."""
        return self.log.read_text()

    def wait(self, timeout: float) -> int:
        """Its exit code."""
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still there after {timeout} s: {self.text()[-3000:]}"
        return self.process.exitcode


class _Lines:
    """Standard input that reads what the test sends."""

    def __init__(self, pipe: Any) -> None:
        self.pipe = pipe

    def readline(self) -> str:
        return self.pipe.recv()


def _call(
    function: Callable[..., Any], args: tuple[Any, ...], cwd: Path, environment: dict[str, str], log: Path, pipe: Any
) -> None:
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environment)
    with log.open("w") as file:
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    sys.stdout, sys.stderr = (os.fdopen(os.dup(number), "w", buffering=1) for number in (1, 2))
    sys.stdin = _Lines(pipe)
    try:
        function(*args)
    except SystemExit:
        raise
    except BaseException:
        traceback.print_exc()
        os._exit(1)
