"""Documented name of the modules of `metagd_nb.analysis` that interpret a trained run."""

from .analysis.adaptation_details import *  # noqa: F403
from .analysis.interpret import *  # noqa: F403
from .analysis.task_embedding import *  # noqa: F403
