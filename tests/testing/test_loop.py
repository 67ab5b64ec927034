from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from asfn.testing import DEFAULT_START_AT, Deadlock, VirtualClock, VirtualTimeLoop, run

if TYPE_CHECKING:
    from collections.abc import Callable

YEAR_SECONDS = 365 * 86_400


def test_a_year_of_sleep_passes_at_once_and_exactly() -> None:
    async def main(clock: VirtualClock) -> float:
        await asyncio.sleep(YEAR_SECONDS)
        return clock.now()

    assert run(main) == DEFAULT_START_AT + YEAR_SECONDS


def test_a_plain_coroutine_runs_too() -> None:
    assert run(asyncio.sleep(3600, "done")) == "done"


def test_the_clock_begins_where_it_is_told() -> None:
    async def main(clock: VirtualClock) -> float:
        return clock.now()

    assert run(main, start_at=1000.5) == 1000.5


def test_timers_fire_in_the_order_of_their_times() -> None:
    fired: list[tuple[str, float]] = []

    async def main(clock: VirtualClock) -> None:
        start = clock.now()

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep_until(start + seconds)
            fired.append((name, clock.now() - start))

        async with asyncio.TaskGroup() as group:
            for name, seconds in (("slow", 50.0), ("fast", 0.25), ("middle", 7.0), ("past", -3.0)):
                group.create_task(sleeper(name, seconds))

    run(main)
    assert fired == [("past", 0.0), ("fast", 0.25), ("middle", 7.0), ("slow", 50.0)]


def test_sleep_until_never_wakes_before_the_time_it_was_given() -> None:
    async def main(clock: VirtualClock) -> list[float]:
        late = []
        for step in range(1, 200):
            at = clock.now() + step * 0.1 + 1 / 3
            await clock.sleep_until(at)
            late.append(clock.now() - at)
        return late

    assert set(run(main, start_at=1_759_000_000.123)) == {0.0}


def test_call_at_calls_once_at_its_time_and_can_be_cancelled() -> None:
    async def main(clock: VirtualClock) -> list[float]:
        start = clock.now()
        seen: list[float] = []
        clock.call_at(start + 10, lambda: seen.append(clock.now() - start))
        clock.call_at(start + 5, lambda: seen.append(-1)).cancel()
        await clock.sleep_until(start + 100)
        return seen

    assert run(main) == [10.0]


def test_waiting_for_what_never_comes_is_an_error_that_names_the_waiting_task() -> None:
    async def main(clock: VirtualClock) -> None:
        asyncio.current_task().set_name("the waiter")  # type: ignore[union-attr]  # a task runs this
        await asyncio.Event().wait()

    with pytest.raises(Deadlock, match=r"nothing is ready.*\n  the waiter waits at .*locks\.py:\d+ in wait"):
        run(main)


def test_a_deadlock_lists_only_some_of_many_tasks() -> None:
    async def main(clock: VirtualClock) -> None:
        await asyncio.gather(*(asyncio.Event().wait() for _ in range(50)))

    with pytest.raises(Deadlock, match="and 43 more tasks"):
        run(main)


def test_time_stands_still_while_a_worker_thread_is_busy() -> None:
    release = threading.Event()

    async def main(clock: VirtualClock) -> tuple[str, list[str]]:
        fired: list[str] = []
        clock.call_at(clock.now() + 0.001, lambda: fired.append("timer"))
        asyncio.get_running_loop().call_soon(release.set)
        return await asyncio.to_thread(lambda: (release.wait(), "from the thread")[1]), fired

    assert run(main) == ("from the thread", [])


def test_time_stands_still_inside_off_loop_and_goes_on_behind_it() -> None:
    async def main(clock: VirtualClock) -> tuple[float, float]:
        loop = asyncio.get_running_loop()
        start = clock.now()
        answered = loop.create_future()
        thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(answered.set_result, None))
        sleeping = asyncio.create_task(clock.sleep_until(start + 60))
        with clock.off_loop():
            await asyncio.sleep(0)
            thread.start()
            await answered
            inside = clock.now() - start
        thread.join()
        await sleeping
        return inside, clock.now() - start

    assert run(main) == (0.0, 60.0)


