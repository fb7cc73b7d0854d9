"""Progress and messages on stderr, from rank 0 alone: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from dit_toolkit import watchdog

T = TypeVar("T")

INTERVAL = 10.0
"""Least seconds between two plain lines."""


def is_main() -> bool:
    """Whether this process is the one that talks: rank 0, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def log(text: str) -> None:
    """Write a line to stderr; that it cannot be written, as to a full disk or a lost terminal, ends nothing."""
    if is_main():
        with suppress(OSError):
            print(text, file=sys.stderr, flush=True)  # noqa: T201 - the one place that writes to stderr


def warn(text: str) -> None:
    """Write a warning to stderr."""
    log(f"warning: {text}")


class Progress(Protocol):
    """What `progress` hands out."""

    def advance(self, n: int = 1) -> None:
        """Count n more items as done, which is the sign of life that a watched process gives."""

    def show(self, **fields: object) -> None:
        """Show values (`loss=0.17`) beside the count, from the next `advance` on."""


@contextmanager
def progress(description: str, total: int, *, done: int = 0, interval: float = INTERVAL) -> Iterator[Progress]:
    """Show how far a loop of `total` items is, and how long the rest takes; `done` items were done before.

    Plain lines come at least `interval` seconds apart.
    """
    watchdog.beat()
    if not is_main():
        yield _Silent()
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _bar(description, total, done) as bar:
            yield bar
    else:
        lines = _Lines(description, total, done, interval)
        try:
            yield lines
        finally:
            lines.finish()


def track(items: Sequence[T], description: str) -> Iterator[T]:
    """Go through `items`, showing how far it is."""
    with progress(description, len(items)) as bar:
        for item in items:
            yield item
            bar.advance()


@contextmanager
def share(bar: Progress, count: int) -> Iterator[Callable[[int, int | None, object], None]]:
    """Advance a bar by `count` items, bit by bit where the callback says that i of at most n parts of them are done."""
    shown = 0

    def done(i: int, n: int | None, _: object) -> None:
        nonlocal shown
        due = min(count * i // n, count) if n else 0
        bar.advance(due - shown)
        shown = due

    yield done
    bar.advance(count - shown)


class _Silent:
    def advance(self, n: int = 1) -> None:  # noqa: ARG002
        watchdog.beat()

    def show(self, **fields: object) -> None:
        pass


class _Lines:
    def __init__(self, description: str, total: int, done: int, interval: float) -> None:
        self.interval = interval
        self.description, self.total, self.start, self.done = description, total, done, done
        self.began = time.monotonic()
        self.written_at, self.written = self.began - interval, done
        self.fields: dict[str, object] = {}

    def show(self, **fields: object) -> None:
        self.fields.update(fields)

    def advance(self, n: int = 1) -> None:
        watchdog.beat()
        self.done += n
        if time.monotonic() - self.written_at >= self.interval:
            self._write()

    def finish(self) -> None:
        if self.done != self.written:
            self._write()

    def _write(self) -> None:
        now = time.monotonic()
        seconds = now - self.began
        parts = [f"{self.description} {self.done}/{self.total}", *_shown(self.fields), f"{_clock(seconds)} elapsed"]
        if self.start < self.done < self.total:
            parts.append(f"{_clock(seconds * (self.total - self.done) / (self.done - self.start))} left")
        log(", ".join(parts))
        self.written_at, self.written = now, self.done


@contextmanager
def _bar(description: str, total: int, done: int) -> Iterator[Progress]:
    from rich import progress as rich_progress
    from rich.console import Console, RenderableType
    from rich.text import Text

    class Bar(rich_progress.Progress):
        """The bar, and the values on a line below it, which takes a second one where the terminal is narrow."""

        shown = ""

        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            if self.shown:
                yield Text("  " + self.shown)

    bar = Bar(
        "{task.description}",
        rich_progress.BarColumn(),
        rich_progress.MofNCompleteColumn(),
        rich_progress.TimeElapsedColumn(),
        "<",
        rich_progress.TimeRemainingColumn(),
        console=Console(stderr=True),
        redirect_stdout=sys.stdout.isatty(),
    )
    task = bar.add_task(description, total=total, completed=done)

    with bar:
        yield _Bar(bar, task)


class _Bar:
    def __init__(self, bar: Any, task: int) -> None:
        self.bar, self.task = bar, task
        self.fields: dict[str, object] = {}

    def show(self, **fields: object) -> None:
        self.fields.update(fields)

    def advance(self, n: int = 1) -> None:
        watchdog.beat()
        self.bar.shown = " ".join(_shown(self.fields))
        self.bar.update(self.task, advance=n)


def _shown(fields: dict[str, object]) -> list[str]:
    return [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in fields.items()]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
