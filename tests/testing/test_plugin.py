"""The plugin as a user's project sees it: each test writes a small project and runs pytest on it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

import pytest

from asfn.testing import coverage, virtual  # noqa: F401

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

pytest_plugins = ["pytester"]

INSTALLED = any(point.value == "asfn.testing.plugin" for point in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "asfn.testing.plugin")
ALONE = ("-p", "no:asyncio", "-p", "no:anyio")
# What an inner run loads first is forgotten after it. So asfn is loaded before the first one, or `asfn` would remember
# classes of an earlier run; and hypothesis's plugin, which loads hypothesis when it likes, stays out.
OUT = ("-p", "no:hypothesispytest")

ORDER = {
    "StartAt": "Reserve",
    "States": {
        "Reserve": {
            "Type": "Task",
            "Resource": "arn:aws:states:::lambda:invoke",
            "Parameters": {"FunctionName": "reserve", "Payload.$": "$"},
            "ResultSelector": {"id.$": "$.Payload.id"},
            "Next": "Charge",
        },
        "Charge": {
            "Type": "Task",
            "Resource": "arn:aws:lambda:us-east-1:123456789012:function:charge",
            "Retry": [{"ErrorEquals": ["Bank.Busy"], "IntervalSeconds": 2, "MaxAttempts": 3, "BackoffRate": 2}],
            "Catch": [{"ErrorEquals": ["Card.Declined"], "Next": "Refused"}],
            "Next": "CoolOff",
        },
        "CoolOff": {"Type": "Wait", "Seconds": 259200, "Next": "Ship"},
        "Ship": {"Type": "Task", "Resource": "arn:aws:states:::sqs:sendMessage", "Parameters": {}, "End": True},
        "Refused": {"Type": "Fail", "Error": "Refused"},
    },
}


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Runs pytest on a project of one test file and one definition, with all warnings as errors."""
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", raising=False)

    def run(
        tests: str, *args: str, ini: str = "", conftest: str | None = None, files: Mapping[str, object] | None = None
    ) -> pytest.RunResult:
        pytester.makeini(f"[pytest]\nfilterwarnings = error\naddopts = --strict-markers --strict-config\n{ini}")
        pytester.makepyfile(test_flows=tests)
        if conftest is not None:
            pytester.makeconftest(conftest)
        for name, document in {"order.asl.json": ORDER, **(files or {})}.items():
            (pytester.path / name).write_text(json.dumps(document))
        return pytester.runpytest_inprocess(*PLUGIN, *OUT, *args)

    return run


USER = """
    from datetime import timedelta
    from pathlib import Path
    import pytest
    from asfn import ExecutionFailed

    @pytest.fixture
    async def orders(asfn):
        await asfn.create_state_machine("order", Path("order.asl.json"))
        return asfn

    async def test_a_busy_bank_is_asked_again(orders):
        orders.register("reserve", lambda event: {"id": event["id"]})
        charge = orders.mock("Charge").raises("Bank.Busy", times=2).returns({"charge": 1})
        orders.mock("Ship").returns({"MessageId": "m"})
        execution = await orders.start("order", {"id": 7})
        assert await execution.result() == {"MessageId": "m"}
        assert execution.path == ["Reserve", "Charge", "CoolOff", "Ship"]
        assert charge.payloads == [{"id": 7}] * 3
        assert orders.clock.elapsed == timedelta(days=3, seconds=6)

    async def test_a_declined_card_refuses_the_order(orders):
        orders.mock("Reserve").returns({"Payload": {"id": 1}})
        orders.mock("Charge").raises("Card.Declined", "no money")
        execution = await orders.start("order", {"id": 7})
        with pytest.raises(ExecutionFailed, match="Refused"):
            await execution.result()
        assert execution.path[-1] == "Refused"

    class TestInAClass:
        @pytest.fixture
        async def own(self, orders):
            assert isinstance(self, TestInAClass)
            yield orders
            assert orders.clock.elapsed == timedelta(seconds=5)

        @pytest.mark.parametrize("seconds", [5])
        async def test_methods_run_too(self, own, seconds):
            await own.clock.advance(seconds)
"""


