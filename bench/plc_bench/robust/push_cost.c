/* Time plc_push from C: push_cost PACKETS LOST_EVERY [MODEL]; prints JSON, times in ms. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plc.h"

#define PACKET 480

static double now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *name, double *times, long count) {
    qsort(times, (size_t)count, sizeof *times, ascending);
    printf("\"%s\": {\"packets\": %ld", name, count);
    if (count)
        printf(", \"p50\": %.4f, \"p99\": %.4f, \"p99.9\": %.4f, \"max\": %.4f", times[count / 2],
               times[count * 99 / 100], times[count * 999 / 1000], times[count - 1]);
    printf("}");
}

int main(int count, char **given) {
    long packets = count > 1 ? atol(given[1]) : 20000, every = count > 2 ? atol(given[2]) : 0;
    double *received = malloc(sizeof(double) * (size_t)packets), opened = now_ms();
    double *concealed = malloc(sizeof(double) * (size_t)packets);
    long got = 0, made = 0, k, i;
    int16_t packet[PACKET], out[PACKET];
    uint32_t seed = 1;
    int64_t stream;
    plc_options options;
    plc_options_init(&options);
    options.format = PLC_INT16;
    options.model = count > 3 ? given[3] : NULL;
    stream = plc_open(&options);
    if (stream <= 0) {
        fprintf(stderr, "%s\n", plc_error());
        return 1;
    }
    opened = now_ms() - opened;
    for (k = -200; k < packets; k++) {
        double began;
        int flags, lost = every && k > 0 && k % every == 0;
        for (i = 0; i < PACKET; i++) {
            /* a triangle of 400 Hz over a little noise */
            long at = (k * PACKET + i) % 120;
            seed = seed * 1664525u + 1013904223u;
            packet[i] = (int16_t)((at < 0 ? at + 120 : at) * 100 - 6000 + (int)(seed >> 24));
        }
        began = now_ms();
        flags = plc_push(stream, lost ? NULL : packet, out);
        began = now_ms() - began;
        if (flags < 0) {
            fprintf(stderr, "%s\n", plc_error());
            return 1;
        }
        if (k < 0)
            continue;
        if (flags & PLC_CONCEALED)
            concealed[made++] = began;
        else
            received[got++] = began;
    }
    printf("{\"open_ms\": %.1f, ", opened);
    report("received_ms", received, got);
    printf(", ");
    report("concealed_ms", concealed, made);
    printf("}\n");
    return 0;
}
