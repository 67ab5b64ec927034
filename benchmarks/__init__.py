"""Speed, measured as ratios inside one run. Timing never decides a test: `python -m benchmarks.throughput`."""
