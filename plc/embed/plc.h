/* libplc: conceal lost packets of music and speech. See docs/embedding.md.
 *
 *   plc_options options;
 *   plc_stream *stream;
 *   plc_options_init(&options);                     48 kHz, mono, 10 ms, float32
 *   int code = plc_open(&stream, &options);
 *   if (code < 0) fprintf(stderr, "%s\n", plc_error(code));
 *   plc_push(stream, packet, out);                  a packet came
 *   plc_push(stream, NULL, out);                    it was lost: out is made up
 *   plc_close(stream);
 *
 * Concealment is linear prediction, whatever it costs: what plc.Concealer does with model="ar" and
 * no time limit, in the same samples. The library starts no thread, reads no clock, no file and no
 * variable of the environment, and allocates nothing but in plc_open. It holds no state of its own:
 * a stream is one piece of memory. So streams are independent, any thread may call anything, and a
 * child of fork() goes on with what it has. Calls for one stream are made one at a time; of two that
 * meet, the second is answered PLC_ERROR_BUSY and does nothing.
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

/* How a sample is stored: options.format. Full scale of float32 is 1.0. */
enum { PLC_FLOAT32 = 1, PLC_INT16 = 2 };

/* Types of processors: options.processor. What is emitted for each sums in another order, so samples
 * differ between types, by about 1e-4 of full scale in a concealment. */
enum {
    PLC_PROCESSOR_BEST = 0, /* the best that this processor can be */
    PLC_X86_64_V2 = 2,
    PLC_X86_64_V3 = 3,
    PLC_X86_64_V4 = 4
};

/* What plc_push answers: a sum of these. */
enum {
    PLC_CONCEALED = 1,  /* some of the samples that came out were made up */
    PLC_CROSSFADED = 2, /* they were received, but begin in a crossfade out of a concealment */
    PLC_REFUSED = 4     /* the packet had a NaN, an infinity or a sample above 1e6: it is lost */
};

/* What any function answers when it did nothing; plc_error has a text for each. */
enum {
    PLC_ERROR_ARGUMENT = -1,    /* a pointer is NULL, or samples are misaligned */
    PLC_ERROR_STRUCT = -2,      /* a struct of another size than this header's */
    PLC_ERROR_STREAM = -3,      /* this memory holds no open stream */
    PLC_ERROR_BUSY = -4,        /* another thread is at work on this stream */
    PLC_ERROR_ROOM = -5,        /* there is not room enough */
    PLC_ERROR_MEMORY = -6,      /* plc_open got no memory */
    PLC_ERROR_MISSING = -7,     /* the missing parts are not in order or not in the packet */
    PLC_ERROR_SAMPLE_RATE = -8, /* options.… is out of range: */
    PLC_ERROR_CHANNELS = -9,
    PLC_ERROR_PACKET = -10,
    PLC_ERROR_FORMAT = -11,
    PLC_ERROR_LOOKAHEAD = -12,
    PLC_ERROR_RUNG = -13,
    PLC_ERROR_PROCESSOR = -14 /* this is no such processor, or older than x86-64-v2 */
};

typedef struct plc_stream plc_stream;

/* What would be played next in a gap, and where something better goes. */
typedef struct plc_draft {
    uint32_t channels;
    uint32_t samples;   /* of each channel, 1 to packet_samples */
    const float *draft; /* channel after channel: sample i of channel c is draft[c * samples + i] */
    float *fill;        /* the same shape; a copy of the draft, to be written over */
} plc_draft;

/* Called inside plc_push, once for each stretch of a burst that prediction has drafted: for a network
 * or any other improvement. Write `fill`, and return how many samples of each channel, from the first
 * on, are ready; 0: none. The rest is the draft, and the end of what is ready is crossfaded into it
 * over 5 ms, or half of it. Samples that are no sound (NaN, above 1e6) make it 0. Level, fade and recovery
 * are the library's. Call nothing for this stream in it. */
typedef size_t (*plc_fill)(void *user, const plc_draft *draft);

