"""Documented name of the modules of `metagd_nb.analysis` that interpret a trained run."""

from .analysis.interpret import *  # noqa: F403
from .analysis.support_influence import *  # noqa: F403
from .analysis.task_embedding import *  # noqa: F403
