"""What the doctor finds on machines that are ill in one way each."""

import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections import namedtuple
from types import SimpleNamespace

import pytest

from dit_toolkit.doctor import gpu, hosts, machine, versions
from dit_toolkit.errors import DataError


@pytest.fixture
def extensions(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("place", ["cpu_adam", "py311_cu130/cpu_adam"])
@pytest.mark.parametrize(("minutes", "state"), [(1, "warn"), (60, "fail")])
def test_a_lock_is_found_and_judged_by_its_age(extensions, place, minutes, state):
    assert [finding.state for finding in machine.locks()] == ["ok"]
    lock = extensions / place / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    os.utime(lock, (time.time() - 60 * minutes,) * 2)
    [finding] = machine.locks()
    assert finding.state == state
    assert f"rm {lock}" in finding.advice


def test_the_lock_is_the_one_that_torch_waits_for(extensions):
    """As the first of two processes that compile an extension leaves it when it is killed."""
    from torch.utils.cpp_extension import _get_build_directory
    from torch.utils.file_baton import FileBaton

    folder = _get_build_directory("cpu_adam", False)
    baton = FileBaton(f"{folder}/lock")
    assert baton.try_acquire()
    [finding] = machine.locks()
    assert finding.state == "warn"
    assert baton.lock_file_path in finding.seen
    baton.release()


def test_a_busy_port(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        number = str(taken.getsockname()[1])
        monkeypatch.setenv("MASTER_PORT", number)
        assert machine.port().state == "fail"
        assert machine.port().seen == f"{number}: Address already in use"
    assert machine.port().state == "ok"


@pytest.mark.parametrize("text", ["", "x", "70000", "0"])
def test_a_port_that_is_none(monkeypatch, text):
    monkeypatch.setenv("MASTER_PORT", text)
    assert machine.port().state == "fail"


def test_a_machine_without_a_name(monkeypatch):
    def fail(name):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "gethostbyname", fail)
    assert machine.host_name(several=False).state == "warn"


@pytest.mark.parametrize(
    ("several", "device", "state"), [(False, None, "ok"), (True, None, "warn"), (True, "e0", "ok")]
)
def test_a_name_that_other_hosts_do_not_find(monkeypatch, several, device, state):
    """Debian gives a machine's own name the address 127.0.1.1; gloo then tells other hosts to connect there."""
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "127.0.1.1")
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", device or "")
    if device is None:
        monkeypatch.delenv("GLOO_SOCKET_IFNAME")
    assert machine.host_name(several=several).state == state


def test_little_shared_memory(monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(64 * 2**20, 0, 64 * 2**20))
    assert machine.shared_memory()[:3] == ("warn", "/dev/shm", "0.1 GiB")


def test_few_open_files(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, 65_536))
    assert machine.open_files() == ("warn", "open files", "256", "ulimit -n 4096")


def test_a_clock_of_the_last_century(monkeypatch):
    monkeypatch.setattr(machine, "time", SimpleNamespace(**{**vars(time), "time": lambda: 9e8}))
    assert machine.clock().state == "warn"


def test_no_compiler(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert [finding.state for finding in machine.compilers()] == ["warn", "warn"]


@pytest.mark.parametrize(
    ("seen", "state"),
    [("2.7.1", "fail"), ("2.8.0+cu128", "ok"), ("2.14.1", "ok"), ("2.15.0", "warn"), ("3.0.0.dev1", "warn")],
)
def test_versions_of_torch(monkeypatch, seen, state):
    monkeypatch.setattr(versions, "version", lambda package: seen if package == "torch" else "0.19.8")
    found = {finding.what: finding.state for finding in versions.versions(0)}
    assert found == {"python": "ok", "torch": state, "deepspeed": "ok"}


def test_a_missing_package(monkeypatch):
    def missing(package):
        raise versions.PackageNotFoundError(package)

    monkeypatch.setattr(versions, "version", missing)
    advice = [finding.advice for finding in versions.versions(0)]
    assert advice == ["", "pip install 'torch>=2.8'", "pip install 'deepspeed>=0.18'"]


def test_the_cuda_of_torch_is_read_without_importing_it():
    import torch

    assert versions.cuda() == torch.version.cuda


def nvidia_smi(tmp_path, monkeypatch, *lines, code=0):
    program = tmp_path / "nvidia-smi"
    printed = "\n".join(f"echo '{line}'" for line in lines)
    program.write_text(f"#!/bin/sh\n{printed}\nexit {code}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_gpus_as_nvidia_smi_tells_of_them(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "cuda", lambda: "13.0")
    nvidia_smi(
        tmp_path,
        monkeypatch,
        "NVIDIA H100 80GB HBM3, 81559, 81000, 580.65.06, 9.0",
        "Tesla V100, SXM2, 16384, 1024, 570.11, 7.0",
    )
    found = gpu.look()
    assert [(card.name, card.capability) for card in found] == [("NVIDIA H100 80GB HBM3", 9.0), ("Tesla V100, SXM2", 7)]
    states = {finding.what: finding.state for finding in gpu.gpus(found)}
    assert states == {"GPU 0": "ok", "GPU 1": "warn", "driver": "ok", "bf16": "warn"}
    monkeypatch.setattr(gpu, "cuda", lambda: "13.0")
    old = [finding for finding in gpu.gpus(found[1:]) if finding.what == "driver"]
    assert old == [("fail", "driver", "570.11", "torch's CUDA 13.0 needs 580 or newer")]


def test_a_driver_that_is_not_loaded(tmp_path, monkeypatch):
    nvidia_smi(tmp_path, monkeypatch, "NVIDIA-SMI has failed", code=9)
    assert gpu.look() == []
    assert next(iter(gpu.gpus([]))).state == "fail"


def test_hidden_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    card = gpu.GPU("H100", 2**36, 2**36, "600.1", 9.0)
    assert [finding.seen for finding in gpu.gpus([card]) if finding.state == "warn"] == [
        "CUDA_VISIBLE_DEVICES= hides all"
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no host"),
        ("# node1 slots=2\n\n", "names no host"),
        ("node1\n", "line 1: 'node1' is not of the form 'NAME slots=N'"),
        ("node1 slots=0", "with N from 1 up"),
        ("node1 slots=two", "is not of the form"),
        ("a slots=1\na slots=2", "line 2: a comes twice"),
    ],
)
def test_hostfiles_that_are_none(tmp_path, text, message):
    path = tmp_path / "hostfile"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        hosts.read_hostfile(path)
    assert hosts.hostfile(path).state == "fail"


def test_a_sound_hostfile(tmp_path, monkeypatch):
    path = tmp_path / "hostfile"
    path.write_text("node1 slots=2  # the first\nnode2\tslots=8\n")
    assert hosts.read_hostfile(path) == {"node1": 2, "node2": 8}
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "10.0.0.1")
    assert hosts.hostfile(path)[:3] == ("ok", "hostfile", "2 hosts, 10 processes")


def test_the_doctor_does_not_import_torch():
    script = (
        "import sys, dit_toolkit.doctor.examination as doctor; list(doctor.examine()); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
