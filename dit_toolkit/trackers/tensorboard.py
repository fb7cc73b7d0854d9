"""The run's numbers and pictures for TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import field, frozen

from dit_toolkit.components import Tracker
from dit_toolkit.errors import PluginError, StorageError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

FOLDER = "events"


@frozen(kw_only=True)
class TensorBoard(Tracker):
    """Event files in the `events/` folder of the run: `tensorboard --logdir runs`."""

    kind = "tensorboard"
    _state: dict[str, Any] = field(factory=dict, init=False, repr=False, eq=False)

    def start(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """Make the folder.

        Raises:
            PluginError: the package tensorboard is not installed.
            StorageError: the folder cannot be written.
        """
        try:
            import torch.utils.tensorboard  # noqa: F401
        except ImportError as error:
            raise PluginError(
                f"the tracker 'tensorboard' needs the package of this name ({error})",
                'pip install "dit-toolkit[tensorboard]"',
            ) from error
        try:
            (folder / FOLDER).mkdir(exist_ok=True)
        except OSError as error:
            raise StorageError(f"{folder / FOLDER}: cannot be written ({error.strerror})") from error
        self._state.update(folder=folder / FOLDER, recipe=recipe)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of one step."""
        writer = self._writer(step)
        for name, value in values.items():
            if name != "step":
                writer.add_scalar(name, value, step)

    def images(self, step: int, name: str, path: Path) -> None:
        """Record a picture."""
        import numpy as np
        from PIL import Image

        with Image.open(path) as picture:
            self._writer(step).add_image(name, np.asarray(picture.convert("RGB")), step, dataformats="HWC")

    def close(self) -> None:
        """Flush and close."""
        if "writer" in self._state:
            self._state.pop("writer").close()

    def _writer(self, step: int) -> SummaryWriter:
        """Open the event file when the first step is known: what a resumed run repeats from there on is replaced."""
        if "writer" not in self._state:
            from torch.utils.tensorboard import SummaryWriter

            recipe = json.dumps(self._state["recipe"], indent=2, default=str)
            self._state["writer"] = SummaryWriter(str(self._state["folder"]), purge_step=step)
            self._state["writer"].add_text("recipe", f"```json\n{recipe}\n```", step)
        writer: SummaryWriter = self._state["writer"]
        return writer
