/* Open files of models that were changed at random: random_models COUNT SEED MODEL...; silence is success.
 *
 * Some have several models, one after another, of which one is changed; some have something else before,
 * or behind.
 * A third of them keep the checksums that they had; of the others the file's is made right, and that of
 * the block where what was changed stands in both as it is. What opens all the same, conceals.
 */
#include <math.h>

#include "guarded.h"
#include "plc.h"

/* Words of a file and of the block in its first part: plc_kernels/stream/model_file.py, model.py. */
enum { BYTES = 1, CHECKSUM = 2, PARTS = 4, HEAD = 5, BLOCK_CHECKSUM = 2, NAMED = 27 };
/* Parts that are changed: some files have thousands. */
#define FIRST_PARTS 20
#define PACKET 320

static uint64_t served; /* samples by networks */

static int64_t number(int64_t before) {
    static const int64_t some[] = {0, 1, -1, 2, 7, 16, 4096, 1 << 20, INT64_C(1) << 40, INT64_MAX, INT64_MIN};
    switch (below(3)) {
    case 0:
        return some[below(sizeof some / sizeof *some)];
    case 1:
        return (int64_t)((uint64_t)before + below(5) - 2);
    default:
        return (int64_t)((uint64_t)before ^ UINT64_C(1) << below(64));
    }
}

/* Change some words, most near the beginning, where all is that others follow from. */
static void damage(int64_t *words, size_t count) {
    size_t parts = (size_t)words[PARTS], begin = HEAD + 2 * parts, first = (size_t)words[HEAD + 1], k;
    int right = below(3) > 0;
    parts = parts < FIRST_PARTS ? parts : FIRST_PARTS;
    for (k = 1 + below(3); k; k--) {
        size_t place = below(8) == 0  ? below((uint32_t)count)
                       : below(3) == 0 ? below((uint32_t)(HEAD + 2 * parts))
                                       : begin + below((uint32_t)first);
        int64_t made = number(words[place]);
        if (right && place >= begin && place < begin + first && place != begin + BLOCK_CHECKSUM)
            words[begin + BLOCK_CHECKSUM] =
                (int64_t)((uint64_t)words[begin + BLOCK_CHECKSUM] + (uint64_t)made - (uint64_t)words[place]);
        words[place] = made;
    }
    if (right) {
        uint64_t sum = 0;
        for (k = CHECKSUM + 1; k < count; k++)
            sum += (uint64_t)words[k];
        words[CHECKSUM] = (int64_t)sum;
    }
}

/* Change one of the files that follow one another. */
static void damage_one(int64_t *words, size_t count) {
    size_t files = 0, at = 0, k;
    for (; at < count; at += (size_t)words[at + BYTES] / 8)
        files++;
    at = 0;
    for (k = below((uint32_t)files); k; k--)
        at += (size_t)words[at + BYTES] / 8;
    damage(words + at, (size_t)words[at + BYTES] / 8);
}

/* Put up to 64 words of anything before a file, or behind it. */
static guarded lengthened(guarded file, size_t *size) {
    size_t more = 8 * (1 + below(64)), before = below(2) ? more : 0, k;
    guarded made = guard(*size + more);
    for (k = 0; k < *size + more; k++)
        made.memory[k] = (char)below(256);
    memcpy(made.memory + before, file.memory, *size);
    unguard(&file);
    *size += more;
    return made;
}

/* Return a sample of syllables, of a voice and of hissing in turn: what is told to be speech. */
static float voice(double t) {
    double voiced = fmax(0.0, sin(25.13 * t)), sum = 0.0;
    double phase = 754.0 * t - 40.0 * cos(6.283 * t), hissing = fmod(t, 1.0) < 0.5 ? 1.0 - voiced : 0.0;
    for (int k = 1; k < 20; k++)
        sum += sin(k * phase) / k;
    return (float)(0.1 * (voiced * sum + hissing * (below(1000) / 1000.0 - 0.5)));
}

