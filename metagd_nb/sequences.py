"""Documented name of the forecasting modules of `metagd_nb.analysis`: forecasts of time series and their scores."""

from .analysis.baseline_forecasts import *  # noqa: F403
from .analysis.forecasting import *  # noqa: F403
from .analysis.in_context import *  # noqa: F403
