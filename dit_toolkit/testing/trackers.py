"""Checks of trackers: they may fail, but never more than themselves."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from attrs import evolve

from dit_toolkit.components import Tracker

RECIPE = {"seed": 0, "model": {"hidden_size": 16}}
PATIENCE = 30.0
"""Seconds that a call may take on a target that cannot be written."""


def check_records_a_run(tracker: Tracker) -> None:
    """Start, log, picture and close succeed, also a second time in the same folder, as a resumed run does."""
    tracker = _fresh(tracker)
    with _folder() as folder:
        for first in (1, 3):
            for name, call in _calls(tracker, folder, first):
                try:
                    call()
                except Exception as error:
                    when = "" if first == 1 else " of a resumed run"
                    raise AssertionError(f"{name}(){when} raises {type(error).__name__}: {error}") from error


def check_values_are_kept(tracker: Tracker) -> None:
    """Neither the recipe nor the logged values are changed: other trackers get the same ones."""
    tracker = _fresh(tracker)
    with _folder() as folder:
        recipe: dict[str, Any] = {"seed": 0, "model": {"hidden_size": 16}}
        values = {"step": 1, "loss": 0.5, "lr": 1e-4}
        tracker.start(folder, recipe)
        try:
            tracker.log(1, values)
        finally:
            tracker.close()
        assert recipe == RECIPE, f"start() changes the recipe to {recipe}"
        assert values == {"step": 1, "loss": 0.5, "lr": 1e-4}, f"log() changes the values to {values}"


def check_odd_values(tracker: Tracker) -> None:
    """A number that is not finite and a name that comes later are recorded, or an ordinary exception."""
    tracker = _fresh(tracker)
    with _folder() as folder:
        tracker.start(folder, RECIPE)
        _survives("log of NaN", lambda: tracker.log(1, {"loss": float("nan")}))
        _survives("log of a new name", lambda: tracker.log(2, {"loss": float("inf"), "val/loss": 0.5}))
        _survives("close", tracker.close)


def check_unwritable_target(tracker: Tracker) -> None:
    """Where nothing can be written, it fails soon and with an ordinary exception, which the training loop survives."""
    tracker = _fresh(tracker)
    with _folder() as folder:
        for name, call in _calls(tracker, folder / "grid.png" / "below-a-file", 1):
            _survives(f"{name} on an unwritable target", call)


def check_target_that_goes_away(tracker: Tracker) -> None:
    """So it does where the folder is lost during the run."""
    tracker = _fresh(tracker)
    with _folder() as folder:
        calls = dict(_calls(tracker, folder, 1))
        calls.pop("start")()
        shutil.rmtree(folder)
        for name, call in calls.items():
            _survives(f"{name} after the folder is gone", call)


def check_starts_again_after_a_failure(tracker: Tracker) -> None:
    """A failed run leaves nothing behind that stops the next one."""
    tracker = _fresh(tracker)
    with _folder() as folder:
        for _, call in _calls(tracker, folder / "grid.png" / "below-a-file", 1):
            try:
                call()
            except BaseException:  # judged by another check
                continue
        for name, call in _calls(tracker, folder, 1):
            try:
                call()
            except Exception as error:
                raise AssertionError(f"{name}() fails after an earlier run failed: {error}") from error


def _fresh(tracker: Tracker) -> Tracker:
    """Make a tracker of the same options that was never started."""
    fresh: Tracker = evolve(cast(Any, tracker))
    return fresh


def _calls(tracker: Tracker, folder: Path, first: int) -> list[tuple[str, Callable[[], None]]]:
    """The calls of a run whose first logged step is `first`."""
    return [
        ("start", lambda: tracker.start(folder, RECIPE)),
        ("log", lambda: tracker.log(first, {"step": first, "loss": 0.5})),
        ("images", lambda: tracker.images(first, "samples", folder / "grid.png")),
        ("close", tracker.close),
    ]


def _survives(what: str, call: Callable[[], None]) -> None:
    """Call, and let an ordinary exception pass if it comes soon."""
    began = time.monotonic()
    try:
        call()
    except Exception:
        pass
    except BaseException as error:
        raise AssertionError(f"{what} raises {type(error).__name__}, which stops the run; raise an Exception") from None
    took = time.monotonic() - began
    assert took < PATIENCE, f"{what} takes {took:.0f} s"


@contextmanager
def _folder() -> Iterator[Path]:
    """A run folder with one picture in it."""
    from PIL import Image

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name) / "run"
        folder.mkdir()
        Image.new("RGB", (8, 8)).save(folder / "grid.png")
        yield folder
