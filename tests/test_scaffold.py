import os
import subprocess
import sys

import pytest
import tomli
from click.testing import CliRunner

from dit_toolkit.cli import cli
from dit_toolkit.cli.plugins import WORDS
from tests.conftest import ROOT


@pytest.mark.parametrize("word", WORDS)
def test_a_new_package_of_every_family_passes_its_own_tests(word, tmp_path):
    made = CliRunner().invoke(cli, ["plugins", "new", f"my-{word}", "--family", word, "--out", str(tmp_path)])
    assert made.exit_code == 0, made.output
    folder = tmp_path / f"dit-toolkit-plugin-my-{word}"
    assert made.output.strip() == str(folder)
    project = tomli.loads((folder / "pyproject.toml").read_text())
    assert project["project"]["entry-points"]["dit_toolkit"] == {f"my-{word}": f"dit_toolkit_plugin_my_{word}"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"], cwd=folder, env=environment, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_bad_names_and_existing_folders_are_refused(tmp_path):
    def new(name):
        return CliRunner().invoke(cli, ["plugins", "new", name, "--family", "sampler", "--out", str(tmp_path)])

    assert "no kind" in new("My_Sampler").output
    assert new("twice").exit_code == 0
    kept = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    again = new("twice")
    assert again.exit_code == 6
    assert "exists already" in again.output
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == kept
