"""The one async loop: performs effects, records history, keeps executions alive.

Begin with `interpreter.py` (advance, perform, settle), then `execution.py` (one execution from start to end).
"""
