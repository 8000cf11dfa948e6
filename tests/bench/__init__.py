"""Measurements; nothing here is collected by pytest. Run one with ``python -m tests.bench.speed.bench_engine``."""
