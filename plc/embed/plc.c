/* SPDX-License-Identifier: MIT */
/* The C side of libplc: checks what comes from outside, and hands it to the compiled step.
 *
 * step.h is written where this is compiled: the step's functions for each type of processor, and
 * where counters and drafts stand in a block (plc_kernels/stream/layout.py).
 */
#include <math.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLC_BUILD
#include "plc.h"
#include "step.h"

#define MAGIC 0x31434c50u /* "PLC1" */
#define MODEL_MAGIC 0x4d434c50u /* "PLCM" */
#define RECEIVER_MAGIC 0x52434c50u /* "PLCR" */
#define ALIGNMENT 64u
#define SETTINGS 16
#define MOST_CHANNELS 8u
#define LOUDEST 1e6f
#define FLAGS (PLC_CONCEALED | PLC_CROSSFADED | PLC_REFUSED)

/* What programs were compiled with: a change here takes another PLC_VERSION_MAJOR. */
#if UINTPTR_MAX == UINT64_MAX
_Static_assert(sizeof(plc_options) == 88 && offsetof(plc_options, content) == 80 &&
                   offsetof(plc_options, model) == 56, "the ABI");
_Static_assert(sizeof(plc_counters) == 120 && offsetof(plc_counters, network_samples) == 104,
               "the ABI");
_Static_assert(sizeof(plc_draft) == 24, "the ABI");
_Static_assert(sizeof(plc_receiver_options) == 16 && sizeof(plc_receiver_counters) == 80, "the ABI");
#endif

/* The step for one type of processor. */
typedef struct step {
    const char *name;
    uint32_t level; /* as options.processor calls it */
    int64_t (*size)(const int64_t *settings);
    void (*open)(int64_t *block, const int64_t *settings);
    void (*reset)(int64_t *block);
    int64_t (*push)(int64_t *block, const void *packet, int64_t arrived, const int64_t *missing,
                    int64_t parts, void *out, int64_t integer);
    int64_t (*know)(int64_t *block, const void *samples, int64_t integer, int64_t count,
                    int64_t distance);
    int64_t (*fill)(int64_t *block, const int64_t *model, int64_t flags);
    int64_t (*look)(int64_t *block, int64_t at);
    int64_t (*prepare)(int64_t *block, const int64_t *model);
    int64_t (*resume)(int64_t *block, void *out, int64_t integer);
    int64_t (*drain)(int64_t *block, void *out, int64_t integer);
    int64_t (*search_size)(const int64_t *settings);
    int64_t (*search_open)(int64_t *memory, const int64_t *settings);
    int64_t (*search)(int64_t *memory, const void *packet, int64_t integer);
    void (*search_nothing)(int64_t *memory);
    void (*search_reset)(int64_t *memory);
    int64_t (*calibrate)(int64_t *block, const int64_t *model);
    int64_t (*model_size)(const void *file, int64_t size);
    int64_t (*model_open)(const void *file, int64_t size, void *block);
    int64_t (*receive_size)(int64_t *block, int64_t rate, int64_t channels, int64_t samples,
                            int64_t lookahead, double delay_s, double most_s, double ahead_s);
    void (*receive_open)(int64_t *block);
    int64_t (*receive_put)(int64_t *block, const void *samples, int64_t form, int64_t count,
                           int64_t position, int64_t is_placed);
    int64_t (*receive_due)(int64_t *block);
    int64_t (*receive_known)(int64_t *block, int64_t samples);
    void (*receive_append)(int64_t *block);
    int64_t (*receive_give)(int64_t *block, void *out, int64_t form, void *marks, int64_t count);
    void (*receive_end)(int64_t *block);
    void (*receive_clear)(int64_t *block);
    int64_t (*receive_waiting)(int64_t *block);
} step;

#define DECLARE(suffix, level, name)                                                              \
    int64_t plck_size_##suffix(const int64_t *);                                                  \
    void plck_open_##suffix(int64_t *, const int64_t *);                                          \
    void plck_reset_##suffix(int64_t *);                                                          \
    int64_t plck_push_##suffix(int64_t *, const void *, int64_t, const int64_t *, int64_t, void *, \
                               int64_t);                                                          \
    int64_t plck_know_##suffix(int64_t *, const void *, int64_t, int64_t, int64_t);               \
    int64_t plck_fill_##suffix(int64_t *, const int64_t *, int64_t);                              \
    int64_t plck_look_##suffix(int64_t *, int64_t);                                               \
    int64_t plck_prepare_##suffix(int64_t *, const int64_t *);                                    \
    int64_t plck_resume_##suffix(int64_t *, void *, int64_t);                                     \
    int64_t plck_drain_##suffix(int64_t *, void *, int64_t);                                      \
    int64_t plck_search_size_##suffix(const int64_t *);                                           \
    int64_t plck_search_open_##suffix(int64_t *, const int64_t *);                                \
    int64_t plck_search_##suffix(int64_t *, const void *, int64_t);                               \
    void plck_search_nothing_##suffix(int64_t *);                                                 \
    void plck_search_reset_##suffix(int64_t *);                                                   \
    int64_t plck_calibrate_##suffix(int64_t *, const int64_t *);                                  \
    int64_t plck_model_size_##suffix(const void *, int64_t);                                      \
    int64_t plck_model_open_##suffix(const void *, int64_t, void *);                              \
    int64_t plck_receive_size_##suffix(int64_t *, int64_t, int64_t, int64_t, int64_t, double,     \
                                       double, double);                                           \
    void plck_receive_open_##suffix(int64_t *);                                                   \
    int64_t plck_receive_put_##suffix(int64_t *, const void *, int64_t, int64_t, int64_t,         \
                                      int64_t);                                                   \
    int64_t plck_receive_due_##suffix(int64_t *);                                                 \
    int64_t plck_receive_known_##suffix(int64_t *, int64_t);                                      \
    void plck_receive_append_##suffix(int64_t *);                                                 \
    int64_t plck_receive_give_##suffix(int64_t *, void *, int64_t, void *, int64_t);              \
    void plck_receive_end_##suffix(int64_t *);                                                    \
    void plck_receive_clear_##suffix(int64_t *);                                                  \
    int64_t plck_receive_waiting_##suffix(int64_t *);
PLC_STEPS(DECLARE)

