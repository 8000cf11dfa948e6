"""The methods, one a file; ``ALGORITHMS`` is the table that everything else reads."""

from __future__ import annotations

from .adam import Adam
from .anil import ANIL
from .base import Algorithm, Descent, Meta, StepEvaluation
from .cavia import CAVIA
from .fomaml import FOMAML
from .gd import GD
from .hypergradient import HD
from .imaml import IMAML
from .lbfgs import LBFGS
from .learned_optimizer import L2L
from .maml import MAML
from .meta_sgd import MetaSGD
from .momentum import Momentum
from .multimodal import Multimodal
from .pretrain import Pretrain
from .protonet import ProtoNet
from .reptile import Reptile
from .scratch import Scratch
from .unrolled_hypergradient import Unroll

ALGORITHMS: dict[str, type[Algorithm]] = {
    "gd": GD,
    "momentum": Momentum,
    "adam": Adam,
    "lbfgs": LBFGS,
    "hd": HD,
    "unroll": Unroll,
    "maml": MAML,
    "fomaml": FOMAML,
    "reptile": Reptile,
    "anil": ANIL,
    "meta-sgd": MetaSGD,
    "imaml": IMAML,
    "cavia": CAVIA,
    "protonet": ProtoNet,
    "l2l": L2L,
    "multimodal": Multimodal,
    "pretrain": Pretrain,
    "scratch": Scratch,
}

__all__ = ["ALGORITHMS", "Algorithm", "Descent", "Meta", "StepEvaluation"]
