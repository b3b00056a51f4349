/* Time plc_push from C: push_cost PACKETS LOST_EVERY PACKET_SAMPLES [LEVEL [PREPARE [SHARE [SOUND [MODEL]]]]];
 * prints JSON, times in µs.
 *
 * 48 kHz, mono, float32. LEVEL is 2, 3 or 4 for code for x86-64-v2, -v3 or -v4, 0 for the best. PREPARE
 * is 1 to prepare after each packet. SHARE of a packet's duration is what a lost one may take (work_limit), 0
 * without a limit. SOUND is a file of samples alone, played over and over; without
 * it two tones. With MODEL bursts of speech have that network.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plc.h"

#define SETTLE 400

static double now_us(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
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

/* Return all samples of a file, and their number. */
static float *read_sound(const char *name, long *count) {
    FILE *file = fopen(name, "rb");
    float *sound = NULL;
    if (!file || fseek(file, 0, SEEK_END) || (*count = ftell(file) / 4) < 1 ||
        !(sound = malloc(4 * (size_t)*count)) || fseek(file, 0, SEEK_SET) ||
        fread(sound, 4, (size_t)*count, file) != (size_t)*count) {
        fprintf(stderr, "%s cannot be read\n", name);
        exit(1);
    }
    fclose(file);
    return sound;
}

static void stop(int64_t code) {
    fprintf(stderr, "%s\n", plc_error(code));
    exit(1);
}

/* Limit a lost packet to a share of its duration, by the most operations in 1 ms of three runs. */
static void limit(plc_options *options, double share) {
    double most = 0.0;
    plc_stream *stream;
    int k, code = plc_open(&stream, options);
    if (code)
        stop(code);
    for (k = 0; k < 3; k++) {
        double began = now_us(CLOCK_THREAD_CPUTIME_ID), operations = (double)plc_calibrate(stream);
        most = fmax(most, 1e3 * operations / (now_us(CLOCK_THREAD_CPUTIME_ID) - began));
    }
    plc_close(stream);
    options->work_limit = (uint64_t)(most * share * 1e3 * options->packet_samples / options->sample_rate);
}

int main(int count, char **given) {
    long packets = count > 1 ? atol(given[1]) : 20000, every = count > 2 ? atol(given[2]) : 0;
    long samples = count > 3 ? atol(given[3]) : 480, got = 0, made = 0, k, i;
    double *received = malloc(sizeof(double) * (size_t)packets);
    double *concealed = malloc(sizeof(double) * (size_t)packets);
    double *worked = malloc(sizeof(double) * (size_t)packets), opened = now_us(CLOCK_MONOTONIC);
    long length = 0, ready = 0;
    float *sound = count > 7 ? read_sound(given[7], &length) : NULL;
    plc_model *model = NULL;
    float *packet = malloc(sizeof(float) * (size_t)samples), *out = calloc((size_t)samples, 4);
    uint32_t seed = 1;
    plc_stream *stream;
    plc_options options;
    int code;
    plc_options_init(&options);
    options.packet_samples = (uint32_t)samples;
    options.processor = count > 4 ? (uint32_t)atol(given[4]) : PLC_PROCESSOR_BEST;
    options.prepare = count > 5 && atol(given[5]);
    if (count > 8 && (code = plc_model_load(&model, given[8])))
        stop(code);
    options.model = model;
    if (count > 6 && atof(given[6]) > 0.0)
        limit(&options, atof(given[6]));
    code = plc_open(&stream, &options);
    if (code)
        stop(code);
    opened = now_us(CLOCK_MONOTONIC) - opened;
    for (k = -SETTLE; k < packets; k++) {
        int flags, lost = every && k > 0 && k % every == 0;
        double began, spent;
        for (i = 0; i < samples; i++) {
            double t = (double)((k + SETTLE) * samples + i) / 48000.0;
            seed = seed * 1664525u + 1013904223u;
            packet[i] = sound ? sound[((k + SETTLE) * samples + i) % length] : (float)(0.2 * sin(6.2831853 * 440.0 * t) + 0.1 * sin(6.2831853 * 1234.5 * t) +
                                1e-3 * ((double)seed / 4294967296.0 - 0.5));
        }
        spent = now_us(CLOCK_THREAD_CPUTIME_ID);
        began = now_us(CLOCK_MONOTONIC);
        flags = plc_push(stream, lost ? NULL : packet, out);
        began = now_us(CLOCK_MONOTONIC) - began;
        spent = now_us(CLOCK_THREAD_CPUTIME_ID) - spent;
        if (flags < 0)
            stop(flags);
        if (options.prepare)
            ready += plc_prepare(stream) == 1;
        if (k < 0)
            continue;
        if (flags & PLC_CONCEALED)
            worked[made] = spent, concealed[made++] = began;
        else if (!(flags & PLC_CROSSFADED))
            received[got++] = began;
    }
    printf("{\"processor\": \"%s\", \"stream_bytes\": %lld, \"open_us\": %.1f, ",
           plc_processor(stream), (long long)plc_size(&options), opened);
    report("received_us", received, got);
    printf(", ");
    report("concealed_us", concealed, made);
    printf(", ");
    report("concealed_processor_us", worked, made);
    printf(", \"prepared\": %ld}\n", ready);
    return plc_close(stream);
}
