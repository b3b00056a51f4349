/* libplc: conceal lost packets of music and speech. See docs/embedding.md.
 *
 *   plc_options options;
 *   plc_options_init(&options);                     48 kHz, mono, 10 ms, float32
 *   int64_t stream = plc_open(&options);
 *   if (stream <= 0) fprintf(stderr, "%s\n", plc_error());
 *   plc_push(stream, packet, out);                  a packet came
 *   plc_push(stream, NULL, out);                    it was lost: out is made up
 *   plc_close(stream);
 *
 * Every function may be called from any thread. Streams are independent of each other; calls for
 * one stream are made one at a time, and one that comes while another is at work is answered
 * PLC_ERROR_BUSY. Nothing a caller passes is kept after the call. No call may be made in a child
 * of fork() whose parent called before.
 */
#ifndef PLC_H
#define PLC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PLC_API __attribute__((visibility("default")))
#else
#define PLC_API
#endif

/* How a sample is stored: options.format. */
enum { PLC_FLOAT32 = 1, PLC_INT16 = 2 };

/* What plc_push answers: a sum of these. */
enum {
    PLC_CONCEALED = 1,  /* the samples that came out were made up */
    PLC_CROSSFADED = 2, /* they were received, but begin in a crossfade out of a concealment */
    PLC_REFUSED = 4     /* the packet had a NaN, an infinity or a sample above 1e6: it is lost */
};

/* What any function answers when it did nothing; plc_error says more. */
enum {
    PLC_ERROR_START = -1,    /* the library cannot start */
    PLC_ERROR_ARGUMENT = -2, /* NULL or misaligned, or a struct of another size */
    PLC_ERROR_SETTINGS = -3, /* the stream cannot be opened like that */
    PLC_ERROR_STREAM = -4,   /* there is no such stream (any more) */
    PLC_ERROR_BUSY = -5,     /* another thread is at work on this stream */
    PLC_ERROR_ROOM = -6,     /* there is not room enough */
    PLC_ERROR_INTERNAL = -7  /* a fault of the library's own */
};

typedef struct plc_options {
    uint32_t struct_size;    /* sizeof(plc_options) */
    uint32_t sample_rate;    /* 8000 to 192000 Hz */
    uint32_t channels;       /* 1 to 8, interleaved */
    uint32_t packet_samples; /* of each channel: 1 to 120 ms */
    uint32_t format;         /* PLC_FLOAT32 or PLC_INT16 */
    uint32_t lookahead;      /* packets by which the output is delayed */
    uint32_t seed;           /* of the comfort noise */
    uint32_t zero;
    double budget_ms;        /* for a concealment; 0: a quarter of the packet; INFINITY: no limit */
    const char *method;      /* NULL: "auto" */
    const char *model;       /* NULL: "auto"; "ar": no network; or a name or a path */
} plc_options;

/* Counters; samples are counted once for all channels. */
typedef struct plc_counters {
    uint32_t struct_size; /* sizeof(plc_counters) */
    uint32_t zero;
    uint64_t total_samples_received;
    uint64_t concealed_samples;
    uint64_t silent_concealed_samples;
    uint64_t concealment_events;
    uint64_t packets;
    uint64_t lost_packets;
    uint64_t invalid_packets;
    uint64_t crossfaded_samples;
    uint64_t bridged_samples;
    uint64_t deadline_misses;
    uint64_t rung_changes;
    uint64_t longest_burst_samples;
    double received_p50_ms; /* inside the engine, of packets that were received */
    double received_p99_ms;
    double received_max_ms;
    double concealed_p50_ms; /* of packets that were concealed */
    double concealed_p99_ms;
    double concealed_max_ms;
} plc_counters;

/* Set every option to its default. */
PLC_API void plc_options_init(plc_options *options);

/* Return a new stream, a number above 0, or an error. The first call starts the engine: about a
 * second, and a quarter of a minute when the kernels are compiled for the first time. */
PLC_API int64_t plc_open(const plc_options *options);

/* Take the next packet, NULL for a lost one, and write the one whose turn it is to play; `out` may
 * be `packet`. Both hold packet_samples * channels samples. Return flags, or an error. */
PLC_API int plc_push(int64_t stream, const void *packet, void *out);

/* Return the samples of each channel by which the output lags, or an error. */
PLC_API int64_t plc_delay(int64_t stream);

/* Write what the lookahead holds, plc_delay samples of each channel, to `out`, which has room for
 * `room` of them, and begin anew. Return how many were written, or an error. */
PLC_API int64_t plc_flush(int64_t stream, void *out, size_t room);

/* Write the stream's counters; set counters->struct_size before. Return 0, or an error. */
PLC_API int plc_stats(int64_t stream, plc_counters *counters);

/* End a stream. Return 0, or an error. */
PLC_API int plc_close(int64_t stream);

/* Return what this thread's last call that failed says; "" before any did. Never NULL. */
PLC_API const char *plc_error(void);

#ifdef __cplusplus
}
#endif

#endif