#define ENTRY(suffix, level, name)                                                         \
    {name, level, plck_size_##suffix, plck_open_##suffix, plck_reset_##suffix,             \
     plck_push_##suffix, plck_know_##suffix, plck_fill_##suffix,                           \
     plck_look_##suffix, plck_prepare_##suffix,                                            \
     plck_resume_##suffix, plck_drain_##suffix,                                            \
     plck_search_size_##suffix, plck_search_open_##suffix, plck_search_##suffix,           \
     plck_search_nothing_##suffix, plck_search_reset_##suffix, plck_calibrate_##suffix,    \
     plck_model_size_##suffix, plck_model_open_##suffix, plck_receive_size_##suffix,       \
     plck_receive_open_##suffix, plck_receive_put_##suffix, plck_receive_due_##suffix,     \
     plck_receive_known_##suffix,                                                          \
     plck_receive_append_##suffix, plck_receive_give_##suffix, plck_receive_end_##suffix,  \
     plck_receive_clear_##suffix, plck_receive_waiting_##suffix},
static const step steps[] = {PLC_STEPS(ENTRY)};
#define STEPS (sizeof steps / sizeof *steps)

/* A model: this, then the blocks of its networks, one after another, whose words are those of
 * plc_kernels/stream/model.py. */
struct plc_model {
    uint32_t magic;
    void *memory; /* what plc_model_open allocated, or NULL */
    int64_t *words;
    size_t size; /* bytes of all blocks */
};

/* Who cuts audio into packets: the caller, or plc_push_n. */
enum { BY_NOBODY, BY_CALLER, BY_US };

/* A stream: this, then the step's block, then what plc_push_n gathers, then room for a fill. */
struct plc_stream {
    uint32_t magic;
    atomic_uint busy;
    uint32_t step; /* place in steps */
    uint32_t sample_bytes;
    uint32_t packet_samples, channels, lookahead;
    uint32_t leave_samples;
    uint32_t cut;      /* BY_… */
    uint32_t gathered; /* samples of each channel */
    uint32_t gaps;     /* parts of these that did not arrive */
    int played;        /* flags of the packet that plc_push_n plays */
    plc_fill fill;
    void *user;
    const int64_t *model; /* NULL: none */
    void *memory;  /* what plc_open allocated, or NULL */
    int64_t *block;
    int64_t *missing; /* for plc_push_n: begin and end of each of its gaps */
    char *packet;     /* likewise: what was gathered, then what is yet to be played */
    float *filled; /* NULL without `fill` */
    int64_t *found; /* memory of the search for dropouts; NULL: not searched */
    uint64_t detected;
    /* Of plc_prepare, which may run beside a push but beside nothing else: whether it runs; whether
     * the stream is taken alone; the sample that the next packet begins with; and the one that a
     * prepared burst does, which a push takes only if it had been prepared when that push began. */
    atomic_uint preparing, alone;
    _Atomic int64_t next, prepared;
};

#if defined(__x86_64__)
#include <cpuid.h>

static int has(unsigned value, unsigned bits) { return (value & bits) == bits; }

/* Return 4, 3 or 2 for x86-64-v4, -v3, -v2, else 0: what the processor and the system allow. The
 * levels are those of the x86-64 psABI, section 3.1.1; bits are from the Intel SDM, CPUID. */
static uint32_t level_here(void) {
    unsigned a, b, c, d, features, extended = 0, further = 0, saved = 0;
    if (!__get_cpuid(1, &a, &b, &features, &d))
        return 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d))
        extended = b;
    if (__get_cpuid(0x80000001u, &a, &b, &c, &d))
        further = c;
    if (has(features, 1u << 27)) /* OSXSAVE: the system keeps registers, XCR0 says which */
        __asm__ volatile("xgetbv" : "=a"(saved), "=d"(d) : "c"(0));
    /* SSE3, SSSE3, CMPXCHG16B, SSE4.1, SSE4.2, POPCNT; LAHF */
    if (!has(features, 1u << 0 | 1u << 9 | 1u << 13 | 1u << 19 | 1u << 20 | 1u << 23) ||
        !has(further, 1u << 0))
        return 0;
    /* FMA, MOVBE, AVX, F16C; BMI1, AVX2, BMI2; LZCNT */
    if (!has(features, 1u << 12 | 1u << 22 | 1u << 28 | 1u << 29) ||
        !has(extended, 1u << 3 | 1u << 5 | 1u << 8) || !has(further, 1u << 5) ||
        !has(saved, 0x06u))
        return 2;
    /* AVX512F, DQ, CD, BW, VL */
    if (!has(extended, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31) || !has(saved, 0xE6u))
        return 3;
    return 4;
}
#else
static uint32_t level_here(void) { return 0; }
#endif

/* Return the place of a type of processor, or an error. */
static int choose(uint32_t wanted) {
    uint32_t here = level_here();
    int found = PLC_ERROR_PROCESSOR;
    for (size_t k = 0; k < STEPS; k++)
        if (steps[k].level <= here && (!wanted || steps[k].level == wanted))
            found = (int)k;
    return found;
}

static int is_aligned(const void *memory, uint32_t size) { return (uintptr_t)memory % size == 0; }

static int is_model(const plc_model *model) {
    return model && is_aligned(model, sizeof(void *)) && model->magic == MODEL_MAGIC;
}

/* Copy options, also of a program from before there were models or content: these are 0 then. */
static int complete(const plc_options *given, plc_options *options) {
    if (!given)
        return PLC_ERROR_ARGUMENT;
    if (given->struct_size != sizeof *given && given->struct_size != offsetof(plc_options, model) &&
        given->struct_size != offsetof(plc_options, content))
        return PLC_ERROR_STRUCT;
    memset(options, 0, sizeof *options);
    memcpy(options, given, given->struct_size);
    return 0;
}

