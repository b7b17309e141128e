"""Handwritten digits without a photograph: pen strokes with random hand movements, drawn as distance fields."""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

SIZE = 32
SEGMENTS = 24
# Points lie on a grid 10 wide and 14 high. "~" starts a smooth curve, otherwise the pen moves in straight lines;
# "|" lifts the pen. Each line is one habit of writing the digit.
HABITS: tuple[tuple[str, ...], ...] = (
    (
        "~5,0 2,2 1,7 2,12 5,14 8,12 9,7 8,2 5,0",
        "~6,1 3,2 1,6 1,10 4,14 7,13 9,8 8,3 5,1 4,0",
        "~4,0 1,4 1,10 5,14 9,10 9,4 6,0 4,0",
    ),
    ("5,0 5,14", "2,4 6,0 6,14", "3,3 6,0 6,14|2,14 9,14", "7,0 4,14", "1,6 6,0 6,14", "~5,0 5,7 4,14"),
    (
        "~1,4 3,1 6,0 9,3 7,7 4,11 1,14|1,14 9,14",
        "~1,3 4,0 8,1 8,5 5,10 2,13 1,12 3,11 6,13 9,13",
        "~1,2 5,0 8,3 6,8 1,14 5,13 9,14",
    ),
    (
        "~1,2 4,0 8,1 8,5 4,7|~4,7 8,8 9,11 6,14 1,13",
        "1,0 8,0 4,6|~4,6 8,8 9,11 5,14 1,13",
        "~1,1 6,0 8,3 6,6 3,7 7,8 9,11 5,14 1,12",
    ),
    ("7,14 7,0 1,9 10,9", "2,0 1,8 9,8|8,2 7,14", "~3,0 1,4 2,7 5,8 8,7|9,1 8,14", "6,0 1,9 9,9|6,5 6,14"),
    (
        "9,0 2,0 2,6|~2,6 5,5 9,8 8,12 4,14 1,12",
        "2,1 2,6|~2,6 6,6 9,9 6,13 1,13|2,1 9,0",
        "~9,1 4,0 2,5 6,6 9,10 6,14 1,13",
    ),
    (
        "~8,0 4,3 1,8 2,13 5,14 9,11 8,8 4,7 1,10",
        "~5,0 2,5 1,10 4,14 8,12 8,8 5,7 2,9",
        "~9,1 6,0 2,5 1,11 4,14 8,13 9,9 6,7 2,9",
    ),
    (
        "1,0 9,0 4,14",
        "1,0 9,0 5,14|2,7 8,7",
        "~1,1 4,0 9,1 6,7 4,14",
        "1,3 1,0 9,0 5,14",
        "~1,1 4,0 9,1 6,7 4,14|3,8 9,6",
    ),
    ("~5,7 2,4 3,1 5,0 8,1 8,4 5,7 1,10 2,13 5,14 8,13 9,10 5,7", "~8,2 5,0 2,3 5,7 8,10 5,14 2,11 4,8 8,4 8,1"),
    (
        "~8,3 5,0 2,2 2,6 5,7 8,5 8,3|~8,3 8,9 6,14",
        "~8,4 5,0 1,4 4,7 8,4|8,1 8,14",
        "~8,3 5,0 2,3 5,7 8,3 9,8 6,13 2,13",
    ),
)


