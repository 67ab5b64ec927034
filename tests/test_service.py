"""The engine inside a web service, under a real uvicorn process on loopback."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.cli.program import PROJECT, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real_time


class Service:
    """A uvicorn process with tests/service_example.py, and a client for it."""

    def __init__(self, database: Path, port: int) -> None:
        self._database = database
        self._port = port
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        words = ("-m", "uvicorn", "tests.service_example:app", "--port", str(self._port), "--log-level", "warning")
        process = subprocess.Popen(
            [sys.executable, *words],
            cwd=PROJECT,
            env={**environment(), "DATABASE": f"sqlite:///{self._database}", "PYTHONWARNINGS": "default"},
            stderr=subprocess.PIPE,
        )
        for _ in range(200):
            if process.poll() is not None:
                assert process.stderr is not None
                raise AssertionError(process.stderr.read().decode())
            try:
                self.client.get("/orders/none")
            except httpx.TransportError:
                time.sleep(0.05)
            else:
                return process
        process.kill()
        raise AssertionError("the service did not come up")

    def kill_and_start_again(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.process = self._start()

    def leave(self) -> tuple[int, str]:
        """Stop it the orderly way: exit code and what it said."""
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err.decode()

    def place(self, **order: object) -> str:
        answer = self.client.post("/orders", json=order)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["arn"])

    def wait_for_end(self, arn: str) -> dict[str, object]:
        for _ in range(400):
            seen: dict[str, object] = self.client.get(f"/orders/{arn}").json()
            if seen["status"] != "RUNNING":
                return seen
            time.sleep(0.05)
        raise AssertionError(f"{arn} did not end")


@contextmanager
def running(folder: Path) -> Iterator[Service]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    service = Service(folder / "orders.db", port)
    try:
        yield service
    finally:
        service.client.close()
        if service.process.poll() is None:
            service.process.kill()
        service.process.communicate()


def test_orders_run_inside_the_service_and_it_stays_answering(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        good = service.place(id="a-1", amount=30, cool_off=0)
        bad = service.place(id="a-2", amount=5000, cool_off=0)
        delivered, declined = service.wait_for_end(good), service.wait_for_end(bad)
        assert service.client.post("/orders", json={"id": "a-1", "amount": 30, "cool_off": 0}).status_code == 409
        assert (
            service.client.get("/orders/arn:aws:states:us-east-1:123456789012:execution:orders:no").status_code == 404
        )
        code, said = service.leave()
    output = delivered["output"]
    assert isinstance(output, dict)
    assert (delivered["status"], output["shipped"], output["receipt"]["charged"]) == ("SUCCEEDED", True, 30)
    assert (declined["status"], declined["error"], declined["cause"]) == ("FAILED", "Card.Declined", "over the limit")
    assert code in (0, -signal.SIGTERM)
    assert "Traceback" not in said


def test_a_killed_service_goes_on_where_it_stood_when_it_is_started_again(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        arn = service.place(id="b-1", amount=30, cool_off=2)
        while "WaitStateEntered" not in (seen_before := types(service, arn, follow=False)):
            time.sleep(0.02)
        service.kill_and_start_again()
        seen = service.wait_for_end(arn)
        history = types(service, arn, follow=True)
    assert seen_before[-1] == "WaitStateEntered"
    assert seen["status"] == "SUCCEEDED"
    assert history.count("WaitStateEntered") == history.count("LambdaFunctionScheduled") == 1
    assert history[-1] == "ExecutionSucceeded"


def types(service: Service, arn: str, *, follow: bool) -> list[str]:
    """The types of the events that the stream has sent: all of them, or those of its first moment."""
    seen: list[str] = []
    timeout = None if follow else httpx.Timeout(5, read=0.3)
    with suppress(httpx.ReadTimeout), service.client.stream("GET", f"/orders/{arn}/events", timeout=timeout) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                seen.append(json.loads(line[6:])["type"])  # noqa: PERF401  # what came before the timeout counts
    return seen


async def test_a_follower_gets_events_while_they_happen_and_can_come_back(tmp_path: Path) -> None:
    with running(tmp_path) as service:
        arn = service.place(id="c-1", amount=1, cool_off=1)
        url = f"{service.client.base_url}/orders/{arn}/events"
        async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
            first = await ids(client, url, until=3)
            rest = await ids(client, url, after=3)
    assert first == [1, 2, 3]
    assert rest == list(range(4, rest[-1] + 1))
    assert len(rest) > 5


async def ids(client: httpx.AsyncClient, url: str, *, after: int = 0, until: int | None = None) -> list[int]:
    found: list[int] = []
    async with asyncio.timeout(20), client.stream("GET", url, headers={"last-event-id": str(after)}) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("id: "):
                found.append(int(line[4:]))
            if until is not None and found and found[-1] >= until:
                break
    return found
