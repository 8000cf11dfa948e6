"""Analysis of one run or several: comparison, sweeps, interpretation, recognition of task kinds, forecasts, advice.

Read ``compare.py`` (several methods on the same seeds) and ``interpret.py`` (what one run has learned) first.
``run_memory.py`` stores past runs, and ``advice.py`` proposes settings from them. Figures are drawn by `plotting`.
"""
