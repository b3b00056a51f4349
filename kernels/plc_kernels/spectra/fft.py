"""Real FFT of any even length, callable inside other kernels.

A real signal of ``n`` samples is read as ``n / 2`` complex ones, transformed, and
split into the spectra of the even and the odd samples, which one more butterfly
joins. The complex transform is Stockham's: each pass of radix 4, 2, 3, 5 or any odd
prime reads one half of the scratch memory and writes the other, already in order, so
no pass permutes. Real and imaginary parts stand in rows of their own and every inner
loop has unit stride, which is what lets it vectorise.

A transform costs O(n log n), and O(n r) for a largest prime factor ``r`` above 5.
Against the choices (table in ``docs/notebook/tables.md``): NumPy takes 1.5 to 5 times as long
and a way back to Python, which waits for the GIL; pocketfft inside numba (rocket-fft) is
1.1 to 1.5 times as fast up to 4096 samples, 2 times with a prime above 5, but allocates
on each call, takes the lock of a cache of plans, and would be one more dependency.

Kernels in other files call :func:`rfft` and :func:`irfft` as they are: the cache of
compiled code is renewed when any file of this package changes
(:mod:`plc_kernels.build.compile`).
"""

import math
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from plc_kernels.build.compile import kernel

# Samples, tables and scratch memory of one plan: all float32 or all float64.
_Reals = NDArray[Any]


MOST_FACTORS = 64
"""Passes of a transform at most."""


@kernel
def radices(length: int, factors: NDArray[np.int64]) -> int:
    """Write the factors of ``length``, above 0, one for each pass; return their number.

    4s, 2, 3s, 5s, then odd primes: large primes come last, where their inner loop is the longest.
    ``factors`` is int64, shape (MOST_FACTORS,).
    """
    count = 0
    rest = length
    for radix in (4, 2, 3, 5):
        while rest % radix == 0:
            factors[count] = radix
            count += 1
            rest //= radix
    prime = 7
    while rest > 1:
        if prime * prime > rest:
            prime = rest
        while rest % prime == 0:
            factors[count] = prime
            count += 1
            rest //= prime
        prime += 2
    return count


