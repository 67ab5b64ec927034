"""A short soak; the long one is `python -m tests.soak`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.soak import soak

pytestmark = pytest.mark.real_time


async def test_executions_finish_once_while_workers_on_one_file_are_killed(tmp_path: Path) -> None:
    verdict = await soak(tmp_path, seconds=8, kill_every=1, clients=10, seed=3, least=60)
    assert not verdict.findings
    assert verdict.figures["kills"] >= 8
    assert verdict.figures["executions"] >= 60
    assert verdict.figures["taken over or gone on with"] > 0
