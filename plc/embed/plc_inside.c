/* SPDX-License-Identifier: MIT */
/* libplc_inside.so: libplc in programs that are there. See docs/start/inside.md.
 *
 * Preloaded (LD_PRELOAD), it stands before the functions of decoders that programs load as shared
 * libraries. Each call goes to the decoder as ever, whose own state so goes on as if nothing were here; what
 * came out is heard by a stream of libplc, and where a packet was lost, is replaced by what that makes up.
 * Received samples are written anew only in the crossfade behind a loss.
 *
 * Audio is cut into pieces of 5 ms, from which on libplc does its best in a burst's first piece; with the
 * first length that is no multiple, of 2.5 ms, of which all are that a program can ask Opus for: the stream
 * is then opened anew in its place, and hears the last half second again. A decoder's stream is allocated
 * with its first packet, and nothing after that. Errors of a decoder are
 * passed on, and where no stream can be opened nothing is changed.
 *
 *   PLC_INSIDE=off           change nothing
 *   PLC_INSIDE_MODELS=FILE   networks as "plc c models" writes them; else plc.plcm beside this library
 *   PLC_INSIDE_LOG=1         say at the end of each decoder, or of the program, what was made up
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <time.h>
#include <unistd.h>

#include "plc.h"

#define EXPORT __attribute__((visibility("default")))
#define QUIET_THREAD __thread __attribute__((tls_model("initial-exec")))

/* Decoders that are known at a time; a program with more has the others as they were. */
#define MOST_DECODERS 4096u
/* Streams of decoders in memory of the program, whose end nobody says: of more, the one that was not heard
 * for longest is closed. */
#define MOST_FOREIGN 256
/* Pieces in a second, usual and short ones. */
#define PIECES 200
#define SHORT_PIECES 400
/* Seconds that a stream opened anew hears again: one in that many. */
#define HEARD_AGAIN 2
/* Samples of all channels in a piece. */
#define ROOM 4096
#define MOST_CHANNELS 8
/* A lost packet may take a quarter of the 20 ms in which the next one comes. */
#define MOST_MS 5.0
#define CALIBRATIONS 3
/* Of opus_defines.h. */
#define OPUS_UNIMPLEMENTED (-5)
#define OPUS_GET_COMPLEXITY 4011
#define OPUS_RESET_STATE 4028
/* From here on the decoder's own network conceals, in Opus 1.5 and later. */
#define OPUS_DEEP 5
/* spandsp's concealment is for telephones and knows no rate. */
#define SPANDSP_RATE 8000

/* ---- the table of decoders ----------------------------------------------------------------------- */

typedef enum { OPUS, MULTISTREAM, PROJECTION, CUSTOM, CUSTOM_MODE, SPANDSP, KINDS } kind;

/* Of each kind: what it is called in the log, and the library to look into if the program's own does not
 * have it. What is not here is no better with libplc, or not measured: docs/start/inside.md. */
static const struct {
    const char *name, *library;
} kinds[KINDS] = {
    [OPUS] = {"Opus", "libopus.so.0"},
    [MULTISTREAM] = {"Opus, multistream", "libopus.so.0"},
    [PROJECTION] = {"Opus, projection", "libopus.so.0"},
    [CUSTOM] = {"Opus, custom mode", "libopus.so.0"},
    [CUSTOM_MODE] = {"", "libopus.so.0"},
    [SPANDSP] = {"spandsp", "libspandsp.so.2"},
};

/* Samples as a decoder gives them. */
typedef enum { INT16, INT24, FLOAT } form;

typedef struct {
    atomic_uint busy; /* taken by who reads or writes the rest */
    kind kind;
    int rate, channels, streams;
    int is_foreign; /* in memory of the program, whose end nobody says */
    int is_closed;  /* no stream can be opened for it */
    int is_quiet;   /* the last packet was one of silence: what follows is the decoder's own noise */
    int is_celt;    /* the last packet had no part for speech */
    int piece;      /* samples of each channel */
    void *memory;   /* of the stream, in whichever pieces */
    size_t room;
    float *past;    /* what was heard, a ring */
    size_t past_size, past_at; /* samples of all channels */
    uint64_t used;  /* when it was heard last */
    plc_stream *stream;
    uint64_t heard, made_up, longest, run; /* samples of each channel */
    uint64_t losses;
} decoder;

