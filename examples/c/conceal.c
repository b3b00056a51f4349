/* SPDX-License-Identifier: MIT */
/* Lose packets of a WAV file, conceal them with libplc, and write what is heard.
 *
 *   plc c build --out build
 *   cc conceal.c -o conceal -Ibuild -Lbuild -lplc -Wl,-rpath,"$PWD/build"
 *   ./conceal clean.wav heard.wav --loss 10% --burst 3 --seed 7
 *   ./conceal damaged.wav heard.wav --trace lost.trace
 *
 * The WAV file is 16- or 24-bit integer or 32-bit float. A trace is a text file with a 1 for each lost
 * packet and a 0 for each other one; "# ..." is a comment. Further options:
 *
 *   --write-trace FILE   write down which packets were lost
 *   --packet SAMPLES     length of a packet (default: 10 ms)
 *   --lookahead PACKETS  wait so long, and fill gaps from both sides
 *   --rung N             0: the best prediction (default), ..., 11: the cheapest
 *   --work N             millions of multiply-adds that a lost packet may take (0: no limit)
 *   --content WHAT       what plays, if you know it: music or speech
 *   --limit-ms MS        processor time that it may take: measured here, then a limit of work
 *   --models FILE        conceal with the networks in a file of "plc c models", such as all.plcm
 *   --prepare 1          make ready after each packet what is played if the next is lost
 *   --processor LEVEL    v2, v3 or v4: what a processor of that type makes
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "plc.h"

typedef struct wav {
    uint32_t sample_rate, channels, bits; /* of a sample in the file */
    uint32_t bytes;                       /* of one here: 24 bits are float32, which has them all */
    unsigned char *samples;
    size_t length; /* samples of each channel */
} wav;

static void stop(const char *what, const char *name) {
    fprintf(stderr, "conceal: %s: %s\n", name, what);
    exit(1);
}

static unsigned char *read_file(const char *name, size_t *size) {
    FILE *file = fopen(name, "rb");
    unsigned char *data;
    long end;
    if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) < 0)
        stop("cannot be read", name);
    data = malloc((size_t)end + 1);
    rewind(file);
    if (!data || fread(data, 1, (size_t)end, file) != (size_t)end)
        stop("cannot be read", name);
    fclose(file);
    data[end] = 0;
    *size = (size_t)end;
    return data;
}

static uint32_t number(const unsigned char *at, int bytes) {
    uint32_t value = 0;
    while (bytes--)
        value = value << 8 | at[bytes];
    return value;
}

static int32_t to_24_bits(float sample) {
    double scaled = (double)sample * 8388608.0;
    scaled = scaled < -8388608.0 ? -8388608.0 : scaled > 8388607.0 ? 8388607.0 : scaled;
    return (int32_t)(scaled < 0.0 ? scaled - 0.5 : scaled + 0.5);
}

/* Make float32 of samples of 24 bits. */
static void widen(wav *audio, const char *name) {
    size_t count = audio->length * audio->channels, k;
    float *samples = malloc((count + 1) * sizeof *samples);
    if (!samples)
        stop("is too long", name);
    for (k = 0; k < count; k++)
        samples[k] = (float)((int32_t)(number(audio->samples + 3 * k, 3) ^ 0x800000) - 0x800000) /
                     8388608.0f;
    audio->samples = (unsigned char *)samples;
    audio->bytes = sizeof *samples;
}

static wav read_wav(const char *name) {
    size_t size, at = 12, count = 0;
    unsigned char *file = read_file(name, &size);
    wav audio = {0, 0, 0, 0, NULL, 0};
    if (size < 12 || memcmp(file, "RIFF", 4) || memcmp(file + 8, "WAVE", 4))
        stop("is no WAV file", name);
    while (at + 8 <= size) {
        const unsigned char *chunk = file + at;
        count = number(chunk + 4, 4);
        if (count > size - at - 8)
            count = size - at - 8;
        if (!memcmp(chunk, "fmt ", 4) && count >= 16) {
            uint32_t tag = number(chunk + 8, 2);
            if (tag == 0xFFFE && count >= 26)
                tag = number(chunk + 32, 2); /* WAVE_FORMAT_EXTENSIBLE */
            audio.channels = number(chunk + 10, 2);
            audio.sample_rate = number(chunk + 12, 4);
            audio.bits = number(chunk + 22, 2);
            if (tag == 1 ? audio.bits != 16 && audio.bits != 24 : tag != 3 || audio.bits != 32)
                stop("is neither 16- or 24-bit integer nor 32-bit float", name);
            audio.bytes = audio.bits / 8;
        } else if (!memcmp(chunk, "data", 4)) {
            audio.samples = file + at + 8;
            break;
        }
        at += 8 + count + (count & 1);
    }
    if (!audio.samples || !audio.bytes || !audio.channels)
        stop("holds no audio", name);
    audio.length = count / (audio.bytes * audio.channels);
    if (audio.bits == 24)
        widen(&audio, name);
    return audio;
}

