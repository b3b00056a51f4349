/* The recursions of plc_kernels.signal.ar in C: what gcc makes of them when it knows the machine and may
 * reorder sums. A yardstick for the kernels' speed, no part of the engine. As there, errors are
 * float, predictors and the sums between tiles double, and extrapolation is double. */

#include <math.h>
#include <string.h>

enum { TILE = 1024 };
static const double PAIR_LIMIT = 0.7;
static const double REFLECTION_LIMIT = 1.0 - 1e-9;
static const double ENERGY_FLOOR = 1e-14;

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

/* Burg's method, two stages a pass where the first coefficient allows it: the same as ar.burg. */
int burg(int order, int n, const float *restrict x, float *restrict f, float *restrict b,
         double *restrict mirror, double *restrict predictor)
{
    int updated = n, pair = 0, stage = 0;
    float k1 = 0, k2 = 0;
    double first_energy = 0;
    start(order, n, x, f, b, mirror, predictor);
    for (;;) {
        double cross = 0, energy = 0, lag_fb = 0, lag_same = 0, lag_bf = 0;
        int summed = 0;
        for (int begin = 0; begin < updated; begin += TILE) {
            int end = begin + TILE < updated ? begin + TILE : updated;
            float t_cross = 0, t_energy = 0, t_fb = 0, t_same = 0, t_bf = 0;
            if (pair)
                for (int i = begin; i < end; i++) {
                    float u = f[i + 2] + k1 * b[i + 1], v = b[i] + k1 * f[i + 1];
                    f[i] = u + k2 * v;
                    b[i] = v + k2 * u;
                }
            else if (stage > 0)
                for (int i = begin; i < end; i++) {
                    float u = f[i + 1], v = b[i];
                    f[i] = u + k1 * v;
                    b[i] = v + k1 * u;
                }
            for (int i = summed; i < end - 2; i++) {
                t_cross += f[i + 1] * b[i];
                t_energy += f[i + 1] * f[i + 1] + b[i] * b[i];
                t_fb += f[i + 2] * b[i];
                t_same += f[i + 2] * f[i + 1] + b[i + 1] * b[i];
                t_bf += b[i + 1] * f[i + 1];
            }
            cross += t_cross;
            energy += t_energy;
            lag_fb += t_fb;
            lag_same += t_same;
            lag_bf += t_bf;
            if (end - 2 > summed)
                summed = end - 2;
        }
        int pairs = updated - 1;
        cross += f[pairs] * b[pairs - 1];
        energy += f[pairs] * f[pairs] + b[pairs - 1] * b[pairs - 1];
        if (stage == 0)
            first_energy = energy;
        if (stage >= order || !(energy > ENERGY_FLOOR * first_energy))
            return stage;
        double k = reflection_of(cross, energy);
        raise_order(++stage, order, k, mirror, predictor);
        k1 = k;
        updated = pairs;
        pair = stage < order && fabs(k) < PAIR_LIMIT;
        if (!pair)
            continue;
        double left = f[1] + k * b[0], right = b[pairs - 1] + k * f[pairs];
        double next_cross = lag_fb + k * (lag_same + k * lag_bf);
        k = reflection_of(next_cross, (1 - k * k) * energy - left * left - right * right);
        raise_order(++stage, order, k, mirror, predictor);
        k2 = k;
        updated = pairs - 1;
    }
}

/* Burg's method one stage a pass, each pass summing up what the next coefficient needs: the usual
 * fast form, to see what the pairs are worth. */
int burg_plain(int order, int n, const float *restrict x, float *restrict f, float *restrict b,
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
