"""Compute shares by the validators' documented rule, and how far a fair validator's shares may be from them.

A fair validator's shares may differ from ours for two reasons:

- On another machine, float errors may change a prediction if the two largest logits are almost equal (a tie). So each
  tie counts as a coin toss.
- The validator may have scored other samples of the same kind. Then its gains and ours both vary. So the variance of
  their difference is twice the sampling variance of the gains.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from decloud_pl.domain import BPS_DENOMINATOR
from decloud_pl.rounds.scoring import Score

_DRAWS = 4000
_COVERED = 0.999
_SEED = 20_260_118
_COIN = 0.25
"""The variance of a prediction that is right or wrong with equal chances."""


def fair_shares(gains: Sequence[int], *, also_valid: int = 0) -> list[int]:
    """Return the shares, in basis points, that the rule gives for these gains.

    Shares are proportional to the gains and rounded down. The first submission with a share above 0 also gets the basis
    points that are left over. If no submission has a gain above 0, all valid submissions get equal shares. The basis
    points that are left over then go to the first submissions, one to each.

    Args:
        gains: for each submission with a known gain, how many more samples its model gets right than the base model.
        also_valid: the number of other valid submissions. They get shares only if no gain in ``gains`` is above 0.
            Their shares are at the end of the result.
    """
    positive = [max(0, gain) for gain in gains] + [0] * also_valid
    total = sum(positive)
    if not total:
        share, rest = divmod(BPS_DENOMINATOR, max(1, len(positive)))
        return [share + (place < rest) for place in range(len(positive))]
    shares = [gain * BPS_DENOMINATOR // total for gain in positive]
    shares[next(place for place, share in enumerate(shares) if share)] += BPS_DENOMINATOR - sum(shares)
    return shares


def float_noise(gains: Sequence[int], base: Score, scores: Sequence[Score]) -> list[int]:
    """Return by how many basis points each share may change through float errors and rounding alone."""
    shared = _COIN * base.ties
    covariance = [
        [shared + (_COIN * score.ties if row == column else 0.0) for column in range(len(scores))]
        for row, score in enumerate(scores)
    ]
    rounding = len(gains)
    return [min(BPS_DENOMINATOR, noise + rounding) for noise in _noise(gains, covariance)]


def sampling_noise(gains: Sequence[int], products: Sequence[Sequence[int]], samples: int) -> list[int]:
    """Return by how many basis points each share may change if a validator scores other samples of the same kind.

    Args:
        gains: for each submission, how many more samples its model gets right than the base model.
        products: for each pair of submissions, the sum of the products of their changes, over all samples. A change is
            1 if only the submission's model gets the sample right, -1 if only the base model does, and 0 otherwise.
        samples: the number of samples.
    """
    number = max(1, samples)
    covariance = [
        [2 * (products[row][column] - gains[row] * gains[column] / number) for column in range(len(gains))]
        for row in range(len(gains))
    ]
    return _noise(gains, covariance)


def _noise(gains: Sequence[int], covariance: Sequence[Sequence[float]]) -> list[int]:
    """Return, for each share, by how many basis points it may differ from the fair share by chance.

    This is a simulation: many times, gains are drawn at random. In 99.9 % of the draws, a share differs from the fair
    share by at most the returned number.
    """
    if not any(any(row) for row in covariance):
        return [0] * len(gains)
    fair, factor, chance = fair_shares(gains), _cholesky(covariance), random.Random(_SEED)
    off: list[list[int]] = [[] for _ in gains]
    for _ in range(_DRAWS):
        tosses = [chance.gauss(0.0, 1.0) for _ in gains]
        drawn = [
            round(gain + math.fsum(weight * toss for weight, toss in zip(row, tosses, strict=False)))
            for gain, row in zip(gains, factor, strict=True)
        ]
        for place, share in enumerate(fair_shares(drawn)):
            off[place].append(abs(share - fair[place]))
    return [sorted(found)[math.ceil(_COVERED * _DRAWS) - 1] for found in off]


def _cholesky(matrix: Sequence[Sequence[float]]) -> list[list[float]]:
    """Return a lower triangular L with L·Lᵀ = matrix. If the matrix is singular, some columns of L are zero."""
    rows: list[list[float]] = []
    for place, values in enumerate(matrix):
        row: list[float] = []
        for before in range(place):
            rest = values[before] - math.fsum(one * other for one, other in zip(row, rows[before], strict=False))
            pivot = rows[before][before]
            row.append(rest / pivot if pivot > 0 else 0.0)
        left = values[place] - math.fsum(one * one for one in row)
        row.append(math.sqrt(left) if left > 1e-9 * max(1.0, abs(values[place])) else 0.0)
        rows.append(row)
    return rows
