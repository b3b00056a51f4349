/* SPDX-License-Identifier: MIT */
/* Functions with the answers of glibc (2.36: of all floats, two have another expf, in the last bit),
 * for systems whose C library gives others.
 *
 * expf and the logarithm are, as glibc's and musl's, those of Arm's Optimized Routines (MIT,
 * copyright 2017-2018 Arm Limited): a table, a polynomial, and double precision. log10 is fdlibm's.
 * To be compiled with -ffp-contract=off: each operation rounds.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "step.h"

float plck_expf(float x);
float plck_log10f(float x);
double plck_log10(double x);

float plck_expf(float x) {
    static const uint64_t powers[32] = {PLCK_POWERS}; /* bits of 2^(k/32), less k << 47 */
    double z = 0x1.71547652b82fep+5 * (double)x, whole = z + 0x1.8p52, r, scale;
    uint64_t bits;
    if (!(x <= 0x1.62e42ep6f)) /* or NaN */
        return x + INFINITY;
    if (x < -0x1.9fe368p6f)
        return 0.0f;
    memcpy(&bits, &whole, sizeof bits); /* whose last bits are the integer next to z */
    r = z - (whole - 0x1.8p52);
    bits = powers[bits % 32] + (bits << 47);
    memcpy(&scale, &bits, sizeof bits);
    return (float)(((0x1.c6af84b912394p-20 * r + 0x1.ebfce50fac4f3p-13) * (r * r) +
                    (0x1.62e42ff0c52d6p-6 * r + 1.0)) * scale);
}

/* Return the natural logarithm of a number from 0.5 to 2. */
static double log_near_1(float x) {
    /* For each 16th from 0.7 to 1.4: of a number in it, the reciprocal and the logarithm. */
    static const double parts[16][2] = {
        {0x1.661ec79f8f3bep+0, -0x1.57bf7808caadep-2}, {0x1.571ed4aaf883dp+0, -0x1.2bef0a7c06ddbp-2},
        {0x1.49539f0f010bp+0, -0x1.01eae7f513a67p-2},  {0x1.3c995b0b80385p+0, -0x1.b31d8a68224e9p-3},
        {0x1.30d190c8864a5p+0, -0x1.6574f0ac07758p-3}, {0x1.25e227b0b8eap+0, -0x1.1aa2bc79c81p-3},
        {0x1.1bb4a4a1a343fp+0, -0x1.a4e76ce8c0e5ep-4}, {0x1.12358f08ae5bap+0, -0x1.1973c5a611cccp-4},
        {0x1.0953f419900a7p+0, -0x1.252f438e10c1ep-5}, {1.0, 0.0},
        {0x1.e608cfd9a47acp-1, 0x1.aa5aa5df25984p-5},  {0x1.ca4b31f026aap-1, 0x1.c5e53aa362eb4p-4},
        {0x1.b2036576afce6p-1, 0x1.526e57720db08p-3},  {0x1.9c2d163a1aa2dp-1, 0x1.bc2860d22477p-3},
        {0x1.886e6037841edp-1, 0x1.1058bc8a07ee1p-2},  {0x1.767dcf5534862p-1, 0x1.4043057b6ee09p-2},
    };
    double power, r, r2;
    uint32_t bits, above;
    memcpy(&bits, &x, sizeof bits);
    above = bits - 0x3f330000u; /* 0.7 */
    power = (int32_t)above >> 23;
    bits -= above & 0xff800000u;
    memcpy(&x, &bits, sizeof bits);
    r = (double)x * parts[above >> 19 & 15][0] - 1.0;
    r2 = r * r;
    return (-0x1.00ea348b88334p-2 * r2 + (0x1.5575b0be00b6ap-2 * r - 0x1.ffffef20a4123p-2)) * r2 +
           (parts[above >> 19 & 15][1] + power * 0x1.62e42fefa39efp-1 + r);
}

float plck_log10f(float x) {
    int power;
    float logarithm;
    if (!(x > 0.0f) || x == INFINITY)
        return x == 0.0f ? -INFINITY : x > 0.0f ? x : NAN;
    x = frexpf(x, &power);
    if (power > 0) {
        x *= 2.0f;
        power--;
    }
    logarithm = (float)log_near_1(x);
    return ((float)power * 7.9034151668e-07f + 4.3429449201e-01f * logarithm) +
           (float)power * 3.0102920532e-01f;
}

double plck_log10(double x) {
    int power;
    if (!(x > 0.0) || x == INFINITY)
        return x == 0.0 ? -INFINITY : x > 0.0 ? x : NAN;
    x = frexp(x, &power);
    if (power > 0) {
        x *= 2.0;
        power--;
    }
    return (power * 3.69423907715893078616e-13 + 4.34294481903251816668e-01 * log(x)) +
           power * 3.01029995663611771306e-01;
}
