"""Documented name of `metagd_nb.analysis.forecasting`: forecasts of time series and their scores."""

from .analysis.forecasting import *  # noqa: F403
