"""Built-in models: the functions that make them, and the table ``MODELS``."""

from __future__ import annotations

from collections.abc import Callable

from ..core.provenance import records_call
from .convolution import ConvNet
from .net import Net


@records_call
def linear(d: int, outputs: int = 1, bias: bool = True) -> Net:
    """Linear regression x·W + b from ``d`` inputs; starts at zero.

    Parameters
    ----------
    d, outputs : int
        Number of inputs and outputs.
    bias : bool
        True adds b.

    Returns
    -------
    Net
    """
    return Net((d, outputs), "relu", bias, None)


@records_call
def mlp(
    *sizes: int,
    activation: str = "relu",
    init_scale: float | None = None,
    norm: str | None = None,
    context: int = 0,
) -> Net:
    """Multilayer perceptron: ``mlp(1, 40, 40, 1)`` has two hidden layers of 40.

    Parameters
    ----------
    *sizes : int
        Width of the input, of every hidden layer, and of the output.
    activation : "relu" | "tanh"
        ReLU'(0) is 0.
    init_scale : float, optional
        Standard deviation of the starting weights, before truncation at two of them. By default
        √(2/i) for ReLU (He et al. 2015) and √(1/i) for tanh, i being a layer's inputs.
        Finn et al. (2017) used 0.01 for their sinusoids.
    norm : "batch", optional
        Normalise every hidden layer before its activation over the points of the batch, as Finn et al. (2017, §5.2)
        did for Omniglot. A prediction then depends on the points that are predicted with it.
    context : int
        Number of context parameters appended to the inputs, which `cavia` adapts (Zintgraf et al. 2019). They
        start at zero.

    Returns
    -------
    Net
    """
    return Net(sizes, activation, True, init_scale, norm, context)


@records_call
def conv(
    outputs: int,
    side: int = 28,
    channels: int = 1,
    filters: int = 64,
    blocks: int = 4,
    norm: str | None = "batch",
    activation: str = "relu",
) -> ConvNet:
    """Small convolutional net for images of ``side`` × ``side`` pixels; ``conv(5)`` tells five Omniglot characters.

    Four blocks of 3×3 convolution, batch norm and ReLU, as Finn et al. (2017), §5.2. Each convolution has stride 2,
    which is what they used for Omniglot in place of 2×2 max-pooling; as in their code, the features of an image are
    then the mean over the 2×2 pixels that are left, and a linear layer follows. Their code does not adapt the norm's
    shift, and has no gain; here both are parameters like any other.

    On one core, a meta-step of MAML on 32 one-shot tasks takes about half a second with NumPy, and as long with JAX,
    which also takes GPUs (``--backend jax``); an episode of `protonet` takes about 15 milliseconds.

    Parameters
    ----------
    outputs : int
        Number of classes.
    side, channels : int
        Inputs are rows of side·side·channels numbers, pixel after pixel.
    filters, blocks : int
    norm : "batch", optional
        None leaves the norm out.
    activation : "relu" | "tanh"

    Returns
    -------
    ConvNet
    """
    return ConvNet(outputs, side, channels, filters, blocks, norm, activation)


MODELS: dict[str, Callable[..., Net]] = {"linear": linear, "mlp": mlp, "conv": conv}
