"""The pytest plugin: the `asfn` fixture, virtual time for the tests that use it, and `--asfn-coverage`.

pytest loads this module in every project that has asfn installed, so it imports nothing of asfn, nor asyncio, before a
test or an option asks for it. A test that uses `asfn` or `asfn_clock`, itself or through a fixture, runs on a virtual
loop of its own, and its async fixtures of scope "function" with it. That needs no async plugin, and takes the place of
pytest-asyncio and anyio for these tests only: their items are left as they are, but the functions they call are ours.
"""

from __future__ import annotations

import functools
import inspect
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Generator, Iterator

    from asfn.testing.coverage import Coverage
    from asfn.testing.loop import VirtualClock
    from asfn.testing.virtual import VirtualEngine

_CLOCK: Final = "asfn_clock"
_MARK: Final = (
    "asfn(**options): options of the `asfn` fixture for this test: start_at, seed, held, database, and those of "
    "asfn.Engine such as definitions and limits"
)
_LOOP_OPTIONS: Final = ("start_at", "seed", "held")
_RUNNER: Final[pytest.StashKey[asyncio.Runner]] = pytest.StashKey()
_COVERAGE: Final[pytest.StashKey[Coverage]] = pytest.StashKey()
_UNDO: Final[pytest.StashKey[Callable[[], None]]] = pytest.StashKey()
_OUTPUT: Final = "asfn_coverage"  # what a worker of pytest-xdist hands to its controller


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("asfn", "state machines")
    group.addoption(
        "--asfn-coverage",
        action="store_true",
        help="report which states of the state machines, and which ways between them, the tests have used",
    )
    group.addoption(
        "--asfn-coverage-fail-under",
        type=float,
        metavar="PERCENT",
        help="as --asfn-coverage, and fail when less than this was used",
    )
    group.addoption(
        "--asfn-seed",
        type=int,
        metavar="N",
        help="shuffle the order in which ready tasks run, in tests on virtual time; one number is one order",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", _MARK)
    if config.getoption("--asfn-coverage") or config.getoption("--asfn-coverage-fail-under") is not None:
        from asfn.testing.coverage import Coverage, watch_engines

        coverage = config.stash[_COVERAGE] = Coverage()
        config.stash[_UNDO] = watch_engines(coverage)


def pytest_unconfigure(config: pytest.Config) -> None:
    undo = config.stash.get(_UNDO, None)
    if undo is not None:
        undo()


# --- fixtures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def asfn_options() -> dict[str, Any]:
    """Options for the `asfn` fixture, as of the mark `asfn`: override it in a conftest.py for many tests at once."""
    return {}


@pytest.fixture
def asfn_clock(request: pytest.FixtureRequest, asfn_options: dict[str, Any]) -> Iterator[VirtualClock]:
    """The clock of the virtual loop that this test runs on, for engines of the test's own making."""
    import asyncio

    from asfn.testing.loop import DEFAULT_START_AT, VirtualClock, VirtualTimeLoop

    options = _options(request, asfn_options)
    seed = options.get("seed", request.config.getoption("--asfn-seed"))

    def make_loop() -> VirtualTimeLoop:
        return VirtualTimeLoop(seed=seed, held=options.get("held", False))

    with asyncio.Runner(loop_factory=make_loop) as runner:
        loop = runner.get_loop()
        assert isinstance(loop, VirtualTimeLoop)
        request.node.stash[_RUNNER] = runner
        yield VirtualClock(loop, options.get("start_at", DEFAULT_START_AT))
        loop.held = False  # what is left behind may take its time to end


@pytest.fixture
def asfn(
    request: pytest.FixtureRequest, asfn_options: dict[str, Any], asfn_clock: VirtualClock
) -> Iterator[VirtualEngine]:
    """A running engine on virtual time and an empty database in memory, with mocks: a `VirtualEngine`."""
    from asfn.testing.virtual import VirtualEngine

    options = _options(request, asfn_options)
    engine = VirtualEngine(clock=asfn_clock, **{key: options[key] for key in options if key not in _LOOP_OPTIONS})
    with asfn_clock.free():
        _run(request.node, engine.__aenter__)
    yield engine
    with asfn_clock.free():
        _run(request.node, engine.__aexit__, None, None, None)


def _options(request: pytest.FixtureRequest, given: dict[str, Any]) -> dict[str, Any]:
    """The fixture's options, then those of the marks, the nearest last."""
    options = dict(given)
    for mark in reversed(list(request.node.iter_markers("asfn"))):
        if mark.args:
            raise pytest.UsageError(f"{request.node.nodeid}: the mark asfn takes keyword arguments only")
        options |= mark.kwargs
    return options


# --- running async tests and fixtures on the virtual loop ----------------------------------------------------------


def _run(node: pytest.Item, function: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
    """Call a coroutine function on the virtual loop of a test, with the context variables of the caller.

    When the loop gives up (a Deadlock), the call is cancelled and ends before anything is torn down.
    """
    import asyncio
    import contextvars

    runner = node.stash[_RUNNER]
    tasks: list[asyncio.Task[Any]] = []

    async def call() -> Any:
        task = asyncio.current_task()
        assert task is not None
        tasks.append(task)
        return await function(*args, **kwargs)

    try:
        return runner.run(call(), context=contextvars.copy_context())
    except BaseException:
        for task in tasks:
            _give_up(runner.get_loop(), task)
        raise


def _give_up(loop: asyncio.AbstractEventLoop, task: asyncio.Task[Any]) -> None:
    """Cancel what is left of a call, and take what it raises: the error that is on its way says more."""
    import asyncio

    from asfn.testing.loop import Deadlock

    if not task.done():
        task.cancel()
        with suppress(Deadlock):  # it holds out against that too
            loop.run_until_complete(asyncio.wait({task}))
    if task.done() and not task.cancelled():
        task.exception()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run an async test that uses the virtual clock on its loop, whatever async plugin the project has."""
    function = _coroutine_function(pyfuncitem) if _CLOCK in pyfuncitem.fixturenames else None
    if function is None:
        return (yield)

    @functools.wraps(function)
    def run_test(**kwargs: Any) -> None:
        _run(pyfuncitem, function, **kwargs)

    before = pyfuncitem.obj
    pyfuncitem.obj = run_test
    try:
        return (yield)
    finally:
        pyfuncitem.obj = before


def _coroutine_function(item: pytest.Function) -> Callable[..., Coroutine[Any, Any, Any]] | None:
    """The async test function of an item; pytest-asyncio has put a wrapper of its own around it by now."""
    function = item.obj
    if type(item).__module__.startswith("pytest_asyncio"):
        function = getattr(function, "__wrapped__", function)
    return function if inspect.iscoroutinefunction(function) else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_fixture_setup(
    fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
) -> Generator[None, object, object]:
    """Run an async fixture of a test that uses the virtual clock on the same loop as the test."""
    function = fixturedef.func
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
    if not is_async or fixturedef.scope != "function" or _CLOCK not in request.fixturenames:
        return (yield)
    request.getfixturevalue(_CLOCK)  # so that its loop is there, and ends after this fixture does
    if inspect.ismethod(function) and request.instance is not None:
        function = function.__func__.__get__(request.instance)
    wrap = _async_generator_fixture if inspect.isasyncgenfunction(function) else _async_fixture
    fixturedef.func = wrap(request.node, function)  # type: ignore[misc]  # Final for type checkers; restored below
    try:
        return (yield)
    finally:
        fixturedef.func = function  # type: ignore[misc]


def _async_fixture(node: pytest.Item, function: Callable[..., Any]) -> Callable[..., Any]:
    def fixture(**kwargs: Any) -> Any:
        return _run(node, function, **kwargs)

    return fixture


def _async_generator_fixture(node: pytest.Item, function: Callable[..., Any]) -> Callable[..., Iterator[Any]]:
    def fixture(**kwargs: Any) -> Iterator[Any]:
        host = _Host(function, kwargs)
        yield _run(node, host.set_up)
        _run(node, host.tear_down)

    return fixture


class _Host:
    """Runs an async generator fixture in one task from set-up to tear-down, so that it may hold a task group open."""

    def __init__(self, function: Callable[..., Any], kwargs: dict[str, Any]) -> None:
        self._function = function
        self._kwargs = kwargs

    async def set_up(self) -> Any:
        """What the fixture yields."""
        import asyncio

        loop = asyncio.get_running_loop()
        self._value: asyncio.Future[Any] = loop.create_future()
        self._leave: asyncio.Future[None] = loop.create_future()
        self._task = loop.create_task(self._main(), name=f"fixture {self._function.__name__}")
        waiting: set[asyncio.Future[Any]] = {self._task, self._value}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not self._value.done():
            await self._task
            pytest.fail(f"the fixture {self._function.__name__} did not yield a value", pytrace=False)
        return self._value.result()

    async def tear_down(self) -> None:
        if not self._leave.done():
            self._leave.set_result(None)
        await self._task

    async def _main(self) -> None:
        values = self._function(**self._kwargs)
        try:
            async for value in values:
                if self._value.done():
                    pytest.fail(f"the fixture {self._function.__name__} yielded twice", pytrace=False)
                self._value.set_result(value)
                await self._leave
        finally:
            await values.aclose()


# --- coverage ------------------------------------------------------------------------------------------------------


def pytest_sessionfinish(session: pytest.Session) -> None:
    coverage = session.config.stash.get(_COVERAGE, None)
    if coverage is None:
        return
    output = getattr(session.config, "workeroutput", None)
    if output is not None:  # a worker of pytest-xdist
        output[_OUTPUT] = coverage.dump()
    elif _too_low(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A worker of pytest-xdist is done: add what it counted."""
    coverage = node.config.stash.get(_COVERAGE, None)
    if coverage is not None:
        coverage.merge(getattr(node, "workeroutput", {}).get(_OUTPUT, []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    coverage = config.stash.get(_COVERAGE, None)
    if coverage is None:
        return
    terminalreporter.section("state machine coverage")
    if coverage.machines:
        for line in coverage.report():
            terminalreporter.line(line)
    else:
        terminalreporter.line("no state machine was registered or run")
    if _too_low(config):
        least = config.getoption("--asfn-coverage-fail-under")
        terminalreporter.line(f"FAIL {coverage.percent:.2f}% is less than the {least:g}% asked for", red=True)


def _too_low(config: pytest.Config) -> bool:
    least = config.getoption("--asfn-coverage-fail-under")
    return least is not None and config.stash[_COVERAGE].percent < least
