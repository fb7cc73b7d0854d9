"""Reads a file of samples as the evaluator of ADM does: the array's header, then batch by batch, never as a whole.

Written from its description: the member `arr_0.npy` of the zip archive is opened as a stream, the shape is taken from
the header of the .npy format, and as many bytes as a batch has are read at a time.
"""

import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np


def batches(path: Path, size: int) -> Iterator[np.ndarray]:
    """Images of `arr_0` in batches (n, H, W, 3) of at most `size`."""
    with zipfile.ZipFile(path) as archive, archive.open("arr_0.npy") as stream:
        assert np.lib.format.read_magic(stream) == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        assert not fortran
        for first in range(0, shape[0], size):
            count = min(size, shape[0] - first)
            wanted = count * int(np.prod(shape[1:])) * dtype.itemsize
            data = b""
            while len(data) < wanted:
                piece = stream.read(wanted - len(data))
                assert piece, "the file ends early"
                data += piece
            yield np.frombuffer(data, dtype).reshape(count, *shape[1:])
        assert not stream.read(1)