static decoder decoders[MOST_DECODERS];
/* Where each decoder is in memory: NULL ends a search, GONE does not. */
static _Atomic(void *) places[MOST_DECODERS];
static char gone_place;
#define GONE ((void *)&gone_place)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static QUIET_THREAD int depth; /* in a function of a decoder that makes decoders of its own */
static int is_off, is_logged, foreign;
static atomic_uint_fast64_t turns;
static plc_model *model;
static uint64_t work_limit;

static unsigned place_of(const void *handle, unsigned k) {
    uint64_t mixed = (uint64_t)((uintptr_t)handle >> 4) * 0x9E3779B97F4A7C15u;
    return ((unsigned)(mixed >> 40) + k) % MOST_DECODERS;
}

/* Return the place of a decoder, or -1. */
static int find(const void *handle) {
    for (unsigned k = 0; handle && k < MOST_DECODERS; k++) {
        unsigned at = place_of(handle, k);
        void *there = atomic_load_explicit(&places[at], memory_order_acquire);
        if (there == handle)
            return (int)at;
        if (!there)
            return -1;
    }
    return -1;
}

static int take(decoder *one) { return !atomic_exchange(&one->busy, 1); }
static void leave(decoder *one) { atomic_store(&one->busy, 0); }

/* Take a decoder; NULL if it is unknown, or another thread has it. */
static decoder *enter(const void *handle) {
    int at = find(handle);
    if (at < 0 || !take(&decoders[at]))
        return NULL;
    if (atomic_load(&places[at]) == handle)
        return &decoders[at];
    leave(&decoders[at]);
    return NULL;
}

/* ---- beginning and end --------------------------------------------------------------------------- */

static void report(const decoder *one) {
    if (is_logged && one->kind != CUSTOM_MODE && one->heard)
        dprintf(STDERR_FILENO,
                "plc inside: %s, %d Hz, %d channel%s: %llu losses, %.3f s of %.1f s made up, "
                "longest %.1f ms\n",
                kinds[one->kind].name, one->rate, one->channels, one->channels > 1 ? "s" : "",
                (unsigned long long)one->losses, (double)one->made_up / one->rate,
                (double)one->heard / one->rate, 1e3 * (double)one->longest / one->rate);
}

static void before_fork(void) { pthread_mutex_lock(&lock); }
static void after_fork(void) { pthread_mutex_unlock(&lock); }

/* What the parent has heard is not the child's; what a thread of the parent held is free. */
static void in_child(void) {
    for (unsigned k = 0; k < MOST_DECODERS; k++)
        if (atomic_load(&places[k])) {
            decoders[k].heard = decoders[k].made_up = decoders[k].longest = decoders[k].losses = 0;
            if (atomic_exchange(&decoders[k].busy, 0)) {
                decoders[k].is_closed = 1; /* a thread that is no more was at work on it */
                decoders[k].stream = NULL;
            }
        }
    pthread_mutex_unlock(&lock);
}

__attribute__((constructor)) static void begin(void) {
    const char *asked = secure_getenv("PLC_INSIDE"), *log = secure_getenv("PLC_INSIDE_LOG");
    is_off = getauxval(AT_SECURE) != 0 || (asked && strcmp(asked, "off") == 0);
    is_logged = log && *log && strcmp(log, "0") != 0;
    if (!is_off)
        pthread_atfork(before_fork, after_fork, in_child);
}

__attribute__((destructor)) static void end(void) {
    for (unsigned k = 0; is_logged && k < MOST_DECODERS; k++) {
        void *there = atomic_load(&places[k]);
        if (there && there != GONE)
            report(&decoders[k]);
    }
}

static double cpu_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

