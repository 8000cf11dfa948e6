"""Convolutional net for images, and its layers: a 3×3 convolution that halves the sides, and the mean over an image.

Images lie in h (T, N, i) pixel after pixel: N is the number of images times the pixels of each, i the channels.
A convolution is a product of each pixel's 3×3 neighbourhood with the weights, so that every task may have its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType
from typing import Any, Literal

import numpy as np

from ..core.hyperparameters import check_int
from .layers import Cache, Dense, Layer, Named, Tangents
from .net import DEEPEST, Net

Array = np.ndarray


def half_side(side: int) -> int:
    """Return the side of an image after a convolution with stride 2."""
    return (side + 1) // 2


class Conv(Dense):
    """3×3 convolution with stride 2, one pixel of zeros around the image: (side, side, i) → (⌈side/2⌉, ⌈side/2⌉, o).

    On top of `Dense`, whose inputs are the neighbourhoods, there is only what is linear and has no parameters: taking
    neighbourhoods (`_im2col`), and its transpose, adding them back (`_col2im`).
    """

    def __init__(self, number: int, side: int, channels: int, filters: int, bias: bool) -> None:
        super().__init__(number, 9 * channels, filters, bias)
        self.side, self.channels = side, channels

    def _neighbors(self) -> Iterator[tuple[slice, slice, slice]]:
        """Yield for each of the nine neighbours its rows, its columns and its channels in a neighbourhood."""
        reach = 2 * half_side(self.side)
        for i in range(3):
            for j in range(3):
                at = (3 * i + j) * self.channels
                yield slice(i, i + reach - 1, 2), slice(j, j + reach - 1, 2), slice(at, at + self.channels)

    def apply(self, xp: ModuleType, params: Mapping[str, Any], h: Array) -> Any:
        side, channels = self.side, self.channels
        padded = xp.pad(xp.reshape(h, (-1, side, side, channels)), ((0, 0), (1, 1), (1, 1), (0, 0)), mode="constant")
        around = xp.concatenate([padded[:, rows, columns] for rows, columns, _ in self._neighbors()], axis=3)
        return super().apply(xp, params, xp.reshape(around, (-1, 9 * channels)))

    def _im2col(self, h: Array) -> Array:
        """Gather the 3×3 neighbourhood of each pixel: (T, N, i) → (T, N', 9 i)."""
        tasks, side, channels = len(h), self.side, self.channels
        padded = np.zeros((tasks, h[0].size // (side * side * channels), side + 2, side + 2, channels), h.dtype)
        padded[:, :, 1:-1, 1:-1] = h.reshape(*padded.shape[:2], side, side, channels)
        around = np.empty((*padded.shape[:2], half_side(side), half_side(side), 9 * channels), h.dtype)
        for rows, columns, at in self._neighbors():
            around[..., at] = padded[:, :, rows, columns]
        return around.reshape(tasks, -1, 9 * channels)

    def _col2im(self, around: Array | None) -> Array | None:
        """Add the neighbourhoods back to the pixels, the transpose of `_im2col`: (T, N', 9 i) → (T, N, i)."""
        if around is None:
            return None
        tasks, side, channels, small = len(around), self.side, self.channels, half_side(self.side)
        parts = around.reshape(tasks, -1, small, small, 9 * channels)
        padded = np.zeros((*parts.shape[:2], side + 2, side + 2, channels), around.dtype)
        for rows, columns, at in self._neighbors():
            padded[:, :, rows, columns] += parts[..., at]
        return padded[:, :, 1:-1, 1:-1].reshape(tasks, -1, channels)

    def forward(self, w: Named, h: Array) -> tuple[Array, Cache]:
        return super().forward(w, self._im2col(h))

    def backward(self, w: Named, cache: Cache, delta: Array, into: Named, further: bool) -> Array | None:
        return self._col2im(super().backward(w, cache, delta, into, further))

    def jvp(self, w: Named, cache: Cache, dw: Named, dh: Array | None) -> tuple[Array | None, Tangents]:
        return super().jvp(w, cache, dw, None if dh is None else self._im2col(dh))

    def backward_jvp(
        self, w: Named, cache: Cache, tangents: Tangents, delta: Array, dw: Named, into: Named, further: bool
    ) -> Array | None:
        return self._col2im(super().backward_jvp(w, cache, tangents, delta, dw, into, further))


class Pixels(Layer):
    """Reshape of images from one row each (K, D) to one row per pixel (K·side², channels)."""

    def __init__(self, side: int, channels: int) -> None:
        super().__init__()
        self.width, self.channels = side * side * channels, channels

    def apply(self, xp: ModuleType, params: Mapping[str, Any], h: Array) -> Any:
        return xp.reshape(h, (-1, self.channels))

    def forward(self, w: Named, h: Array) -> tuple[Array, Cache]:
        return h.reshape(len(h), -1, self.channels), ()

    def backward(self, w: Named, cache: Cache, delta: Array, into: Named, further: bool) -> Array | None:
        return delta.reshape(len(delta), -1, self.width)


class Mean(Layer):
    """Global average pooling, the mean over the pixels of each image: (T, K·pixels, i) → (T, K, i)."""

    def __init__(self, pixels: int) -> None:
        super().__init__()
        self.pixels = pixels

    def apply(self, xp: ModuleType, params: Mapping[str, Any], h: Array) -> Any:
        return xp.mean(xp.reshape(h, (-1, self.pixels, h.shape[-1])), axis=1)

    def _mean(self, h: Array) -> Array:
        return np.asarray(h.reshape(len(h), -1, self.pixels, h.shape[-1]).mean(axis=2))

    def forward(self, w: Named, h: Array) -> tuple[Array, Cache]:
        return self._mean(h), ()

    def backward(self, w: Named, cache: Cache, delta: Array, into: Named, further: bool) -> Array | None:
        return np.repeat(delta / self.pixels, self.pixels, axis=1)

    def jvp(self, w: Named, cache: Cache, dw: Named, dh: Array | None) -> tuple[Array | None, Tangents]:
        return None if dh is None else self._mean(dh), None


class ConvNet(Net):
    """Blocks of 3×3 convolution, norm and activation, each halving the image, and a linear layer; see `conv`."""

    def __init__(
        self, outputs: int, side: int, channels: int, filters: int, blocks: int, norm: str | None, activation: str
    ) -> None:
        self.side, self.channels = check_int(side, "side", 1), check_int(channels, "channels", 1)
        self.filters, self.blocks = check_int(filters, "filters", 1), check_int(blocks, "blocks", 1, DEEPEST)
        sizes = (side * side * channels, filters, check_int(outputs, "outputs", 1))
        super().__init__(sizes, activation, True, None, norm)

    def closed_form(self) -> Literal["layers"]:
        """Return ``layers``: there are convolutions between them."""
        return "layers"

    def _chain(self) -> list[Layer]:
        layers: list[Layer] = [Pixels(self.side, self.channels)]
        side, channels = self.side, self.channels
        for number in range(self.blocks):
            layers.append(Conv(number, side, channels, self.filters, bias=self.norm is None))
            layers += self._norm_and_activation(number, self.filters)
            side, channels = half_side(side), self.filters
        return [*layers, Mean(side * side), Dense(self.blocks, self.filters, self.outputs, True)]

    def __repr__(self) -> str:
        rest = "" if self.activation == "relu" else f", activation={self.activation!r}"
        return (
            f"conv({self.outputs}, side={self.side}, channels={self.channels}, filters={self.filters},"
            f" blocks={self.blocks}, norm={self.norm!r}{rest})"
        )
