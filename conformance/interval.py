"""How sure a count is: `3 of 100` with the interval in which the true share lies, 95 times of 100."""

from __future__ import annotations

import math

__all__ = ["of", "wilson"]

Z = 1.959964  # standard deviations of the normal distribution between which 95 % of it lie


def wilson(count: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score, which is right for few repeats and for none or all of them as well.

    E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927.
    """
    share, square = count / total, Z * Z / total
    middle = share + square / 2
    half = Z * math.sqrt((share * (1 - share) + square / 4) / total)
    # Rounding must not leave what is possible.
    return max(0.0, (middle - half) / (1 + square)), min(1.0, (middle + half) / (1 + square))


def of(count: int, total: int) -> str:
    """`3 of 100, 95 %: 1.0 % to 8.5 %`; of what cannot be, as a record from elsewhere may have it, the numbers alone."""
    if not 0 <= count <= total or not total:
        return f"{count} of {total}"
    low, high = (f"{100 * end:.1f} %" for end in wilson(count, total))
    return f"{count} of {total}, 95 %: {low} to {high}"