static void put(FILE *file, uint32_t value, int bytes) {
    while (bytes--) {
        fputc((int)(value & 255), file);
        value >>= 8;
    }
}

/* Refuse to write over a file. */
static void check_new(const char *name) {
    FILE *file = fopen(name, "r+b"); /* which waits for nobody, where it is a pipe */
    if (!file)
        return;
    fclose(file);
    stop("exists; name a new file", name);
}

static FILE *create(const char *name) {
    FILE *file;
    check_new(name);
    file = fopen(name, "wb");
    if (!file)
        stop("cannot be written", name);
    return file;
}

static void write_wav(const char *name, const wav *audio) {
    uint32_t frame = audio->bits / 8 * audio->channels;
    uint32_t size = (uint32_t)(audio->length * frame);
    size_t count = audio->length * audio->channels, k;
    FILE *file = create(name);
    fputs("RIFF", file);
    put(file, 36 + size + (size & 1), 4);
    fputs("WAVEfmt ", file);
    put(file, 16, 4);
    put(file, audio->bits == 32 ? 3 : 1, 2);
    put(file, audio->channels, 2);
    put(file, audio->sample_rate, 4);
    put(file, audio->sample_rate * frame, 4);
    put(file, frame, 2);
    put(file, audio->bits, 2);
    fputs("data", file);
    put(file, size, 4);
    for (k = 0; audio->bits == 24 && k < count; k++)
        put(file, (uint32_t)to_24_bits(((float *)audio->samples)[k]), 3);
    if (audio->bits != 24)
        fwrite(audio->samples, 1, size, file);
    put(file, 0, size & 1); /* chunks have an even length */
    k = (size_t)ferror(file);
    if (fclose(file) || k)
        stop("cannot be written", name);
}

/* Return the trace as text of 0s and 1s alone, for each packet one. */
static char *read_trace(const char *name, size_t packets) {
    size_t size, kept = 0, i;
    char *text = (char *)read_file(name, &size);
    for (i = 0; i < size; i++) {
        if (text[i] == '#')
            while (i + 1 < size && text[i + 1] != '\n')
                i++;
        else if (text[i] == '0' || text[i] == '1')
            text[kept++] = text[i];
        else if (!isspace((unsigned char)text[i]) && text[i] != ',')
            stop("is no trace", name);
    }
    text[kept] = 0;
    if (kept < packets)
        stop("has fewer packets than the audio", name);
    return text;
}

/* Return a number from 0 to 1, evenly distributed (xorshift64*, Vigna 2016). */
static double chance(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)(*state * 2685821657736338717u >> 11) / 9007199254740992.0;
}

/* Return a trace with a share of the packets lost, in bursts of a mean length: Gilbert's model. */
static char *lose(size_t packets, double share, double burst, uint64_t seed) {
    char *text = malloc(packets + 1);
    uint64_t state = seed * 2 + 1;
    double begin = share < 1.0 ? share / (burst * (1.0 - share)) : 1.0, end = 1.0 / burst;
    int lost = 0;
    size_t k;
    if (!text)
        stop("is too long", "the audio");
    if (share >= 1.0)
        end = 0.0;
    for (k = 0; k < 16; k++)
        chance(&state); /* a small seed needs a few turns */
    lost = chance(&state) < share;
    for (k = 0; k < packets; k++) {
        text[k] = lost ? '1' : '0';
        lost = chance(&state) < (lost ? 1.0 - end : begin);
    }
    text[packets] = 0;
    return text;
}

