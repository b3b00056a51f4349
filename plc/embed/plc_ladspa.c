/* SPDX-License-Identifier: MIT */
/* plc_ladspa.so: a plugin of libplc for hosts of LADSPA. See docs/embedding.md.
 *
 * Audio in which something cut sound off, or said a block again, comes out without that. A host calls
 * run() with blocks of any length, which plc_push_n takes: audio lags by a packet and the lookahead,
 * which the port "latency" tells, as hosts expect. All memory is allocated when the plugin is made, for
 * the longest packet and the deepest lookahead: run() allocates nothing, and opens the stream anew
 * where a control of its shape changed.
 */
#define _POSIX_C_SOURCE 199309L
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plc.h"

/* ---- what a host knows: LADSPA 1.1, whose header is not needed to build this ------------------ */

typedef struct {
    int hints;
    float lower, upper;
} range;

typedef struct descriptor {
    unsigned long id;
    const char *label;
    int properties;
    const char *name, *maker, *copyright;
    unsigned long ports;
    const int *kinds;
    const char *const *names;
    const range *ranges;
    void *data;
    void *(*instantiate)(const struct descriptor *, unsigned long sample_rate);
    void (*connect_port)(void *, unsigned long port, float *place);
    void (*activate)(void *);
    void (*run)(void *, unsigned long samples);
    void (*run_adding)(void *, unsigned long samples);
    void (*set_run_adding_gain)(void *, float gain);
    void (*deactivate)(void *);
    void (*cleanup)(void *);
} descriptor;

enum { INPUT = 1, OUTPUT = 2, CONTROL = 4, AUDIO = 8 };
enum { BELOW = 1, ABOVE = 2, TOGGLED = 4, LOGARITHMIC = 16, INTEGER = 32 };
enum { BY_MIDDLE = 0xC0, BY_0 = 0x200, BY_1 = 0x240 };
enum { HARD_REAL_TIME = 4 };

/* ---- the plugin ----------------------------------------------------------------------------- */

#define CHANNELS 2u
/* Packets are of whole half milliseconds: how much memory any of them takes can be tried out. */
#define LEAST_HALF_MS 5
#define MOST_HALF_MS 80
#define MOST_LOOKAHEAD 4u
/* Most operations that a lost packet may take: about 1 ms, within which hosts want their block. Where
 * the processor is slower, they are halved until they take no more than that and a half. */
#define WORK 40000000u
#define MOST_MS 1.5
#define LEAST_WORK (WORK >> 6)
#define CALIBRATIONS 3
/* Samples of each channel that are taken at a time. */
#define FRAMES 64u
/* Between what is concealed and what is only delayed. */
#define FADE_S 0.005f

enum { PACKET_MS, LOOKAHEAD, DETECT, CONTENT, BYPASS, LATENCY, IN_1, OUT_1, IN_2, OUT_2, PORTS };

/* What a stream is opened with. */
typedef struct {
    uint32_t packet, lookahead, detect, content;
} shape;

typedef struct {
    uint32_t channels;
    float *ports[PORTS];
    plc_options options;
    shape shape;
    plc_stream *stream;
    void *memory;
    size_t room;
    float *delayed;   /* what came in, for the bypass: a ring of `latency` samples, interleaved */
    uint32_t latency; /* samples of each channel */
    uint32_t at;
    float concealed, step; /* share of what is concealed, and what it changes by in a sample */
} plugin;

static float control_of(const plugin *self, int port, float otherwise) {
    float value = self->ports[port] ? *self->ports[port] : otherwise;
    return isfinite(value) ? value : otherwise;
}

static uint32_t clamped(float value, float least, float most) {
    return (uint32_t)lrintf(fminf(fmaxf(value, least), most));
}

static uint32_t packet_of(const plugin *self, uint32_t half_ms) {
    return (uint32_t)((half_ms * (uint64_t)self->options.sample_rate + 1000) / 2000);
}