/* Check complete options; write the step's settings. Return 0, or an error. */
static int settings_of(const plc_options *options, int64_t *settings) {
    int64_t rate = options->sample_rate, packet = options->packet_samples;
    int64_t lookahead = options->lookahead;
    const plc_model *model = options->model;
    if (rate < 8000 || rate > 192000)
        return PLC_ERROR_SAMPLE_RATE;
    if (options->channels < 1 || options->channels > MOST_CHANNELS)
        return PLC_ERROR_CHANNELS;
    if (options->format != PLC_FLOAT32 && options->format != PLC_INT16)
        return PLC_ERROR_FORMAT;
    if (packet < (rate < 32000 ? rate / 1000 : 32) || packet > (120 * rate + 999) / 1000)
        return PLC_ERROR_PACKET;
    if (lookahead > 1 && lookahead * packet > 2 * rate)
        return PLC_ERROR_LOOKAHEAD;
    if (options->rung >= PLCK_RUNGS)
        return PLC_ERROR_RUNG;
    if (options->content > PLC_CONTENT_SPEECH)
        return PLC_ERROR_CONTENT;
    if (model && !is_model(model))
        return PLC_ERROR_MODEL;
    if (model && !plc_model_serves(model, options->sample_rate))
        return PLC_ERROR_MODEL_RATE;
    memset(settings, 0, SETTINGS * sizeof *settings);
    settings[0] = rate;
    settings[1] = options->channels;
    settings[2] = packet;
    settings[3] = lookahead;
    settings[4] = options->seed;
    settings[5] = options->rung;
    settings[6] = options->fill != NULL;
    settings[7] = model ? (int64_t)(uintptr_t)model->words : 0;
    settings[9] = options->prepare ? PLCK_BESIDE : 0;
    settings[8] = options->work_limit > INT64_MAX ? INT64_MAX : (int64_t)options->work_limit;
    settings[10] = model ? (int64_t)model->size : 0;
    settings[11] = options->content;
    return 0;
}

