"""exp, log, sigmoid and tanh in float32, without the C library.

Loops over them become vector code for every processor, which loops over calls of ``expf`` do not:
0.3 to 0.9 ns a number against 2 to 18. The polynomials are those of Cephes (``expf``, ``logf``).
"""

from typing import Any

import numpy as np

from plc_kernels.build.compile import intrinsic, ir, rounded_part, types

F = np.float32

_LOG2E, _LN2_HIGH, _LN2_LOW = F(1.44269504), F(0.693359375), F(-2.12194440e-4)
_HALF, _ONE, _TWO = F(0.5), F(1.0), F(2.0)
LOWEST, HIGHEST = F(-87.0), F(88.0)
"""Where :func:`exp` is held: its result stays a normal number."""
_E0, _E1, _E2 = F(1.9875691500e-4), F(1.3981999507e-3), F(8.3334519073e-3)
_E3, _E4, _E5 = F(4.1665795894e-2), F(1.6666665459e-1), F(5.0000001201e-1)
_SQRT_HALF = F(0.70710678)
_L0, _L1, _L2 = F(7.0376836292e-2), F(-1.1514610310e-1), F(1.1676998740e-1)
_L3, _L4, _L5 = F(-1.2420140846e-1), F(1.4249322787e-1), F(-1.6668057665e-1)
_L6, _L7, _L8 = F(2.0000714765e-1), F(-2.4999993993e-1), F(3.3333331174e-1)


def _on_bits(work: Any) -> Any:
    """Return a function of a float32, made of its bits by ``work``."""

    @intrinsic
    def function(_context: Any, value: Any) -> Any:
        def generate(_: Any, build: Any, __: Any, given: Any) -> Any:
            return work(build, given[0], ir.IntType(32), ir.FloatType())

        return types.float32(types.float32), generate

    return function


def _power(build: Any, x: Any, whole: Any, real: Any) -> Any:
    exponent = build.add(build.fptosi(x, whole), whole(127))
    return build.bitcast(build.shl(exponent, whole(23)), real)


def _exponent(build: Any, x: Any, whole: Any, real: Any) -> Any:
    exponent = build.lshr(build.bitcast(x, whole), whole(23))
    return build.sitofp(build.sub(exponent, whole(126)), real)


def _mantissa(build: Any, x: Any, whole: Any, real: Any) -> Any:
    bits = build.and_(build.bitcast(x, whole), whole(0x007FFFFF))
    return build.bitcast(build.or_(bits, whole(0x3F000000)), real)


_power_of_two = _on_bits(_power)
_exponent_of = _on_bits(_exponent)
_mantissa_of = _on_bits(_mantissa)


@rounded_part
def exp(x: np.float32) -> np.float32:
    """Return e to the x, relative error 2e-7; beyond -87 and 88, and of NaN, held there."""
    x = x if x > LOWEST else LOWEST
    x = x if x < HIGHEST else HIGHEST
    n = np.floor(x * _LOG2E + _HALF)
    r = x - n * _LN2_HIGH - n * _LN2_LOW
    p = ((((_E0 * r + _E1) * r + _E2) * r + _E3) * r + _E4) * r + _E5
    value: np.float32 = (p * r * r + r + _ONE) * _power_of_two(n)
    return value


@rounded_part
def log(x: np.float32) -> np.float32:
    """Return the natural logarithm of a normal number above 0; of others, some finite number."""
    e, m = _exponent_of(x), _mantissa_of(x)
    low = m < _SQRT_HALF
    e = e - _ONE if low else e
    m = (m + m if low else m) - _ONE
    z = m * m
    p = (((_L0 * m + _L1) * m + _L2) * m + _L3) * m + _L4
    p = ((((p * m + _L5) * m + _L6) * m + _L7) * m + _L8) * m * z
    p = p + e * _LN2_LOW - _HALF * z
    value: np.float32 = m + p + e * _LN2_HIGH
    return value


@rounded_part
def sigmoid(x: np.float32) -> np.float32:
    """Return 1 / (1 + exp(-x)), relative error 4e-7 from -87 on."""
    value: np.float32 = _ONE / (_ONE + exp(-x))
    return value


@rounded_part
def tanh(x: np.float32) -> np.float32:
    """Return the hyperbolic tangent, absolute error 2e-7."""
    value: np.float32 = _ONE - _TWO / (_ONE + exp(x + x))
    return value
