"""Documented name of the forecasting modules of `metagd_nb.analysis`: forecasts of time series and their scores."""

from .analysis.forecasting import *  # noqa: F403
from .analysis.forecasting_methods import *  # noqa: F403
from .analysis.in_context import *  # noqa: F403
