"""An engine for the length of a command: where its Tasks go, and how a signal parks what it runs.

The engine is entered and left in the main task, which nothing cancels; the work inside has a task of its own, and
a signal ends that one. So leaving always drains and gives up the executions in good order.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from asfn import Engine
from asfn.cli import functions
from asfn.cli.database import codec_in_use
from asfn.cli.exits import Interrupted
from asfn.cli.output import tell

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")

_DRAIN_SECONDS: Final = 5
_PARKING: Final = f"asfn: parking; calls in flight get {_DRAIN_SECONDS} seconds (Ctrl-C again does not wait for them)"
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_LAMBDA_ROUTES: Final = ("arn:aws*:lambda:*", "arn:aws*:states:::lambda:*")


@dataclass(frozen=True, slots=True)
class Routes:
    """Where Tasks go: Python functions, a Lambda service at an address, or Lambda in AWS."""

    functions: tuple[str, ...] = ()
    lambda_endpoint: str | None = None
    aws: bool = False
    region: str | None = None

    async def apply(self, engine: Engine) -> None:
        """Register them. Functions win over Lambda. Raises Refused."""
        for spec in self.functions:
            await functions.register(engine, spec)
        if self.lambda_endpoint is None and not self.aws:
            return
        options: dict[str, Any] = {"region": self.region}  # Any: LambdaHandler's options
        if self.lambda_endpoint is not None:
            options["endpoint_url"] = self.lambda_endpoint
            if not self.aws and not os.environ.get("AWS_ACCESS_KEY_ID"):
                # A stand-in for Lambda checks no signatures, but a request must have one.
                options |= {"access_key_id": "local", "secret_access_key": "local"}
        handler = engine.aws_lambda(**options)
        for pattern in _LAMBDA_ROUTES:
            engine.route(pattern, to=handler)

    def words(self) -> list[str]:
        """The options as they would be written again."""
        words = [word for spec in self.functions for word in ("--functions", spec)]
        if self.lambda_endpoint is not None:
            words += ["--lambda-endpoint", self.lambda_endpoint]
        if self.aws:
            words.append("--aws")
        if self.region is not None:
            words += ["--region", self.region]
        return words


def route_options(command: Callable[..., Any]) -> Callable[..., Any]:  # Any: what click decorates
    """`--functions`, `--lambda-endpoint`, `--aws` and `--region`; the command gets them as `functions`, … ."""
    for option in (
        click.option("--region", metavar="NAME", help="Region of Lambda functions that are given by name alone."),
        click.option("--aws", is_flag=True, help="Call real AWS Lambda, with the credentials found as usual."),
        click.option(
            "--lambda-endpoint", metavar="URL", help="Call what speaks Lambda's protocol there, for the other Tasks."
        ),
        click.option("--functions", "-f", multiple=True, metavar="MODULE[:ATTR]", help=functions.HELP),
    ):
        command = option(command)
    return command


class Session:
    """Runs one command's coroutines on one event loop, and turns signals into an orderly stop."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._work: asyncio.Task[Any] | None = None  # Any: whatever `work` answers
        self._on_second: Callable[[], None] = lambda: None

    @classmethod
    def run(cls, main: Callable[[Session], Coroutine[Any, Any, T]]) -> T:  # Any: a coroutine's own types
        """`main` to its end. Raises Interrupted when a signal ended its work."""
        return asyncio.run(cls()._main(main))

    async def _main(self, main: Callable[[Session], Coroutine[Any, Any, T]]) -> T:
        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError):  # Windows: Ctrl-C cancels the main task there
            for number in _SIGNALS:
                loop.add_signal_handler(number, self._signalled, number)
        with redirect_stdout(sys.stderr):  # what a user's function prints is no part of the result
            return await main(self)

    async def in_engine(
        self,
        database_url: str,
        routes: Routes,
        work: Callable[[Engine], Awaitable[T]],
        *,
        parked: Callable[[], None],
        resume: bool = True,
    ) -> T:
        """What `work` answers, done with an entered engine.

        resume: whether it goes on with what is unfinished in the database.

        parked: says how to go on; called when a signal came, after everything is parked, or at the second signal.
        Raises Interrupted then.
        """
        self._on_second = parked
        engine = Engine(database_url, drain_seconds=_DRAIN_SECONDS, codec=codec_in_use(), resume=resume)
        await routes.apply(engine)
        async with engine:
            answer = await self._interruptible(work(engine))
            if not answer:
                tell(_PARKING)
        if self._signal is not None and not answer:
            parked()
            raise Interrupted(self._signal)
        return answer[0]

    async def _interruptible(self, work: Awaitable[T]) -> list[T]:
        """What the work answers, in a list; an empty list when a signal ended it."""

        async def run() -> T:
            return await work

        self._work = asyncio.create_task(run(), name="asfn-command")
        if self._signal is not None:
            self._work.cancel()
        try:
            return [await self._work]
        except asyncio.CancelledError:
            if self._signal is None:
                raise
            return []
        finally:
            self._work = None

    def _signalled(self, number: int) -> None:
        if self._signal is not None:
            self._on_second()  # the files say where everything stands, so leaving at once loses nothing
            sys.stderr.flush()
            os._exit(128 + number)
        self._signal = number
        if self._work is not None:
            self._work.cancel()
