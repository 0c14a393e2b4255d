"""Who a process is, and whether it lives."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks_app.worker.process import identity
from tests.support.cluster import eventually, started_at

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(identity, "_PROC", tmp_path)
    identity.this_machine.cache_clear()
    yield
    identity.this_machine.cache_clear()


def test_this_process_is_itself_and_lives() -> None:
    me = identity.this_process()
    assert me.pid == os.getpid()
    assert me == identity.this_process()
    assert identity.is_alive(pid=me.pid, pid_started=me.pid_started)
    assert not identity.is_dead_process(machine=me.machine, pid=me.pid, pid_started=me.pid_started)


@needs_proc
def test_machine_and_start_fit_their_columns_and_name_boot_and_namespace() -> None:
    me = identity.this_process()
    boot, _, namespace = me.machine.partition("/")
    assert boot == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert namespace.startswith("pid:[")
    assert len(me.machine) <= 100
    assert me.pid_started.isdigit()
    assert len(me.pid_started) <= 30


@needs_proc
def test_another_process_with_the_same_pid_is_not_it() -> None:
    me = identity.this_process()
    earlier = str(int(me.pid_started) - 1)
    assert not identity.is_alive(pid=me.pid, pid_started=earlier)
    assert identity.is_dead_process(machine=me.machine, pid=me.pid, pid_started=earlier)


@needs_proc
def test_a_zombie_is_dead_before_it_is_reaped_and_after(child: subprocess.Popen[bytes]) -> None:
    started = started_at(child.pid)
    assert identity.is_alive(pid=child.pid, pid_started=started)
    child.kill()
    eventually(lambda: not identity.is_alive(pid=child.pid, pid_started=started), what="the death")
    assert Path(f"/proc/{child.pid}").exists()
    child.wait()
    assert not identity.is_alive(pid=child.pid, pid_started=started)


def test_a_process_of_another_machine_is_never_a_corpse() -> None:
    assert not identity.is_dead_process(machine="another", pid=2**22 + 1, pid_started="1")


@pytest.mark.parametrize("name", ["python", "a b", "a) S 1 (b", ")))"])
def test_a_process_may_be_called_anything(name: str) -> None:
    numbers = " ".join(str(number) for number in range(4, 53))
    assert identity._state_and_start(f"77 ({name}) Z {numbers}\n") == ("Z", "22")


@pytest.mark.usefixtures("without_proc")
def test_without_proc_only_a_pid_that_nobody_has_is_dead(child: subprocess.Popen[bytes]) -> None:
    me = identity.this_process()
    assert me.pid_started == ""
    assert "/" in me.machine
    assert len(me.machine) <= 100
    assert identity.is_alive(pid=child.pid, pid_started="")
    child.kill()
    child.wait()
    assert not identity.is_alive(pid=child.pid, pid_started="")


@pytest.mark.usefixtures("without_proc")
def test_a_process_that_we_may_not_signal_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert identity.is_alive(pid=1, pid_started="")
