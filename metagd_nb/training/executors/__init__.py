"""Executors: one step at a time, many at once for least squares, or compiled with JAX. Read ``base.py`` first."""
