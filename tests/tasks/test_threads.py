"""The threads of functions that are not asynchronous: how many, how they end, and what hangs."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import wait

import pytest

from asfn.tasks.threads import WorkerThreads

PROGRAM = """
import asyncio, threading
from asfn.engine import Engine

def hang(event):
    threading.Event().wait()

async def main():
    engine = Engine(drain_seconds=0.1)
    engine.register("hang", hang)
    async with engine:
        state = {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:123456789012:function:hang", "End": True}
        await engine.create_state_machine("m", {"StartAt": "Hang", "States": {"Hang": state}})
        await engine.start("m")
        await asyncio.sleep(0.1)
    print("left", flush=True)

asyncio.run(main())
print("ended", flush=True)
"""


def test_results_and_errors_come_back() -> None:
    threads = WorkerThreads(2, "test")
    assert threads.submit(divmod, 7, 2).result(5) == (3, 1)
    assert isinstance(threads.submit(int, "x").exception(5), ValueError)
    threads.shutdown()


def test_there_are_no_more_threads_than_allowed_and_idle_ones_are_used_again() -> None:
    threads = WorkerThreads(3, "test")
    gate, names = threading.Event(), set()

    def work(number: int) -> int:
        names.add(threading.current_thread().name)
        gate.wait(5)
        return number

    futures = [threads.submit(work, number) for number in range(20)]
    gate.set()
    assert [future.result(5) for future in futures] == list(range(20))
    for number in range(20):
        assert threads.submit(work, number).result(5) == number
    assert len(names) <= 3
    threads.shutdown()


def test_work_that_was_cancelled_before_it_began_is_not_done() -> None:
    threads = WorkerThreads(1, "test")
    gate, done = threading.Event(), []
    first = threads.submit(gate.wait, 5)
    second = threads.submit(done.append, "second")
    assert threads.abandon(second) is False
    gate.set()
    assert first.result(5)
    threads.submit(done.append, "third").result(5)
    assert done == ["third"]
    threads.shutdown()


def test_calls_that_hang_and_were_given_up_do_not_starve_the_others() -> None:
    threads = WorkerThreads(2, "test")
    gate = threading.Event()
    hanging = [threads.submit(gate.wait, 30) for _ in range(2)]
    waiting = threads.submit(str, 1)
    with pytest.raises(TimeoutError):
        waiting.result(0.05)
    for future in hanging:
        assert threads.abandon(future)
    assert waiting.result(5) == "1"
    assert [threads.submit(str, number).result(5) for number in range(5)] == list("01234")
    gate.set()
    wait(hanging, 5)
    assert threads.submit(str, 7).result(5) == "7"
    threads.shutdown()


def test_threads_end_when_they_are_let_go_and_come_back_when_there_is_work() -> None:
    threads = WorkerThreads(4, "leaving")
    for _ in range(2):
        assert threads.submit(str, 1).result(5) == "1"
        mine = [thread for thread in threading.enumerate() if thread.name.startswith("leaving-")]
        assert mine
        threads.shutdown()
        for thread in mine:
            thread.join(5)
            assert not thread.is_alive()


@pytest.mark.real_time
def test_a_function_that_never_returns_keeps_neither_the_engine_nor_the_program_from_ending() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["left", "ended"]
    assert done.returncode == 0
