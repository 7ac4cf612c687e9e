"""Prints the coefficients of the polynomials in mod.rs: minimax fits by Lawson's method (iteratively reweighted least
squares), in double precision, with the leading terms fixed to numbers that float32 has.

    python fit.py          needs numpy and scipy
"""

import numpy as np
from scipy.special import erf, erfc


def fit(x, target, powers, weight):
    """c of the least max |weight · (Σ c x^p − target)|."""
    basis = np.stack([x**p for p in powers], axis=1) * weight[:, None]
    target = target * weight
    lawson = np.full(len(x), 1.0 / len(x))
    for _ in range(300):
        root = np.sqrt(lawson)
        c = np.linalg.lstsq(basis * root[:, None], target * root, rcond=None)[0]
        error = np.abs(basis @ c - target)
        lawson *= error + 1e-18
        lawson /= lawson.sum()
    return c, error.max()


def show(name, c, error):
    print(f"{name}: largest error {error:.2e}")
    print("   ", ", ".join(f"{np.float32(v)!r}".removeprefix("np.float32(").removesuffix(")") for v in c))


def main():
    # e^r = 1 + r + r² P(r), |r| ≤ ln 2 / 2: relative error.
    r = np.linspace(-0.3467, 0.3467, 4001)
    r = r[np.abs(r) > 1e-6]
    show("exp", *fit(r, np.exp(r) - 1 - r, range(2, 7), np.exp(-r)))
    # ln(1 + f) = f − f²/2 + f³ P(f), √½ ≤ 1 + f < √2: relative error.
    f = np.linspace(np.sqrt(0.5) - 1, np.sqrt(2) - 1, 4001)
    f = f[np.abs(f) > 1e-4]
    show("log", *fit(f, np.log1p(f) - f + f * f / 2, range(3, 12), 1 / np.abs(np.log1p(f))))
    # tanh x = x + x³ P(x²), |x| ≤ 0.625: relative error.
    x = np.linspace(1e-3, 0.6251, 4001)
    show("tanh", *fit(x, np.tanh(x) - x, range(3, 13, 2), 1 / np.tanh(x)))
    # erf x = x + x P(x²), |x| ≤ 1: relative error.
    x = np.linspace(1e-3, 1.001, 4001)
    show("erf", *fit(x, erf(x) - x, range(1, 15, 2), 1 / erf(x)))
    # erf x = 1 − e^(−x P(x)), 1 ≤ x ≤ 4: absolute error, that of the exponent weighed by what it does to erf.
    x = np.linspace(0.99, 4.0, 4001)
    show("erf in the tail", *fit(x, -np.log(erfc(x)), range(1, 9), erfc(x)))


main()
