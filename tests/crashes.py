"""A file system that loses power: what may be on the disk after each change that a program made."""

from itertools import product
from pathlib import Path

from dit_toolkit import files

MODES = [
    dict(zip(("data", "inner", "outer"), mode, strict=True))
    for mode in product(("kept", "lost", "torn"), (0, 1), (0, 1))
]
"""What becomes of data that was not fsynced, and whether such names are there, inside folders and in the root."""


class File:
    def __init__(self, data=b"", synced=False):
        self.now, self.disk = data, data if synced else None

    def sync(self):
        self.disk = self.now

    def after(self, data):
        """Contents after a crash."""
        if data == "kept" or self.now == self.disk:
            return self.now
        return (self.disk or b"") if data == "lost" else self.now[: len(self.now) // 2] + b"\0" * 3


class Folder:
    def __init__(self, names=()):
        self.now = dict(names)
        self.disk = dict(self.now)

    def sync(self):
        self.disk = dict(self.now)


class Recorder:
    """Follows the changes below a root, and can put the root into any state in which a crash might leave it."""

    def __init__(self, root: Path, monkeypatch):
        self.path = root
        self.root = Folder({p.name: self._read(p) for p in root.iterdir()})
        self.crashes = []
        """After each change: what it was, and the contents of the disk for each mode."""
        monkeypatch.setattr(files, "changed", self.changed)

    def _read(self, path):
        return (
            Folder({p.name: self._read(p) for p in path.iterdir()}) if path.is_dir() else File(path.read_bytes(), True)
        )

    def changed(self, operation, path, new=None):
        *above, name = path.relative_to(self.path).parts or ("",)
        folder = self.root
        for part in above:
            folder = folder.now.setdefault(part, Folder())
        if operation == "write":
            folder.now.setdefault(name, File()).now = path.read_bytes()
        elif operation == "fsync":
            (folder.now[name] if name else self.root).sync()
        elif operation == "rename":
            folder.now[new.name] = folder.now.pop(name)
        else:
            del folder.now[name]
        self.crashes.append((f"{operation} {path.name}", [self.after(self.root, **mode) for mode in MODES]))

    def after(self, folder, *, data, inner, outer):
        """{name: bytes or folder} after a crash."""
        names = folder.now if outer else folder.disk
        return {
            name: node.after(data) if isinstance(node, File) else self.after(node, data=data, inner=inner, outer=inner)
            for name, node in names.items()
        }


def lay_out(path: Path, contents):
    """Make the folder of a state."""
    path.mkdir()
    for name, data in contents.items():
        if isinstance(data, dict):
            lay_out(path / name, data)
        else:
            (path / name).write_bytes(data)
