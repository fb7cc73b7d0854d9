"""Every check finds what is wrong with a component that is wrong in that way, and with that alone."""

import sys
from importlib import import_module

import pytest

from dit_toolkit.components import FAMILIES
from dit_toolkit.samplers.euler import Euler
from dit_toolkit.testing import checks_of
from dit_toolkit.testing.parametrize import name_of
from tests.contract.wrong import WRONG

FOUND = {}
"""Family (or "common") of every wrong component: the cases, by where they are written."""
for family in ("common", *FAMILIES):
    start = len(WRONG)
    import_module(f"tests.contract.wrong.{family}")
    FOUND[family] = WRONG[start:]


def failing(component):
    failed = {}
    for check in checks_of(component):
        try:
            check(component)
        except AssertionError as error:
            failed[name_of(check)] = str(error)
    return failed


@pytest.mark.parametrize(("name", "component"), WRONG, ids=[f"{type(c).__name__}-{name}" for name, c in WRONG])
def test_exactly_this_check_fails(name, component):
    failed = failing(component)
    assert list(failed) == [name], failed
    assert len(failed[name]) > 20, "the message must help"


@pytest.mark.parametrize("family", FOUND)
def test_every_check_is_shown_to_fail(family):
    module = import_module(f"dit_toolkit.testing.{family}")
    checks = {name.removeprefix("check_") for name in vars(module) if name.startswith("check_")}
    checks -= {"import_is_light", "class"}  # the first has a test below, the second is an imported helper
    assert checks == {name for name, _ in FOUND[family]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import deepspeed", "heavy imports deepspeed; do it inside"),
        ("import torch; torch.cuda.is_initialized = lambda: True", "heavy initialises CUDA; do it inside"),
        ("import no_such_module", "heavy cannot be imported in a fresh process: .*no_such_module"),
    ],
)
def test_a_heavy_import_is_found(tmp_path, monkeypatch, line, message):
    from dit_toolkit.testing import common

    (tmp_path / "deepspeed.py").write_text("")
    (tmp_path / "torch.py").write_text("class cuda: pass\n")
    (tmp_path / "heavy.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(sys.modules, "heavy", import_module("heavy"))
    (tmp_path / "heavy.py").write_text(line)
    common._heavy.cache_clear()
    monkeypatch.setattr(Euler, "__module__", "heavy")
    with pytest.raises(AssertionError, match=f"(?s){message}"):
        common.check_import_is_light(Euler())
    common._heavy.cache_clear()
