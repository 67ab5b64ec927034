"""Whole worlds from a seed: machines, processes that die, stores that refuse, clients that meddle; see plan.py."""
