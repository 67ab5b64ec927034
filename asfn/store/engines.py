"""Which engines a claim takes over, and the keys an engine gives. Pure, and the same for every store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct, field

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asfn.store.records import EngineRow


# Bits of an execution's key that count the starts of one engine; the rest is the engine's id.
_COUNTER_BITS: Final = 40


def first_key(engine_id: int) -> int:
    """The key of an engine's first execution; the others follow it one by one. No two engines share any."""
    return (engine_id << _COUNTER_BITS) + 1


class Roll(Struct):
    """Ids of the engines in a store. living: they keep what they own.   fence: their epoch is to be raised
    now. remove: taken over by an earlier claim, and their lease has ended since.
    """

    living: list[int] = field(default_factory=list)
    fence: list[int] = field(default_factory=list)
    remove: list[int] = field(default_factory=list)


def call_roll(engines: Iterable[EngineRow], claimer: int, now: float, dead: Sequence[int]) -> Roll:
    """Sort the engine rows for a claim by the engine `claimer`, which counts as living whatever its lease
    says.

    An engine runs only at the epoch it registered with, 1. A row above that has been taken over and owns
    nothing; it stays for the rest of its lease, then goes.
    """
    roll = Roll()
    for engine in engines:
        ended = engine.lease_until < now
        if engine.id == claimer:
            roll.living.append(engine.id)
        elif engine.epoch > 1:
            if ended:
                roll.remove.append(engine.id)
        elif ended or engine.id in dead:
            roll.fence.append(engine.id)
        else:
            roll.living.append(engine.id)
    return roll
