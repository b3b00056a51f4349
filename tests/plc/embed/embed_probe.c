/* Misuse libplc in every way that must not hurt, and use it from two threads: silence is success. */
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plc.h"

#define PACKET 160
#define PACKETS 300
#ifndef HAMMERED
#define HAMMERED 3000 /* pushes of each of two threads to one stream */
#endif

static int faults;

static void check(int holds, int line, const char *what) {
    if (!holds) {
        fprintf(stderr, "%d: %s\n", line, what);
        faults++;
    }
}

#define CHECK(condition) check(condition, __LINE__, #condition)

static plc_options options_of(uint32_t seed) {
    plc_options options;
    plc_options_init(&options);
    options.sample_rate = 16000;
    options.packet_samples = PACKET;
    options.seed = seed;
    return options;
}

static plc_stream *opened(plc_options options) {
    plc_stream *stream = NULL;
    int code = plc_open(&stream, &options);
    if (code) {
        fprintf(stderr, "plc_open: %s\n", plc_error(code));
        exit(1);
    }
    return stream;
}

static void sound(float *packet, int k, uint32_t seed) {
    int i;
    for (i = 0; i < PACKET; i++) {
        double t = (k * PACKET + i) / 16000.0;
        packet[i] = (float)(0.3 * sin(6.2831853 * (220.0 + 7 * seed) * t));
    }
}

/* Conceal a signal; write what is played. */
static void play(plc_stream *stream, uint32_t seed, float *played) {
    float packet[PACKET];
    int k;
    for (k = 0; k < PACKETS; k++) {
        sound(packet, k, seed);
        CHECK(plc_push(stream, k % 7 == 5 ? NULL : packet, played + k * PACKET) >= 0);
    }
}

static float alone[2][PACKET * PACKETS], together[2][PACKET * PACKETS];

static void *run(void *number) {
    uint32_t seed = *(uint32_t *)number;
    plc_stream *stream = opened(options_of(seed));
    play(stream, seed, together[seed]);
    CHECK(plc_close(stream) == 0);
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
        plc_stream *stream = opened(options_of((uint32_t)i));
        play(stream, (uint32_t)i, alone[i]);
        CHECK(memcmp(alone[i], together[i], sizeof alone[i]) == 0);
        CHECK(plc_reset(stream) == 0);
        play(stream, (uint32_t)i, together[i]);
        CHECK(memcmp(alone[i], together[i], sizeof alone[i]) == 0);
        CHECK(plc_close(stream) == 0);
    }
    CHECK(memcmp(alone[0], alone[1], sizeof alone[0]) != 0);
}

typedef struct hammered {
    plc_stream *stream;
    int done, busy, other;
} hammered;

static void *hammer(void *given) {
    hammered *mine = given;
    float packet[PACKET], out[PACKET];
    int k;
    sound(packet, 0, 0);
    for (k = 0; k < HAMMERED; k++) {
        int code = plc_push(mine->stream, k % 3 ? packet : NULL, out);
        mine->busy += code == PLC_ERROR_BUSY;
        mine->done += code >= 0;
        mine->other += code < 0 && code != PLC_ERROR_BUSY;
    }
    return NULL;
}

static void one_stream_from_two_threads(void) {
    hammered both[2] = {{opened(options_of(0)), 0, 0, 0}, {NULL, 0, 0, 0}};
    plc_counters counters;
    pthread_t thread;
    both[1].stream = both[0].stream;
    pthread_create(&thread, NULL, hammer, &both[0]);
    hammer(&both[1]);
    pthread_join(thread, NULL);
    counters.struct_size = sizeof counters;
    CHECK(plc_stats(both[0].stream, &counters) == 0);
    CHECK(both[0].other + both[1].other == 0);
    CHECK(both[0].done + both[1].done + both[0].busy + both[1].busy == 2 * HAMMERED);
    CHECK((int)counters.packets == both[0].done + both[1].done);
    CHECK(plc_close(both[0].stream) == 0);
}

typedef struct preparer {
    plc_stream *stream;
    atomic_int ended, ready;
    int other;
} preparer;