/* Read the networks, and find out what this processor does in time. */
static void prepare(void) {
    char beside[PATH_MAX] = "";
    const char *file = secure_getenv("PLC_INSIDE_MODELS");
    plc_options options;
    plc_stream *stream;
    Dl_info self;
    if (!file && dladdr((void *)prepare, &self)) {
        const char *slash = strrchr(self.dli_fname, '/');
        snprintf(beside, sizeof beside, "%.*splc.plcm",
                 slash ? (int)(slash - self.dli_fname + 1) : 0, self.dli_fname);
        file = beside;
    }
    int code = plc_model_load(&model, file ? file : "");
    if (code < 0) {
        model = NULL;
        dprintf(STDERR_FILENO, "plc inside: %s: %s; prediction alone\n", file ? file : "no models",
                plc_error(code));
    }
    plc_options_init(&options);
    options.packet_samples = options.sample_rate / PIECES;
    options.model = model;
    if (plc_open(&stream, &options) < 0)
        return;
    for (int k = 0; k < CALIBRATIONS; k++) {
        double before = cpu_ms(), done = (double)plc_calibrate(stream);
        uint64_t limit = (uint64_t)fmax(1.0, MOST_MS * done / fmax(cpu_ms() - before, 1e-3));
        work_limit = limit > work_limit ? limit : work_limit;
    }
    plc_close(stream);
}

/* ---- decoders come and go ------------------------------------------------------------------------ */

static void close_stream(decoder *one) {
    if (one->stream) {
        plc_close(one->stream);
        foreign -= one->is_foreign;
    }
    free(one->memory);
    free(one->past);
    one->stream = NULL;
    one->memory = one->past = NULL;
}

/* Forget a decoder; the lock is held. */
static void drop(int at) {
    decoder *one = &decoders[at];
    if (!take(one))
        return; /* it is being ended while it decodes: a fault of the program's that stays its own */
    report(one);
    close_stream(one);
    atomic_store(&places[at], GONE);
    leave(one);
}

/* Return the foreign decoder that was heard longest ago, of those with a stream or of all; or -1. */
static int oldest_foreign(int with_stream) {
    int found = -1;
    for (unsigned k = 0; k < MOST_DECODERS; k++) {
        void *there = atomic_load(&places[k]);
        if (there && there != GONE && decoders[k].is_foreign &&
            (!with_stream || decoders[k].stream) &&
            (found < 0 || decoders[k].used < decoders[found].used))
            found = (int)k;
    }
    return found;
}

/* A decoder begins, at the place of a former one perhaps. */
static void note(const void *handle, kind kind, int rate, int channels, int streams,
                 int is_foreign) {
    int at;
    if (is_off || depth || !handle)
        return;
    pthread_once(&once, prepare);
    pthread_mutex_lock(&lock);
    if ((at = find(handle)) >= 0)
        drop(at);
    for (int tries = 0; tries < 2; tries++) {
        for (unsigned k = 0; k < MOST_DECODERS; k++) {
            at = (int)place_of(handle, k);
            void *there = atomic_load(&places[at]);
            if ((there && there != GONE) || !take(&decoders[at]))
                continue;
            decoder *one = &decoders[at];
            memset((char *)one + offsetof(decoder, kind), 0, sizeof *one - offsetof(decoder, kind));
            one->kind = kind;
            one->rate = rate;
            one->channels = channels;
            one->streams = streams;
            one->is_foreign = is_foreign;
            one->is_closed = channels < 1 || channels > MOST_CHANNELS;
            one->used = atomic_fetch_add(&turns, 1);
            atomic_store_explicit(&places[at], (void *)handle, memory_order_release);
            leave(one);
            pthread_mutex_unlock(&lock);
            return;
        }
        if ((at = oldest_foreign(0)) < 0)
            break;
        drop(at);
    }
    pthread_mutex_unlock(&lock);
}

static void forget(const void *handle) {
    int at;
    if (is_off || depth || find(handle) < 0)
        return;
    pthread_mutex_lock(&lock);
    if ((at = find(handle)) >= 0)
        drop(at);
    pthread_mutex_unlock(&lock);
}

