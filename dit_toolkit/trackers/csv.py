"""The run's numbers as one table, for a spreadsheet or pandas."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from dit_toolkit.components import Tracker
from dit_toolkit.errors import StorageError
from dit_toolkit.files import write_atomically

FILE = "metrics.csv"


@frozen(kw_only=True)
class CSV(Tracker):
    """`metrics.csv` in the run folder: a row per step, a column per number; a resumed run goes on with it."""

    kind = "csv"
    _state: dict[str, Any] = field(factory=dict, init=False, repr=False, eq=False)

    def start(self, folder: Path, recipe: Mapping[str, Any]) -> None:  # noqa: ARG002 - the recipe is beside the table
        """Open the table; StorageError where it cannot be written."""
        path = folder / FILE
        try:
            path.open("a").close()
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
        self._state.update(path=path, columns=[])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row; new names become new columns at the end."""
        row = {"step": step, **values}
        path, columns = self._state["path"], self._state["columns"]
        try:
            if set(row) <= set(columns):
                with path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, columns).writerow(row)
            else:
                self._state["columns"] = _rewrite(path, row)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def _rewrite(path: Path, row: Mapping[str, float]) -> list[str]:
    """Write the table anew with one more row; returns its columns.

    Rows of later steps, which a resumed run does again, and a row that a kill cut short are left out.
    """
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    reader = csv.DictReader(line for line in lines if line.endswith("\n"))
    columns = list(reader.fieldnames or [])
    columns += [name for name in row if name not in columns]
    table = io.StringIO(newline="")
    writer = csv.DictWriter(table, columns, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(old for old in reader if old.get("step", "").isdecimal() and int(old["step"]) < row["step"])
    writer.writerow(row)
    write_atomically(path, table.getvalue())
    return columns
