"""Documented name of `metagd_nb.plotting.charts` and `metagd_nb.plotting.interpretation`."""

from .plotting.charts import *  # noqa: F403
from .plotting.interpretation import *  # noqa: F403