typedef struct plc_options {
    uint32_t struct_size;    /* sizeof(plc_options) */
    uint32_t sample_rate;    /* 8000 to 192000 Hz */
    uint32_t channels;       /* 1 to 8, interleaved */
    uint32_t packet_samples; /* of each channel: 1 (or 32 samples) to 120 ms */
    uint32_t format;         /* PLC_FLOAT32 or PLC_INT16 */
    uint32_t lookahead;      /* packets by which the output is delayed; at most 2 s */
    uint32_t rung;           /* 0: the best prediction, …, 11: the cheapest */
    uint32_t processor;      /* PLC_PROCESSOR_BEST, or a type, to get the same samples elsewhere */
    int64_t seed;            /* of the comfort noise */
    plc_fill fill;           /* NULL: prediction alone */
    void *user;              /* for `fill` */
} plc_options;

/* Counters; samples are counted once for all channels. */
typedef struct plc_counters {
    uint32_t struct_size; /* sizeof(plc_counters) */
    uint32_t zero;
    uint64_t total_samples_received;   /* played, received or concealed */
    uint64_t concealed_samples;        /* made up for lost ones */
    uint64_t silent_concealed_samples; /* of these, comfort noise alone */
    uint64_t concealment_events;       /* bursts */
    uint64_t packets;                  /* pushed, lost ones among them */
    uint64_t lost_packets;             /* pushed as NULL */
    uint64_t partial_packets;          /* pushed with missing parts */
    uint64_t invalid_packets;          /* refused */
    uint64_t crossfaded_samples;       /* received, and blended with a concealment */
    uint64_t bridged_samples;          /* concealed with the far side of the gap known */
    uint64_t fills_limited;            /* concealments turned down as much too loud */
    uint64_t longest_burst_samples;
} plc_counters;

/* Set every option to its default. */
PLC_API void plc_options_init(plc_options *options);

/* Return the bytes of a stream, or an error; for 48 kHz, mono, 10 ms it is 0.43 MB. */
PLC_API int64_t plc_size(const plc_options *options);

/* Open a stream in the caller's memory: `room` bytes, at least plc_size of them, at any address.
 * They are the stream's until plc_close, and are not to be moved. Return 0, or an error. */
PLC_API int plc_open_in(plc_stream **stream, const plc_options *options, void *memory, size_t room);

/* Open a stream in memory that is allocated, once. Return 0, or an error. */
PLC_API int plc_open(plc_stream **stream, const plc_options *options);

/* Take the next packet, NULL for a lost one, and write the one whose turn it is to play; `out` may
 * be `packet`. Both hold packet_samples * channels samples. Return flags, or an error. */
PLC_API int plc_push(plc_stream *stream, const void *packet, void *out);

/* Take a packet of which `parts` parts did not arrive: part k is the samples missing[2 k] up to, but
 * not, missing[2 k + 1], in order, with something between them. What stands there is not looked at. */
PLC_API int plc_push_part(plc_stream *stream, const void *packet, const int64_t *missing,
                          size_t parts, void *out);

/* Push a packet to each of `count` streams; of any of them packets[k] may be NULL. flags[k], unless
 * `flags` is NULL, becomes what plc_push answers for it. All are pushed, whatever happens to one.
 * Return 0, or the first error. */
PLC_API int plc_push_many(plc_stream *const *streams, size_t count, const void *const *packets,
                          void *const *outs, int *flags);

/* Return the samples of each channel by which the output lags, or an error. */
PLC_API int64_t plc_delay(plc_stream *stream);

/* Write what the lookahead holds, plc_delay samples of each channel, to `out`, which has room for
 * `room` of them, and begin anew, with the counters as they are. Return how many were written, or an
 * error. */
PLC_API int64_t plc_flush(plc_stream *stream, void *out, size_t room);

/* Make a stream as new, its counters too. Return 0, or an error. */
PLC_API int plc_reset(plc_stream *stream);

/* Write the stream's counters; set counters->struct_size before. Return 0, or an error. */
PLC_API int plc_stats(plc_stream *stream, plc_counters *counters);

/* End a stream, and free what plc_open allocated. Return 0, or an error. */
PLC_API int plc_close(plc_stream *stream);

/* Return the type of processor that a stream's code is for, "x86-64-v3" for example; "" if there is
 * no such stream. */
PLC_API const char *plc_processor(const plc_stream *stream);

/* Return what an error means; "" for what is none. */
PLC_API const char *plc_error(int64_t code);

/* Return the library's version, "0.1.0" for example. */
PLC_API const char *plc_version(void);

#ifdef __cplusplus
}
#endif

#endif
