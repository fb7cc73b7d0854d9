"""The tracker `wandb`: the run's numbers and pictures for Weights & Biases."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from attrs import field, frozen

from dit_toolkit import PluginError, StorageError, Tracker, hookimpl

FOLDER = "wandb"


@frozen(kw_only=True)
class WandB(Tracker):
    """Weights & Biases (wandb.ai), in the `wandb/` folder of the run; a resumed run goes on under the same id.

    Nothing leaves the machine unless `mode` is "online"; `wandb sync` uploads what was recorded offline.
    """

    kind = "wandb"
    project: str = "dit-toolkit"
    name: str | None = None
    """Shown for the run; the name of the run folder unless given."""
    mode: Literal["offline", "online", "disabled"] = "offline"
    tags: tuple[str, ...] = ()
    _state: dict[str, Any] = field(factory=dict, init=False, repr=False, eq=False)

    def start(self, folder: Path, recipe: Mapping[str, Any]) -> None:
        """Open the run.

        Raises:
            PluginError: the package wandb is not installed, or refuses to start.
            StorageError: the folder cannot be written.
        """
        try:
            import wandb
        except ImportError as error:
            raise PluginError(
                f"the tracker 'wandb' needs the package of this name ({error})", "pip install wandb"
            ) from error
        identity = _identity(folder / FOLDER)
        try:
            self._state["run"] = wandb.init(
                project=self.project,
                name=self.name or folder.name,
                mode=self.mode,
                tags=self.tags,
                config=dict(recipe),
                dir=folder,
                id=identity,
                resume="allow" if self.mode == "online" else None,
                reinit="create_new",
                settings=wandb.Settings(console="off", save_code=False, login_timeout=60),
            )
        except wandb.Error as error:
            raise PluginError(f"the tracker 'wandb' cannot start: {error}") from error

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record the values of one step."""
        self._state["run"].log({name: value for name, value in values.items() if name != "step"}, step=step)

    def images(self, step: int, name: str, path: Path) -> None:
        """Record a picture."""
        import wandb

        self._state["run"].log({name: wandb.Image(str(path))}, step=step)

    def close(self) -> None:
        """Flush and close."""
        if "run" in self._state:
            self._state.pop("run").finish()


def _identity(folder: Path) -> str:
    """Read the id of the run, or choose one; wandb would go elsewhere without a word where it cannot write."""
    path = folder / "id"
    try:
        folder.mkdir(exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(13, os.strerror(13))
        if not path.exists():
            path.write_text(secrets.token_hex(4), encoding="utf-8")
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror})") from error


@hookimpl
def register_trackers() -> list[type[Tracker]]:
    """Offer the tracker."""
    return [WandB]
