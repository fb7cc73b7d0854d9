"""Outputs that are complete, or not there."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from dit_toolkit.errors import StorageError
from dit_toolkit.files import refuse_existing


@contextmanager
def written_aside(out: Path) -> Iterator[Path]:
    """Give a name to write a file or folder to; it becomes `out` when all is done, and is removed on an error.

    Raises:
        DataError: `out` is there already, or its folder is not.
        StorageError: the disk is full or not writable.
    """
    refuse_existing(out)
    temporary = out.parent / f".{out.name}-{uuid.uuid4().hex[:8]}"
    try:
        yield temporary
        temporary.rename(out)
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{out}: cannot be written: {error}") from error
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