static void *prepare(void *given) {
    preparer *mine = given;
    while (!atomic_load(&mine->ended)) {
        int code = plc_prepare(mine->stream);
        atomic_fetch_add(&mine->ready, code == 1);
        mine->other += code < 0;
        sched_yield();
    }
    return NULL;
}

/* What is prepared beside the pushes, or between them, changes no sample. */
static void prepared(void) {
    plc_options options = options_of(0);
    plc_stream *stream = opened(options);
    preparer beside = {NULL, 0, 0, 0};
    float packet[PACKET];
    pthread_t thread;
    int k;
    CHECK(plc_prepare(NULL) == PLC_ERROR_ARGUMENT);
    CHECK(plc_prepare(stream) == 0); /* options.prepare is 0 */
    play(stream, 0, alone[0]);
    CHECK(plc_close(stream) == 0);
    options.prepare = 1;
    beside.stream = opened(options);
    pthread_create(&thread, NULL, prepare, &beside);
    for (k = 0; k < PACKETS; k++) {
        int ready = atomic_load(&beside.ready) + 1; /* the first may be of the packet before */
        sound(packet, k, 0);
        CHECK(plc_push(beside.stream, k % 7 == 5 ? NULL : packet, together[0] + k * PACKET) >= 0);
        while (k % 14 == 4 && atomic_load(&beside.ready) <= ready)
            sched_yield();
    }
    atomic_store(&beside.ended, 1);
    pthread_join(thread, NULL);
    CHECK(memcmp(alone[0], together[0], sizeof alone[0]) == 0);
    CHECK(beside.other == 0);
    CHECK(plc_reset(beside.stream) == 0);
    CHECK(plc_prepare(beside.stream) == 1);
    for (k = 0; k < PACKETS; k++) {
        sound(packet, k, 0);
        CHECK(plc_push(beside.stream, k % 7 == 5 ? NULL : packet, together[1] + k * PACKET) >= 0);
        CHECK(plc_prepare(beside.stream) == (k % 7 != 5));
        CHECK(plc_prepare(beside.stream) == (k % 7 != 5));
    }
    CHECK(memcmp(alone[0], together[1], sizeof alone[0]) == 0);
    CHECK(plc_close(beside.stream) == 0);
}

