"""Speed and size, measured as ratios inside one run; timing never decides a test. Each tells more with `--help`.

`python -m benchmarks.throughput`: transitions and executions per second, memory of a sleeper, start of a process.
`python -m benchmarks.language`: compiling, and single transitions.
`python -m benchmarks.scale`: very many executions: latency, growth of a file, waits and callbacks at once.
"""
