"""Workflows that come with asfn: what `asfn demo` runs, and what the README shows."""
