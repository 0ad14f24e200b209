"""A test that may be looked at after every run: it ends when it is decided, and its error rates hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from scipy.special import gammaln, logsumexp, xlogy

from aggrkit.errors import number_between

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["Decision", "SequentialTest", "log_likelihood_ratio"]

Decision = Literal["changed", "same", "undecided"]

_ENOUGH_TERMS: Final = 40.0


@dataclass(frozen=True, slots=True)
class SequentialTest:
    """Wald's sequential test of two means whose common standard deviation isn't known.

    It weighs "the means differ by `effect` standard deviations, in either direction" against "they don't differ". The
    ratio of the likelihoods of what can be seen without knowing mean and deviation, the t statistic, is followed run by
    run; as soon as it is large enough the means differ, as soon as it is small enough they don't.

    Parameters
    ----------
    effect : float
        The smallest difference that matters, in standard deviations of a run: for a margin of 2 % at a coefficient of
        variation of 1 % it is 2.
    alpha : float, optional
        The chance that means which don't differ are called changed, at whatever run one looks.
    beta : float, optional
        The chance that means which differ by `effect` are called the same.
    least : int, optional
        No decision before each side has so many runs. The rates hold with 2.

    Raises
    ------
    ValueError
        If `effect` is not positive, or a chance is not between 0 and 1.

    Notes
    -----
    Under "no difference" the ratio is a martingale with mean 1, so by Ville's inequality it ever exceeds ``1 / alpha``
    with a chance of at most `alpha`; its reciprocal is one under "a difference of `effect`". The rates hold for normal
    noise, and about so for the logarithms of times. Values on a side that are all the same count as noise of the
    rounding of numbers, not as none.

    References
    ----------
    A. Wald (1947), Sequential Analysis. S. Rushton (1952), On a two-sided sequential t-test, Biometrika 39, 302-308.
    A. Hendriksen, R. de Heide, P. Gruenwald (2021), Optional stopping with Bayes factors, Bayesian Analysis 16.

    Examples
    --------
    >>> test = SequentialTest(effect=2.0)
    >>> test.decide([10.0, 10.1, 9.9], [10.05, 10.2])
    'undecided'
    >>> test.decide([10.0, 10.1, 9.9, 10.05], [11.0, 11.1, 10.9, 11.05])
    'changed'
    """

    effect: float
    alpha: float = 0.05
    beta: float = 0.2
    least: int = 2

    def __post_init__(self) -> None:
        number_between(self.effect, 0, math.inf, "the effect is a positive number of standard deviations")
        number_between(self.alpha, 0, 1, "alpha is a chance between 0 and 1")
        number_between(self.beta, 0, 1, "beta is a chance between 0 and 1")

    def evidence(self, baseline: ArrayLike, current: ArrayLike) -> float:
        """Return the logarithm of the ratio of likelihoods; 0 while there are too few runs.

        Parameters
        ----------
        baseline, current : array_like
            A value for each run, such as the logarithm of its mean time. Missing ones are left out.
        """
        sides = [np.asarray(side, dtype=np.float64).ravel() for side in (baseline, current)]
        first, second = (side[np.isfinite(side)] for side in sides)
        n1, n2 = len(first), len(second)
        if min(n1, n2) < max(self.least, 1) or n1 + n2 < 3:
            return 0.0
        difference = float(second.mean() - first.mean())
        squares = float(((first - first.mean()) ** 2).sum() + ((second - second.mean()) ** 2).sum())
        rounding = np.finfo(np.float64).eps * max(float(np.abs(first).max()), float(np.abs(second).max()))
        return log_likelihood_ratio(n1, n2, difference, squares + rounding**2, self.effect)

    def decide(self, baseline: ArrayLike, current: ArrayLike) -> Decision:
        """Return what is decided by the runs so far; see `evidence` for the parameters."""
        evidence = self.evidence(baseline, current)
        if evidence >= -math.log(self.alpha):
            return "changed"
        return "same" if evidence <= math.log(self.beta) else "undecided"


def log_likelihood_ratio(n1: int, n2: int, difference: float, squares: float, effect: float) -> float:
    r"""Return the logarithm of how much likelier a t statistic is where the means differ than where they don't.

    Parameters
    ----------
    n1, n2 : int
        Values on each side; three in all at least.
    difference : float
        Of the means.
    squares : float
        Sum of the squares of the distances of the values from the mean of their side.
    effect : float
        How many standard deviations the means differ by, in either direction.

    Returns
    -------
    float
        The ratio of the densities of F = t^2: with :math:`\nu` degrees of freedom and
        :math:`\lambda = \delta^2 n_1 n_2 / (n_1 + n_2)` it is
        :math:`e^{-\lambda/2} {}_1F_1((\nu + 1)/2; 1/2; (\lambda/2) F / (\nu + F))`. 0 where all values are equal to the
        last bit: then they say nothing of the noise.

    Examples
    --------
    >>> from scipy import stats
    >>> t2 = 0.5**2 / (0.8 / 8) * 5 * 5 / 10
    >>> exact = stats.ncf.logpdf(t2, 1, 8, 2.5) - stats.f.logpdf(t2, 1, 8)
    >>> bool(abs(log_likelihood_ratio(5, 5, 0.5, 0.8, 1.0) - exact) < 1e-9)
    True
    """
    weight = n1 * n2 / (n1 + n2)
    between = weight * difference**2
    if between + squares == 0:
        return 0.0
    shift = effect**2 * weight / 2
    return _log_hyp1f1((n1 + n2 - 1) / 2, shift * between / (between + squares)) - shift


def _log_hyp1f1(a: float, x: float) -> float:
    """Return log 1F1(a; 1/2; x) for positive a and x from 0, also where 1F1 itself would overflow."""
    # The terms of the series grow until k (k + 1/2) = (a + k) x, and fall off faster than those of a normal density.
    peak = (x + math.sqrt(x * x + 4 * a * x)) / 2
    k = np.arange(math.ceil(peak + _ENOUGH_TERMS + 12 * math.sqrt(peak + 1)))
    terms = gammaln(a + k) - gammaln(a) - gammaln(0.5 + k) + gammaln(0.5) + xlogy(k, x) - gammaln(k + 1)
    return float(logsumexp(terms))