static void write_trace(const char *name, const char *trace) {
    FILE *file = create(name);
    if (fprintf(file, "%s\n", trace) < 0 || fclose(file))
        stop("cannot be written", name);
}

typedef struct settings {
    const char *in, *out, *trace, *write_trace, *models;
    double share, burst, work, limit_ms;
    uint64_t seed;
    uint32_t packet, lookahead, rung, processor, prepare, content;
} settings;

static void usage(void) {
    fprintf(stderr, "usage: conceal IN.wav OUT.wav (--trace FILE | --loss SHARE [--burst PACKETS] "
                    "[--seed N])\n"
                    "               [--write-trace FILE] [--packet SAMPLES] [--lookahead PACKETS]\n"
                    "               [--rung N] [--work N | --limit-ms MS] [--models FILE]\n"
                    "               [--content music|speech] [--prepare 1] "
                    "[--processor v2|v3|v4]\n");
    exit(2);
}

/* Return a number that is all of a text, in a range. */
static double real(const char *text, double least, double most) {
    char *end;
    double value = strtod(text, &end);
    if (*end == '%') {
        value /= 100.0;
        end++;
    }
    if (end == text || *end || !(value >= least && value <= most)) {
        fprintf(stderr, "conceal: %s is out of range: %g to %g\n", text, least, most);
        exit(2);
    }
    return value;
}

static settings read_settings(int count, char **given) {
    settings set = {.share = -1.0, .burst = 1.0, .processor = PLC_PROCESSOR_BEST};
    int i;
    for (i = 1; i < count; i++) {
        const char *name = given[i], *value = i + 1 < count ? given[i + 1] : NULL;
        if (strncmp(name, "--", 2)) {
            if (set.in && set.out)
                usage();
            *(set.in ? &set.out : &set.in) = name;
            continue;
        }
        if (!value)
            usage();
        i++;
        if (!strcmp(name, "--trace"))
            set.trace = value;
        else if (!strcmp(name, "--write-trace"))
            set.write_trace = value;
        else if (!strcmp(name, "--work"))
            set.work = real(value, 0.0, 1e6);
        else if (!strcmp(name, "--limit-ms"))
            set.limit_ms = real(value, 0.001, 1e6);
        else if (!strcmp(name, "--models"))
            set.models = value;
        else if (!strcmp(name, "--loss"))
            set.share = real(value, 0.0, 1.0);
        else if (!strcmp(name, "--burst"))
            set.burst = real(value, 1.0, 1e6);
        else if (!strcmp(name, "--seed"))
            set.seed = (uint64_t)real(value, 0.0, 1e15);
        else if (!strcmp(name, "--packet"))
            set.packet = (uint32_t)real(value, 1.0, 1e6);
        else if (!strcmp(name, "--lookahead"))
            set.lookahead = (uint32_t)real(value, 0.0, 1e6);
        else if (!strcmp(name, "--rung"))
            set.rung = (uint32_t)real(value, 0.0, 1e6);
        else if (!strcmp(name, "--content") && !strcmp(value, "music"))
            set.content = PLC_CONTENT_MUSIC;
        else if (!strcmp(name, "--content") && !strcmp(value, "speech"))
            set.content = PLC_CONTENT_SPEECH;
        else if (!strcmp(name, "--prepare"))
            set.prepare = (uint32_t)real(value, 0.0, 1.0);
        else if (!strcmp(name, "--processor") && value[0] == 'v')
            set.processor = (uint32_t)real(value + 1, 2.0, 4.0);
        else
            usage();
    }
    if (!set.out || (set.trace == NULL) == (set.share < 0.0))
        usage();
    return set;
}

/* Copy a packet's samples between the file's and `block`; what is beyond the file's end is 0. */
static void cut(const wav *audio, size_t begin, size_t packet, unsigned char *block) {
    size_t frame = audio->bytes * audio->channels;
    size_t here = audio->length - begin < packet ? audio->length - begin : packet;
    memset(block, 0, packet * frame);
    memcpy(block, audio->samples + begin * frame, here * frame);
}

static void paste(wav *audio, size_t begin, size_t samples, const unsigned char *block) {
    size_t frame = audio->bytes * audio->channels;
    if (begin >= audio->length)
        return;
    if (samples > audio->length - begin)
        samples = audio->length - begin;
    memcpy(audio->samples + begin * frame, block, samples * frame);
}