/* A decoder begins anew. */
static void renew(const void *handle) {
    decoder *one = enter(handle);
    if (!one)
        return;
    if (one->stream)
        plc_reset(one->stream);
    one->is_quiet = one->is_celt = 0;
    one->run = 0;
    leave(one);
}

static plc_options options_of(const decoder *one, int piece) {
    plc_options options;
    plc_options_init(&options);
    options.sample_rate = (uint32_t)one->rate;
    options.channels = (uint32_t)one->channels;
    options.packet_samples = (uint32_t)piece;
    options.work_limit = work_limit;
    options.content = one->kind == SPANDSP ? PLC_CONTENT_SPEECH : 0;
    if (model && plc_model_serves(model, options.sample_rate) == 1)
        options.model = model;
    return options;
}

/* Open a decoder's stream, with its first packet, which has `count` samples. */
static void open_stream(decoder *one, int count) {
    int usual = one->rate / PIECES, shorter = one->rate / SHORT_PIECES;
    one->is_closed = 1;
    one->piece = usual && count % usual == 0 ? usual : shorter && count % shorter == 0 ? shorter : count;
    if (one->piece * one->channels > ROOM)
        return;
    plc_options options = options_of(one, one->piece), other = options_of(one, shorter);
    int64_t room = plc_size(&options), other_room = one->piece == usual ? plc_size(&other) : 0;
    if (room < 0 || other_room < 0)
        return;
    one->room = (size_t)(room > other_room ? room : other_room);
    one->past_size = (size_t)(one->rate / HEARD_AGAIN / one->piece * one->piece * one->channels);
    one->past_at = 0;
    if (one->is_foreign) {
        pthread_mutex_lock(&lock);
        int oldest = foreign < MOST_FOREIGN ? -1 : oldest_foreign(1);
        if (oldest >= 0 && take(&decoders[oldest])) {
            close_stream(&decoders[oldest]);
            leave(&decoders[oldest]);
        }
        foreign++;
        pthread_mutex_unlock(&lock);
    }
    one->memory = malloc(one->room);
    one->past = calloc(one->past_size, sizeof(float));
    if (!one->memory || !one->past ||
        plc_open_in(&one->stream, &options, one->memory, one->room) < 0)
        one->stream = NULL;
    one->is_closed = !one->stream;
}

/* Go on in pieces of 2.5 ms. */
static void shorten(decoder *one) {
    float piece[ROOM];
    int shorter = one->rate / SHORT_PIECES;
    plc_options options = options_of(one, shorter);
    size_t size = (size_t)shorter * (size_t)one->channels;
    plc_close(one->stream);
    one->stream = NULL;
    one->piece = shorter;
    one->is_closed = plc_open_in(&one->stream, &options, one->memory, one->room) < 0;
    for (size_t at = 0; !one->is_closed && at + size <= one->past_size; at += size) {
        memcpy(piece, one->past + (one->past_at + at) % one->past_size, size * sizeof *piece);
        plc_push(one->stream, piece, piece);
    }
}

/* ---- what is heard ------------------------------------------------------------------------------- */

static void read_piece(float *to, const void *from, size_t at, size_t count, form form) {
    for (size_t i = 0; i < count; i++)
        to[i] = form == INT16   ? (float)((const int16_t *)from)[at + i] / 32768.0f
                : form == INT24 ? (float)((const int32_t *)from)[at + i] / 8388608.0f
                                : ((const float *)from)[at + i];
}

static void write_piece(void *to, const float *from, size_t at, size_t count, form form) {
    for (size_t i = 0; i < count; i++)
        if (form == INT16)
            ((int16_t *)to)[at + i] =
                (int16_t)lrintf(fminf(fmaxf(32768.0f * from[i], -32768.0f), 32767.0f));
        else if (form == INT24)
            ((int32_t *)to)[at + i] =
                (int32_t)lrintf(fminf(fmaxf(8388608.0f * from[i], -8388608.0f), 8388607.0f));
        else
            ((float *)to)[at + i] = from[i];
}

/* Hear `count` samples of each channel, of which the first `lost` did not come: these are replaced. Return
 * whether it was done. */