static void conceal(const plc_model *model) {
    static const uint32_t rates[] = {8000, 15999, 16000, 44100, 96000};
    float packet[PACKET];
    plc_options options;
    plc_counters counters;
    plc_options_init(&options);
    options.packet_samples = PACKET;
    options.rung = 8;
    options.model = model;
    options.lookahead = below(3);
    options.prepare = below(2);
    for (size_t r = 0; r < sizeof rates / sizeof *rates; r++) {
        plc_stream *stream;
        int64_t size;
        guarded memory;
        options.sample_rate = rates[r];
        size = plc_size(&options);
        if (size == PLC_ERROR_MODEL_RATE || size == PLC_ERROR_LOOKAHEAD)
            continue;
        if (size < 0)
            stop(plc_error(size));
        memory = guard((size_t)size);
        if (plc_open_in(&stream, &options, memory.memory, (size_t)size))
            stop("plc_open_in");
        for (int k = 0; k < 80; k++) {
            for (int i = 0; i < PACKET; i++)
                packet[i] = voice((double)(k * PACKET + i) / rates[r]);
            if (plc_push(stream, k > 40 && k % 5 > 2 ? NULL : packet, packet) < 0 || plc_prepare(stream) < 0)
                stop("plc_push");
            for (int i = 0; i < PACKET; i++)
                if (!(fabsf(packet[i]) < 2e6f))
                    stop("what came out is no sound");
        }
        counters.struct_size = sizeof counters;
        plc_stats(stream, &counters);
        served += counters.network_samples;
        plc_close(stream);
        unguard(&memory);
    }
}

/* Open a file, changed if it is not to be left as it is; return whether it opened. */
static int one_file(const char *path, int as_it_is) {
    size_t size;
    guarded file = read_guarded(path, &size), memory;
    char *data = file.memory;
    plc_model *model;
    int64_t needed;
    int code;
    if (!below(16)) { /* its beginning is gone, or its end */
        size_t cut = 8 * below((uint32_t)(size / 8));
        size -= cut;
        data += cut; /* what is left ends where nobody may read, too */
    } else if (!below(16)) {
        file = lengthened(file, &size);
        data = file.memory;
    } else if (!as_it_is) {
        damage_one((int64_t *)data, size / 8);
    }
    needed = plc_model_size(data, size);
    if (needed <= 0) {
        if (needed != PLC_ERROR_MODEL)
            stop(plc_error(needed));
        unguard(&file);
        return 0;
    }
    memory = guard((size_t)needed);
    code = plc_model_open_in(&model, data, size, memory.memory, (size_t)needed);
    unguard(&file);
    if (code != 0 && code != PLC_ERROR_MODEL)
        stop(plc_error(code));
    if (code == 0)
        conceal(model);
    unguard(&memory);
    return code == 0;
}

#ifdef FUZZ
static const char *paths[8];
static uint32_t path_count;

int LLVMFuzzerInitialize(int *count, char ***arguments) {
    char *path = getenv("MODELS");
    (void)count, (void)arguments;
    for (path = path ? strtok(path, ":") : NULL; path && path_count < 8; path = strtok(NULL, ":"))
        paths[path_count++] = path;
    if (!path_count)
        stop("MODELS names no file");
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    draw_from(data, size);
    one_file(paths[below(path_count)], 0);
    return 0;
}
#else
int main(int count, char **given) {
    uint32_t files = count > 1 ? (uint32_t)strtoul(given[1], NULL, 10) : 1000, opened = 0;
    state = (count > 2 ? strtoull(given[2], NULL, 10) : 1) * 2 + 1;
    for (uint32_t k = 0; k < files; k++) /* one of each is as it is */
        opened += (uint32_t)one_file(given[3 + k % (uint32_t)(count - 3)], k < (uint32_t)(count - 3));
    if (!opened || !served)
        stop("no file was opened, or no network served");
    if (getenv("TELL"))
        printf("%u opened\n", opened);
    return 0;
}
#endif
