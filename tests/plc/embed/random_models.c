/* Open files of models that were changed at random: random_models COUNT SEED MODEL...; silence is success.
 *
 * A third of them keep the checksums that they had; of the others the file's is made right, and that of
 * the block where what was changed stands in both as it is. What opens all the same, conceals.
 */
#include <math.h>

#include "guarded.h"
#include "plc.h"

/* Words of a file and of the block in its first part: plc_kernels/stream/model_file.py, model.py. */
enum { CHECKSUM = 2, PARTS = 4, HEAD = 6, BLOCK_CHECKSUM = 2, NAMED = 27, PLAN = 56 };
#define PACKET 320

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
    size_t begin = HEAD + 2 * (size_t)words[PARTS], k;
    int right = below(3) > 0;
    for (k = 1 + below(3); k; k--) {
        size_t place = below(8) ? below(HEAD + 2 * 18 + NAMED + PLAN) : below((uint32_t)count);
        int64_t made = number(words[place]);
        if (right && place >= begin && place < begin + NAMED + PLAN && begin + BLOCK_CHECKSUM < count &&
            place != begin + BLOCK_CHECKSUM)
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

static void conceal(const plc_model *model) {
    static const uint32_t rates[] = {8000, 15999, 16000, 44100, 96000};
    float packet[PACKET];
    plc_options options;
    plc_options_init(&options);
    options.packet_samples = PACKET;
    options.rung = 8;
    options.model = model;
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
            for (int i = 0; i < PACKET; i++) {
                double t = (double)(k * PACKET + i) / rates[r];
                double loud = fmax(0.0, sin(25.0 * t));
                packet[i] = (float)(loud * (0.2 * sin(880.0 * t) + 0.1 * sin(1760.0 * t)) + 1e-3 * below(99) / 99.0);
            }
            if (plc_push(stream, k > 40 && k % 5 > 2 ? NULL : packet, packet) < 0)
                stop("plc_push");
            for (int i = 0; i < PACKET; i++)
                if (!(fabsf(packet[i]) < 2e6f))
                    stop("what came out is no sound");
        }
        plc_close(stream);
        unguard(&memory);
    }
}

int main(int count, char **given) {
    uint32_t files = count > 1 ? (uint32_t)strtoul(given[1], NULL, 10) : 1000, opened = 0;
    state = (count > 2 ? strtoull(given[2], NULL, 10) : 1) * 2 + 1;
    for (uint32_t k = 0; k < files; k++) {
        size_t size;
        guarded file = read_guarded(given[3 + k % (uint32_t)(count - 3)], &size);
        char *data = file.memory;
        int64_t needed;
        if (!below(16)) { /* its beginning is gone, or its end */
            size_t cut = 8 * below((uint32_t)(size / 8));
            size -= cut;
            data += cut; /* what is left ends where nobody may read, too */
        } else if (k >= (uint32_t)(count - 3)) { /* one of each is as it is */
            damage((int64_t *)data, size / 8);
        }
        needed = plc_model_size(data, size);
        if (needed > 0) {
            guarded memory = guard((size_t)needed);
            plc_model *model;
            int code = plc_model_open_in(&model, data, size, memory.memory, (size_t)needed);
            unguard(&file);
            if (code != 0 && code != PLC_ERROR_MODEL)
                stop(plc_error(code));
            if (code == 0) {
                opened++;
                conceal(model);
            }
            unguard(&memory);
        } else {
            if (needed != PLC_ERROR_MODEL)
                stop(plc_error(needed));
            unguard(&file);
        }
    }
    if (!opened)
        stop("no file was opened");
    return 0;
}
