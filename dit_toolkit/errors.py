"""The errors a user can cause, each with the exit code of the command line that meets it."""

from __future__ import annotations

from collections.abc import Iterable


class DitToolkitError(Exception):
    """A failure with a cause the user can act on; shown as `error:` lines, without a traceback."""

    exit_code = 2
    told = False
    """Whether another process says it already."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class RecipeError(DitToolkitError):
    """One or more faults of a recipe; every line starts with the TOML path of the fault."""

    @classmethod
    def of(cls, faults: Iterable[tuple[str, str]]) -> RecipeError:
        """Make the error from (TOML path, message) pairs."""
        return cls(*(f"{path}: {message}" if path else message for path, message in faults))


class PluginError(DitToolkitError):
    """A plugin that cannot be loaded, or a kind that two plugins offer."""

    exit_code = 6


class DataError(DitToolkitError):
    """A file that is missing, damaged or of another shape than promised."""


class MissingDataError(DataError):
    """Data that is not there, with the commands that make it, in which RECIPE stands for the path of the recipe."""

    def __init__(self, line: str, *commands: str) -> None:
        super().__init__(line, *(f"  {command}" for command in commands))
        self.line, self.commands = line, commands

    def of_recipe(self, path: object) -> MissingDataError:
        """Name the recipe in the commands."""
        return MissingDataError(self.line, *(command.replace("RECIPE", str(path)) for command in self.commands))


class CheckpointError(DitToolkitError):
    """A run or checkpoint that is missing, damaged or made by another recipe."""


class StorageError(DitToolkitError):
    """A disk that is full or not writable."""

    exit_code = 5


class NonFiniteError(DitToolkitError):
    """A loss or gradient that is not a finite number."""

    exit_code = 4


class OutOfMemory(DitToolkitError):
    """A model, or a batch, that does not fit into the memory of the GPU or machine; says what to change."""


def out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on a GPU (torch.OutOfMemoryError), in torch's allocator on a CPU, or in Python."""
    signs = ("CUDA out of memory", "can't allocate memory", "not enough memory", "std::bad_alloc")
    named = type(error).__name__ == "OutOfMemoryError" or isinstance(error, MemoryError)
    return named or (isinstance(error, RuntimeError) and any(sign in str(error) for sign in signs))


class Interrupted(DitToolkitError):
    """A run stopped by a signal, a time limit or a file after saving its state; running it again goes on."""

    exit_code = 3