static void refused_options(void) {
    plc_options options = options_of(0);
    plc_stream *stream;
    CHECK(plc_open(&stream, NULL) == PLC_ERROR_ARGUMENT);
    CHECK(plc_open(NULL, &options) == PLC_ERROR_ARGUMENT);
    CHECK(plc_size(NULL) == PLC_ERROR_ARGUMENT);
    options.struct_size = 8;
    CHECK(plc_open(&stream, &options) == PLC_ERROR_STRUCT);
    CHECK(strstr(plc_error(PLC_ERROR_STRUCT), "plc_options_init") != NULL);
#define REFUSED(field, value, code)                \
    options = options_of(0);                       \
    options.field = value;                         \
    CHECK(plc_open(&stream, &options) == code);    \
    CHECK(plc_size(&options) == code || code == PLC_ERROR_PROCESSOR); \
    CHECK(strstr(plc_error(code), #field) != NULL)
    REFUSED(sample_rate, 0, PLC_ERROR_SAMPLE_RATE);
    REFUSED(sample_rate, 7999, PLC_ERROR_SAMPLE_RATE);
    REFUSED(sample_rate, 192001, PLC_ERROR_SAMPLE_RATE);
    REFUSED(sample_rate, 4000000000u, PLC_ERROR_SAMPLE_RATE);
    REFUSED(channels, 0, PLC_ERROR_CHANNELS);
    REFUSED(channels, 9, PLC_ERROR_CHANNELS);
    REFUSED(packet_samples, 0, PLC_ERROR_PACKET);
    REFUSED(packet_samples, 15, PLC_ERROR_PACKET);
    REFUSED(packet_samples, 1921, PLC_ERROR_PACKET);
    REFUSED(packet_samples, 4000000000u, PLC_ERROR_PACKET);
    REFUSED(lookahead, 201, PLC_ERROR_LOOKAHEAD);
    REFUSED(lookahead, 4000000000u, PLC_ERROR_LOOKAHEAD);
    REFUSED(format, 0, PLC_ERROR_FORMAT);
    REFUSED(format, 3, PLC_ERROR_FORMAT);
    REFUSED(rung, 12, PLC_ERROR_RUNG);
    REFUSED(content, 3, PLC_ERROR_CONTENT);
    REFUSED(processor, 1, PLC_ERROR_PROCESSOR);
    REFUSED(processor, 5, PLC_ERROR_PROCESSOR);
    plc_options_init(NULL);
}

static void refused_calls(void) {
    plc_options options = options_of(0);
    plc_counters counters;
    float packet[PACKET + 1] = {0}, out[PACKET + 1];
    int64_t size = plc_size(&options);
    char *memory = malloc((size_t)size);
    plc_stream *stream;
    static const int64_t bad[][4] = {
        {0, 0}, {-1, 5}, {5, 4}, {10, PACKET + 1}, {3, 9, 9, 12}, {3, 9, 8, 12}, {INT64_MIN, 3}};
    size_t k;
    memset(&counters, 0, sizeof counters);
    CHECK(plc_open_in(&stream, &options, NULL, (size_t)size) == PLC_ERROR_ARGUMENT);
    CHECK(plc_open_in(NULL, &options, memory, (size_t)size) == PLC_ERROR_ARGUMENT);
    CHECK(plc_open_in(&stream, &options, memory, (size_t)size - 1) == PLC_ERROR_ROOM);
    CHECK(plc_open_in(&stream, &options, memory, (size_t)size) == 0);
    CHECK(plc_push(NULL, packet, out) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push((plc_stream *)((char *)stream + 1), packet, out) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push(stream, packet, NULL) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push(stream, (char *)packet + 1, out) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push(stream, packet, (char *)out + 2) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push_part(stream, packet, NULL, 1, out) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push_part(stream, NULL, bad[0], 1, out) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push_part(stream, packet, bad[0], SIZE_MAX, out) == PLC_ERROR_MISSING);
    for (k = 0; k < sizeof bad / sizeof *bad; k++)
        CHECK(plc_push_part(stream, packet, bad[k], 1 + (bad[k][2] > 0), out) == PLC_ERROR_MISSING);
    CHECK(plc_push_many(NULL, 1, NULL, NULL, NULL) == PLC_ERROR_ARGUMENT);
    CHECK(plc_push_many(NULL, 0, NULL, NULL, NULL) == 0);
    CHECK(plc_stats(stream, NULL) == PLC_ERROR_ARGUMENT);
    CHECK(plc_stats(stream, &counters) == PLC_ERROR_STRUCT);
    packet[3] = NAN;
    CHECK(plc_push(stream, packet, out) == (PLC_CONCEALED | PLC_REFUSED));
    packet[3] = 1e30f;
    CHECK(plc_push(stream, packet, out) == (PLC_CONCEALED | PLC_REFUSED));
    counters.struct_size = sizeof counters;
    CHECK(plc_stats(stream, &counters) == 0);
    CHECK(counters.packets == 2 && counters.invalid_packets == 2 && counters.lost_packets == 0);
    CHECK(counters.concealed_samples == 2 * PACKET && counters.longest_burst_samples == 2 * PACKET);
    CHECK(counters.concealment_events == 1);
    CHECK(plc_delay(stream) == 0);
    CHECK(plc_flush(stream, NULL, 0) == 0);
    CHECK(*plc_processor(stream));
    CHECK(plc_close(stream) == 0);
    CHECK(plc_close(stream) == PLC_ERROR_STREAM);
    CHECK(strstr(plc_error(PLC_ERROR_STREAM), "was it closed") != NULL);
    CHECK(plc_push(stream, packet, out) == PLC_ERROR_STREAM);
    CHECK(plc_delay(stream) == PLC_ERROR_STREAM);
    CHECK(plc_flush(stream, out, PACKET) == PLC_ERROR_STREAM);
    CHECK(plc_reset(stream) == PLC_ERROR_STREAM);
    CHECK(plc_stats(stream, &counters) == PLC_ERROR_STREAM);
    CHECK(!*plc_processor(stream) && !*plc_processor(NULL));
    CHECK(plc_close(NULL) == PLC_ERROR_ARGUMENT);
    CHECK(!*plc_error(0) && !*plc_error(7) && !*plc_error(INT64_MIN));
    for (k = 1; k <= 20; k++)
        CHECK(*plc_error(-(int64_t)k));
    CHECK(!*plc_error(-21));
    CHECK(strchr(plc_version(), '.') != NULL);
    free(memory);
}

static void lookahead(void) {
    plc_options options = options_of(0);
    float packet[PACKET], out[PACKET], tail[2 * PACKET], again[2 * PACKET];
    plc_counters counters;
    plc_stream *stream;
    int i, turn;
    options.lookahead = 2;
    stream = opened(options);
    CHECK(plc_delay(stream) == 2 * PACKET);
    for (turn = 0; turn < 2; turn++) {
        for (i = 0; i < 4; i++) {
            sound(packet, i, 0);
            CHECK(plc_push(stream, packet, out) == 0);
            CHECK(i >= 2 || (out[0] == 0 && out[PACKET - 1] == 0));
        }
        CHECK(plc_flush(stream, tail, PACKET) == PLC_ERROR_ROOM);
        CHECK(plc_flush(stream, NULL, 2 * PACKET) == PLC_ERROR_ARGUMENT);
        CHECK(plc_flush(stream, tail, 2 * PACKET) == 2 * PACKET);
        CHECK(memcmp(tail + PACKET, packet, sizeof packet) == 0);
        if (turn)
            CHECK(memcmp(tail, again, sizeof tail) == 0);
        memcpy(again, tail, sizeof tail);
    }
    counters.struct_size = sizeof counters;
    CHECK(plc_stats(stream, &counters) == 0);
    CHECK(counters.packets == 8 && counters.lost_packets == 0);
    CHECK(plc_close(stream) == 0);
}

static void parts_and_places(void) {
    plc_options options = options_of(0);
    plc_stream *whole = opened(options), *within = opened(options);
    float packet[PACKET], memory[PACKET], out[PACKET];
    const int64_t missing[4] = {10, 20, 100, PACKET};
    int k, i;
    for (k = 0; k < 60; k++) {
        int part = k % 9 == 8, flags;
        sound(packet, k, 0);
        memcpy(memory, packet, sizeof packet);
        if (part)
            for (i = 10; i < 20; i++)
                memory[i] = NAN; /* not looked at */
        flags = plc_push_part(whole, packet, missing, part ? 2 : 0, out);
        CHECK(flags >= 0 && part == ((flags & PLC_CONCEALED) != 0) && !(flags & PLC_REFUSED));
        CHECK(plc_push_part(within, memory, missing, part ? 2 : 0, memory) == flags);
        CHECK(memcmp(memory, out, sizeof out) == 0);
        if (part)
            CHECK(memcmp(out, packet, 10 * sizeof *out) == 0);
    }
    CHECK(plc_close(whole) == 0 && plc_close(within) == 0);
}

static void many_streams(void) {
    enum { STREAMS = 5 };
    plc_stream *together_[STREAMS], *one[STREAMS];
    float packets[STREAMS][PACKET], outs[STREAMS][PACKET], out[PACKET];
    const void *given[STREAMS];
    void *places[STREAMS];
    int flags[STREAMS], k, s;
    for (s = 0; s < STREAMS; s++) {
        together_[s] = opened(options_of((uint32_t)s));
        one[s] = opened(options_of((uint32_t)s));
        places[s] = outs[s];
    }
    for (k = 0; k < 50; k++) {
        for (s = 0; s < STREAMS; s++) {
            sound(packets[s], k, (uint32_t)s);
            given[s] = (k + s) % 6 == 5 ? NULL : packets[s];
        }
        CHECK(plc_push_many(together_, STREAMS, given, places, flags) == 0);
        for (s = 0; s < STREAMS; s++) {
            CHECK(plc_push(one[s], given[s], out) == flags[s]);
            CHECK(memcmp(out, outs[s], sizeof out) == 0);
        }
    }
    places[2] = NULL;
    CHECK(plc_push_many(together_, STREAMS, given, places, flags) == PLC_ERROR_ARGUMENT);
    CHECK(flags[2] == PLC_ERROR_ARGUMENT && flags[1] >= 0 && flags[3] >= 0);
    CHECK(plc_push_many(together_, STREAMS, given, places, NULL) == PLC_ERROR_ARGUMENT);
    for (s = 0; s < STREAMS; s++)
        CHECK(plc_close(together_[s]) == 0 && plc_close(one[s]) == 0);
}

static void receivers(void) {
    plc_options options = options_of(0);
    plc_receiver_options delays = {sizeof delays, 20, 200, 1000};
    plc_receiver_counters counters = {0};
    plc_receiver *receiver = NULL, *within = NULL;
    float packet[PACKET], out[3 * PACKET];
    uint8_t marks[3 * PACKET];
    int64_t size = plc_receiver_size(&options, NULL);
    char *memory = malloc((size_t)size);
    int k, made = 0;
    memset(memory, 0x5a, (size_t)size);
    CHECK(plc_receiver_size(&options, &delays) < size);
    CHECK(plc_receiver_open(NULL, &options, &delays) == PLC_ERROR_ARGUMENT);
    CHECK(plc_receiver_open(&receiver, NULL, &delays) == PLC_ERROR_ARGUMENT);
    delays.struct_size = 3;
    CHECK(plc_receiver_open(&receiver, &options, &delays) == PLC_ERROR_STRUCT);
    delays = (plc_receiver_options){sizeof delays, 5001, 200, 1000};
    CHECK(plc_receiver_open(&receiver, &options, &delays) == PLC_ERROR_DELAY);
    delays = (plc_receiver_options){sizeof delays, 20, 200, 600001};
    CHECK(plc_receiver_open(&receiver, &options, &delays) == PLC_ERROR_DELAY);
    delays = (plc_receiver_options){sizeof delays, 20, 200, 1000};
    options.format = 4;
    CHECK(plc_receiver_open(&receiver, &options, &delays) == PLC_ERROR_FORMAT);
    options.format = PLC_FLOAT32;
    options.sample_rate = 7;
    CHECK(plc_receiver_size(&options, &delays) == PLC_ERROR_SAMPLE_RATE);
    options.sample_rate = 16000;
    CHECK(receiver == NULL);
    CHECK(plc_receiver_open_in(&within, &options, NULL, memory, (size_t)size - 1) == PLC_ERROR_ROOM);
    CHECK(plc_receiver_open_in(&within, &options, NULL, NULL, (size_t)size) == PLC_ERROR_ARGUMENT);
    CHECK(plc_receiver_open_in(&within, &options, NULL, memory, (size_t)size) == 0);
    CHECK(plc_receiver_open(&receiver, &options, NULL) == 0);
    for (k = 0; k < PACKETS; k++) { /* memory of chance plays what memory of its own does */
        float again[PACKET];
        sound(packet, k, 0);
        if (k % 9 != 4) {
            CHECK(plc_receive(receiver, packet, PACKET, (int64_t)k * PACKET) == PACKET);
            CHECK(plc_receive(within, packet, PACKET, (int64_t)k * PACKET) == PACKET);
        }
        CHECK(plc_play(receiver, out, PACKET, marks) == plc_play(within, again, PACKET, NULL));
        CHECK(memcmp(out, again, sizeof again) == 0);
        for (int i = 0; i < PACKET; i++)
            made += marks[i];
    }
    CHECK(made > 10 * PACKET && made < 40 * PACKET);
    CHECK(plc_receive(receiver, NULL, PACKET, 0) == PLC_ERROR_ARGUMENT);
    CHECK(plc_receive(receiver, NULL, 0, PLC_FOLLOWS) == 0);
    CHECK(plc_receive(receiver, packet, SIZE_MAX, 0) == PLC_ERROR_ARGUMENT);
    CHECK(plc_receive(receiver, packet, PACKET, INT64_MAX) == PLC_ERROR_ARGUMENT);
    CHECK(plc_receive(receiver, (char *)packet + 1, PACKET - 1, 0) == PLC_ERROR_ARGUMENT);
    CHECK(plc_play(receiver, NULL, PACKET, NULL) == PLC_ERROR_ARGUMENT);
    CHECK(plc_play(receiver, NULL, 0, NULL) == 0);
    CHECK(plc_receiver_stats(receiver, &counters) == PLC_ERROR_STRUCT);
    CHECK(plc_receiver_stats(receiver, NULL) == PLC_ERROR_ARGUMENT);
    counters.struct_size = sizeof counters;
    CHECK(plc_receiver_stats(receiver, &counters) == 0);
    CHECK(counters.late_samples + counters.lost_samples + counters.unsent_samples == (uint64_t)made);
    CHECK(plc_receiver_end(receiver) == 0 && plc_receiver_clear(receiver) == 0);
    CHECK(plc_receiver_close(receiver) == 0 && plc_receiver_close(within) == 0);
    CHECK(plc_receiver_close(within) == PLC_ERROR_STREAM);
    CHECK(plc_receive(within, packet, PACKET, 0) == PLC_ERROR_STREAM);
    CHECK(plc_play(NULL, out, PACKET, NULL) == PLC_ERROR_ARGUMENT);
    CHECK(plc_receiver_close(NULL) == PLC_ERROR_ARGUMENT);
    free(memory);
}

/* A caller who improves drafts: each as far as `share` of it goes. */
typedef struct improver {
    int calls, fault;
    double share;
    float to;
} improver;

static size_t improve(void *user, const plc_draft *draft) {
    improver *mine = user;
    size_t ready = (size_t)(mine->share * draft->samples + 0.5), i;
    mine->calls++;
    mine->fault |= draft->channels != 1 || draft->samples < 1 || draft->samples > PACKET;
    mine->fault |= memcmp(draft->draft, draft->fill, draft->samples * sizeof(float)) != 0;
    for (i = 0; i < ready && i < draft->samples; i++)
        draft->fill[i] = mine->to;
    return ready;
}

static void fills(void) {
    static float plain[PACKET * PACKETS], filled[PACKET * PACKETS];
    improver none = {0, 0, 0.0, 0.1f}, nan = {0, 0, 1.0, NAN}, far = {0, 0, 3.0, 0.1f};
    improver all = {0, 0, 1.0, 0.1f}, half = {0, 0, 0.5, 0.1f};
    improver *useless[3] = {&none, &nan, &far};
    plc_options options = options_of(0);
    plc_stream *stream = opened(options);
    int apart = 0, k, i;
    play(stream, 0, plain);
    CHECK(plc_close(stream) == 0);
    options.fill = improve;
    for (k = 0; k < 3; k++) { /* what helps nobody leaves the draft as it is */
        options.user = useless[k];
        stream = opened(options);
        play(stream, 0, filled);
        CHECK(useless[k]->calls > 0 && !useless[k]->fault);
        CHECK(memcmp(plain, filled, sizeof plain) == 0);
        CHECK(plc_close(stream) == 0);
    }
    options.user = &all;
    stream = opened(options);
    play(stream, 0, filled);
    CHECK(all.calls >= PACKETS / 7 && !all.fault);
    for (i = 0; i < PACKET; i++)
        apart += !(fabsf(filled[5 * PACKET + i] - 0.1f) < 1e-6f);
    CHECK(apart == 0);
    CHECK(memcmp(plain, filled, 5 * PACKET * sizeof *plain) == 0);
    CHECK(plc_close(stream) == 0);
    options.user = &half;
    stream = opened(options);
    play(stream, 0, filled);
    CHECK(!half.fault && filled[5 * PACKET] == 0.1f);
    for (i = PACKET / 2; i < PACKET; i++) /* behind what is ready: the draft */
        apart += filled[5 * PACKET + i] != plain[5 * PACKET + i];
    for (i = 1; i < PACKET / 2; i++) /* no step on the way there */
        apart += !(fabsf(filled[5 * PACKET + i] - filled[5 * PACKET + i - 1]) < 0.05f);
    CHECK(apart == 0);
    CHECK(plc_close(stream) == 0);
}

static void misuse_models(void) {
    static int64_t words[64];
    plc_options options = options_of(1);
    plc_model *model = NULL;
    plc_stream *stream = NULL;
    CHECK(plc_model_open(NULL, words, sizeof words) == PLC_ERROR_ARGUMENT);
    CHECK(plc_model_open(&model, NULL, sizeof words) == PLC_ERROR_ARGUMENT);
    CHECK(plc_model_open(&model, (char *)words + 1, 256) == PLC_ERROR_ARGUMENT);
    CHECK(plc_model_open(&model, words, 8) == PLC_ERROR_MODEL);
    CHECK(plc_model_open(&model, words, sizeof words) == PLC_ERROR_MODEL);
    CHECK(plc_model_size(NULL, sizeof words) == PLC_ERROR_ARGUMENT);
    CHECK(plc_model_size((char *)words + 1, 256) == PLC_ERROR_ARGUMENT);
    CHECK(plc_model_size(words, sizeof words) == PLC_ERROR_MODEL);
    CHECK(plc_model_size(words, (size_t)-8) == PLC_ERROR_MODEL);
    CHECK(plc_model_open_in(&model, words, 256, words, sizeof words) == PLC_ERROR_MODEL);
    CHECK(plc_model_load(NULL, "model") == PLC_ERROR_ARGUMENT);
    CHECK(plc_model_load(&model, NULL) == PLC_ERROR_ARGUMENT);
    CHECK(plc_model_load(&model, "no/such/file") == PLC_ERROR_FILE);
    CHECK(plc_model_load(&model, ".") == PLC_ERROR_FILE); /* a folder */
    CHECK(plc_model_serves(NULL, 16000) == PLC_ERROR_MODEL);
    CHECK(plc_model_close(NULL) == PLC_ERROR_MODEL);
    CHECK(model == NULL);
    options.model = (const plc_model *)words;
    CHECK(plc_open(&stream, &options) == PLC_ERROR_MODEL);
    options = options_of(0);
    options.struct_size = offsetof(plc_options, content); /* nor of content */
    options.content = 3;
    CHECK(plc_open(&stream, &options) == 0);
    CHECK(plc_close(stream) == 0);
    options.model = (const plc_model *)words;
    (plc_options_init)(&options); /* a program that knows of no models */
    CHECK(options.struct_size == offsetof(plc_options, model));
    CHECK(options.model == (const plc_model *)words);
    CHECK(plc_open(&stream, &options) == 0);
    CHECK(plc_close(stream) == 0);
}

/* Frames of any length make the same as packets with missing parts, a packet later. */
static void frames_of_any_length(void) {
    static float sent[PACKETS * PACKET], played[(PACKETS + 2) * PACKET], tail[2 * PACKET];
    static float packets[PACKETS * PACKET];
    static char missed[PACKETS * PACKET];
    for (uint32_t lookahead = 0; lookahead < 2; lookahead++) {
        plc_options options = options_of(3);
        plc_stream *stream;
        plc_counters counters;
        int any = 0, k, at = 0, lag = (int)lookahead * PACKET;
        uint32_t chance = 12345 + lookahead;
        options.lookahead = lookahead;
        options.rung = 11; /* many gaps */
        stream = opened(options);
        CHECK(plc_delay(stream) == lag);
        for (k = 0; k < PACKETS; k++)
            sound(sent + k * PACKET, k, 1);
        memcpy(played, sent, sizeof sent);
        while (at < PACKETS * PACKET) {
            int n = (int)((chance = chance * 1103515245u + 12345u) >> 16) % (k % 9 ? 90 : 700);
            int lost = (chance >> 8) % 5 == 0;
            if (n > PACKETS * PACKET - at)
                n = PACKETS * PACKET - at;
            memset(missed + at, lost, (size_t)n);
            any |= plc_push_n(stream, lost ? NULL : played + at, (size_t)n, played + at);
            at += n;
            k++;
        }
        CHECK(any > 0 && any & PLC_CONCEALED && any & PLC_CROSSFADED && !(any & PLC_REFUSED));
        CHECK(plc_push(stream, sent, packets) == PLC_ERROR_MIXED);
        CHECK(plc_push_n(stream, NULL, 0, NULL) == 0);
        CHECK(plc_push_n(stream, (char *)sent + 1, 9, packets) == PLC_ERROR_ARGUMENT);
        CHECK(plc_push_n(stream, sent, 9, NULL) == PLC_ERROR_ARGUMENT);
        CHECK(plc_push_n(NULL, sent, 9, packets) == PLC_ERROR_ARGUMENT);
        CHECK(plc_delay(stream) == lag + PACKET);
        counters.struct_size = sizeof counters;
        CHECK(plc_stats(stream, &counters) == 0 && counters.packets == PACKETS);
        CHECK(plc_flush(stream, tail, (size_t)lag) == PLC_ERROR_ROOM);
        CHECK(plc_flush(stream, tail, sizeof tail / sizeof *tail) == lag + PACKET);
        memcpy(played + PACKETS * PACKET, tail, (size_t)(lag + PACKET) * sizeof *tail);
        CHECK(plc_delay(stream) == lag);
        CHECK(plc_reset(stream) == 0);
        for (k = 0; k < PACKETS; k++) {
            int64_t missing[PACKET + 2], *end = missing;
            for (int i = 0; i < PACKET; i++) {
                if (missed[k * PACKET + i] && !(i && missed[k * PACKET + i - 1]))
                    *end++ = i;
                if (missed[k * PACKET + i] && (i + 1 == PACKET || !missed[k * PACKET + i + 1]))
                    *end++ = i + 1;
            }
            if (end == missing + 2 && missing[0] == 0 && missing[1] == PACKET)
                CHECK(plc_push(stream, NULL, packets + k * PACKET) >= 0);
            else
                CHECK(plc_push_part(stream, sent + k * PACKET, missing,
                                    (size_t)(end - missing) / 2, packets + k * PACKET) >= 0);
        }
        CHECK(plc_push_n(stream, sent, 1, tail) == PLC_ERROR_MIXED);
        CHECK(plc_flush(stream, tail, (size_t)lag) == lag);
        CHECK(memcmp(played + PACKET, packets, sizeof packets) == 0);
        CHECK(memcmp(played + (PACKETS + 1) * PACKET, tail, (size_t)lag * sizeof *tail) == 0);
        CHECK(plc_close(stream) == 0);
    }
}

/* Half a packet that was gathered comes out at the end. */
static void a_last_frame(void) {
    float sent[2 * PACKET], played[2 * PACKET], tail[2 * PACKET];
    for (uint32_t lookahead = 0; lookahead < 2; lookahead++) {
        plc_options options = options_of(3);
        plc_stream *stream;
        int n = PACKET + 100, lag = (int)(lookahead + 1) * PACKET;
        options.lookahead = lookahead;
        stream = opened(options);
        sound(sent, 0, 1);
        sound(sent + PACKET, 1, 1);
        CHECK(plc_push_n(stream, sent, (size_t)n, played) >= 0);
        CHECK(plc_flush(stream, tail, 2 * PACKET) == lag);
        if (lag < n)
            CHECK(memcmp(tail, sent + n - lag, (size_t)lag * sizeof *tail) == 0);
        else
            CHECK(memcmp(tail + lag - n, sent, (size_t)n * sizeof *sent) == 0);
        CHECK(plc_close(stream) == 0);
    }
}

static void calibrated(void) {
    plc_stream *stream = opened(options_of(0));
    int64_t done;
    play(stream, 0, alone[0]);
    CHECK(plc_reset(stream) == 0);
    CHECK(plc_push(stream, NULL, together[0]) >= 0);
    done = plc_calibrate(stream);
    CHECK(done >= 100000000 && done < 200000000);
    play(stream, 0, together[0]);
    CHECK(memcmp(alone[0], together[0], sizeof alone[0]) == 0);
    CHECK(plc_close(stream) == 0);
    CHECK(plc_calibrate(NULL) == PLC_ERROR_ARGUMENT);
}

int main(void) {
    misuse_models();
    frames_of_any_length();
    a_last_frame();
    calibrated();
    two_threads();
    one_stream_from_two_threads();
    prepared();
    refused_options();
    refused_calls();
    lookahead();
    parts_and_places();
    many_streams();
    receivers();
    fills();
    return faults != 0;
}