static size_t rounded(size_t size) { return (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static size_t fill_bytes(const plc_options *options) {
    return options->fill ? sizeof(float) * options->channels * options->packet_samples : 0;
}

static size_t packet_bytes(const plc_options *options) {
    return (size_t)options->packet_samples * options->channels *
           (options->format == PLC_FLOAT32 ? 4 : 2);
}

/* Between two gaps something arrived. */
static size_t missing_bytes(const plc_options *options) {
    return 2 * sizeof(int64_t) * (options->packet_samples / 2 + 1);
}

static size_t search_bytes(const plc_options *options, const int64_t *settings) {
    return options->detect_dropouts ? (size_t)steps[0].search_size(settings) : 0;
}

/* Take a stream, or say why not. */
static int enter(plc_stream *stream) {
    if (!stream || !is_aligned(stream, ALIGNMENT))
        return PLC_ERROR_ARGUMENT;
    if (stream->magic != MAGIC)
        return PLC_ERROR_STREAM;
    if (atomic_exchange_explicit(&stream->busy, 1, memory_order_acquire))
        return PLC_ERROR_BUSY;
    return 0;
}

static void leave(plc_stream *stream) {
    atomic_store(&stream->alone, 0);
    atomic_store_explicit(&stream->busy, 0, memory_order_release);
}

/* Take a stream, from who prepares its bursts too, or say why not. */
static int enter_alone(plc_stream *stream) {
    int code = enter(stream);
    if (code)
        return code;
    atomic_store(&stream->alone, 1);
    if (!atomic_load(&stream->preparing))
        return 0;
    leave(stream);
    return PLC_ERROR_BUSY;
}

/* Return the bytes of the file that begins here, of `left` that are left; 0: there is none. */
static size_t file_bytes(const char *file, size_t left) {
    int64_t bytes;
    if (left < (PLCK_FILE_BYTES + 1) * sizeof bytes)
        return 0;
    memcpy(&bytes, file + PLCK_FILE_BYTES * sizeof bytes, sizeof bytes);
    return bytes > 0 && (uint64_t)bytes <= left ? (size_t)bytes : 0;
}

/* Return the bytes of the blocks of all files, 0 if one is none; write them, unless `words` is NULL. */
static int64_t open_files(const char *data, size_t size, char *words) {
    int64_t all = 0;
    size_t at = 0;
    do {
        size_t bytes = file_bytes(data + at, size - at);
        int64_t block = bytes ? steps[0].model_size(data + at, (int64_t)bytes) : 0;
        if (block <= 0)
            return 0;
        if (words && !steps[0].model_open(data + at, (int64_t)bytes, words + all))
            return 0;
        all += block;
        at += bytes;
    } while (at < size);
    return all;
}

int64_t plc_model_size(const void *data, size_t size) {
    int64_t blocks;
    if (!data || !is_aligned(data, sizeof(int64_t)))
        return PLC_ERROR_ARGUMENT;
    blocks = open_files(data, size, NULL);
    if (blocks <= 0)
        return PLC_ERROR_MODEL;
    /* Memory may begin anywhere. */
    return (int64_t)(ALIGNMENT - 1 + rounded(sizeof(plc_model)) + (size_t)blocks);
}

int plc_model_open_in(plc_model **model, const void *data, size_t size, void *memory, size_t room) {
    int64_t needed = model && memory ? plc_model_size(data, size) : PLC_ERROR_ARGUMENT;
    plc_model *opened;
    if (needed < 0)
        return (int)needed;
    if (room < (size_t)needed)
        return PLC_ERROR_ROOM;
    opened = (plc_model *)(((uintptr_t)memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    *opened = (plc_model){0, NULL, (int64_t *)((char *)opened + rounded(sizeof *opened)), 0};
    opened->size = (size_t)open_files(data, size, (char *)opened->words);
    if (!opened->size)
        return PLC_ERROR_MODEL;
    opened->magic = MODEL_MAGIC;
    *model = opened;
    return 0;
}

int plc_model_open(plc_model **model, const void *data, size_t size) {
    int64_t needed = model ? plc_model_size(data, size) : PLC_ERROR_ARGUMENT;
    void *memory;
    int code;
    if (needed < 0)
        return (int)needed;
    memory = malloc((size_t)needed);
    if (!memory)
        return PLC_ERROR_MEMORY;
    code = plc_model_open_in(model, data, size, memory, (size_t)needed);
    if (code)
        free(memory);
    else
        (*model)->memory = memory;
    return code;
}

int plc_model_load(plc_model **model, const char *path) {
    FILE *file;
    void *data = NULL;
    long size = -1;
    int code = PLC_ERROR_FILE;
    if (!model || !path)
        return PLC_ERROR_ARGUMENT;
    file = fopen(path, "rb");
    if (!file)
        return code;
    /* Of a folder the end is at LONG_MAX, and nothing can be read. */
    if (fgetc(file) != EOF && !fseek(file, 0, SEEK_END) && (size = ftell(file)) > 0 &&
        !fseek(file, 0, SEEK_SET)) {
        data = malloc((size_t)size);
        if (!data)
            code = PLC_ERROR_MEMORY;
        else if (fread(data, 1, (size_t)size, file) == (size_t)size)
            code = plc_model_open(model, data, (size_t)size);
    }
    fclose(file);
    free(data);
    return code;
}

int plc_model_serves(const plc_model *model, uint32_t sample_rate) {
    if (!is_model(model))
        return PLC_ERROR_MODEL;
    for (size_t at = 0; at < model->size;) {
        const int64_t *words = model->words + at / sizeof *words;
        if (sample_rate >= words[PLCK_MODEL_LOWEST_RATE] &&
            sample_rate <= words[PLCK_MODEL_HIGHEST_RATE])
            return 1;
        at += (size_t)words[PLCK_MODEL_BYTES];
    }
    return 0;
}

int plc_model_close(plc_model *model) {
    if (!is_model(model))
        return PLC_ERROR_MODEL;
    model->magic = 0;
    free(model->memory);
    return 0;
}

#undef plc_options_init
void plc_options_init(plc_options *options) {
    plc_options_init_sized(options, offsetof(plc_options, model));
}

void plc_options_init_sized(plc_options *options, size_t size) {
    if (!options || size < offsetof(plc_options, model))
        return;
    memset(options, 0, size);
    options->struct_size = (uint32_t)size;
    options->sample_rate = 48000;
    options->channels = 1;
    options->packet_samples = 480;
    options->format = PLC_FLOAT32;
}

/* Write the step's settings for complete options; return the bytes of a stream, or an error. */
static int64_t size_of(const plc_options *options, int64_t *settings) {
    int64_t block;
    int code = settings_of(options, settings);
    if (code)
        return code;
    block = steps[0].size(settings);
    if (block <= 0)
        return PLC_ERROR_LOOKAHEAD; /* all else was checked */
    /* Memory may begin anywhere. */
    return (int64_t)(ALIGNMENT - 1 + rounded(sizeof(plc_stream)) + (size_t)block +
                     rounded(missing_bytes(options)) + rounded(packet_bytes(options)) +
                     rounded(fill_bytes(options)) + search_bytes(options, settings));
}

int64_t plc_size(const plc_options *options) {
    int64_t settings[SETTINGS];
    plc_options whole;
    int code = complete(options, &whole);
    return code ? code : size_of(&whole, settings);
}

int plc_open_in(plc_stream **stream, const plc_options *given, void *memory, size_t room) {
    int64_t settings[SETTINGS], size;
    plc_options whole;
    const plc_options *options = &whole;
    plc_stream *opened;
    char *after;
    int place, code = complete(given, &whole);
    if (code)
        return code;
    size = size_of(options, settings);
    if (size < 0)
        return (int)size;
    if (!stream || !memory)
        return PLC_ERROR_ARGUMENT;
    if (room < (size_t)size)
        return PLC_ERROR_ROOM;
    place = choose(options->processor);
    if (place < 0)
        return place;
    opened = (plc_stream *)(((uintptr_t)memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    memset(opened, 0, sizeof *opened);
    opened->step = (uint32_t)place;
    opened->sample_bytes = options->format == PLC_FLOAT32 ? 4 : 2;
    opened->packet_samples = options->packet_samples;
    opened->channels = options->channels;
    opened->lookahead = options->lookahead;
    opened->leave_samples = (uint32_t)(PLCK_LEAVE_S * (float)options->sample_rate);
    opened->fill = options->fill;
    opened->user = options->user;
    opened->block = (int64_t *)((char *)opened + rounded(sizeof *opened));
    memset(opened->block, 0, (size_t)steps[place].size(settings)); /* no sample is chance's */
    steps[place].open(opened->block, settings);
    if (opened->block[PLCK_NETWORK]) /* unless it exceeds the limit of work */
        opened->model = options->model->words;
    after = (char *)opened->block + steps[place].size(settings);
    opened->missing = (int64_t *)after;
    opened->packet = after + rounded(missing_bytes(options));
    memset(opened->packet, 0, packet_bytes(options));
    after = opened->packet + rounded(packet_bytes(options));
    if (options->fill)
        opened->filled = (float *)after;
    if (options->detect_dropouts) {
        opened->found = (int64_t *)(after + rounded(fill_bytes(options)));
        memset(opened->found, 0, search_bytes(options, settings));
        steps[place].search_open(opened->found, settings);
    }
    atomic_init(&opened->busy, 0);
    atomic_init(&opened->preparing, 0);
    atomic_init(&opened->alone, 0);
    atomic_init(&opened->next, 0);
    atomic_init(&opened->prepared, -1);
    opened->magic = MAGIC;
    *stream = opened;
    return 0;
}

int plc_open(plc_stream **stream, const plc_options *options) {
    int64_t size = plc_size(options);
    void *memory;
    int code;
    if (size < 0)
        return (int)size;
    if (!stream)
        return PLC_ERROR_ARGUMENT;
    memory = malloc((size_t)size);
    if (!memory)
        return PLC_ERROR_MEMORY;
    code = plc_open_in(stream, options, memory, (size_t)size);
    if (code)
        free(memory);
    else
        (*stream)->memory = memory;
    return code;
}

/* Let the caller improve a draft; write what is played instead of it. */
static void improve(plc_stream *stream) {
    float *rows = (float *)((char *)stream->block + stream->block[PLCK_FILL]);
    uint32_t channels = stream->channels, n = (uint32_t)stream->block[PLCK_FILL_SAMPLES];
    size_t count = (size_t)channels * n, ready, c, i, leave;
    plc_draft draft = {channels, n, rows, stream->filled};
    memcpy(stream->filled, rows, count * sizeof *rows);
    ready = stream->fill(stream->user, &draft);
    if (ready > n)
        ready = 0;
    for (c = 0; c < channels; c++)
        for (i = 0; i < ready; i++)
            if (!(fabsf(stream->filled[c * n + i]) < LOUDEST))
                return;
    leave = ready < n ? stream->leave_samples : 0;
    if (leave > ready / 2)
        leave = ready / 2;
    for (c = 0; c < channels; c++) {
        const float *from = stream->filled + c * n;
        float *to = rows + c * n;
        memcpy(to, from, (ready - leave) * sizeof *to);
        for (i = ready - leave; i < ready; i++) {
            float share = (float)(i + leave - ready + 1) / (float)(leave + 1); /* of the draft */
            to[i] = from[i] + share * (to[i] - from[i]);
        }
    }
}

/* Go on after `flags` of the step, until the packet is done; return the flags of plc.h. */
static int finish(plc_stream *stream, int64_t flags, void *out) {
    int64_t all = flags;
    for (;;) {
        if (stream->model) /* it may also have to hear what was played */
            steps[stream->step].fill(stream->block, stream->model, flags);
        if (!(flags & PLCK_MORE))
            break;
        if (stream->fill && flags & PLCK_WANTS_FILL)
            improve(stream);
        flags = steps[stream->step].resume(stream->block, out, stream->sample_bytes == 2);
        all |= flags;
    }
    return (int)(all & FLAGS);
}

static void note_next(plc_stream *stream) {
    int64_t next = stream->block[PLCK_POSITION] + stream->packet_samples;
    atomic_store_explicit(&stream->next, next, memory_order_release);
}

/* Push a packet as the step takes it: where it is searched for dropouts, those are missing parts. */
static int push(plc_stream *stream, const void *packet, const int64_t *missing, int64_t parts,
                void *out) {
    const step *step = &steps[stream->step];
    int64_t integer = stream->sample_bytes == 2;
    int flags;
    if (stream->found && (!packet || parts)) {
        step->search_nothing(stream->found);
    } else if (stream->found) {
        parts = step->search(stream->found, packet, integer);
        missing = (int64_t *)((char *)stream->found + stream->found[PLCK_SEARCH_PARTS]);
        stream->detected += parts > 0;
        if (parts == 1 && missing[0] == 0 && missing[1] == stream->packet_samples) {
            packet = NULL;
            parts = 0;
        }
    }
    stream->block[PLCK_PREPARED_AT] = atomic_load_explicit(&stream->prepared, memory_order_acquire);
    flags = finish(stream,
                   step->push(stream->block, packet, packet != NULL, missing, parts, out, integer),
                   out);
    note_next(stream);
    return flags;
}

static size_t frame_bytes(const plc_stream *stream) {
    return (size_t)stream->channels * stream->sample_bytes;
}

/* Make a stream as new, but for its counter of dropouts. */
static void forget(plc_stream *stream) {
    steps[stream->step].reset(stream->block);
    note_next(stream);
    atomic_store_explicit(&stream->prepared, -1, memory_order_relaxed);
    if (stream->found)
        steps[stream->step].search_reset(stream->found);
    stream->cut = BY_NOBODY;
    stream->gathered = stream->gaps = 0;
    stream->played = 0;
    memset(stream->packet, 0, stream->packet_samples * frame_bytes(stream));
}

/* Give samples of the packet that is played, and gather as many in their place. */
static void exchange(plc_stream *stream, const char *samples, char *out, size_t bytes) {
    char *place = stream->packet + stream->gathered * frame_bytes(stream);
    char given[512]; /* `out` may be `samples` */
    while (bytes) {
        size_t n = bytes < sizeof given ? bytes : sizeof given;
        if (samples)
            memcpy(given, samples, n);
        else
            memset(given, 0, n);
        memcpy(out, place, n);
        memcpy(place, given, n);
        samples = samples ? samples + n : NULL;
        place += n;
        out += n;
        bytes -= n;
    }
}

/* Note that the next samples of the packet did not arrive. */
static void miss(plc_stream *stream, size_t samples) {
    int64_t begin = stream->gathered, *gap = stream->missing + 2 * stream->gaps;
    if (stream->gaps && gap[-1] == begin) {
        gap[-1] += (int64_t)samples;
        return;
    }
    gap[0] = begin;
    gap[1] = begin + (int64_t)samples;
    stream->gaps++;
}

/* Push what was gathered. */
static int push_gathered(plc_stream *stream) {
    int whole = stream->gaps == 1 && stream->missing[0] == 0 &&
                stream->missing[1] == (int64_t)stream->packet_samples;
    int flags = push(stream, whole ? NULL : stream->packet, stream->missing,
                     whole ? 0 : (int64_t)stream->gaps, stream->packet);
    stream->gathered = stream->gaps = 0;
    return flags;
}

int plc_push_n(plc_stream *stream, const void *samples, size_t count, void *out) {
    int flags = 0, code = enter(stream);
    const char *in = samples;
    char *to = out;
    if (code)
        return code;
    if (count && (!out || !is_aligned(samples, stream->sample_bytes) ||
                  !is_aligned(out, stream->sample_bytes)))
        code = PLC_ERROR_ARGUMENT;
    else if (stream->cut == BY_CALLER)
        code = PLC_ERROR_MIXED;
    if (code) {
        leave(stream);
        return code;
    }
    stream->cut = BY_US;
    while (count) {
        size_t n = stream->packet_samples - stream->gathered, bytes;
        n = count < n ? count : n;
        bytes = n * frame_bytes(stream);
        exchange(stream, in, to, bytes);
        if (!in)
            miss(stream, n);
        flags |= stream->played;
        stream->gathered += (uint32_t)n;
        in = in ? in + bytes : NULL;
        to += bytes;
        count -= n;
        if (stream->gathered == stream->packet_samples) {
            stream->played = push_gathered(stream);
            flags |= stream->played & PLC_REFUSED;
            stream->played &= ~PLC_REFUSED;
        }
    }
    leave(stream);
    return flags;
}

int64_t plc_calibrate(plc_stream *stream) {
    int64_t operations;
    int code = enter_alone(stream);
    if (code)
        return code;
    operations = steps[stream->step].calibrate(stream->block, stream->model);
    forget(stream);
    leave(stream);
    return operations;
}

int plc_push(plc_stream *stream, const void *packet, void *out) {
    return plc_push_part(stream, packet, NULL, 0, out);
}

int plc_push_part(plc_stream *stream, const void *packet, const int64_t *missing, size_t parts,
                  void *out) {
    int code = enter(stream);
    if (code)
        return code;
    if (!out || !is_aligned(packet, stream->sample_bytes) ||
        !is_aligned(out, stream->sample_bytes) || (parts && (!missing || !packet)) ||
        !is_aligned(missing, sizeof *missing))
        code = PLC_ERROR_ARGUMENT;
    else if (parts > stream->packet_samples)
        code = PLC_ERROR_MISSING;
    else if (stream->cut == BY_US)
        code = PLC_ERROR_MIXED;
    for (size_t k = 0; !code && k < parts; k++) {
        int64_t before = k ? missing[2 * k - 1] : -1;
        if (missing[2 * k] <= before || missing[2 * k + 1] <= missing[2 * k] ||
            missing[2 * k + 1] > (int64_t)stream->packet_samples)
            code = PLC_ERROR_MISSING;
    }
    if (!code) {
        stream->cut = BY_CALLER;
        code = push(stream, packet, missing, (int64_t)parts, out);
    }
    leave(stream);
    return code;
}

int plc_know(plc_stream *stream, const void *samples, size_t count, int64_t distance) {
    int code = enter(stream);
    if (code)
        return code;
    if ((count && !samples) || !is_aligned(samples, stream->sample_bytes) || distance < 0 ||
        distance > stream->block[PLCK_RATE] || count > INT32_MAX)
        code = PLC_ERROR_ARGUMENT;
    else if (stream->cut == BY_US)
        code = PLC_ERROR_MIXED;
    else if (!steps[stream->step].know(stream->block, samples, stream->sample_bytes == 2,
                                       (int64_t)count, distance))
        code = PLC_ERROR_ARGUMENT;
    leave(stream);
    return code;
}

int plc_push_many(plc_stream *const *streams, size_t count, const void *const *packets,
                  void *const *outs, int *flags) {
    int first = 0;
    if (count && (!streams || !packets || !outs))
        return PLC_ERROR_ARGUMENT;
    for (size_t k = 0; k < count; k++) {
        int code = plc_push_part(streams[k], packets[k], NULL, 0, outs[k]);
        if (flags)
            flags[k] = code;
        if (code < 0 && !first)
            first = code;
    }
    return first;
}

/* Return the samples of each channel by which the output lags. */
static size_t delay_of(const plc_stream *stream) {
    size_t packets = stream->lookahead + (stream->cut == BY_US);
    return packets * stream->packet_samples;
}

int64_t plc_delay(plc_stream *stream) {
    int code = enter(stream);
    int64_t samples;
    if (code)
        return code;
    samples = (int64_t)delay_of(stream);
    leave(stream);
    return samples;
}

/* Prepare the burst that would begin with the next packet; return 1 if it is ready, else 0. What is
 * ready is written no more until that packet was pushed, whose push may take it. */
static int prepare(plc_stream *stream) {
    const step *step = &steps[stream->step];
    int64_t at = atomic_load_explicit(&stream->next, memory_order_acquire);
    if (!stream->block[PLCK_SECOND])
        return 0;
    if (atomic_load_explicit(&stream->prepared, memory_order_relaxed) == at)
        return 1;
    if (!step->look(stream->block, at) || atomic_load(&stream->next) != at)
        return 0;
    step->prepare(stream->block, stream->model);
    atomic_store_explicit(&stream->prepared, at, memory_order_release);
    return atomic_load(&stream->next) == at;
}

int plc_prepare(plc_stream *stream) {
    int code = PLC_ERROR_BUSY;
    if (!stream || !is_aligned(stream, ALIGNMENT))
        return PLC_ERROR_ARGUMENT;
    if (stream->magic != MAGIC)
        return PLC_ERROR_STREAM;
    if (atomic_exchange(&stream->preparing, 1))
        return code;
    if (!atomic_load(&stream->alone))
        code = prepare(stream);
    atomic_store(&stream->preparing, 0);
    return code;
}

/* Write samples of the packet that plc_push_n would play next, from `begin` on, as many as are
 * `left`; return how many. */
static size_t give(const plc_stream *stream, size_t begin, size_t left, char *out) {
    size_t n = stream->packet_samples - begin, frame = frame_bytes(stream);
    n = left < n ? left : n;
    memcpy(out, stream->packet + begin * frame, n * frame);
    return n;
}

/* Write the last samples of a stream. */
static void play_out(plc_stream *stream, size_t samples, char *out) {
    size_t at = 0, frame = frame_bytes(stream);
    if (stream->cut == BY_US)
        at = give(stream, stream->gathered, samples, out);
    if (stream->gathered) { /* the rest of that packet does not arrive */
        miss(stream, stream->packet_samples - stream->gathered);
        push_gathered(stream);
        at += give(stream, 0, samples - at, out + at * frame);
    }
    for (uint32_t k = 0; k < stream->lookahead; k++) {
        finish(stream,
               steps[stream->step].drain(stream->block, stream->packet, stream->sample_bytes == 2),
               stream->packet);
        at += give(stream, 0, samples - at, out + at * frame);
    }
}

int64_t plc_flush(plc_stream *stream, void *out, size_t room) {
    int64_t counters[PLCK_COUNTERS];
    int64_t *counted;
    size_t samples;
    int code = enter_alone(stream);
    if (code)
        return code;
    samples = delay_of(stream);
    if (samples && (!out || !is_aligned(out, stream->sample_bytes)))
        code = PLC_ERROR_ARGUMENT;
    else if (room < samples)
        code = PLC_ERROR_ROOM;
    if (code) {
        leave(stream);
        return code;
    }
    counted = stream->block + PLCK_STATS;
    play_out(stream, samples, out);
    memcpy(counters, counted, sizeof counters);
    forget(stream);
    memcpy(counted, counters, sizeof counters);
    leave(stream);
    return (int64_t)samples;
}

int plc_reset(plc_stream *stream) {
    int code = enter_alone(stream);
    if (code)
        return code;
    forget(stream);
    stream->detected = 0;
    leave(stream);
    return 0;
}

int plc_stats(plc_stream *stream, plc_counters *counters) {
    const int64_t *block;
    int code, k;
    if (!counters)
        return PLC_ERROR_ARGUMENT;
    if (counters->struct_size != sizeof *counters &&
        counters->struct_size != offsetof(plc_counters, network_samples))
        return PLC_ERROR_STRUCT;
    code = enter(stream);
    if (code)
        return code;
    block = stream->block;
    counters->zero = 0;
#define COUNT(name, word) counters->name = (uint64_t)block[word];
    PLCK_COUNTED(COUNT)
#undef COUNT
    if (counters->struct_size == sizeof *counters) {
        counters->network_samples = 0;
        for (k = 0; k < PLCK_NETWORKS; k++)
            counters->network_samples += (uint64_t)block[PLCK_NETWORK_SAMPLES + k];
        counters->detected_dropouts = stream->detected;
    }
    leave(stream);
    return 0;
}

int plc_close(plc_stream *stream) {
    int code = enter_alone(stream);
    if (code)
        return code;
    stream->magic = 0;
    free(stream->memory);
    return 0;
}

/* A receiver: this, then its timeline's block (plc_kernels/receive/layout.py), then its stream. */
struct plc_receiver {
    uint32_t magic;
    uint32_t form; /* as kernels number formats */
    uint32_t sample_bytes;
    plc_stream *stream;
    int64_t *block;
    void *memory; /* what plc_receiver_open allocated, or NULL */
};

/* What is asked of a receiver, checked. */
typedef struct plan {
    plc_options options; /* of its stream */
    uint32_t format;     /* of what comes in and goes out */
    double delay_s, most_s, ahead_s;
    int64_t block_bytes;
} plan;

/* Write where things lie in a receiver's block; return its bytes. */
static int64_t lay_out(const plan *plan, int64_t *block) {
    const plc_options *options = &plan->options;
    return steps[0].receive_size(block, options->sample_rate, options->channels,
                                 options->packet_samples, options->lookahead, plan->delay_s,
                                 plan->most_s, plan->ahead_s);
}

/* Check options; write the plan. Return 0, or an error. */
static int plan_of(const plc_options *options, const plc_receiver_options *given, plan *plan) {
    static const plc_receiver_options usual = {sizeof usual, 40, 1000, 60000};
    int64_t settings[SETTINGS], header[PLCK_HEADER];
    int64_t size;
    int code = complete(options, &plan->options);
    if (code)
        return code;
    given = given ? given : &usual;
    if (given->struct_size != sizeof *given)
        return PLC_ERROR_STRUCT;
    if (given->delay_ms > 5000 || given->most_delay_ms > 5000 || given->most_ahead_ms > 600000)
        return PLC_ERROR_DELAY;
    plan->format = plan->options.format;
    if (plan->format == PLC_MULAW || plan->format == PLC_INT16)
        plan->options.format = PLC_FLOAT32; /* as the block has it */
    size = size_of(&plan->options, settings);
    if (size < 0)
        return (int)size;
    plan->delay_s = given->delay_ms / 1000.0;
    plan->most_s = given->most_delay_ms / 1000.0;
    plan->ahead_s = given->most_ahead_ms / 1000.0;
    memset(header, 0, sizeof header);
    plan->block_bytes = lay_out(plan, header);
    return 0;
}

static int64_t bytes_of(const plan *plan) {
    return (int64_t)(ALIGNMENT - 1 + rounded(sizeof(plc_receiver)) +
                     rounded((size_t)plan->block_bytes)) + plc_size(&plan->options);
}

int64_t plc_receiver_size(const plc_options *options, const plc_receiver_options *receiver) {
    plan plan;
    int code = plan_of(options, receiver, &plan);
    return code ? code : bytes_of(&plan);
}

int plc_receiver_open_in(plc_receiver **receiver, const plc_options *options,
                         const plc_receiver_options *given, void *memory, size_t room) {
    plan plan;
    plc_receiver *opened;
    char *after;
    int code = plan_of(options, given, &plan);
    if (code)
        return code;
    if (!receiver || !memory)
        return PLC_ERROR_ARGUMENT;
    if (room < (size_t)bytes_of(&plan))
        return PLC_ERROR_ROOM;
    opened = (plc_receiver *)(((uintptr_t)memory + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
    memset(opened, 0, sizeof *opened);
    opened->form = plan.format == PLC_FLOAT32 ? PLCK_FLOAT32
                   : plan.format == PLC_INT16 ? PLCK_INT16 : PLCK_MULAW;
    opened->sample_bytes = plan.format == PLC_FLOAT32 ? 4 : plan.format == PLC_INT16 ? 2 : 1;
    opened->block = (int64_t *)((char *)opened + rounded(sizeof *opened));
    memset(opened->block, 0, PLCK_HEADER * sizeof *opened->block);
    lay_out(&plan, opened->block);
    after = (char *)opened->block + rounded((size_t)plan.block_bytes);
    code = plc_open_in(&opened->stream, &plan.options, after,
                       room - (size_t)(after - (char *)memory));
    if (code)
        return code;
    steps[opened->stream->step].receive_open(opened->block);
    opened->magic = RECEIVER_MAGIC;
    *receiver = opened;
    return 0;
}

int plc_receiver_open(plc_receiver **receiver, const plc_options *options,
                      const plc_receiver_options *given) {
    int64_t size = plc_receiver_size(options, given);
    void *memory;
    int code;
    if (size < 0)
        return (int)size;
    if (!receiver)
        return PLC_ERROR_ARGUMENT;
    memory = malloc((size_t)size);
    if (!memory)
        return PLC_ERROR_MEMORY;
    code = plc_receiver_open_in(receiver, options, given, memory, (size_t)size);
    if (code)
        free(memory);
    else
        (*receiver)->memory = memory;
    return code;
}

/* Take a receiver, by its stream, or say why not. */
static int enter_receiver(plc_receiver *receiver) {
    if (!receiver || !is_aligned(receiver, ALIGNMENT))
        return PLC_ERROR_ARGUMENT;
    return receiver->magic == RECEIVER_MAGIC ? enter(receiver->stream) : PLC_ERROR_STREAM;
}

static const step *step_of(const plc_receiver *receiver) { return &steps[receiver->stream->step]; }

int64_t plc_receive(plc_receiver *receiver, const void *samples, size_t count, int64_t at) {
    const int64_t far = (int64_t)1 << 61; /* sums of positions are numbers of 64 bits */
    int is_placed = at != PLC_FOLLOWS;
    int64_t taken = enter_receiver(receiver);
    if (taken)
        return taken;
    if (count && (!samples || !is_aligned(samples, receiver->sample_bytes) || count >= (size_t)far ||
                  (is_placed && (at <= -far || at >= far))))
        taken = PLC_ERROR_ARGUMENT;
    else if (count)
        taken = step_of(receiver)->receive_put(receiver->block, samples, receiver->form,
                                               (int64_t)count, is_placed ? at : 0, is_placed);
    leave(receiver->stream);
    return taken;
}

/* Conceal the block that is due: `parts` of it are missing, or all. */
static void conceal_due(plc_receiver *receiver, int64_t parts) {
    const plc_stream *stream = receiver->stream;
    int64_t ahead = stream->block[PLCK_AHEAD] * stream->packet_samples;
    int64_t rows = step_of(receiver)->receive_known(receiver->block, ahead);
    float *inbox = (float *)((char *)receiver->block + receiver->block[PLCK_INBOX]);
    const float *ring = (float *)((char *)receiver->block + receiver->block[PLCK_RING]);
    const int64_t *missing = (int64_t *)((char *)receiver->block + receiver->block[PLCK_MISSING]);
    const int64_t *row = (int64_t *)((char *)receiver->block + receiver->block[PLCK_PARTS]);
    int is_lost = parts == PLCK_ALL;
    if (!rows)
        step_of(receiver)->know(stream->block, inbox, 0, 0, 0);
    for (; rows; rows--, row += 4)
        step_of(receiver)->know(stream->block, ring + row[1] * stream->channels, 0, row[2], row[3]);
    push(receiver->stream, is_lost ? NULL : inbox, missing, is_lost ? 0 : parts, inbox);
    step_of(receiver)->receive_append(receiver->block);
}

int64_t plc_play(plc_receiver *receiver, void *out, size_t count, uint8_t *made_up) {
    size_t frame, done = 0;
    int64_t made = enter_receiver(receiver);
    if (made)
        return made;
    frame = (size_t)receiver->sample_bytes * receiver->stream->channels;
    if (count && (!out || !is_aligned(out, receiver->sample_bytes))) {
        leave(receiver->stream);
        return PLC_ERROR_ARGUMENT;
    }
    while (done < count) {
        uint8_t marks[256], *given = made_up ? made_up + done : marks;
        size_t left = count - done;
        int64_t some, parts;
        left = made_up || left < sizeof marks ? left : sizeof marks;
        some = step_of(receiver)->receive_give(receiver->block, (char *)out + done * frame,
                                               receiver->form, given, (int64_t)left);
        for (int64_t k = 0; k < some; k++)
            made += given[k];
        done += (size_t)some;
        while (!some && (parts = step_of(receiver)->receive_due(receiver->block)) != PLCK_NONE)
            conceal_due(receiver, parts);
    }
    leave(receiver->stream);
    return made;
}

int plc_receiver_prepare(plc_receiver *receiver) {
    if (!receiver || !is_aligned(receiver, ALIGNMENT))
        return PLC_ERROR_ARGUMENT;
    return receiver->magic == RECEIVER_MAGIC ? plc_prepare(receiver->stream) : PLC_ERROR_STREAM;
}

int plc_receiver_end(plc_receiver *receiver) {
    int code = enter_receiver(receiver);
    if (code)
        return code;
    step_of(receiver)->receive_end(receiver->block);
    leave(receiver->stream);
    return 0;
}

int plc_receiver_clear(plc_receiver *receiver) {
    int code = enter_receiver(receiver);
    if (code)
        return code;
    step_of(receiver)->receive_clear(receiver->block);
    leave(receiver->stream);
    return 0;
}

int plc_receiver_stats(plc_receiver *receiver, plc_receiver_counters *counters) {
    const int64_t *words;
    int code;
    if (!counters)
        return PLC_ERROR_ARGUMENT;
    if (counters->struct_size != sizeof *counters)
        return PLC_ERROR_STRUCT;
    code = enter_receiver(receiver);
    if (code)
        return code;
    words = receiver->block;
    counters->zero = 0;
    counters->received_samples = (uint64_t)words[PLCK_TAKEN_SAMPLES];
    counters->duplicate_samples = (uint64_t)words[PLCK_DOUBLE_SAMPLES];
    /* What was made up in a stall is late once it comes, and unsent until then. */
    counters->late_samples = (uint64_t)(words[PLCK_LATE_SAMPLES] - words[PLCK_HELD]);
    counters->lost_samples = (uint64_t)(words[PLCK_LOST_SAMPLES] - words[PLCK_STARVED]);
    counters->unsent_samples =
        (uint64_t)(words[PLCK_UNSENT] + words[PLCK_HELD] + words[PLCK_STARVED]);
    counters->refused_samples = (uint64_t)words[PLCK_REFUSED_SAMPLES];
    counters->overflow_samples = (uint64_t)words[PLCK_OVERFLOW_SAMPLES];
    counters->jumps = (uint64_t)words[PLCK_JUMPS];
    counters->waiting_samples = (uint64_t)step_of(receiver)->receive_waiting(receiver->block);
    leave(receiver->stream);
    return 0;
}

int plc_receiver_close(plc_receiver *receiver) {
    int code = enter_receiver(receiver);
    if (code)
        return code;
    receiver->magic = 0;
    receiver->stream->magic = 0; /* still taken: who comes now is refused; its memory is ours */
    free(receiver->memory);
    return 0;
}

const char *plc_processor(const plc_stream *stream) {
    if (!stream || !is_aligned(stream, ALIGNMENT) || stream->magic != MAGIC)
        return "";
    return steps[stream->step].name;
}

const char *plc_version(void) { return PLC_VERSION; }

const char *plc_error(int64_t code) {
    switch (code) {
    case PLC_ERROR_ARGUMENT:
        return "a pointer is NULL, or samples are not aligned to their size";
    case PLC_ERROR_STRUCT:
        return "struct_size is not the struct's size; call plc_options_init, or set it";
    case PLC_ERROR_STREAM:
        return "there is no open stream here; was it closed?";
    case PLC_ERROR_BUSY:
        return "another thread is at work on this stream";
    case PLC_ERROR_ROOM:
        return "there is not room enough; plc_size and plc_delay tell how much is needed";
    case PLC_ERROR_MEMORY:
        return "there is no memory left for a stream";
    case PLC_ERROR_MISSING:
        return "the missing parts are not in order, or not within the packet";
    case PLC_ERROR_SAMPLE_RATE:
        return "options.sample_rate is out of range; supported: 8000 to 192000 Hz";
    case PLC_ERROR_CHANNELS:
        return "options.channels is out of range; supported: 1 to 8";
    case PLC_ERROR_PACKET:
        return "options.packet_samples is out of range; supported: 1 (or 32 samples) to 120 ms";
    case PLC_ERROR_FORMAT:
        return "options.format is neither PLC_FLOAT32 nor PLC_INT16 (nor, of a receiver, PLC_MULAW)";
    case PLC_ERROR_LOOKAHEAD:
        return "options.lookahead is out of range; supported: 0 to 2 s";
    case PLC_ERROR_RUNG:
        return "options.rung is out of range; supported: 0, the best, to 11, the cheapest";
    case PLC_ERROR_PROCESSOR:
        return "this processor is not of the type in options.processor, or older than x86-64-v2";
    case PLC_ERROR_MODEL:
        return "there is no model here that this library knows, or it is damaged; write it with "
               "plc c models";
    case PLC_ERROR_MODEL_RATE:
        return "options.model is for other sample rates";
    case PLC_ERROR_CONTENT:
        return "options.content is out of range; 0 is auto, 1 music, 2 speech";
    case PLC_ERROR_MIXED:
        return "one stream takes packets by plc_push, or samples by plc_push_n, until plc_reset";
    case PLC_ERROR_DELAY:
        return "a time of plc_receiver_options is out of range; delays are 0 to 5000 ms, pieces "
               "come up to 600000 ms ahead";
    case PLC_ERROR_FILE:
        return "the file cannot be read";
    default:
        return "";
    }
}