class Habit:
    """One way to write a digit: every drawn segment is a fixed linear function of the movable points."""

    def __init__(self, text: str):
        self.points: list[tuple[float, float]] = []
        strokes = []
        for stroke in text.split("|"):
            pairs = (pair.split(",") for pair in stroke.lstrip("~").split())
            strokes.append((stroke.startswith("~"), [self._index((float(x) / 10, float(y) / 14)) for x, y in pairs]))
        lengths = [self._length(indices) for _, indices in strokes]
        shares = np.maximum(2, np.floor(SEGMENTS * np.array(lengths) / sum(lengths))).astype(int)
        shares[np.argmax(shares)] += SEGMENTS - shares.sum()
        rows = [self._weights(s, i, n) for (s, i), n in zip(strokes, shares, strict=True)]
        self.start = np.concatenate([row[:-1] for row in rows])
        self.end = np.concatenate([row[1:] for row in rows])

    def _index(self, point: tuple[float, float]) -> int:
        # Points that coincide are one point, so that a shaky hand does not tear strokes apart.
        if point not in self.points:
            self.points.append(point)
        return self.points.index(point)

    def _length(self, indices: list[int]) -> float:
        path = np.array([self.points[i] for i in indices])
        return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())

    def _weights(self, smooth: bool, indices: list[int], segments: int) -> np.ndarray:
        """Return (segments + 1, points): weights of the points at each joint of the drawn polyline."""
        path = np.array([self.points[i] for i in indices])
        steps = np.r_[0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
        where = np.interp(np.linspace(0, steps[-1], segments + 1), steps, np.arange(len(path)))
        weights = np.zeros((segments + 1, 64))
        last = len(indices) - 1
        for row, place in enumerate(where):
            k = min(int(place), last - 1)
            u = place - k
            if smooth:  # Catmull-Rom
                basis = (-u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, u**3 - u**2)
                for offset, value in zip((-1, 0, 1, 2), basis, strict=True):
                    weights[row, indices[min(max(k + offset, 0), last)]] += value / 2
            else:
                weights[row, indices[k]] += 1 - u
                weights[row, indices[k + 1]] += u
        return weights


@lru_cache
def habits(digit: int) -> tuple[Habit, ...]:
    return tuple(Habit(text) for text in HABITS[digit])


def segments(digits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return pen segments (batch, SEGMENTS, 2 ends, 2 coordinates) in the unit square, hand-shaken."""
    out = np.empty((len(digits), SEGMENTS, 2, 2))
    choice = rng.random(len(digits))
    shake = rng.uniform(0.01, 0.06, (len(digits), 1, 1))
    for digit in range(10):
        ways = habits(digit)
        for way, habit in enumerate(ways):
            rows = np.flatnonzero((digits == digit) & ((choice * len(ways)).astype(int) == way))
            count = len(habit.points)
            points = np.array(habit.points) + rng.normal(size=(len(rows), count, 2)) * shake[rows]
            out[rows, :, 0] = habit.start[:, :count] @ points
            out[rows, :, 1] = habit.end[:, :count] @ points
    return out


def deform(lines: np.ndarray, rng: np.random.Generator, thickness: np.ndarray) -> np.ndarray:
    """Slant, turn, bend and stretch each digit, then fit it into the picture (pixel coordinates)."""
    n = len(lines)
    x, y = np.moveaxis(lines.reshape(n, -1, 2) - 0.5, -1, 0)
    x = x * (0.62 * np.exp(rng.normal(0, 0.15, (n, 1)))) - rng.normal(0, 0.22, (n, 1)) * y
    angle = rng.normal(0, 0.12, (n, 1))
    x, y = np.cos(angle) * x - np.sin(angle) * y, np.sin(angle) * x + np.cos(angle) * y
    for _ in range(2):  # bend x along y, then y along x
        wave = np.sin(rng.uniform(2, 6, (n, 1)) * y + rng.uniform(0, 2 * np.pi, (n, 1)))
        x, y = y, x + rng.uniform(0, 0.06, (n, 1)) * wave
    margin = rng.uniform(0.2, 2.5, (n, 1)) + thickness[:, None] / 2
    room = SIZE - 2 * margin
    scale = room / np.maximum(np.ptp(y, axis=1, keepdims=True), 0.2)
    scale = np.where(rng.random((n, 1)) < 0.2, scale * rng.uniform(0.6, 1, (n, 1)), scale)
    across = np.minimum(scale, room / np.maximum(np.ptp(x, axis=1, keepdims=True), 0.05))
    centre = [(v.min(1, keepdims=True) + v.max(1, keepdims=True)) / 2 for v in (x, y)]
    x = (x - centre[0]) * across + SIZE / 2 + rng.normal(0, 1.0, (n, 1))
    y = (y - centre[1]) * scale + SIZE / 2 + rng.normal(0, 0.6, (n, 1))
    return np.stack([x, y], -1).reshape(lines.shape)


def draw(digits: np.ndarray, rng: np.random.Generator) -> Tensor:
    """Draw `digits` (batch,) as ink masks (batch, 1, 32, 32) in 0..1."""
    thickness = rng.uniform(1.0, 3.4, len(digits))
    lines = torch.from_numpy(deform(segments(digits, rng), rng, thickness)).float()
    axis = torch.arange(SIZE) + 0.5
    start, along = lines[:, :, 0, :, None], (lines[:, :, 1] - lines[:, :, 0])[..., None]
    dx = axis.repeat(SIZE) - start[:, :, 0]
    dy = axis.repeat_interleave(SIZE) - start[:, :, 1]
    ax, ay = along[:, :, 0], along[:, :, 1]
    t = ((dx * ax + dy * ay) / (ax * ax + ay * ay).clamp_min(1e-6)).clamp_(0, 1)
    squared = dx.sub_(t * ax).square_().add_(dy.sub_(t.mul_(ay)).square_()).amin(1)
    distance = squared.sqrt_().view(-1, 1, SIZE, SIZE)
    return (torch.from_numpy(thickness).float().view(-1, 1, 1, 1) - distance + 0.5).clamp(0, 1)
