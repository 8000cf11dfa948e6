"""Documented name of `metagd_nb.analysis.interpret`: what a meta-learned initialization and its tasks look like."""

from .analysis.interpret import *  # noqa: F403
