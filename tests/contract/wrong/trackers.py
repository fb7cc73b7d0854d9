from pathlib import Path

from attrs import field

from dit_toolkit.trackers.csv import CSV
from tests.contract.wrong import wrong


@wrong("records_a_run")
class Exclusive(CSV):
    """Refuses a folder that it has seen before."""

    def start(self, folder, recipe):
        (folder / "mine").mkdir()
        CSV.start(self, folder, recipe)


@wrong("values_are_kept")
class Popping(CSV):
    def log(self, step, values):
        values.pop("step", None)
        CSV.log(self, step, values)


@wrong("odd_values")
class Exits(CSV):
    """Ends the process on a value that is not finite."""

    def log(self, step, values):
        if any(value != value for value in values.values()):
            raise SystemExit(3)
        CSV.log(self, step, values)


@wrong("unwritable_target")
class ExitsAtStart(CSV):
    def start(self, folder, recipe):
        if not folder.is_dir():
            raise SystemExit("cannot write")
        CSV.start(self, folder, recipe)


@wrong("target_that_goes_away")
class ExitsLater(CSV):
    def log(self, step, values):
        path = Path(self._state.get("path", "."))
        if "path" in self._state and not path.parent.exists():
            raise SystemExit("cannot write")
        CSV.log(self, step, values)


@wrong("starts_again_after_a_failure")
class OnceOnly(CSV):
    """Remembers that it was started, also where that failed."""

    _open: list[int] = field(factory=list, init=False, repr=False, eq=False)

    def start(self, folder, recipe):
        if self._open:
            raise RuntimeError("already started")
        if not folder.is_dir():
            self._open.append(1)
        CSV.start(self, folder, recipe)