@pytest.mark.parametrize(
    ("args", "ini"),
    [
        (ALONE, ""),
        (("-p", "no:anyio"), "asyncio_mode = auto\nasyncio_default_fixture_loop_scope = function"),
        (("-p", "no:anyio"), "asyncio_mode = strict\nasyncio_default_fixture_loop_scope = function"),
        (("-p", "no:asyncio"), "anyio_mode = auto"),
        ((), "asyncio_default_fixture_loop_scope = function"),
    ],
    ids=["no async plugin", "pytest-asyncio auto", "pytest-asyncio strict", "anyio auto", "both, as installed"],
)
def test_async_tests_and_fixtures_run_on_virtual_time_whatever_async_plugin_there_is(
    project: Callable[..., pytest.RunResult], args: tuple[str, ...], ini: str
) -> None:
    project(USER, *args, ini=ini).assert_outcomes(passed=3)


@pytest.mark.parametrize("mode", ["auto", "strict"])
def test_tests_that_do_not_use_asfn_are_left_to_pytest_asyncio(
    project: Callable[..., pytest.RunResult], mode: str
) -> None:
    tests = """
        import asyncio, pytest, pytest_asyncio

        @pytest_asyncio.fixture
        async def loop():
            return asyncio.get_running_loop()

        @pytest.mark.asyncio
        async def test_real(loop):
            assert type(asyncio.get_running_loop()).__name__ != "VirtualTimeLoop"
            assert loop is asyncio.get_running_loop()

        @pytest.mark.asyncio
        async def test_virtual(asfn, loop):
            assert type(asyncio.get_running_loop()).__name__ == "VirtualTimeLoop"
            assert loop is asyncio.get_running_loop()

        @pytest.mark.asyncio
        async def test_real_again(loop):
            assert type(asyncio.get_running_loop()).__name__ != "VirtualTimeLoop"
            assert loop is asyncio.get_running_loop()

        def test_plain(asfn):
            assert asfn.clock.now() > 0
    """
    ini = f"asyncio_mode = {mode}\nasyncio_default_fixture_loop_scope = function"
    project(tests, "-p", "no:anyio", ini=ini).assert_outcomes(passed=4)


def test_a_failing_test_fails_with_its_own_error_and_leaves_the_next_one_alone(
    project: Callable[..., pytest.RunResult],
) -> None:
    tests = """
        async def test_wrong(asfn):
            assert asfn.clock.elapsed.days == 1

        async def test_stuck(asfn):
            import asyncio
            try:
                await asyncio.Event().wait()
            finally:
                print("left at", await asfn.list_executions())

        async def test_right(asfn):
            assert asfn.clock.elapsed.days == 0
    """
    result = project(tests, *ALONE)
    result.assert_outcomes(passed=1, failed=2)
    result.stdout.fnmatch_lines(
        [
            "*assert 0 == 1*",
            "*Deadlock: nothing is ready, no timer is set*",
            "*left at ?]*",
        ]
    )
    assert "never retrieved" not in result.stdout.str()


def test_a_year_passes_in_no_time(project: Callable[..., pytest.RunResult]) -> None:
    tests = """
        import time

        async def test_year(asfn):
            year = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 31536000 - 1, "End": True}}}
            await asfn.create_state_machine("year", year)
            execution = await asfn.start("year", {"kept": True})
            before = time.perf_counter()
            assert await execution.result() == {"kept": True}
            assert time.perf_counter() - before < 60
            assert asfn.clock.elapsed.days == 364
    """
    project(tests, *ALONE).assert_outcomes(passed=1)


