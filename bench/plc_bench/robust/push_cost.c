/* Time plc_push from C: push_cost PACKETS LOST_EVERY PACKET_SAMPLES [LEVEL]; prints JSON, times in µs.
 *
 * 48 kHz, mono, float32. LEVEL is 2, 3 or 4 for code for x86-64-v2, -v3 or -v4.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plc.h"

#define SETTLE 400

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e6 * (double)now.tv_sec + 1e-3 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *name, double *times, long count) {
    qsort(times, (size_t)count, sizeof *times, ascending);
    printf("\"%s\": {\"packets\": %ld", name, count);
    if (count)
        printf(", \"p50\": %.3f, \"p99\": %.3f, \"p99.9\": %.3f, \"max\": %.3f", times[count / 2],
               times[count * 99 / 100], times[count * 999 / 1000], times[count - 1]);
    printf("}");
}

static void stop(int64_t code) {
    fprintf(stderr, "%s\n", plc_error(code));
    exit(1);
}

int main(int count, char **given) {
    long packets = count > 1 ? atol(given[1]) : 20000, every = count > 2 ? atol(given[2]) : 0;
    long samples = count > 3 ? atol(given[3]) : 480, got = 0, made = 0, k, i;
    double *received = malloc(sizeof(double) * (size_t)packets);
    double *concealed = malloc(sizeof(double) * (size_t)packets), opened = now_us();
    float *packet = malloc(sizeof(float) * (size_t)samples), *out = calloc((size_t)samples, 4);
    uint32_t seed = 1;
    plc_stream *stream;
    plc_options options;
    int code;
    plc_options_init(&options);
    options.packet_samples = (uint32_t)samples;
    options.processor = count > 4 ? (uint32_t)atol(given[4]) : PLC_PROCESSOR_BEST;
    code = plc_open(&stream, &options);
    if (code)
        stop(code);
    opened = now_us() - opened;
    for (k = -SETTLE; k < packets; k++) {
        int flags, lost = every && k > 0 && k % every == 0;
        double began;
        for (i = 0; i < samples; i++) {
            double t = (double)((k + SETTLE) * samples + i) / 48000.0;
            seed = seed * 1664525u + 1013904223u;
            packet[i] = (float)(0.2 * sin(6.2831853 * 440.0 * t) + 0.1 * sin(6.2831853 * 1234.5 * t) +
                                1e-3 * ((double)seed / 4294967296.0 - 0.5));
        }
        began = now_us();
        flags = plc_push(stream, lost ? NULL : packet, out);
        began = now_us() - began;
        if (flags < 0)
            stop(flags);
        if (k < 0)
            continue;
        if (flags & PLC_CONCEALED)
            concealed[made++] = began;
        else if (!(flags & PLC_CROSSFADED))
            received[got++] = began;
    }
    printf("{\"processor\": \"%s\", \"stream_bytes\": %lld, \"open_us\": %.1f, ",
           plc_processor(stream), (long long)plc_size(&options), opened);
    report("received_us", received, got);
    printf(", ");
    report("concealed_us", concealed, made);
    printf("}\n");
    return plc_close(stream);
}
