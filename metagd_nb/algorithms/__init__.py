"""The methods, one in each file.

``ALGORITHMS`` maps the name in a cell to the class; cells, help, controls and tests read it. Read ``base`` first, then
``inner_loop`` and ``maml``. A new method is a class, a row in ``ALGORITHMS`` and a row in ``reference.REFERENCE``.
"""

from __future__ import annotations

from .adam import Adam
from .adamw import AdamW
from .anil import ANIL
from .base import Algorithm, Descent, StepEvaluation
from .boil import BOIL
from .cavia import CAVIA
from .fomaml import FOMAML
from .gd import GD
from .hypergradient import HD
from .imaml import IMAML
from .lbfgs import LBFGS
from .learned_optimizer import L2L
from .maml import MAML
from .meta import Meta
from .meta_sgd import MetaSGD
from .momentum import Momentum
from .multimodal import Multimodal
from .nesterov import Nesterov
from .pretrain import Pretrain
from .protonet import ProtoNet
from .reptile import Reptile
from .rmsprop import RMSprop
from .scratch import Scratch
from .unrolled_hypergradient import Unroll

ALGORITHMS: dict[str, type[Algorithm]] = {
    "gd": GD,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": RMSprop,
    "adam": Adam,
    "adamw": AdamW,
    "lbfgs": LBFGS,
    "hd": HD,
    "unroll": Unroll,
    "maml": MAML,
    "fomaml": FOMAML,
    "reptile": Reptile,
    "anil": ANIL,
    "boil": BOIL,
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
