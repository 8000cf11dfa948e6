"""Cells of a learned optimizer: a rule that is applied to each coordinate separately, forward and back.

A cell turns the gradient of one coordinate into a direction, and carries a state from step to step. Its weights
``w`` (W,) are shared by all coordinates of all tasks, so what is learned on a small problem fits any other.
Gradients and directions are (T, P); states (S, T, P), coordinates last, where NumPy is quick.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np

from ..core.array_api import is_concrete, namespace, vjp
from ..core.parameters import ParameterLayout

Array = np.ndarray


class Tape(NamedTuple):
    """One step of a cell, with the values that its pull-back needs."""

    out: Array  # (T, P)
    state: Array  # (S, T, P), after the step
    values: Any


class Pulled(NamedTuple):
    """Adjoints before a step, from those after it."""

    grad: Array  # (T, P)
    state: Array  # (S, T, P)
    w: Array  # (W,), summed over coordinates and tasks


Back = Callable[[Array, Array], Pulled]  # adjoints of a direction and of the state after it → those before the step


class Cell(Protocol):
    """A coordinate-wise rule."""

    layout: ParameterLayout
    width: int  # S

    def start(self) -> Array:
        """Return weights (W,) with which the direction is the gradient: plain gradient descent."""

    def forward(self, xp: ModuleType, w: Array, grad: Array, state: Array) -> tuple[Array, Array]:
        """Return direction and next state, as a pure function that JAX can trace."""

    def step(self, w: Array, grad: Array, state: Array) -> Tape:
        """Return the same with the values that the pull-back needs."""

    def back(self, w: Array, tape: Tape, d_out: Array, d_state: Array) -> Pulled:
        """Return the adjoints of ``grad``, ``state`` and ``w`` from those of ``out`` and the next state."""


class LinearCell:
    """A running sum of gradients, m ← βm + g, times a scale η: the heavy ball with both numbers learned."""

    layout, width = ParameterLayout({"scale": (), "mass": ()}), 1

    def start(self) -> Array:
        """η = 1, β = 0."""
        return np.array([1.0, 0.0])

    def forward(self, xp: ModuleType, w: Array, grad: Array, state: Array) -> tuple[Array, Array]:
        """η·m, and m."""
        m = w[1] * state + grad
        return w[0] * m[0], m

    def step(self, w: Array, grad: Array, state: Array) -> Tape:
        """η·m, and m."""
        scale, mass = w
        m = mass * state + grad
        return Tape(scale * m[0], m, state)

    def back(self, w: Array, tape: Tape, d_out: Array, d_state: Array) -> Pulled:
        """Through η·m, then through βm + g."""
        scale, mass = w
        d_m = scale * d_out + d_state  # (1, T, P)
        d_w = np.array([(d_out * tape.state).sum(), (d_m * tape.values).sum()], w.dtype)
        return Pulled(d_m[0], mass * d_m, d_w)


class LSTMCell:
    """One LSTM layer on the preprocessed gradient, and a straight way past it.

    The direction is ``skip``·g + ``out``·h. It starts as the gradient itself (``skip`` 1, ``out`` 0; the paper's cells
    start at random), so that training begins with gradient descent at the inner rate.

    Parameters
    ----------
    hidden : int
        Width H of the layer; S = 2H (h and c).
    """

    def __init__(self, hidden: int) -> None:
        self.hidden, self.width = hidden, 2 * hidden
        self.layout = ParameterLayout(
            {"gates": (4 * hidden, hidden + 2), "bias": (4 * hidden,), "out": (hidden,), "skip": ()}
        )

    def start(self) -> Array:
        """Return the initial weights: the same for every run; hidden units only have to differ."""
        w, n = np.zeros(self.layout.size), self.hidden
        view = self.layout.views(w)
        view["gates"][...] = np.random.default_rng(0).standard_normal(view["gates"].shape) / np.sqrt(n + 2)
        view["bias"][n : 2 * n] = 1.0  # forget gates start open
        view["skip"][...] = 1.0
        return w

    def forward(self, xp: ModuleType, w: Array, grad: Array, state: Array) -> tuple[Array, Array]:
        """Gates in the order: let in, forget, show; then the new content."""
        view, n = self.layout.views(w), self.hidden
        flat = state.reshape(2 * n, -1)
        z = view["gates"] @ xp.concatenate([preprocessed(grad.reshape(-1)), flat[:n]]) + view["bias"][:, None]
        into, forget, show = (0.5 + 0.5 * xp.tanh(0.5 * z[k * n : (k + 1) * n]) for k in range(3))
        c = forget * flat[n:] + into * xp.tanh(z[3 * n :])
        h = show * xp.tanh(c)
        out = view["skip"] * grad + (view["out"] @ h).reshape(grad.shape)
        return out, xp.concatenate([h, c]).reshape(state.shape)

    def step(self, w: Array, grad: Array, state: Array) -> Tape:
        """Return the same, computed in place."""
        view, n = self.layout.views(w), self.hidden
        flat = state.reshape(2 * n, -1)
        c = flat[n:]
        seen = np.concatenate([preprocessed(grad.reshape(-1)), flat[:n]])  # (2+H, T·P)
        z = view["gates"] @ seen
        z += view["bias"][:, None]
        gates = z[: 3 * n]
        gates *= 0.5
        np.tanh(z, out=z)
        gates += 1
        gates *= 0.5  # the logistic function (1 + tanh(z/2))/2, safe at both ends
        into, forget, show, new = z.reshape(4, n, -1)
        after = np.empty_like(flat)
        h_next, c_next = after[:n], after[n:]
        c_next[...] = forget * c + into * new
        squashed = np.tanh(c_next)
        np.multiply(show, squashed, out=h_next)
        out = view["skip"] * grad + (view["out"] @ h_next).reshape(grad.shape)
        return Tape(out, after.reshape(state.shape), (grad, seen, z, squashed, c))

    def back(self, w: Array, tape: Tape, d_out: Array, d_state: Array) -> Pulled:
        """Through the output, the cell, the gates, and the preprocessing."""
        view, n = self.layout.views(w), self.hidden
        grad, seen, z, squashed, c = tape.values
        into, forget, show, new = z.reshape(4, n, -1)
        d_flat, d_after = d_out.reshape(-1), d_state.reshape(2 * n, -1)
        d_h = d_after[:n] + np.multiply.outer(view["out"], d_flat)
        d_c = d_after[n:] + d_h * show * (1 - squashed * squashed)
        d_z = np.empty_like(z)
        for part, value in zip(d_z.reshape(4, n, -1), (d_c * new, d_c * c, d_h * squashed, d_c * into), strict=True):
            part[...] = value
        d_z[: 3 * n] *= z[: 3 * n] * (1 - z[: 3 * n])
        d_z[3 * n :] *= 1 - new * new
        d_seen = view["gates"].T @ d_z
        d_w = np.empty_like(w)
        in_w = self.layout.views(d_w)
        in_w["gates"][...], in_w["bias"][...] = d_z @ seen.T, d_z.sum(axis=1)
        in_w["out"][...], in_w["skip"][...] = tape.state.reshape(2 * n, -1)[:n] @ d_flat, d_flat @ grad.reshape(-1)
        d_grad = view["skip"] * d_out + (d_seen[:2] * slopes(grad.reshape(-1))).sum(axis=0).reshape(grad.shape)
        return Pulled(d_grad, np.concatenate([d_seen[2:], d_c * forget]).reshape(d_state.shape), d_w)


SMALL = 10.0  # p: gradients below e^−p count as small


def preprocessed(grad: Array) -> Array:
    """Return size and sign of gradients (N,) at any scale: log|g|/p and sign g where |g| ≥ e^−p, else −1 and eᵖg."""
    xp = namespace(grad)
    size = xp.abs(grad)
    large = size >= np.exp(-SMALL)
    log = xp.log(xp.where(large, size, 1)) / SMALL
    both: Array = xp.stack([xp.where(large, log, -1), xp.where(large, xp.sign(grad), np.exp(SMALL) * grad)])
    return both


def slopes(grad: Array) -> Array:
    """Derivatives (2, N) of `preprocessed`: 1/(p·g) and 0 where |g| ≥ e^−p, else 0 and eᵖ."""
    large = np.abs(grad) >= np.exp(-SMALL)
    both = [np.where(large, 1 / (SMALL * np.where(large, grad, 1)), 0), np.where(large, 0, np.exp(SMALL))]
    return np.stack(both).astype(grad.dtype)


def taken(cell: Cell, w: Array, grad: Array, state: Array) -> tuple[Array, Array, Back]:
    """Return a step of ``cell``: direction, next state and pull-back, in closed form or, on JAX, by tracing."""
    if is_concrete(grad):
        tape = cell.step(w, grad, state)
        return tape.out, tape.state, lambda d_out, d_state: cell.back(w, tape, d_out, d_state)
    (out, after), pull = vjp(lambda *given: cell.forward(namespace(grad), *given), w, grad, state)

    def back(d_out: Array, d_state: Array) -> Pulled:
        in_w, in_grad, in_state = pull((d_out, d_state))
        return Pulled(in_grad, in_state, in_w)

    return out, after, back