@kernel
def plan_fft(n: int, factors: NDArray[np.int64], twiddles: NDArray[Any]) -> int:
    """Write the tables of a transform; return the number of its passes.

    ``n``, the length of the real signal, is even and at least 2; ``factors`` are int64, shape
    (MOST_FACTORS,); ``twiddles``, cosines and sines, are float32 or float64, shape
    (2, :func:`twiddle_count`).
    """
    half = n // 2
    passes = radices(half, factors)
    at = 0
    for k in range(half // 2 + 1):
        _twiddle(k / n, twiddles, at)
        at += 1
    length = half
    for i in range(passes):
        radix = factors[i]
        if radix % 2 == 1:
            for k in range(radix):
                _twiddle(k / radix, twiddles, at)
                at += 1
        for j in range(1, radix):
            for k in range(length // radix):
                _twiddle(j * k / length, twiddles, at)
                at += 1
        length //= radix
    return passes


@kernel
def _twiddle(turn: float, twiddles: NDArray[Any], at: int) -> None:
    angle = -2.0 * math.pi * turn
    twiddles[0, at] = math.cos(angle)
    twiddles[1, at] = math.sin(angle)


@kernel
def twiddle_count(n: int) -> int:
    """Return the columns of the twiddle factors for ``n`` real samples: even, at least 2."""
    half = n // 2
    count = half // 2 + 1
    length = half
    for radix in (4, 2, 3, 5):
        while length % radix == 0:
            count += (radix if radix % 2 == 1 else 0) + (radix - 1) * (length // radix)
            length //= radix
    prime = 7
    while length > 1:
        if prime * prime > length:
            prime = length
        while length % prime == 0:
            count += prime + (prime - 1) * (length // prime)
            length //= prime
        prime += 2
    return count


@dataclass(frozen=True, slots=True)
class RealFft:
    """Tables and scratch memory of :func:`rfft` and :func:`irfft` for one length.

    The tables may be shared; the scratch memory serves one call at a time.
    """

    factors: NDArray[np.int64]
    twiddles: NDArray[Any]
    scratch: NDArray[Any]

    @classmethod
    def allocate(cls, n: int, dtype: type = np.float32) -> Self:
        """Return the memory of transforms of ``n`` samples of a type, ``float32`` or ``float64``.

        Raises
        ------
        ValueError
            If ``n`` is odd or less than 2.
        """
        if n < 2 or n % 2:
            raise ValueError(f"FFT length is {n}; supported: even numbers from 2")
        factors = np.zeros(MOST_FACTORS, np.int64)
        twiddles: NDArray[Any] = np.zeros((2, twiddle_count(n)), dtype)
        passes = plan_fft(n, factors, twiddles)
        return cls(
            factors=factors[:passes].copy(),
            twiddles=twiddles,
            scratch=np.empty((4, n // 2), dtype),
        )


@kernel
def _pass2(x: _Reals, w: _Reals, count: int, stride: int, y: _Reals) -> None:
    """Join pairs of transforms, ``stride`` of them side by side; see :func:`_pass4`."""
    half = count * stride
    for p in range(count):
        w_re, w_im = w[0, p], w[1, p]
        a_re, a_im = x[0, stride * p :], x[1, stride * p :]
        b_re, b_im = x[0, half + stride * p :], x[1, half + stride * p :]
        y0_re, y0_im = y[0, 2 * stride * p :], y[1, 2 * stride * p :]
        y1_re, y1_im = y[0, stride * (2 * p + 1) :], y[1, stride * (2 * p + 1) :]
        for q in range(stride):
            d_re = a_re[q] - b_re[q]
            d_im = a_im[q] - b_im[q]
            y0_re[q] = a_re[q] + b_re[q]
            y0_im[q] = a_im[q] + b_im[q]
            y1_re[q] = d_re * w_re - d_im * w_im
            y1_im[q] = d_re * w_im + d_im * w_re


@kernel
def _pass3(x: _Reals, root: _Reals, w: _Reals, count: int, stride: int, y: _Reals) -> None:
    """Join triples of transforms; see :func:`_pass4`. ``root`` is ``exp(-2 pi i / 3) ** k``."""
    third = count * stride
    cos1, sin1 = root[0, 1], root[1, 1]
    for p in range(count):
        i = stride * p
        j = 3 * stride * p
        w1_re, w1_im = w[0, p], w[1, p]
        w2_re, w2_im = w[0, count + p], w[1, count + p]
        for q in range(stride):
            a_re, a_im = x[0, i + q], x[1, i + q]
            b_re, b_im = x[0, i + third + q], x[1, i + third + q]
            c_re, c_im = x[0, i + 2 * third + q], x[1, i + 2 * third + q]
            s_re, s_im = b_re + c_re, b_im + c_im
            d_re, d_im = -sin1 * (b_im - c_im), sin1 * (b_re - c_re)
            e_re, e_im = a_re + cos1 * s_re, a_im + cos1 * s_im
            y[0, j + q] = a_re + s_re
            y[1, j + q] = a_im + s_im
            f_re, f_im = e_re + d_re, e_im + d_im
            y[0, j + stride + q] = f_re * w1_re - f_im * w1_im
            y[1, j + stride + q] = f_re * w1_im + f_im * w1_re
            f_re, f_im = e_re - d_re, e_im - d_im
            y[0, j + 2 * stride + q] = f_re * w2_re - f_im * w2_im
            y[1, j + 2 * stride + q] = f_re * w2_im + f_im * w2_re


@kernel
def _pass4(x: _Reals, w: _Reals, count: int, stride: int, y: _Reals) -> None:
    """Join quadruples of transforms.

    Parameters
    ----------
    x : shape (2, 4 * count * stride)
        Real and imaginary parts, seen as ``(4, count, stride)``.
    w : shape (2, >= 3 * count)
        Twiddles ``exp(-2 pi i p k / (4 count))``, ``k`` of 1 to 3 slower than ``p``.
    count, stride : int
        Butterflies to do; transforms side by side, done by earlier passes.
    y : shape of x, written
        Seen as ``(count, 4, stride)``.
    """
    quarter = count * stride
    for p in range(count):
        i = stride * p
        j = 4 * stride * p
        w1_re, w1_im = w[0, p], w[1, p]
        w2_re, w2_im = w[0, count + p], w[1, count + p]
        w3_re, w3_im = w[0, 2 * count + p], w[1, 2 * count + p]
        for q in range(stride):
            a_re, a_im = x[0, i + q], x[1, i + q]
            b_re, b_im = x[0, i + quarter + q], x[1, i + quarter + q]
            c_re, c_im = x[0, i + 2 * quarter + q], x[1, i + 2 * quarter + q]
            d_re, d_im = x[0, i + 3 * quarter + q], x[1, i + 3 * quarter + q]
            s_re, s_im = a_re + c_re, a_im + c_im
            t_re, t_im = b_re + d_re, b_im + d_im
            u_re, u_im = a_re - c_re, a_im - c_im
            v_re, v_im = b_im - d_im, d_re - b_re  # -i (b - d)
            y[0, j + q] = s_re + t_re
            y[1, j + q] = s_im + t_im
            f_re, f_im = u_re + v_re, u_im + v_im
            y[0, j + stride + q] = f_re * w1_re - f_im * w1_im
            y[1, j + stride + q] = f_re * w1_im + f_im * w1_re
            f_re, f_im = s_re - t_re, s_im - t_im
            y[0, j + 2 * stride + q] = f_re * w2_re - f_im * w2_im
            y[1, j + 2 * stride + q] = f_re * w2_im + f_im * w2_re
            f_re, f_im = u_re - v_re, u_im - v_im
            y[0, j + 3 * stride + q] = f_re * w3_re - f_im * w3_im
            y[1, j + 3 * stride + q] = f_re * w3_im + f_im * w3_re


@kernel
def _first4(x: _Reals, w: _Reals, count: int, y: _Reals) -> None:
    """Do as :func:`_pass4` with ``stride`` 1: vectorised over ``p``, for want of a ``q``."""
    for p in range(count):
        a_re, a_im = x[0, p], x[1, p]
        b_re, b_im = x[0, count + p], x[1, count + p]
        c_re, c_im = x[0, 2 * count + p], x[1, 2 * count + p]
        d_re, d_im = x[0, 3 * count + p], x[1, 3 * count + p]
        s_re, s_im = a_re + c_re, a_im + c_im
        t_re, t_im = b_re + d_re, b_im + d_im
        u_re, u_im = a_re - c_re, a_im - c_im
        v_re, v_im = b_im - d_im, d_re - b_re  # -i (b - d)
        f_re, f_im = u_re + v_re, u_im + v_im
        g_re, g_im = s_re - t_re, s_im - t_im
        h_re, h_im = u_re - v_re, u_im - v_im
        w1_re, w1_im = w[0, p], w[1, p]
        w2_re, w2_im = w[0, count + p], w[1, count + p]
        w3_re, w3_im = w[0, 2 * count + p], w[1, 2 * count + p]
        y[0, 4 * p] = s_re + t_re
        y[0, 4 * p + 1] = f_re * w1_re - f_im * w1_im
        y[0, 4 * p + 2] = g_re * w2_re - g_im * w2_im
        y[0, 4 * p + 3] = h_re * w3_re - h_im * w3_im
        y[1, 4 * p] = s_im + t_im
        y[1, 4 * p + 1] = f_re * w1_im + f_im * w1_re
        y[1, 4 * p + 2] = g_re * w2_im + g_im * w2_re
        y[1, 4 * p + 3] = h_re * w3_im + h_im * w3_re


@kernel
def _pass5(x: _Reals, root: _Reals, w: _Reals, count: int, stride: int, y: _Reals) -> None:
    """Join quintuples of transforms; see :func:`_pass4`. ``root`` is ``exp(-2 pi i / 5) ** k``."""
    fifth = count * stride
    cos1, sin1 = root[0, 1], root[1, 1]
    cos2, sin2 = root[0, 2], root[1, 2]
    for p in range(count):
        i = stride * p
        j = 5 * stride * p
        w1_re, w1_im = w[0, p], w[1, p]
        w2_re, w2_im = w[0, count + p], w[1, count + p]
        w3_re, w3_im = w[0, 2 * count + p], w[1, 2 * count + p]
        w4_re, w4_im = w[0, 3 * count + p], w[1, 3 * count + p]
        for q in range(stride):
            a_re, a_im = x[0, i + q], x[1, i + q]
            b_re, b_im = x[0, i + fifth + q], x[1, i + fifth + q]
            c_re, c_im = x[0, i + 2 * fifth + q], x[1, i + 2 * fifth + q]
            d_re, d_im = x[0, i + 3 * fifth + q], x[1, i + 3 * fifth + q]
            e_re, e_im = x[0, i + 4 * fifth + q], x[1, i + 4 * fifth + q]
            s_re, s_im = b_re + e_re, b_im + e_im
            t_re, t_im = c_re + d_re, c_im + d_im
            u_re, u_im = b_re - e_re, b_im - e_im
            v_re, v_im = c_re - d_re, c_im - d_im
            g_re, g_im = a_re + cos1 * s_re + cos2 * t_re, a_im + cos1 * s_im + cos2 * t_im
            h_re, h_im = -sin1 * u_im - sin2 * v_im, sin1 * u_re + sin2 * v_re
            k_re, k_im = a_re + cos2 * s_re + cos1 * t_re, a_im + cos2 * s_im + cos1 * t_im
            l_re, l_im = -sin2 * u_im + sin1 * v_im, sin2 * u_re - sin1 * v_re
            y[0, j + q] = a_re + s_re + t_re
            y[1, j + q] = a_im + s_im + t_im
            f_re, f_im = g_re + h_re, g_im + h_im
            y[0, j + stride + q] = f_re * w1_re - f_im * w1_im
            y[1, j + stride + q] = f_re * w1_im + f_im * w1_re
            f_re, f_im = k_re + l_re, k_im + l_im
            y[0, j + 2 * stride + q] = f_re * w2_re - f_im * w2_im
            y[1, j + 2 * stride + q] = f_re * w2_im + f_im * w2_re
            f_re, f_im = k_re - l_re, k_im - l_im
            y[0, j + 3 * stride + q] = f_re * w3_re - f_im * w3_im
            y[1, j + 3 * stride + q] = f_re * w3_im + f_im * w3_re
            f_re, f_im = g_re - h_re, g_im - h_im
            y[0, j + 4 * stride + q] = f_re * w4_re - f_im * w4_im
            y[1, j + 4 * stride + q] = f_re * w4_im + f_im * w4_re


@kernel
def _pass_odd(
    x: _Reals, radix: int, root: _Reals, w: _Reals, count: int, stride: int, y: _Reals
) -> None:
    """Join groups of ``radix`` transforms, any odd number; see :func:`_pass4`.

    Outputs ``k`` and ``radix - k`` share their sums over pairs of inputs, so ``x``
    is overwritten with the sum and the difference of each pair first.
    """
    step = count * stride
    for n in range(1, radix // 2 + 1):
        for i in range(n * step, (n + 1) * step):
            j = i + (radix - 2 * n) * step
            a_re, a_im = x[0, i], x[1, i]
            b_re, b_im = x[0, j], x[1, j]
            x[0, i], x[1, i] = a_re + b_re, a_im + b_im
            x[0, j], x[1, j] = a_re - b_re, a_im - b_im
    for p in range(count):
        for q in range(stride):
            i = stride * p + q
            j = radix * stride * p + q
            sum_re, sum_im = x[0, i], x[1, i]
            for k in range(1, radix // 2 + 1):
                sum_re += x[0, i + k * step]
                sum_im += x[1, i + k * step]
                even_re, even_im = x[0, i], x[1, i]
                odd_re = odd_im = root[1, 0]  # 0, in the samples' own type
                turn = 0
                low, high = i, i + radix * step
                for _ in range(radix // 2):
                    turn += k
                    turn -= radix if turn >= radix else 0
                    low += step
                    high -= step
                    even_re += root[0, turn] * x[0, low]
                    even_im += root[0, turn] * x[1, low]
                    odd_re -= root[1, turn] * x[1, high]
                    odd_im += root[1, turn] * x[0, high]
                f_re, f_im = even_re + odd_re, even_im + odd_im
                g_re, g_im = even_re - odd_re, even_im - odd_im
                w_re, w_im = w[0, (k - 1) * count + p], w[1, (k - 1) * count + p]
                y[0, j + k * stride] = f_re * w_re - f_im * w_im
                y[1, j + k * stride] = f_re * w_im + f_im * w_re
                w_re = w[0, (radix - k - 1) * count + p]
                w_im = w[1, (radix - k - 1) * count + p]
                y[0, j + (radix - k) * stride] = g_re * w_re - g_im * w_im
                y[1, j + (radix - k) * stride] = g_re * w_im + g_im * w_re
            y[0, j], y[1, j] = sum_re, sum_im


@kernel
def _transform(factors: NDArray[np.int64], twiddles: _Reals, scratch: _Reals) -> int:
    """Transform the complex signal in rows 0 and 1 of ``scratch``.

    Return the row of the result's real part, 0 or 2; the imaginary part stands below.
    """
    rest = scratch.shape[1]
    stride = 1
    at = rest // 2 + 1
    source = 0
    for i in range(factors.size):
        radix = factors[i]
        rest //= radix
        x = scratch[source : source + 2]
        y = scratch[2 - source : 4 - source]
        if radix == 4 and stride == 1:
            _first4(x, twiddles[:, at:], rest, y)
        elif radix == 4:
            _pass4(x, twiddles[:, at:], rest, stride, y)
        elif radix == 2:
            _pass2(x, twiddles[:, at:], rest, stride, y)
        else:
            root = twiddles[:, at : at + radix]
            at += radix
            if radix == 3:
                _pass3(x, root, twiddles[:, at:], rest, stride, y)
            elif radix == 5:
                _pass5(x, root, twiddles[:, at:], rest, stride, y)
            else:
                _pass_odd(x, radix, root, twiddles[:, at:], rest, stride, y)
        at += (radix - 1) * rest
        stride *= radix
        source = 2 - source
    return source


@kernel
def rfft(
    x: NDArray[Any],
    factors: NDArray[np.int64],
    twiddles: NDArray[Any],
    scratch: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Transform a real signal: ``out[k] = sum(x[i] * exp(-2j * pi * i * k / n))``.

    Parameters
    ----------
    x : float32 (or float64, with a plan of float64), shape (n,), samples; may be strided
    factors, twiddles, scratch
        The arrays of a :class:`RealFft` for ``n``; ``scratch`` is written.
    out : complex64 (complex128), shape (n // 2 + 1,), written
        Spectrum from 0 Hz to half the sample rate.
    """
    half = scratch.shape[1]
    for i in range(half):
        scratch[0, i] = x[2 * i]
        scratch[1, i] = x[2 * i + 1]
    source = _transform(factors, twiddles, scratch)
    re = scratch[source]
    im = scratch[source + 1]
    out[0] = complex(re[0] + im[0], 0.0)
    out[half] = complex(re[0] - im[0], 0.0)
    for k in range(1, half // 2 + 1):
        even_re = (re[k] + re[half - k]) / 2
        even_im = (im[k] - im[half - k]) / 2
        odd_re = (im[k] + im[half - k]) / 2
        odd_im = (re[half - k] - re[k]) / 2
        turned_re = odd_re * twiddles[0, k] - odd_im * twiddles[1, k]
        turned_im = odd_re * twiddles[1, k] + odd_im * twiddles[0, k]
        out[k] = complex(even_re + turned_re, even_im + turned_im)
        out[half - k] = complex(even_re - turned_re, turned_im - even_im)


@kernel
def irfft(
    spectrum: NDArray[Any],
    factors: NDArray[np.int64],
    twiddles: NDArray[Any],
    scratch: NDArray[Any],
    out: NDArray[Any],
) -> None:
    """Return from a spectrum to the real signal: the inverse of :func:`rfft`.

    Parameters
    ----------
    spectrum : complex64 (or complex128, with a plan of float64), shape (n // 2 + 1,)
        Imaginary parts at 0 Hz and at half the sample rate count as 0.
    factors, twiddles, scratch
        The arrays of a :class:`RealFft` for ``n``; ``scratch`` is written.
    out : float32 (float64), shape (n,), written, samples
    """
    half = scratch.shape[1]
    # The forward transform with real and imaginary parts exchanged is the inverse.
    re = scratch[1]
    im = scratch[0]
    re[0] = spectrum[0].real + spectrum[half].real
    im[0] = spectrum[0].real - spectrum[half].real
    for k in range(1, half // 2 + 1):
        a = spectrum[k]
        b = spectrum[half - k]
        even_re = a.real + b.real
        even_im = a.imag - b.imag
        turned_re = a.real - b.real
        turned_im = a.imag + b.imag
        odd_re = turned_re * twiddles[0, k] + turned_im * twiddles[1, k]
        odd_im = turned_im * twiddles[0, k] - turned_re * twiddles[1, k]
        re[k] = even_re - odd_im
        im[k] = even_im + odd_re
        re[half - k] = even_re + odd_im
        im[half - k] = odd_re - even_im
    source = _transform(factors, twiddles, scratch)
    re = scratch[source + 1]
    im = scratch[source]
    scale = out.dtype.type(1.0 / (2 * half))
    for i in range(half):
        out[2 * i] = re[i] * scale
        out[2 * i + 1] = im[i] * scale
