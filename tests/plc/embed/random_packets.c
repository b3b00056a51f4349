/* Push random packets to random streams: random_packets PACKETS SEED [RUNG [MODEL...]]; silence is
 * success.
 *
 * RUNG is the best that is used; the best takes long where a program is emulated. Of the streams that
 * a MODEL is for, most have it.
 *
 * All memory that the library gets ends where nobody may touch it (guarded.h), and that of models may
 * not be written. Nothing may be allocated between plc_open_in and plc_close: malloc itself counts.
 */
#include <math.h>

#include "guarded.h"
#include "plc.h"

static uint32_t best_rung;
static plc_model *models[8];
static guarded model_memory[8];
static uint32_t model_count;
static uint64_t by_networks;
static long allocations;

/* glibc's own, beneath those of this program; sanitizers have others, and count nothing. */
#ifdef COUNT_ALLOCATIONS
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void *malloc(size_t size) {
    allocations++;
    return __libc_malloc(size);
}
void *calloc(size_t count, size_t size) {
    allocations++;
    return __libc_calloc(count, size);
}
void *realloc(void *memory, size_t size) {
    allocations++;
    return __libc_realloc(memory, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
    allocations++;
    return __libc_memalign(alignment, size);
}
#endif

static float sample(void) {
    switch (below(400)) {
    case 0:
        return NAN;
    case 1:
        return below(2) ? INFINITY : -INFINITY;
    case 2:
        return 3e38f;
    case 3:
        return 1e-42f;
    default:
        return 0.0f;
    }
}

/* Fill a packet: tones, noise, silence, denormals, full scale, or bits as they come. */
static void fill(void *packet, const plc_options *options, uint32_t kind, uint32_t at) {
    uint32_t n = options->packet_samples * options->channels, i, c = options->channels;
    for (i = 0; i < n; i++) {
        double t = (double)(at + i / c) / options->sample_rate, value;
        if (kind < 5)
            value = 0.4 * sin(6.2831853 * 440.0 * (1 + i % c) * t) + 1e-3 * below(100) / 100.0;
        else if (kind == 5)
            value = 0.0;
        else if (kind == 6)
            value = 1e-41 * below(100);
        else if (kind == 7)
            value = below(2) ? 1.0 : -1.0;
        else
            value = below(2000) / 1000.0 - 1.0;
        if (options->format == PLC_INT16) {
            ((int16_t *)packet)[i] = kind == 9 ? (int16_t)below(65536) : (int16_t)(32767.0 * value);
        } else if (kind == 9) {
            uint32_t bits = below(0xFFFFFFFFu);
            memcpy((float *)packet + i, &bits, sizeof bits);
        } else {
            ((float *)packet)[i] = (float)value;
        }
    }
    if (options->format == PLC_FLOAT32 && !below(20))
        ((float *)packet)[below(n)] += sample();
}

static size_t improve(void *user, const plc_draft *draft) {
    uint32_t n = draft->channels * draft->samples, i;
    (void)user;
    for (i = 0; i < n; i++)
        draft->fill[i] += below(50) ? 0.01f : sample();
    return below(2 * draft->samples);
}

static plc_options some_options(void) {
    static const uint32_t rates[] = {8000, 11025, 16000, 32000, 44100, 48000, 96000, 192000};
    plc_options options;
    uint32_t least, most, k;
    plc_options_init(&options);
    options.sample_rate = rates[below(8)];
    if (!below(4))
        options.sample_rate = 8000 + below(40000);
    options.channels = below(3) ? 1 + below(2) : 1 + below(8);
    least = options.sample_rate < 32000 ? options.sample_rate / 1000 : 32;
    most = (120 * options.sample_rate + 999) / 1000;
    if (below(8))
        most = most / 6;
    options.packet_samples = below(6) ? least + below(most - least + 1) : below(2) ? least : most;
    options.format = 1 + below(2);
    options.lookahead = below(2) ? 0 : below(4);
    if (options.lookahead * options.packet_samples > 2 * options.sample_rate)
        options.lookahead = 1;
    options.rung = below(3) ? 4 + below(8) : below(12);
    if (options.rung < best_rung)
        options.rung = best_rung;
    options.seed = (int64_t)below(1000) - 500;
    options.prepare = below(2);
    options.fill = below(3) ? NULL : improve;
    if (!below(3))
        options.work_limit = 1000000u * below(200);
    for (k = 0; k < model_count; k++)
        if (plc_model_serves(models[k], options.sample_rate) == 1 && below(4))
            options.model = models[k];
    return options;
}

static void check_sound(const void *out, const plc_options *options) {
    uint32_t n = options->packet_samples * options->channels, i;
    if (options->format == PLC_FLOAT32)
        for (i = 0; i < n; i++)
            if (!(fabsf(((const float *)out)[i]) < 2e6f))
                stop("what came out is no sound");
}

/* Push frames of any length to a stream. */
static void push_frames(plc_stream *stream, const plc_options *options, guarded in, guarded out,
                        uint32_t packets) {
    size_t frame = options->channels * (options->format == PLC_FLOAT32 ? sizeof(float) : 2);
    size_t room = options->packet_samples * frame, kind = below(10), k;
    for (k = 0; k < 2 * packets; k++) {
        size_t count = below(4) ? below(options->packet_samples + 1) : options->packet_samples;
        size_t skipped = room - count * frame;
        char *place = (below(2) ? out.memory : in.memory) + skipped;
        int flags;
        fill(in.memory, options, (uint32_t)kind, (uint32_t)k * options->packet_samples);
        flags = plc_push_n(stream, below(6) ? in.memory + skipped : NULL, count, place);
        if (flags < 0)
            stop(plc_error(flags));
    }
    if (plc_push(stream, in.memory, out.memory) != PLC_ERROR_MIXED)
        stop("both ways to push");
    if (plc_delay(stream) != (int64_t)(options->lookahead + 1) * options->packet_samples)
        stop("plc_delay");
    if (plc_flush(stream, NULL, 0) != PLC_ERROR_ARGUMENT)
        stop("plc_flush");
}

static uint32_t one_stream(uint32_t packets) {
    plc_options options = some_options();
    size_t bytes = (size_t)options.packet_samples * options.channels *
                   (options.format == PLC_FLOAT32 ? sizeof(float) : sizeof(int16_t));
    int64_t size = plc_size(&options), missing[8];
    guarded memory, in, out, tail;
    plc_counters counters;
    plc_stream *stream;
    uint32_t kind = below(10), lost = 0, pushed = 0, parted = 0, refused = 0, k;
    uint64_t concealed = 0;
    long before;
    if (size < 0)
        stop(plc_error(size));
    memory = guard((size_t)size);
    in = guard(bytes);
    out = guard(bytes);
    tail = guard(bytes * (options.lookahead + 1));
    before = allocations;
    if (plc_open_in(&stream, &options, memory.memory, (size_t)size))
        stop("plc_open_in");
    if (!below(5)) {
        push_frames(stream, &options, in, out, packets);
        if (plc_flush(stream, tail.memory, (size_t)plc_delay(stream)) < 0 || plc_reset(stream))
            stop("plc_flush");
    }
    if (!below(20) && plc_calibrate(stream) < 100000000)
        stop("plc_calibrate");
    for (k = 0; k < packets; k++) {
        int flags, is_lost = below(10) < (k / 8 % 3 == 2 ? 6u : 1u);
        size_t parts = is_lost || below(12) ? 0 : 1 + below(3), p;
        int64_t at = below(3);
        void *place = below(2) ? out.memory : in.memory;
        if (!below(12))
            kind = below(10);
        fill(in.memory, &options, kind, k * options.packet_samples);
        for (p = 0; p < parts; p++) {
            missing[2 * p] = at + (p > 0);
            at = missing[2 * p + 1] = missing[2 * p] + 1 + below(9);
        }
        while (parts && missing[2 * parts - 1] > (int64_t)options.packet_samples)
            parts--;
        flags = plc_push_part(stream, is_lost ? NULL : in.memory, missing, parts, place);
        if (flags < 0)
            stop(plc_error(flags));
        check_sound(place, &options);
        if (options.prepare && below(2)) {
            int ready = plc_prepare(stream);
            if (ready < 0 || (options.lookahead && ready))
                stop("plc_prepare");
        }
        pushed++;
        lost += (uint32_t)is_lost;
        parted += parts > 0;
        refused += (flags & PLC_REFUSED) != 0;
        if (!below(400)) {
            int64_t held = plc_flush(stream, tail.memory, (size_t)plc_delay(stream));
            if (held != plc_delay(stream))
                stop("plc_flush");
        }
    }
    counters.struct_size = sizeof counters;
    if (plc_stats(stream, &counters))
        stop("plc_stats");
    if (counters.packets != pushed || counters.lost_packets != lost ||
        counters.partial_packets != parted || counters.invalid_packets != refused)
        stop("the counters are wrong");
    by_networks += counters.network_samples;
    concealed = counters.concealed_samples;
    if (counters.network_samples > concealed)
        stop("a network concealed more than was concealed");
    if (concealed > counters.total_samples_received)
        stop("more was concealed than played");
    if (plc_reset(stream) || plc_stats(stream, &counters) || counters.packets)
        stop("plc_reset");
    if (plc_close(stream))
        stop("plc_close");
    if (allocations != before)
        stop("something was allocated");
    unguard(&memory);
    unguard(&in);
    unguard(&out);
    unguard(&tail);
    return packets;
}

static void protect(guarded *made, int how) {
    if (mprotect(made->begin, made->mapped - (size_t)sysconf(_SC_PAGESIZE), how))
        stop("no guard");
}

/* Open a model that nobody may write, from a file that is gone then. */
static void open_model(const char *path) {
    size_t size;
    guarded file = read_guarded(path, &size);
    int64_t needed = plc_model_size(file.memory, size);
    if (needed < 0)
        stop(plc_error(needed));
    model_memory[model_count] = guard((size_t)needed);
    if (plc_model_open_in(&models[model_count], file.memory, size,
                          model_memory[model_count].memory, (size_t)needed))
        stop("plc_model_open_in");
    unguard(&file);
    protect(&model_memory[model_count++], PROT_READ);
}

#ifdef FUZZ
int LLVMFuzzerInitialize(int *count, char ***arguments) {
    char *paths = getenv("MODELS"), *path;
    (void)count, (void)arguments;
    best_rung = 4;
    for (path = paths ? strtok(paths, ":") : NULL; path && model_count < 8; path = strtok(NULL, ":"))
        open_model(path);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    draw_from(data, size);
    one_stream(1 + below(100));
    return 0;
}
#else
int main(int count, char **arguments) {
    uint64_t packets = count > 1 ? strtoull(arguments[1], NULL, 10) : 100000, done = 0;
    state = (count > 2 ? strtoull(arguments[2], NULL, 10) : 1) * 2 + 1;
    best_rung = count > 3 ? (uint32_t)strtoul(arguments[3], NULL, 10) : 0;
#ifdef COUNT_ALLOCATIONS
    free(malloc(1));
    if (allocations != 1)
        stop("allocations are not counted");
#endif
    for (int k = 4; k < count && model_count < 8; k++)
        open_model(arguments[k]);
    while (done < packets)
        done += one_stream(20 + below(200));
    if (model_count && !by_networks)
        stop("no network was asked");
    for (uint32_t k = 0; k < model_count; k++) {
        protect(&model_memory[k], PROT_READ | PROT_WRITE);
        if (plc_model_close(models[k]))
            stop("plc_model_close");
        unguard(&model_memory[k]);
    }
    return 0;
}
#endif