static shape wanted(const plugin *self) {
    float half_ms = 2.0f * control_of(self, PACKET_MS, 10.0f);
    return (shape){packet_of(self, clamped(half_ms, LEAST_HALF_MS, MOST_HALF_MS)),
                   clamped(control_of(self, LOOKAHEAD, 0.0f), 0.0f, MOST_LOOKAHEAD),
                   control_of(self, DETECT, 1.0f) > 0.0f,
                   clamped(control_of(self, CONTENT, 0.0f), PLC_CONTENT_AUTO, PLC_CONTENT_SPEECH)};
}

static int64_t take_shape(plugin *self, shape shape) {
    self->options.packet_samples = shape.packet;
    self->options.lookahead = shape.lookahead;
    self->options.detect_dropouts = shape.detect;
    self->options.content = shape.content;
    return plc_size(&self->options);
}

static void open_stream(plugin *self, shape shape) {
    size_t frame = self->channels * sizeof(float);
    take_shape(self, shape);
    self->stream = NULL;
    plc_open_in(&self->stream, &self->options, self->memory, self->room);
    self->shape = shape;
    self->latency = shape.packet * (1 + shape.lookahead);
    self->at = 0;
    memset(self->delayed, 0, self->latency * frame);
}

static double cpu_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

/* Set the limit of work to what this processor does in time. */
static void calibrate(plugin *self) {
    double per_ms = 0.0;
    open_stream(self, (shape){packet_of(self, MOST_HALF_MS), 0, 0, 0});
    for (int k = 0; self->stream && k < CALIBRATIONS; k++) {
        double begin = cpu_ms(), done = (double)plc_calibrate(self->stream);
        per_ms = fmax(per_ms, done / (cpu_ms() - begin));
    }
    self->options.work_limit = WORK;
    while (self->options.work_limit > LEAST_WORK &&
           (double)self->options.work_limit > MOST_MS * per_ms)
        self->options.work_limit /= 2;
}

static void cleanup(void *handle) {
    plugin *self = handle;
    free(self->memory);
    free(self->delayed);
    free(self);
}

static void *instantiate(const descriptor *kind, unsigned long sample_rate) {
    plugin *self = calloc(1, sizeof *self);
    uint32_t longest;
    if (!self)
        return NULL;
    self->channels = kind->ports == PORTS ? CHANNELS : 1;
    plc_options_init(&self->options);
    self->options.sample_rate = sample_rate < UINT32_MAX ? (uint32_t)sample_rate : UINT32_MAX;
    self->options.channels = self->channels;
    longest = packet_of(self, MOST_HALF_MS);
    for (uint32_t lookahead = 0; lookahead <= MOST_LOOKAHEAD; lookahead++)
        for (uint32_t half_ms = LEAST_HALF_MS; half_ms <= MOST_HALF_MS; half_ms++) {
            int64_t size = take_shape(self, (shape){packet_of(self, half_ms), lookahead, 1, 0});
            if (size > (int64_t)self->room)
                self->room = (size_t)size;
        }
    self->step = 1.0f / (FADE_S * (float)self->options.sample_rate);
    if (self->room) { /* else the sample rate is out of range */
        size_t frame = self->channels * sizeof(float);
        self->memory = malloc(self->room);
        self->delayed = malloc(longest * (1 + MOST_LOOKAHEAD) * frame);
    }
    if (!self->memory || !self->delayed) {
        cleanup(self);
        return NULL;
    }
    calibrate(self);
    return self;
}

static void connect_port(void *handle, unsigned long port, float *place) {
    if (port < PORTS)
        ((plugin *)handle)->ports[port] = place;
}

static void activate(void *handle) {
    plugin *self = handle;
    self->concealed = control_of(self, BYPASS, 0.0f) > 0.0f ? 0.0f : 1.0f;
    open_stream(self, wanted(self));
}

