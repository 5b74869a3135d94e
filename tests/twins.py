"""Slow plain twins of fast code that several tests check against."""

from __future__ import annotations

import numpy as np


def slow_warp(cost: np.ndarray) -> tuple[list[int], list[int]]:
    """Return the path cell by cell, ties broken as OpenAI's loop does it."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf, np.float32)
    total[0, 0] = 0
    came = np.zeros((rows + 1, columns + 1), int)
    for column in range(1, columns + 1):
        for row in range(1, rows + 1):
            both, down, right = total[row - 1, column - 1], total[row - 1, column], total[row, column - 1]
            if both < down and both < right:
                least, step = both, 0
            elif down < both and down < right:
                least, step = down, 1
            else:
                least, step = right, 2
            total[row, column] = cost[row - 1, column - 1] + least
            came[row, column] = step
    row, column, path = rows, columns, []
    while row or column:
        path.append((row - 1, column - 1))
        step = 2 if row == 0 else 1 if column == 0 else came[row, column]
        row, column = row - (step != 2), column - (step != 1)
    return tuple(map(list, zip(*path[::-1], strict=True)))