static void check(int64_t code, const char *call) {
    if (code < 0)
        stop(plc_error(code), call);
}

/* Return a model, or NULL if it is for other sample rates. */
static plc_model *load_model(const char *path, uint32_t sample_rate) {
    plc_model *model;
    check(plc_model_load(&model, path), path);
    if (plc_model_serves(model, sample_rate) == 1)
        return model;
    check(plc_model_close(model), path);
    return NULL;
}

static double cpu_ms(void) { return 1e3 * (double)clock() / CLOCKS_PER_SEC; }

/* Return the operations that this processor does in a time, as a stream of these options tells. */
static uint64_t work_in(double limit_ms, const plc_options *options) {
    double per_ms = 0.0;
    plc_stream *stream;
    check(plc_open(&stream, options), "plc_open");
    for (int k = 0; k < 3; k++) { /* the fastest counts: something else may have run meanwhile */
        double begin = cpu_ms(), done = (double)plc_calibrate(stream), spent = cpu_ms() - begin;
        if (spent > 0.0 && done / spent > per_ms)
            per_ms = done / spent;
    }
    check(plc_close(stream), "plc_close");
    return (uint64_t)(limit_ms * per_ms);
}

int main(int count, char **given) {
    settings set = read_settings(count, given);
    wav audio = read_wav(set.in);
    size_t frame = (size_t)audio.bytes * audio.channels;
    size_t packet = set.packet ? set.packet : audio.sample_rate / 100;
    size_t packets = (audio.length + packet - 1) / packet, delay, k;
    char *trace = set.trace ? read_trace(set.trace, packets)
                            : lose(packets, set.share, set.burst, set.seed);
    plc_model *model = set.models ? load_model(set.models, audio.sample_rate) : NULL;
    plc_counters counters;
    plc_options options;
    plc_stream *stream;
    unsigned char *block, *tail;

    check_new(set.out);
    if (set.write_trace)
        check_new(set.write_trace);
    plc_options_init(&options);
    options.sample_rate = audio.sample_rate;
    options.channels = audio.channels;
    options.packet_samples = (uint32_t)packet;
    options.format = audio.bytes == 2 ? PLC_INT16 : PLC_FLOAT32;
    options.lookahead = set.lookahead;
    options.rung = set.rung;
    options.processor = set.processor;
    options.model = model;
    options.content = set.content;
    options.work_limit = set.limit_ms > 0.0 ? work_in(set.limit_ms, &options)
                                             : (uint64_t)(1e6 * set.work);
    options.prepare = set.prepare;
    check(plc_open(&stream, &options), "plc_open");

    delay = (size_t)plc_delay(stream);
    block = malloc(packet * frame);
    tail = malloc(delay * frame + 1);
    if (!block || !tail)
        stop("is too long", "the packet");
    for (k = 0; k < packets; k++) {
        /* The output is behind the input, so that it can take the place of what was read. */
        cut(&audio, k * packet, packet, block);
        check(plc_push(stream, trace[k] == '1' ? NULL : block, block), "plc_push");
        if (set.prepare)
            check(plc_prepare(stream), "plc_prepare");
        if (k >= set.lookahead)
            paste(&audio, (k - set.lookahead) * packet, packet, block);
    }
    check(plc_flush(stream, tail, delay), "plc_flush");
    for (k = 0; k < set.lookahead; k++)
        if (packets + k >= set.lookahead)
            paste(&audio, (packets + k - set.lookahead) * packet, packet, tail + k * packet * frame);
    counters.struct_size = sizeof counters;
    check(plc_stats(stream, &counters), "plc_stats");
    write_wav(set.out, &audio);
    if (set.write_trace) {
        trace[packets] = 0;
        write_trace(set.write_trace, trace);
    }
    printf("%llu packets, %llu lost: %llu samples concealed in %llu bursts, by code for %s\n",
           (unsigned long long)counters.packets, (unsigned long long)counters.lost_packets,
           (unsigned long long)counters.concealed_samples,
           (unsigned long long)counters.concealment_events, plc_processor(stream));
    if (model)
        printf("%llu of them with a network\n", (unsigned long long)counters.network_samples);
    check(plc_close(stream), "plc_close");
    if (model)
        check(plc_model_close(model), "plc_model_close");
    return 0;
}
