"""Training: from a method and its inputs to a run that can be watched, controlled, saved and repeated.

`prepare` (inputs → `planning` → `Plan`) makes a `Run`, which has a `TrainingLoop`. An executor takes the steps, the
loop writes the `Record` and carries out `requests`, `drivers` call the loop and its `callbacks`. Read ``plan.py``,
``loop.py`` and ``run.py`` first.
"""