def test_options_come_from_the_conftest_and_from_marks(project: Callable[..., pytest.RunResult]) -> None:
    conftest = """
        import pytest

        @pytest.fixture
        def asfn_options():
            return {"definitions": "*.asl.json", "start_at": 1000.0}
    """
    tests = """
        import pytest

        pytestmark = pytest.mark.asfn(region="eu-west-1")

        @pytest.mark.asfn(start_at=2000.0, database="sqlite:///flows.db")
        async def test_marked(asfn):
            (machine,) = await asfn.list_state_machines()
            assert machine.arn == "arn:aws:states:eu-west-1:123456789012:stateMachine:order"
            assert asfn.clock.now() == 2000.0
            execution = await asfn.start("order")
            await execution.stop()
            assert (await execution.describe()).status == "ABORTED"

        async def test_of_the_conftest(asfn):
            assert asfn.clock.now() == 1000.0
            assert asfn.arns.region == "eu-west-1"
    """
    project(tests, *ALONE, conftest=conftest).assert_outcomes(passed=2)


def test_an_engine_of_ones_own_runs_on_the_clock_fixture(project: Callable[..., pytest.RunResult]) -> None:
    tests = """
        from asfn import Engine

        async def test_own(asfn_clock, tmp_path):
            wait = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 86400, "End": True}}}
            async with Engine(f"sqlite:///{tmp_path}/x.db", clock=asfn_clock) as engine:
                await engine.create_state_machine("w", wait)
                execution = await engine.start("w")
            async with Engine(f"sqlite:///{tmp_path}/x.db", clock=asfn_clock) as engine:
                assert await (await engine.execution(execution.arn)).result() == {}
            assert asfn_clock.elapsed.days == 1
    """
    project(tests, *ALONE).assert_outcomes(passed=1)


def test_an_async_fixture_may_hold_a_task_group_open_and_is_torn_down_on_the_loop(
    project: Callable[..., pytest.RunResult],
) -> None:
    tests = """
        import anyio, pytest

        @pytest.fixture
        async def group(asfn):
            async with anyio.create_task_group() as group:
                yield group
                group.cancel_scope.cancel()
            print("torn down at", asfn.clock.elapsed)

        @pytest.fixture
        async def broken(asfn):
            raise LookupError("no such thing")
            yield

        async def test_group(asfn, group):
            group.start_soon(anyio.sleep_forever)
            await asfn.clock.advance(60)

        async def test_broken(broken):
            pass
    """
    result = project(tests, *ALONE, "-s")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*torn down at 0:01:00*", "*LookupError: no such thing*"])


def test_context_variables_of_fixtures_reach_the_test(project: Callable[..., pytest.RunResult]) -> None:
    tests = """
        import contextvars, pytest

        tenant = contextvars.ContextVar("tenant", default=None)

        @pytest.fixture
        def acme(asfn):
            token = tenant.set("acme")
            yield
            tenant.reset(token)

        async def test_tenant(asfn, acme):
            assert tenant.get() == "acme"
    """
    project(tests, *ALONE).assert_outcomes(passed=1)


def test_held_time_moves_only_when_it_is_advanced(project: Callable[..., pytest.RunResult]) -> None:
    tests = """
        import pytest
        from asfn import ExecutionFailed
        from asfn.testing import Deadlock

        SLOW = {
            "StartAt": "Ask",
            "States": {
                "Ask": {"Type": "Task", "Resource": "arn:aws:lambda:us-east-1:123456789012:function:ask", "End": True}
            },
        }
        SLOW["States"]["Ask"]["TimeoutSeconds"] = 60

        @pytest.mark.asfn(held=True)
        async def test_held(asfn):
            await asfn.create_state_machine("slow", SLOW)
            asfn.mock("Ask").never_answers()
            execution = await asfn.start("slow")
            await asfn.clock.advance(59)
            assert (await execution.describe()).status == "RUNNING"
            await asfn.clock.advance(10)
            assert (await execution.describe()).error == "States.Timeout"
            assert asfn.clock.elapsed.seconds == 69

        @pytest.mark.asfn(held=True)
        async def test_forgotten(asfn):
            await asfn.create_state_machine("slow", SLOW)
            asfn.mock("Ask").never_answers()
            await (await asfn.start("slow")).result()
    """
    result = project(tests, *ALONE)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*Deadlock: time is held, and nothing is due before 60 seconds*clock.advance()*"])