@pytest.mark.real_time
def test_work_outside_the_loop_that_never_ends_is_a_deadlock_after_some_patience() -> None:
    async def main() -> None:
        with loop.off_loop():
            await asyncio.sleep(1)

    loop = VirtualTimeLoop(patience_seconds=0.02)
    task = loop.create_task(main())
    try:
        with pytest.raises(Deadlock, match=r"work outside the loop \(1 open\) did not end within 0\.02 real"):
            loop.run_until_complete(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
    finally:
        loop.close()


def _order(seed: int | None) -> str:
    order: list[str] = []

    async def worker(name: str) -> None:
        for _ in range(3):
            order.append(name)
            await asyncio.sleep(0)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for name in "abcd":
                group.create_task(worker(name))

    run(main(), seed=seed)
    return "".join(order)


def test_without_a_seed_tasks_run_in_asyncios_order() -> None:
    assert _order(None) == "abcdabcdabcd"


def test_a_seed_shuffles_the_tasks_and_is_one_schedule() -> None:
    orders = [_order(seed) for seed in range(20)]
    assert len(set(orders)) > 10
    assert orders == [_order(seed) for seed in range(20)]
    assert {"".join(sorted(order)) for order in orders} == {"aaabbbcccddd"}


def test_callbacks_keep_their_order_under_every_seed() -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        for number in range(20):
            loop.call_soon(seen.append, number)
            asyncio.ensure_future(asyncio.sleep(0)).add_done_callback(lambda _: None)
        await asyncio.sleep(1)
        return seen

    for seed in range(10):
        assert run(main(), seed=seed) == list(range(20))


def test_a_cancelled_step_never_runs() -> None:
    async def main() -> list[str]:
        seen: list[str] = []
        task = asyncio.create_task(_note(seen))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return seen

    async def _note(seen: list[str]) -> None:
        seen.append("ran")

    for seed in range(5):
        assert run(main(), seed=seed) == []


def test_timeouts_groups_and_queues_of_asyncio_work_under_shuffling() -> None:
    async def main(clock: VirtualClock) -> list[int]:
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=2)
        taken: list[int] = []

        async def produce(first: int) -> None:
            for number in range(first, first + 5):
                await queue.put(number)
                await asyncio.sleep(1)

        async def consume() -> None:
            while True:
                taken.append(await queue.get())

        async def work() -> None:
            async with asyncio.timeout(100), asyncio.TaskGroup() as group:
                for first in (0, 10, 20):
                    group.create_task(produce(first))
                group.create_task(consume())

        with pytest.raises(TimeoutError):
            await work()
        return sorted(taken)

    expected = [*range(5), *range(10, 15), *range(20, 25)]
    for seed in (None, *range(10)):
        assert run(main, seed=seed) == expected


def test_loopback_sockets_work_under_shuffling() -> None:
    async def main(clock: VirtualClock) -> list[bytes]:
        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            served.release()

        async def ask(port: int, text: bytes) -> bytes:
            with clock.off_loop():
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(text)
                answer = await reader.readline()
                writer.close()
                await writer.wait_closed()
            return answer

        served = asyncio.Semaphore(0)
        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            answers = await asyncio.gather(*(ask(port, b"line %d\n" % number) for number in range(5)))
            with clock.off_loop():
                for _ in answers:
                    await served.acquire()
        return answers

    for seed in (None, 1, 2):
        assert run(main, seed=seed) == [b"LINE %d\n" % number for number in range(5)]


@pytest.mark.parametrize("raised", [ValueError("mine"), KeyboardInterrupt()])
def test_what_the_coroutine_raises_comes_out(raised: BaseException) -> None:
    async def main() -> None:
        raise raised

    with pytest.raises(type(raised)):
        run(main())


