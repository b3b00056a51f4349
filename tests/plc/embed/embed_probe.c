/* Misuse libplc in every way that must not hurt, and use it from two threads: silence is success. */
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plc.h"

#define PACKET 160
#define PACKETS 300

static int faults;

static void check(int holds, const char *what) {
    if (!holds) {
        fprintf(stderr, "%s (plc_error: %s)\n", what, plc_error());
        faults++;
    }
}

#define CHECK(condition) check(condition, #condition)

static plc_options options_of(uint32_t seed) {
    plc_options options;
    plc_options_init(&options);
    options.sample_rate = 16000;
    options.packet_samples = PACKET;
    options.budget_ms = INFINITY;
    options.model = "ar";
    options.seed = seed;
    return options;
}

static void fill(float *packet, int k, uint32_t seed) {
    int i;
    for (i = 0; i < PACKET; i++) {
        double t = (k * PACKET + i) / 16000.0;
        packet[i] = (float)(0.3 * sin(6.2831853 * (220.0 + seed) * t));
    }
}

/* Conceal a signal; write what is played. */
static void play(uint32_t seed, float *played) {
    plc_options options = options_of(seed);
    int64_t stream = plc_open(&options);
    float packet[PACKET];
    int k;
    check(stream > 0, "a thread opens a stream");
    for (k = 0; k < PACKETS; k++) {
        fill(packet, k, seed);
        check(plc_push(stream, k % 7 == 5 ? NULL : packet, played + k * PACKET) >= 0, "push");
    }
    check(plc_close(stream) == 0, "a thread closes its stream");
}

static float alone[2][PACKET * PACKETS], together[2][PACKET * PACKETS];

static void *run(void *number) {
    uint32_t seed = *(uint32_t *)number;
    play(seed, together[seed]);
    return NULL;
}

