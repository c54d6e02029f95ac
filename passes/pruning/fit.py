"""Least squares of a layer's weights and bias."""

from __future__ import annotations

import attrs
import numpy as np

from uair.ir.dtype import Array


@attrs.define(eq=False)
class Sums:
    """Moments of what a layer reads and of its errors.

    Attributes:
        squares: [n, n], of what is read.
        products: [n, results], of what is read and the errors.
        reads: [n].
        errors: [results].
        shifts: whether the layer has a bias that may change.
        count: places that were taken in.
    """

    squares: Array
    products: Array
    reads: Array
    errors: Array
    shifts: bool = True
    count: int = 0

    @staticmethod
    def empty(width: int, results: int, *, shifts: bool = True) -> Sums:
        """Of nothing."""
        sums = np.zeros((width, width)), np.zeros((width, results)), np.zeros(width), np.zeros(results)
        return Sums(*sums, shifts)

    def add(self, rows: Array, error: Array) -> None:
        """Take in some places: what is read, [places, n], and what the results lack there, [places, results]."""
        self.squares += rows.T @ rows
        self.products += rows.T @ error
        self.reads += rows.sum(axis=0)
        self.errors += error.sum(axis=0)
        self.count += len(rows)

    def mean_error(self) -> Array:
        """[results]: what the results lack; zeros where no bias can give it."""
        return self.errors / max(self.count, 1) if self.shifts else np.zeros_like(self.errors)

    def mean_read(self) -> Array:
        """[n]: what is read; zeros where no bias makes up for it."""
        return self.reads / max(self.count, 1) if self.shifts else np.zeros_like(self.reads)

    def moments(self) -> Array:
        """[n, n]: mean products of what is read, about the mean where the bias makes up for that."""
        mean = self.mean_read()
        found: Array = self.squares / max(self.count, 1) - np.outer(mean, mean)
        return found

    def shift(self, change: Array) -> Array:
        """[results]: the best change of the bias beside a change of the weights, [results, n]."""
        result: Array = self.mean_error() - change @ self.mean_read()
        return result

    def solve(self, ridge: float) -> Array:
        """[results, n]: the change of the weights with the least squared error, weights held by `ridge`."""
        moments = self.moments()
        products = self.products / max(self.count, 1) - np.outer(self.mean_read(), self.mean_error())
        hold = ridge * float(np.trace(moments)) / max(len(moments), 1) + 1e-12
        change: Array = np.linalg.solve(moments + hold * np.eye(len(moments)), products).T
        return change
