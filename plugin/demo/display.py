"""The demonstration on the terminal: one line per stage, alive while it works, with its seconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Say = Callable[[str], None]
"""Changes what the line of the running stage says."""


class Display:
    """Shows stages one after the other and remembers how long each took."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.seconds: dict[str, float] = {}
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]ok"),
            TextColumn("[bold]{task.fields[stage]:<10}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
            console=console,
            refresh_per_second=4,
        )

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[Say]:
        """Show a stage while the block runs; what was said last stays on its line."""
        task = self._progress.add_task(what, stage=name, total=None)
        started = time.monotonic()
        last = what

        def say(line: str) -> None:
            nonlocal last
            last = line
            self._progress.update(task, description=line)

        try:
            yield say
        except BaseException:
            say(f"failed: {last}")
            raise
        finally:
            self._progress.update(task, total=1.0, completed=1.0)
            took = time.monotonic() - started
            self.seconds[name] = round(self.seconds.get(name, 0.0) + took, 1)
            if not self.console.is_terminal:
                # A log file gets each line once, when the stage ends.
                self.console.print(f"{name:<13}{took:6.1f} s  {last}", markup=False)