static void two_threads(void) {
    uint32_t numbers[2] = {0, 1};
    pthread_t threads[2];
    int i;
    for (i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, run, &numbers[i]);
    for (i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    for (i = 0; i < 2; i++) {
        play((uint32_t)i, alone[i]);
        CHECK(memcmp(alone[i], together[i], sizeof alone[i]) == 0);
    }
}

static int64_t shared;
static volatile int busy, other;

static void *hammer(void *nothing) {
    float packet[PACKET], out[PACKET];
    int k;
    fill(packet, 0, 0);
    for (k = 0; k < 3000; k++) {
        int code = plc_push(shared, k % 3 ? packet : NULL, out);
        if (code == PLC_ERROR_BUSY)
            busy++;
        else if (code < 0)
            other++;
    }
    return nothing;
}

static void one_stream_from_two_threads(void) {
    plc_options options = options_of(0);
    pthread_t thread;
    plc_counters counters;
    shared = plc_open(&options);
    pthread_create(&thread, NULL, hammer, NULL);
    hammer(NULL);
    pthread_join(thread, NULL);
    counters.struct_size = sizeof counters;
    CHECK(plc_stats(shared, &counters) == 0);
    CHECK(other == 0);
    CHECK(counters.packets + (uint64_t)busy == 6000);
    CHECK(plc_close(shared) == 0);
}

static void refused_options(void) {
    plc_options options = options_of(0);
    CHECK(plc_open(NULL) == PLC_ERROR_ARGUMENT);
    options.struct_size = 8;
    CHECK(plc_open(&options) == PLC_ERROR_ARGUMENT);
    CHECK(strstr(plc_error(), "plc_options_init") != NULL);
#define REFUSED(field, value, says)              \
    options = options_of(0);                     \
    options.field = value;                       \
    CHECK(plc_open(&options) == PLC_ERROR_SETTINGS); \
    CHECK(strstr(plc_error(), says) != NULL)
    REFUSED(sample_rate, 0, "sample_rate is 0");
    REFUSED(sample_rate, 4000000000u, "supported: 8000 to 192000 Hz");
    REFUSED(channels, 0, "channels is 0");
    REFUSED(channels, 9, "channels is 9");
    REFUSED(packet_samples, 0, "packet_samples is 0");
    REFUSED(packet_samples, 4000000000u, "packet_samples is 4000000000");
    REFUSED(lookahead, 4000000000u, "lookahead is 4000000000");
    REFUSED(format, 0, "PLC_FLOAT32 or PLC_INT16");
    REFUSED(format, 77, "format is 77");
    REFUSED(budget_ms, -1.0, "budget_ms is -1.0");
    REFUSED(budget_ms, NAN, "budget_ms is NaN");
    REFUSED(method, "magic", "method is 'magic'");
    REFUSED(method, "\xff\xfe", "give UTF-8");
    REFUSED(model, "no/such/model.onnx", "no/such/model");
    plc_options_init(NULL);
}

static void refused_calls(void) {
    plc_options options = options_of(0);
    plc_counters counters;
    float packet[PACKET + 1] = {0}, out[PACKET + 1];
    int64_t stream = plc_open(&options);
    memset(&counters, 0, sizeof counters);
    CHECK(stream > 0);
    CHECK(plc_push(stream, packet, NULL) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push(stream, (char *)packet + 1, out) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push(stream, packet, (char *)out + 2) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push(0, packet, out) == PLC_ERROR_STREAM);
    CHECK(plc_push(-5, packet, out) == PLC_ERROR_STREAM);
    CHECK(plc_push(stream + 1, packet, out) == PLC_ERROR_STREAM);
    CHECK(plc_push(INT64_MAX, packet, out) == PLC_ERROR_STREAM);
    CHECK(plc_stats(stream, NULL) == PLC_ERROR_ARGUMENT);
    CHECK(plc_stats(stream, &counters) == PLC_ERROR_ARGUMENT);
    packet[3] = NAN;
    CHECK(plc_push(stream, packet, out) == (PLC_CONCEALED | PLC_REFUSED));
    packet[3] = 1e30f;
    CHECK(plc_push(stream, packet, out) == (PLC_CONCEALED | PLC_REFUSED));
    counters.struct_size = sizeof counters;
    CHECK(plc_stats(stream, &counters) == 0);
    CHECK(counters.packets == 2 && counters.invalid_packets == 2 && counters.lost_packets == 0);
    CHECK(counters.concealed_samples == 2 * PACKET && counters.concealed_max_ms > 0);
    CHECK(plc_delay(stream) == 0);
    CHECK(plc_flush(stream, NULL, 0) == 0);
    CHECK(plc_close(stream) == 0);
    CHECK(plc_close(stream) == PLC_ERROR_STREAM);
    CHECK(strstr(plc_error(), "was it closed") != NULL);
    CHECK(plc_push(stream, packet, out) == PLC_ERROR_STREAM);
    CHECK(plc_delay(stream) == PLC_ERROR_STREAM);
    CHECK(plc_flush(stream, out, PACKET) == PLC_ERROR_STREAM);
    CHECK(plc_stats(stream, &counters) == PLC_ERROR_STREAM);
}

static void lookahead(void) {
    plc_options options = options_of(0);
    float packet[PACKET], out[PACKET], tail[2 * PACKET];
    int64_t stream;
    int i;
    options.lookahead = 2;
    stream = plc_open(&options);
    CHECK(plc_delay(stream) == 2 * PACKET);
    for (i = 0; i < 4; i++) {
        fill(packet, i, 0);
        CHECK(plc_push(stream, packet, out) == 0);
    }
    CHECK(plc_flush(stream, tail, PACKET) == PLC_ERROR_ROOM);
    CHECK(plc_flush(stream, NULL, 2 * PACKET) == PLC_ERROR_ARGUMENT);
    CHECK(plc_flush(stream, tail, 2 * PACKET) == 2 * PACKET);
    CHECK(memcmp(tail + PACKET, packet, sizeof packet) == 0);
    CHECK(plc_close(stream) == 0);
}

int main(void) {
    CHECK(strcmp(plc_error(), "") == 0);
    CHECK(plc_close(1) == PLC_ERROR_STREAM);
    two_threads();
    one_stream_from_two_threads();
    refused_options();
    refused_calls();
    lookahead();
    return faults != 0;
}
