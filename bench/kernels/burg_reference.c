/* The recursions of plc_kernels.signal.ar in C: what gcc makes of them when it knows the machine and may
 * reorder sums. A yardstick for the kernels' speed, no part of the engine. As there, errors are
 * float, predictors and the sums between tiles double, and extrapolation is double. */

#include <math.h>
#include <string.h>

static const double REFLECTION_LIMIT = 1.0 - 1e-9;

/* mirror holds the predictor backwards, its end at place order. */
static void raise_order(int stage, int order, double k, double *restrict mirror,
                        double *restrict predictor)
{
    double *behind = mirror + order - stage;
    for (int i = 0; i <= stage; i++) {
        double u = predictor[i], v = behind[i];
        predictor[i] = u + k * v;
        behind[i] = v + k * u;
    }
}

static double reflection_of(double cross, double energy)
{
    return fmin(fmax(-2 * cross / energy, -REFLECTION_LIMIT), REFLECTION_LIMIT);
}

static void start(int order, int n, const float *x, float *f, float *b, double *mirror,
                  double *predictor)
{
    memcpy(f, x, n * sizeof *f);
    memcpy(b, x, n * sizeof *b);
    memset(predictor, 0, (order + 1) * sizeof *predictor);
    memset(mirror, 0, (order + 1) * sizeof *mirror);
    predictor[0] = 1;
    mirror[order] = 1;
}

/* Burg's method, each pass summing up what the next coefficient needs; as ar.burg but for the energy,
 * which that has by recursion. */
int burg(int order, int n, const float *restrict x, float *restrict f, float *restrict b,
         double *restrict mirror, double *restrict predictor)
{
    float cross = 0, energy = 0;
    int pairs = n - 1;
    start(order, n, x, f, b, mirror, predictor);
    memcpy(f, x + 1, pairs * sizeof *f);
    for (int i = 0; i < pairs; i++) {
        cross += f[i] * b[i];
        energy += f[i] * f[i] + b[i] * b[i];
    }
    for (int stage = 1; stage <= order; stage++) {
        double reflection = reflection_of(cross, energy);
        float k = reflection;
        raise_order(stage, order, reflection, mirror, predictor);
        cross = energy = 0;
        pairs--;
        for (int i = 0; i < pairs; i++) {
            float backward = b[i] + k * f[i];
            float forward = f[i + 1] + k * b[i + 1];
            cross += forward * backward;
            energy += forward * forward + backward * backward;
            b[i] = backward;
            f[i] = forward;
        }
    }
    return order;
}

/* The same as ar.extrapolate: line[0..order-1] is the past, line[order..] is written. */
void extrapolate(int order, int count, const double *restrict taps, double *restrict line)
{
    for (int i = 0; i < count; i++) {
        double total = 0;
        for (int k = 0; k < order; k++)
            total += taps[k] * line[i + k];
        line[i + order] = total;
    }
}