/* Take samples of the host from `begin` on, and give it those whose turn it is. */
static void exchange(plugin *self, unsigned long begin, uint32_t count, float toward) {
    uint32_t channels = self->channels, c, i;
    float in[FRAMES * CHANNELS], made[FRAMES * CHANNELS];
    for (c = 0; c < channels; c++)
        for (i = 0; i < count; i++)
            in[i * channels + c] = self->ports[IN_1 + 2 * c][begin + i];
    plc_push_n(self->stream, in, count, made);
    for (i = 0; i < count; i++) {
        float *delayed = self->delayed + self->at * channels, share = self->concealed;
        for (c = 0; c < channels; c++) {
            float kept = delayed[c], other = made[i * channels + c];
            self->ports[OUT_1 + 2 * c][begin + i] = share >= 1.0f   ? other
                                                    : share <= 0.0f ? kept
                                                                    : kept + share * (other - kept);
            delayed[c] = in[i * channels + c];
        }
        self->concealed = fminf(fmaxf(share + toward, 0.0f), 1.0f);
        self->at = self->at + 1 < self->latency ? self->at + 1 : 0;
    }
}

static void run(void *handle, unsigned long samples) {
    plugin *self = handle;
    shape shape = wanted(self);
    float toward = control_of(self, BYPASS, 0.0f) > 0.0f ? -self->step : self->step;
    if (memcmp(&shape, &self->shape, sizeof shape) != 0)
        open_stream(self, shape);
    for (unsigned long i = 0; i < samples; i += FRAMES)
        exchange(self, i, samples - i < FRAMES ? (uint32_t)(samples - i) : FRAMES, toward);
    if (self->ports[LATENCY])
        *self->ports[LATENCY] = (float)self->latency;
}

static const int kinds[PORTS] = {INPUT | CONTROL, INPUT | CONTROL,  INPUT | CONTROL, INPUT | CONTROL,
                                 INPUT | CONTROL, OUTPUT | CONTROL, INPUT | AUDIO,   OUTPUT | AUDIO,
                                 INPUT | AUDIO,   OUTPUT | AUDIO};
static const char *const names[PORTS] = {"Packet length (ms)",
                                         "Lookahead (packets)",
                                         "Detect dropouts",
                                         "Content (0 auto, 1 music, 2 speech)",
                                         "Bypass",
                                         "latency",
                                         "Input",
                                         "Output",
                                         "Input, right",
                                         "Output, right"};
static const range ranges[PORTS] = {{BELOW | ABOVE | LOGARITHMIC | BY_MIDDLE, LEAST_HALF_MS / 2.0f,
                                     MOST_HALF_MS / 2.0f},
                                    {BELOW | ABOVE | INTEGER | BY_0, 0, MOST_LOOKAHEAD},
                                    /* No toggle: GStreamer begins with those off. */
                                    {BELOW | ABOVE | INTEGER | BY_1, 0, 1},
                                    {BELOW | ABOVE | INTEGER | BY_0, 0, PLC_CONTENT_SPEECH},
                                    {TOGGLED | BY_0, 0, 1},
                                    {0, 0, 0},
                                    {0, 0, 0},
                                    {0, 0, 0},
                                    {0, 0, 0},
                                    {0, 0, 0}};

/* Numbers below 1000 are for plugins that are not registered. Hosts keep settings by a plugin's number
 * and a port's place: a further port comes last, or with another number. 930 and 931 are used up: their
 * ports had two orders. */
#define DESCRIPTOR(number, label, name, ports)                                              \
    {number, label,  HARD_REAL_TIME, name,        "the plc authors", "MIT",    ports, kinds, \
     names,  ranges, NULL,           instantiate, connect_port,      activate, run,   NULL,  \
     NULL,   NULL,   cleanup}
static const descriptor plugins[] = {
    DESCRIPTOR(932, "plc_mono", "plc: conceal dropouts (mono)", IN_2),
    DESCRIPTOR(933, "plc_stereo", "plc: conceal dropouts (stereo)", PORTS)};

#if defined(_WIN32)
__declspec(dllexport)
#else
__attribute__((visibility("default")))
#endif
const descriptor *ladspa_descriptor(unsigned long index) {
    return index < sizeof plugins / sizeof *plugins ? &plugins[index] : NULL;
}
