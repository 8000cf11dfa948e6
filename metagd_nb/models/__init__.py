"""Built-in models and losses of predictions.

Read `net` first (`linear`, `mlp`, `conv`). The tables are `activations.ACTIVATIONS`, `losses.LOSSES` and `net.MODELS`;
`layers` and `convolution` hold the layers with their derivatives.
"""