def test_the_loop_is_closed_and_tasks_left_behind_are_cancelled() -> None:
    ended: list[str] = []

    async def forever() -> None:
        try:
            await asyncio.sleep(YEAR_SECONDS)
        finally:
            ended.append("cancelled")

    async def main() -> Callable[[], bool]:
        ended.append(asyncio.create_task(forever()).get_name()[:4])
        await asyncio.sleep(0)
        return asyncio.get_running_loop().is_closed

    assert run(main())() is True
    assert ended == ["Task", "cancelled"]


def test_advance_lets_everything_happen_that_is_due_until_then_that_moment_included() -> None:
    async def main(clock: VirtualClock) -> list[tuple[str, float]]:
        seen: list[tuple[str, float]] = []

        async def sleeper(seconds: float) -> None:
            await clock.sleep_until(clock.now() + seconds)
            await asyncio.sleep(0)
            await asyncio.sleep(0.5)
            seen.append((f"after {seconds}", clock.elapsed.total_seconds()))

        async with asyncio.TaskGroup() as group:
            for seconds in (0.1, 59.5, 60.0):
                group.create_task(sleeper(seconds))
            await clock.advance(60)
            seen.append(("advanced", clock.elapsed.total_seconds()))
            await clock.advance(0)
            seen.append(("settled", clock.elapsed.total_seconds()))
        return seen

    for seed in (None, 1, 2):
        assert run(main, seed=seed) == [
            ("after 0.1", 0.6),
            ("after 59.5", 60.0),
            ("advanced", 60.0),
            ("settled", 60.0),
            ("after 60.0", 60.5),
        ]


def test_what_is_due_a_rounding_error_after_the_moment_is_due_at_it() -> None:
    async def main(clock: VirtualClock) -> list[int]:
        started = clock.now()
        seen: list[int] = []
        for step in range(1, 100):
            clock.call_at(started + step * 0.1, lambda step=step: seen.append(step))  # type: ignore[misc]
        for step in range(1, 100):
            await clock.advance(0.1)
            assert seen[-1] == step
        return seen

    assert run(main, start_at=1_759_000_000.123) == list(range(1, 100))


def test_advance_takes_units_and_refuses_to_go_back() -> None:
    async def main(clock: VirtualClock) -> timedelta:
        await clock.advance(1, minutes=1, hours=1, days=1, weeks=52)
        with pytest.raises(ValueError, match="time cannot pass backwards: -1"):
            await clock.advance(-1)
        return clock.elapsed

    assert run(main) == timedelta(days=365, hours=1, minutes=1, seconds=1)


def test_several_may_advance_at_once_and_one_of_them_may_give_up() -> None:
    async def main(clock: VirtualClock) -> list[float]:
        async def advance(seconds: float) -> float:
            await clock.advance(seconds)
            return clock.elapsed.total_seconds()

        given_up = asyncio.create_task(advance(5))
        await asyncio.sleep(0)
        given_up.cancel()
        return await asyncio.gather(*map(advance, (30, 10, 20, 10)))

    assert run(main) == [30.0, 10.0, 20.0, 10.0]


def test_held_time_stands_still_until_it_is_advanced() -> None:
    async def main(clock: VirtualClock) -> list[float]:
        rung: list[float] = []
        clock.call_at(clock.now() + 10, lambda: rung.append(clock.elapsed.total_seconds()))
        with clock.held():
            await clock.advance(9)
            assert rung == []
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    await clock.advance(3)
            with clock.free():
                await asyncio.sleep(0.25)
        await asyncio.sleep(1)
        return rung

    assert run(main) == [10.0]


def test_waiting_while_time_is_held_is_an_error_that_says_what_to_do() -> None:
    async def main(clock: VirtualClock) -> None:
        with clock.held():
            await asyncio.sleep(60)

    with pytest.raises(
        Deadlock, match=r"time is held, and nothing is due before 60 .*now: 0.*clock\.advance\(\)\n  Task"
    ):
        run(main)
