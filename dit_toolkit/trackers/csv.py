"""The run's numbers as one table, for a spreadsheet or pandas."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from attrs import field, frozen

from dit_toolkit.components import Tracker
from dit_toolkit.errors import StorageError

FILE = "metrics.csv"


@frozen(kw_only=True)
class CSV(Tracker):
    """`metrics.csv` in the run folder: a row per step, a column per number.

    A resumed run appends, so steps that it repeats are there twice, the later row being the one that counts.
    """

    kind = "csv"
    _state: dict[str, Any] = field(factory=dict, init=False, repr=False, eq=False)

    def start(self, folder: Path, recipe: Mapping[str, Any]) -> None:  # noqa: ARG002 - the recipe is beside the table
        """Read the columns of a table that is there already; StorageError where it cannot be written."""
        path = folder / FILE
        try:
            with path.open("a+", newline="", encoding="utf-8") as file:
                file.seek(0)
                text = file.read()
                if text and not text.endswith("\n"):  # a kill in the middle of a row
                    file.write("\n")
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
        self._state.update(path=path, columns=next(csv.reader(io.StringIO(text)), []))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row; new names become new columns at the end."""
        row = {"step": step, **values}
        path, columns = self._state["path"], self._state["columns"]
        grown = [*columns, *(name for name in row if name not in columns)]
        try:
            if grown == columns:
                with path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, columns).writerow(row)
            else:
                _replace(path, grown, row)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written ({error.strerror})") from error
        self._state["columns"] = grown


def _replace(path: Path, columns: list[str], row: Mapping[str, object]) -> None:
    """Write the table anew with more columns, beside the old one and then in its place."""
    with path.open(newline="", encoding="utf-8") as file:
        rows: Iterable[Mapping[str, object]] = [*csv.DictReader(file), row]
    beside = path.with_suffix(".csv.tmp")
    with beside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    beside.replace(path)