static int play(decoder *one, void *samples, int count, int lost, form form) {
    float piece[ROOM];
    one->used = atomic_fetch_add_explicit(&turns, 1, memory_order_relaxed);
    if (!one->stream && !one->is_closed && !lost)
        open_stream(one, count);
    if (!one->stream)
        return 0;
    one->heard += (uint64_t)count;
    if ((count % one->piece || lost % one->piece) && one->piece == one->rate / PIECES)
        shorten(one);
    if (!one->stream || count % one->piece || lost % one->piece) {
        if (one->stream)
            plc_reset(one->stream);
        return 0;
    }
    size_t size = (size_t)one->piece * (size_t)one->channels;
    for (int at = 0; at < count; at += one->piece) {
        size_t begin = (size_t)at * (size_t)one->channels;
        int is_lost = at < lost;
        if (!is_lost)
            read_piece(piece, samples, begin, size, form);
        int flags = plc_push(one->stream, is_lost ? NULL : piece, piece);
        if (flags > 0)
            write_piece(samples, piece, begin, size, form);
        memcpy(one->past + one->past_at, piece, size * sizeof *piece);
        one->past_at = (one->past_at + size) % one->past_size;
        one->losses += is_lost && !one->run;
        one->run = is_lost ? one->run + (uint64_t)one->piece : 0;
        one->made_up += is_lost ? (uint64_t)one->piece : 0;
        one->longest = one->run > one->longest ? one->run : one->longest;
    }
    return 1;
}

/* ---- the functions that programs call ------------------------------------------------------------ */

/* Look a function up behind this library: in the program's libraries; where one was loaded later, by dlopen,
 * in what its caller was linked with; or by the library's name. */
static void *behind(const char *name, const char *library, const void *ours, const void *caller) {
    Dl_info from;
    void *opened, *found = dlsym(RTLD_NEXT, name);
    if (!found && caller && dladdr(caller, &from) &&
        (opened = dlopen(from.dli_fname, RTLD_LAZY | RTLD_NOLOAD))) {
        found = dlsym(opened, name);
        dlclose(opened);
    }
    if ((!found || found == ours) && (opened = dlopen(library, RTLD_LAZY)))
        found = dlsym(opened, name);
    return found == ours ? NULL : found;
}

