from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from dit_toolkit import launch, watchdog
from dit_toolkit.errors import DitToolkitError
from dit_toolkit.launch import World, first_host, processes, spawn, world

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "OMP_NUM_THREADS")


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No launcher's variables, and whatever is set goes away again."""
    for name in list(os.environ):
        if name in VARIABLES or name.startswith("SLURM_"):
            monkeypatch.delenv(name)
    for name in VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def python(script: str) -> tuple[str, ...]:
    return (sys.executable, "-c", script)


def test_a_world_of_one():
    assert world() == World(0, 0, 1)
    assert not launch.launched()


def test_torchrun(monkeypatch):
    for name, value in {"RANK": "5", "LOCAL_RANK": "1", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    assert world() == World(5, 1, 8)
    assert launch.launched()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RANK": "0"}, "RANK is set but WORLD_SIZE is not"),
        ({"RANK": "x", "WORLD_SIZE": "2"}, "RANK is 'x', not a whole number"),
        ({"RANK": "2", "WORLD_SIZE": "2"}, r"RANK \(2\) is not below WORLD_SIZE \(2\)"),
    ],
)
def test_variables_that_do_not_fit(monkeypatch, variables, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DitToolkitError, match=message):
        world()


SLURM = {
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "4",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "123456",
    "SLURM_STEP_ID": "0",
    "SLURM_JOB_NODELIST": "node[03-04]",
}


def test_slurm(monkeypatch):
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    assert world() == World(3, 1, 4)
    assert world() == World(3, 1, 4)
    assert os.environ["MASTER_ADDR"] == "node03"
    assert 15_000 <= int(os.environ["MASTER_PORT"]) < 30_000


@pytest.mark.parametrize("change", [{"SLURM_STEP_ID": None}, {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}])
def test_a_batch_script_and_a_step_of_one_task_are_no_world(monkeypatch, change):
    for name, value in {**SLURM, **change}.items():
        if value is not None:
            monkeypatch.setenv(name, value)
    assert world() == World(0, 0, 1)
    assert "RANK" not in os.environ


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("node1", "node1"),
        ("node[1-4,7]", "node1"),
        ("node[001-004],other", "node001"),
        ("a,b", "a"),
        ("rack[2-3]n[5,7].cluster,x", "rack2n5.cluster"),
        ("", ""),
    ],
)
def test_first_host(hosts, first):
    assert first_host(hosts) == first


def test_processes(monkeypatch):
    monkeypatch.setattr(launch, "gpus", lambda: 4)
    assert processes() == 4
    assert processes(2) == 2
    monkeypatch.setattr(launch, "gpus", lambda: 0)
    assert processes() == 1


@pytest.mark.parametrize("visible", ["", "-1"])
def test_hidden_gpus_do_not_count(monkeypatch, visible):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert launch.gpus() == 0


