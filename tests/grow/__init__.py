"""Random definitions, from a seed: valid machines that run, and texts that are hardly definitions any more."""