#define REAL(name, kind)                                                                       \
    ({                                                                                         \
        static _Atomic(void *) kept;                                                           \
        void *found = atomic_load_explicit(&kept, memory_order_acquire);                       \
        if (!found) {                                                                          \
            found = behind(#name, kinds[kind].library, (void *)name, __builtin_return_address(0)); \
            atomic_store_explicit(&kept, found, memory_order_release);                         \
        }                                                                                      \
        (__typeof__(&name))found;                                                              \
    })

/* A call that makes a decoder, whose inner ones are not the program's. */
#define MAKING(type, call, failed)                                                             \
    type made;                                                                                 \
    if (!real)                                                                                 \
        return failed;                                                                         \
    depth++;                                                                                   \
    made = real call;                                                                          \
    depth--

#define ENDING(name, kind)                                                                     \
    EXPORT void name(void *handle) {                                                           \
        __typeof__(&name) real = REAL(name, kind);                                             \
        forget(handle);                                                                        \
        if (real) {                                                                            \
            depth++;                                                                           \
            real(handle);                                                                      \
            depth--;                                                                           \
        }                                                                                      \
    }

/* Requests take up to two arguments, which are pointers or fit into one. */
#define CONTROLLING(name, kind, reset)                                                         \
    EXPORT int name(void *handle, int request, ...) {                                          \
        __typeof__(&name) real = REAL(name, kind);                                             \
        va_list given;                                                                         \
        va_start(given, request);                                                              \
        void *first = va_arg(given, void *), *second = va_arg(given, void *);                  \
        va_end(given);                                                                         \
        if (request == (reset))                                                                \
            renew(handle);                                                                     \
        return real ? real(handle, request, first, second) : OPUS_UNIMPLEMENTED;               \
    }

/* ---- Opus ---------------------------------------------------------------------------------------- */

typedef int parsing(const uint8_t *, int32_t, uint8_t *, const uint8_t **, int16_t *, int *);
EXPORT int opus_decoder_ctl(void *handle, int request, ...);
EXPORT int opus_multistream_decoder_ctl(void *handle, int request, ...);
EXPORT int opus_projection_decoder_ctl(void *handle, int request, ...);
EXPORT int opus_custom_decoder_ctl(void *handle, int request, ...);
CONTROLLING(opus_decoder_ctl, OPUS, OPUS_RESET_STATE)
CONTROLLING(opus_multistream_decoder_ctl, MULTISTREAM, OPUS_RESET_STATE)
CONTROLLING(opus_projection_decoder_ctl, PROJECTION, OPUS_RESET_STATE)
CONTROLLING(opus_custom_decoder_ctl, CUSTOM, OPUS_RESET_STATE)

static int samples_of_frame(uint8_t head, int rate) {
    int size = head >> 3 & 3;
    if (head & 0x80)
        return (rate << size) / 400;
    if ((head & 0x60) == 0x60)
        return head & 0x08 ? rate / 50 : rate / 100;
    return size == 3 ? rate * 60 / 1000 : (rate << size) / 100;
}

/* Return how many samples of a frame before it a packet has in it (RFC 6716, 2.1.7); what Opus plays of the
 * others is its own concealment. */
static int copied(const decoder *one, const uint8_t *data, int32_t length, int asked,
                  const void *caller) {
    const uint8_t *frames[48];
    int16_t sizes[48];
    int samples = samples_of_frame(data[0], one->rate), blocks = samples * 50 / one->rate;
    if (data[0] & 0x80 || one->is_celt || asked < samples)
        return 0;
    if (one->kind != OPUS)
        return samples; /* of several streams, the others may have one */
    static _Atomic(void *) kept;
    if (!atomic_load(&kept))
        atomic_store(&kept, behind("opus_packet_parse", kinds[OPUS].library, NULL, caller));
    parsing *parse = (parsing *)atomic_load(&kept);
    if (!parse || parse(data, length, NULL, frames, sizes, NULL) <= 0 || !sizes[0])
        return 0;
    blocks = blocks > 1 ? blocks : 1;
    int has = frames[0][0] >> (7 - blocks) & 1;
    if (data[0] & 0x04)
        has |= frames[0][0] >> (6 - 2 * blocks) & 1;
    return has ? samples : 0;
}

static int is_deep(void *handle, kind kind) {
    int32_t complexity = 0;
    return (kind == OPUS && opus_decoder_ctl(handle, OPUS_GET_COMPLEXITY, &complexity) == 0 &&
            complexity >= OPUS_DEEP) ||
           (kind == MULTISTREAM &&
            opus_multistream_decoder_ctl(handle, OPUS_GET_COMPLEXITY, &complexity) == 0 &&
            complexity >= OPUS_DEEP);
}

/* Hear what a decoder gave for a packet. */
static int heard(void *handle, const uint8_t *data, int32_t length, void *samples, int count,
                 int fec, form form, const void *caller) {
    decoder *one = count > 0 ? enter(handle) : NULL;
    int lost = 0;
    if (!one)
        return count;
    if (!data || length <= (one->kind == CUSTOM)) {
        lost = count;
    } else if (one->kind == CUSTOM) {
        one->is_quiet = 0;
    } else if (fec) {
        lost = count - copied(one, data, length, count, caller);
    } else {
        one->is_quiet = length <= 3 * one->streams - 1; /* each but the last has its length before it */
        one->is_celt = data[0] >> 7;
    }
    if (lost && (one->is_quiet || is_deep(handle, one->kind)))
        lost = 0;
    play(one, samples, count, lost, form);
    leave(one);
    return count;
}

#define DECODING(name, kind, type, form)                                                       \
    EXPORT int name(void *handle, const uint8_t *data, int32_t length, type *samples, int count, \
                    int fec) {                                                                 \
        __typeof__(&name) real = REAL(name, kind);                                             \
        int got = real ? real(handle, data, length, samples, count, fec) : OPUS_UNIMPLEMENTED; \
        return heard(handle, data, length, samples, got, fec, form, __builtin_return_address(0)); \
    }
DECODING(opus_decode, OPUS, int16_t, INT16)
DECODING(opus_decode24, OPUS, int32_t, INT24)
DECODING(opus_decode_float, OPUS, float, FLOAT)
DECODING(opus_multistream_decode, MULTISTREAM, int16_t, INT16)
DECODING(opus_multistream_decode24, MULTISTREAM, int32_t, INT24)
DECODING(opus_multistream_decode_float, MULTISTREAM, float, FLOAT)
DECODING(opus_projection_decode, PROJECTION, int16_t, INT16)
DECODING(opus_projection_decode24, PROJECTION, int32_t, INT24)
DECODING(opus_projection_decode_float, PROJECTION, float, FLOAT)

/* Deep redundancy is received: nothing is made up, and what was not in it is asked for as lost. */
#define REDUNDANT(name, type, form)                                                            \
    EXPORT int name(void *handle, const void *dred, int32_t offset, type *samples, int32_t count) { \
        __typeof__(&name) real = REAL(name, OPUS);                                             \
        int got = real ? real(handle, dred, offset, samples, count) : OPUS_UNIMPLEMENTED;      \
        decoder *one = got > 0 ? enter(handle) : NULL;                                         \
        if (one) {                                                                             \
            play(one, samples, got, 0, form);                                                  \
            leave(one);                                                                        \
        }                                                                                      \
        return got;                                                                            \
    }
REDUNDANT(opus_decoder_dred_decode, int16_t, INT16)
REDUNDANT(opus_decoder_dred_decode24, int32_t, INT24)
REDUNDANT(opus_decoder_dred_decode_float, float, FLOAT)

EXPORT void *opus_decoder_create(int32_t rate, int channels, int *error) {
    __typeof__(&opus_decoder_create) real = REAL(opus_decoder_create, OPUS);
    MAKING(void *, (rate, channels, error), NULL);
    note(made, OPUS, rate, channels, 1, 0);
    return made;
}

EXPORT int opus_decoder_init(void *handle, int32_t rate, int channels) {
    __typeof__(&opus_decoder_init) real = REAL(opus_decoder_init, OPUS);
    MAKING(int, (handle, rate, channels), OPUS_UNIMPLEMENTED);
    if (!made)
        note(handle, OPUS, rate, channels, 1, 1);
    return made;
}
ENDING(opus_decoder_destroy, OPUS)

EXPORT void *opus_multistream_decoder_create(int32_t rate, int channels, int streams, int coupled,
                                             const uint8_t *mapping, int *error) {
    __typeof__(&opus_multistream_decoder_create) real =
        REAL(opus_multistream_decoder_create, MULTISTREAM);
    MAKING(void *, (rate, channels, streams, coupled, mapping, error), NULL);
    note(made, MULTISTREAM, rate, channels, streams, 0);
    return made;
}

EXPORT int opus_multistream_decoder_init(void *handle, int32_t rate, int channels, int streams,
                                         int coupled, const uint8_t *mapping) {
    __typeof__(&opus_multistream_decoder_init) real =
        REAL(opus_multistream_decoder_init, MULTISTREAM);
    MAKING(int, (handle, rate, channels, streams, coupled, mapping), OPUS_UNIMPLEMENTED);
    if (!made)
        note(handle, MULTISTREAM, rate, channels, streams, 1);
    return made;
}
ENDING(opus_multistream_decoder_destroy, MULTISTREAM)

EXPORT void *opus_projection_decoder_create(int32_t rate, int channels, int streams, int coupled,
                                            uint8_t *matrix, int32_t size, int *error) {
    __typeof__(&opus_projection_decoder_create) real =
        REAL(opus_projection_decoder_create, PROJECTION);
    MAKING(void *, (rate, channels, streams, coupled, matrix, size, error), NULL);
    note(made, PROJECTION, rate, channels, streams, 0);
    return made;
}

EXPORT int opus_projection_decoder_init(void *handle, int32_t rate, int channels, int streams,
                                        int coupled, uint8_t *matrix, int32_t size) {
    __typeof__(&opus_projection_decoder_init) real = REAL(opus_projection_decoder_init, PROJECTION);
    MAKING(int, (handle, rate, channels, streams, coupled, matrix, size), OPUS_UNIMPLEMENTED);
    if (!made)
        note(handle, PROJECTION, rate, channels, streams, 1);
    return made;
}
ENDING(opus_projection_decoder_destroy, PROJECTION)

/* Custom modes, which have the rate. */
EXPORT void *opus_custom_mode_create(int32_t rate, int samples, int *error) {
    __typeof__(&opus_custom_mode_create) real = REAL(opus_custom_mode_create, CUSTOM);
    MAKING(void *, (rate, samples, error), NULL);
    if (find(made) < 0)
        note(made, CUSTOM_MODE, rate, 0, 0, 0);
    return made;
}
ENDING(opus_custom_mode_destroy, CUSTOM_MODE)

static void note_custom(void *handle, const void *mode, int channels, int is_foreign) {
    decoder *one = enter(mode);
    int rate = one ? one->rate : 0;
    if (!one)
        return;
    leave(one);
    note(handle, CUSTOM, rate, channels, 1, is_foreign);
}

EXPORT void *opus_custom_decoder_create(const void *mode, int channels, int *error) {
    __typeof__(&opus_custom_decoder_create) real = REAL(opus_custom_decoder_create, CUSTOM);
    MAKING(void *, (mode, channels, error), NULL);
    note_custom(made, mode, channels, 0);
    return made;
}

EXPORT int opus_custom_decoder_init(void *handle, const void *mode, int channels) {
    __typeof__(&opus_custom_decoder_init) real = REAL(opus_custom_decoder_init, CUSTOM);
    MAKING(int, (handle, mode, channels), OPUS_UNIMPLEMENTED);
    if (!made)
        note_custom(handle, mode, channels, 1);
    return made;
}
ENDING(opus_custom_decoder_destroy, CUSTOM)

#define DECODING_CUSTOM(name, type, form)                                                      \
    EXPORT int name(void *handle, const uint8_t *data, int length, type *samples, int count) { \
        __typeof__(&name) real = REAL(name, CUSTOM);                                           \
        int got = real ? real(handle, data, length, samples, count) : OPUS_UNIMPLEMENTED;      \
        return heard(handle, data, length, samples, got, 0, form, NULL);                       \
    }
DECODING_CUSTOM(opus_custom_decode, int16_t, INT16)
DECODING_CUSTOM(opus_custom_decode24, int32_t, INT24)
DECODING_CUSTOM(opus_custom_decode_float, float, FLOAT)

/* ---- spandsp, whose calls conceal and no more ---------------------------------------------------- */

EXPORT void *plc_init(void *handle) {
    __typeof__(&plc_init) real = REAL(plc_init, SPANDSP);
    MAKING(void *, (handle), NULL);
    note(made, SPANDSP, SPANDSP_RATE, 1, 1, handle != NULL);
    return made;
}

/* The samples of a packet, or room for those of a lost one. */
#define TELEPHONE(name, is_lost)                                                               \
    EXPORT int name(void *handle, int16_t *samples, int count) {                               \
        __typeof__(&name) real = REAL(name, SPANDSP);                                          \
        decoder *one = count > 0 ? enter(handle) : NULL;                                       \
        int done = one && play(one, samples, count, is_lost ? count : 0, INT16);               \
        if (one)                                                                               \
            leave(one);                                                                        \
        return done ? count : real ? real(handle, samples, count) : count;                     \
    }
TELEPHONE(plc_rx, 0)
TELEPHONE(plc_fillin, 1)

#define RELEASING(name)                                                                        \
    EXPORT int name(void *handle) {                                                            \
        __typeof__(&name) real = REAL(name, SPANDSP);                                          \
        forget(handle);                                                                        \
        return real ? real(handle) : 0;                                                        \
    }
RELEASING(plc_release)
RELEASING(plc_free)