def test_the_variables_of_the_processes(capfd):
    script = (
        f"import os; print(*(os.environ[name] for name in {[*VARIABLES[:4], 'OMP_NUM_THREADS', 'LOCAL_WORLD_SIZE']}))"
    )
    assert spawn(2, [], program=python(script)) == 0
    lines = sorted(capfd.readouterr().out.splitlines())
    threads = max(1, len(os.sched_getaffinity(0)) // 2)
    assert lines == [f"{rank} 2 {rank} 127.0.0.1 {threads} 2" for rank in (0, 1)]


def test_given_threads_are_kept(monkeypatch, capfd):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    assert spawn(1, [], program=python("import os; print(os.environ['OMP_NUM_THREADS'])")) == 0
    assert capfd.readouterr().out == "7\n"


def test_a_process_that_fails_ends_the_others():
    began = time.monotonic()
    assert (
        spawn(2, [], program=python("import os, time; os._exit(4) if os.environ['RANK'] == '1' else time.sleep(600)"))
        == 4
    )
    assert time.monotonic() - began < 120  # not the 600


def test_a_deaf_process_is_killed(monkeypatch):
    monkeypatch.setattr(launch, "GRACE", 0.5)
    script = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if os.environ["RANK"] == "0":
    time.sleep(0.5)
    raise SystemExit(5)
time.sleep(600)
"""
    began = time.monotonic()
    assert spawn(2, [], program=python(script)) == 5
    assert time.monotonic() - began < 120  # not the 600


def test_stopped_and_resumable_stays_3_and_ends_nobody():
    script = "import os, sys, time; time.sleep(float(os.environ['RANK'])); sys.exit(3)"
    assert spawn(2, [], program=python(script)) == 3


def test_the_others_may_tell_their_error_first(monkeypatch, capfd):
    monkeypatch.setattr(launch, "PATIENCE", 60.0)  # Starting may take a busy machine longer than the second it has.
    script = """
import os, signal, sys, time
if os.environ["RANK"] == "1":
    sys.exit(2)
time.sleep(0.5)
sys.exit("told")
"""
    assert spawn(2, [], program=python(script)) == 2
    assert capfd.readouterr().err == "told\n"


def test_a_killed_process_is_named(capfd):
    script = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert spawn(1, [], program=python(script)) == 128 + 9
    assert "error: process 0 of 1 was ended by SIGKILL (out of memory?)" in capfd.readouterr().err


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGUSR1", "SIGHUP"])
def test_signals_are_passed_on(tmp_path, monkeypatch, name):
    monkeypatch.setattr("dit_toolkit.stop.leave_terminal", lambda: None)
    script = f"""
import os, signal, sys, time
from pathlib import Path
signal.signal(signal.{name}, lambda *_: sys.exit(3))
Path({str(tmp_path)!r}, os.environ["RANK"]).touch()
time.sleep(600)
"""

    def send() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), getattr(signal, name))

    sender = threading.Thread(target=send)
    sender.start()
    before = signal.getsignal(getattr(signal, name))
    assert spawn(2, [], program=python(script)) == 3
    sender.join()
    assert signal.getsignal(getattr(signal, name)) == before


def test_a_signal_before_a_process_listens_is_a_stop_all_the_same(tmp_path, monkeypatch, capfd):
    """One of two is still importing and dies of it: the command goes on, so that a job script may start it again."""
    script = f"""
import os, signal, sys, time
from pathlib import Path
if os.environ["RANK"] == "0":
    signal.signal(signal.SIGTERM, lambda *_: None)
Path({str(tmp_path)!r}, os.environ["RANK"]).touch()
time.sleep(600)
"""

    def send() -> None:
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(launch, "GRACE", 0.5)
    sender = threading.Thread(target=send)
    sender.start()
    assert spawn(2, [], program=python(script)) == 3
    sender.join()
    assert "stopped by SIGTERM while starting; the same command goes on" in capfd.readouterr().err


def test_a_stack_comes_through_the_pipe_which_no_other_process_inherits(capfd):
    script = """
import os, signal
from dit_toolkit import watchdog
pipe = int(os.environ[watchdog.STACK])
def here():
    os.kill(os.getpid(), signal.SIGUSR2)
with watchdog.watching(0):
    here()
print(watchdog.STACK in os.environ, os.get_inheritable(pipe))
"""
    assert spawn(1, [], program=python(script)) == 0
    out, err = capfd.readouterr()
    assert out == "False False\n"
    assert err.count("in here") == 1


def test_stacks_of_processes_that_are_silent_at_once_do_not_mix(capfd):
    script = """
import signal, time
from dit_toolkit import watchdog
signal.signal(signal.SIGTERM, signal.SIG_IGN)
def silent_here():
    time.sleep(60)
with watchdog.watching(1):
    watchdog.beat()
    silent_here()
"""
    assert spawn(3, [], program=python(script)) == 1
    err = capfd.readouterr().err
    assert err.count("Timeout (0:00:01)!") == err.count("in silent_here") == 3


def test_a_stack_may_be_larger_than_a_pipe(capfd):
    script = f"import os; os.write(int(os.environ[{watchdog.STACK!r}]), b'x' * 300_000)"
    assert spawn(1, [], program=python(script)) == 0
    assert capfd.readouterr().err.count("x") == 300_000


def test_a_process_that_left_its_end_of_the_pipe_to_another_ends(capfd):
    script = f"""
import os, subprocess, sys
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3)"], close_fds=False)
os.write(int(os.environ[{watchdog.STACK!r}]), b"told")
"""
    assert spawn(1, [], program=python(script)) == 0
    assert capfd.readouterr().err == "told\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux only")
def test_the_processes_do_not_outlive_their_parent(tmp_path):
    child = f"import os, time; open({str(tmp_path)!r} + '/' + str(os.getpid()), 'w').close(); time.sleep(600)"
    parent = subprocess.Popen(python(f"from dit_toolkit.launch import spawn; spawn(2, [], program={python(child)!r})"))
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.02)
    pids = [int(path.name) for path in tmp_path.iterdir()]
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 60
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(pid) for pid in pids)


def _runs(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def test_importing_the_launcher_does_not_import_torch():
    script = "import sys, dit_toolkit.launch as launch; launch.processes(2); print('torch' in sys.modules)"
    assert subprocess.run(python(script), capture_output=True, text=True, check=True).stdout == "False\n"
