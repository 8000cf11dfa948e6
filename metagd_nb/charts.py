"""Documented name of `metagd_nb.plotting.charts`: charts of what was learned."""

from .plotting.charts import *  # noqa: F403
