"""erf as two polynomials that vectorise: x + x p(x^2) near zero, 1 - exp(-q(|x|)) further out.

q is a fit of -log(erfc), which is nearly a parabola; its error counts less and less as erfc falls. The normal
distribution is 0.5 near zero, where erf's relative error does not count: there one q serves all of it.
The coefficients are minimax fits of our own (tests/native/fit_vecmath.py).
"""

from __future__ import annotations

import numpy as np

from ..symbols import fabs, fma, where
from .exponentials import exp_f32, exp_f64, exp_low_f32, with_sign_f32, with_sign_f64

HALF_F, HALF = np.float32(0.5), np.float64(0.5)
ROOT_HALF_F, ROOT_HALF = np.float32(0.7071067811865476), np.float64(0.7071067811865476)
A0_F, A1_F, A2_F, A3_F, A4_F, A5_F, A6_F, A7_F, A8_F = (
    np.float32(c)
    for c in (
        -1.50788004e-08,
        1.12838078,
        0.636592865,
        0.102938585,
        -0.0196216349,
        0.000577706436,
        0.00100816309,
        -0.000301406108,
        3.05390058e-05,
    )
)
SPLIT_F, END_F, ONE_F, ZERO_F = np.float32(0.9), np.float32(4.0), np.float32(1.0), np.float32(0.0)
N0_F, N1_F, N2_F, N3_F, N4_F, N5_F, N6_F = (
    np.float32(c)
    for c in (
        0.128379166,
        -0.376126289,
        0.112836242,
        -0.026855588,
        0.00519183604,
        -0.000804079347,
        7.94779407e-05,
    )
)
F0_F, F1_F, F2_F, F3_F, F4_F, F5_F, F6_F, F7_F = (
    np.float32(c)
    for c in (
        -0.000166389116,
        1.12947464,
        0.63342911,
        0.108188815,
        -0.0250599179,
        0.00414829189,
        -0.000429730047,
        2.0683101e-05,
    )
)
SPLIT, END, ONE = np.float64(1.0), np.float64(6.0), np.float64(1.0)
N0, N1, N2, N3, N4, N5, N6, N7, N8, N9, N10, N11, N12 = (
    np.float64(c)
    for c in (
        0.1283791670955126,
        -0.376126389031841,
        0.11283791670971106,
        -0.02686617064803418,
        0.0052239776527355924,
        -0.0008548328539001244,
        0.00012055386335226153,
        -1.4926885440549693e-05,
        1.6481131277739544e-06,
        -1.6557983854538104e-07,
        1.6019528044216793e-08,
        -1.649112660489605e-09,
        1.4391458513745904e-10,
    )
)
F0, F1, F2, F3, F4, F5, F6, F7, F8, F9, F10, F11, F12, F13, F14, F15, F16, F17 = (
    np.float64(c)
    for c in (
        5.029040879452149e-07,
        1.1283740889704061,
        0.6366436302909229,
        0.10270343355630386,
        -0.018990167619881048,
        -0.00041064356449567447,
        0.0019159600868905926,
        -0.0007706572357894402,
        0.00013505965916694396,
        2.02617848464773e-05,
        -2.2820481416413276e-05,
        8.666507010620047e-06,
        -2.1355118331518444e-06,
        3.732711821976067e-07,
        -4.641844121416691e-08,
        3.933830481740478e-09,
        -2.044708474935161e-10,
        4.92792710332485e-12,
    )
)


def erf_f32(x):
    """The error function within 1.5 ulp."""
    a = fabs(x)
    z = a * a
    p = fma(fma(fma(fma(fma(fma(N6_F, z, N5_F), z, N4_F), z, N3_F), z, N2_F), z, N1_F), z, N0_F)
    near = fma(a, p, a)
    b = where(a > END_F, END_F, a)
    w = b * b
    odd = fma(fma(fma(F7_F, w, F5_F), w, F3_F), w, F1_F)
    even = fma(fma(fma(F6_F, w, F4_F), w, F2_F), w, F0_F)
    far = ONE_F - exp_f32(-fma(odd, b, even))
    return with_sign_f32(where(a < SPLIT_F, near, far), x)


def erf_f64(x):
    """The error function within 1.5 ulp."""
    a = fabs(x)
    z = a * a
    w = z * z
    odd = fma(fma(fma(fma(fma(N11, w, N9), w, N7), w, N5), w, N3), w, N1)
    even = fma(fma(fma(fma(fma(fma(N12, w, N10), w, N8), w, N6), w, N4), w, N2), w, N0)
    near = fma(a, fma(odd, z, even), a)
    b = where(a > END, END, a)
    w = b * b
    odd = fma(fma(fma(fma(F17, w, F15), w, F13), w, F11), w, F9)
    odd = fma(fma(fma(fma(odd, w, F7), w, F5), w, F3), w, F1)
    even = fma(fma(fma(fma(F16, w, F14), w, F12), w, F10), w, F8)
    even = fma(fma(fma(fma(even, w, F6), w, F4), w, F2), w, F0)
    far = ONE - exp_f64(-fma(odd, b, even))
    return with_sign_f64(where(a < SPLIT, near, far), x)


def normal_cdf_f32(x):
    """The normal distribution function within 1e-7 (absolute; erf's formula loses the far left too)."""
    a = fabs(x) * ROOT_HALF_F
    b = where(a > END_F, END_F, a)
    w = b * b
    odd = fma(fma(fma(A7_F, w, A5_F), w, A3_F), w, A1_F)
    even = fma(fma(fma(fma(A8_F, w, A6_F), w, A4_F), w, A2_F), w, A0_F)
    tail = where(a > END_F, ZERO_F, HALF_F * exp_low_f32(-fma(odd, b, even)))
    return where(x > ZERO_F, ONE_F - tail, tail)


def normal_cdf_f64(x):
    """The normal distribution function within 2e-16 (absolute)."""
    return HALF * (ONE + erf_f64(x * ROOT_HALF))
