/* Compare plc_math.c with the C library: math_probe STEP; every STEP-th float of all, and doubles.
 *
 * It prints how many answers differ: of expf, log10f, log10.
 */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float plck_expf(float x);
float plck_log10f(float x);
double plck_log10(double x);

static int differ(double one, double other) { return one != other && (one == one || other == other); }

int main(int count, char **given) {
    uint64_t step = count > 1 ? strtoull(given[1], NULL, 10) : 1, state = 1, others[3] = {0}, k;
    for (k = 0; k < UINT64_C(1) << 32; k += step) {
        uint32_t bits = (uint32_t)k;
        float x;
        memcpy(&x, &bits, sizeof x);
        others[0] += (uint64_t)differ(plck_expf(x), expf(x));
        others[1] += (uint64_t)differ(plck_log10f(x), log10f(x));
    }
    for (k = 0; k < 1000000; k++) {
        double x;
        state = state * 6364136223846793005u + 1442695040888963407u;
        x = ldexp((double)(state >> 11), (int)(state >> 5 & 127) - 90);
        others[2] += (uint64_t)differ(plck_log10(x), log10(x));
    }
    printf("%llu %llu %llu\n", (unsigned long long)others[0], (unsigned long long)others[1],
           (unsigned long long)others[2]);
    return 0;
}