def test_a_seed_shuffles_the_tasks_of_all_tests(project: Callable[..., pytest.RunResult]) -> None:
    tests = """
        import asyncio

        async def test_order(asfn_clock):
            order = []

            async def worker(name):
                for _ in range(3):
                    order.append(name)
                    await asyncio.sleep(0)

            await asyncio.gather(*map(worker, "abcd"))
            print("order", "".join(order))
    """

    def order(*args: str) -> str:
        lines = project(tests, *ALONE, "-s", *args).outlines
        return next(line.split()[-1] for line in lines if "order " in line)

    assert order() == "abcdabcdabcd"
    assert order("--asfn-seed=1") == order("--asfn-seed=1") != order("--asfn-seed=2")


def test_coverage_lists_what_the_tests_missed(project: Callable[..., pytest.RunResult]) -> None:
    result = project(USER, *ALONE, "--asfn-coverage")
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        [
            "*state machine coverage*",
            "state machine *states *ways  cover",
            "order *5/5 *5/5   100%",
            "TOTAL *5/5 *5/5   100%",
        ]
    )
    result = project(USER, *ALONE, "--asfn-coverage", "-k", "busy")
    result.stdout.fnmatch_lines(
        [
            "order *4/5 *4/5    80%",
            "    Refused was never entered",
            "    Charge -- Catch?0? -> Refused",
            "TOTAL *4/5 *4/5    80%",
        ]
    )


def test_too_little_coverage_fails_the_run_when_asked(project: Callable[..., pytest.RunResult]) -> None:
    result = project(USER, *ALONE, "--asfn-coverage-fail-under=81", "-k", "busy")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["FAIL 80.00% is less than the 81% asked for"])
    assert project(USER, *ALONE, "--asfn-coverage-fail-under=80", "-k", "busy").ret == pytest.ExitCode.OK
    empty = project("def test_nothing(): pass", *ALONE, "--asfn-coverage-fail-under=1")
    assert empty.ret == pytest.ExitCode.TESTS_FAILED
    empty.stdout.fnmatch_lines(["no state machine was registered or run"])


def test_coverage_counts_engines_that_tests_make_themselves(project: Callable[..., pytest.RunResult]) -> None:
    tests = """
        from asfn import Engine
        import asyncio

        def test_plain():
            async def main():
                async with Engine() as engine:
                    await engine.create_state_machine("p", {"StartAt": "P", "States": {"P": {"Type": "Succeed"}}})
                    await engine.create_state_machine("q", {"StartAt": "Q", "States": {"Q": {"Type": "Succeed"}}})
                    await (await engine.start("p")).result()

            asyncio.run(main())
    """
    result = project(tests, *ALONE, "--asfn-coverage")
    result.stdout.fnmatch_lines(["p *1/1 *0/0 *100%", "q *0/1 *0/0 *0%", "    Q was never entered", "TOTAL *1/2*50%"])


@pytest.mark.real_time
def test_coverage_adds_up_over_the_processes_of_pytest_xdist(
    project: Callable[..., pytest.RunResult], pytester: pytest.Pytester
) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    project(USER, "--collect-only", *ALONE)  # writes the files
    result = pytester.runpytest_subprocess(
        *PLUGIN, *ALONE, "-p", "xdist", "-n2", "--asfn-coverage-fail-under=99", "-W", "default"
    )
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["order *5/5 *5/5   100%"])
    assert result.ret == pytest.ExitCode.OK


def test_the_plugin_costs_other_projects_nothing() -> None:
    program = (
        "import sys; before = set(sys.modules); import pytest; pytest_itself = set(sys.modules)\n"
        "import asfn.testing.plugin\n"
        "print(sorted(name for name in set(sys.modules) - pytest_itself if not name.startswith('_')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['asfn', 'asfn.testing', 'asfn.testing.plugin']"
