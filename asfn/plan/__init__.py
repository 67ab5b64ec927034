"""Definitions compiled once into pure closures: `begin` and `settle` per state. No await, no clock, no I/O.

Begin with `compile.py` (the whole plan), then `states.py` (one builder per state type); `effects.py` says what a
state may ask of the runtime, `scope.py` what it may see.
"""
