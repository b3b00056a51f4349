/* Conceal the lost packets of a WAV file with libplc.
 *
 *   plc c build --out build
 *   cc conceal.c -o conceal -Ibuild -Lbuild -lplc -Wl,-rpath,$PWD/build
 *   ./conceal damaged.wav lost.trace concealed.wav
 *
 * The WAV file is 16-bit integer or 32-bit float, the trace a text file with a 1 for each lost
 * packet and a 0 for each other one; "# ..." is a comment. A fourth argument is the packet's
 * length in samples (10 ms if there is none), a fifth the model ("ar": no network).
 */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "plc.h"

typedef struct wav {
    uint32_t sample_rate, channels, bytes; /* bytes of a sample */
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

static wav read_wav(const char *name) {
    size_t size, at = 12, count = 0;
    unsigned char *file = read_file(name, &size);
    wav audio = {0, 0, 0, NULL, 0};
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
            audio.bytes = number(chunk + 22, 2) / 8;
            if (!((tag == 1 && audio.bytes == 2) || (tag == 3 && audio.bytes == 4)))
                stop("is neither 16-bit integer nor 32-bit float", name);
        } else if (!memcmp(chunk, "data", 4)) {
            audio.samples = file + at + 8;
            break;
        }
        at += 8 + count + (count & 1);
    }
    if (!audio.samples || !audio.bytes || !audio.channels)
        stop("holds no audio", name);
    audio.length = count / (audio.bytes * audio.channels);
    return audio;
}

static void put(FILE *file, uint32_t value, int bytes) {
    while (bytes--) {
        fputc((int)(value & 255), file);
        value >>= 8;
    }
}

static void write_wav(const char *name, const wav *audio) {
    uint32_t frame = audio->bytes * audio->channels;
    uint32_t size = (uint32_t)(audio->length * frame);
    FILE *file = fopen(name, "wb");
    if (!file)
        stop("cannot be written", name);
    fputs("RIFF", file);
    put(file, 36 + size, 4);
    fputs("WAVEfmt ", file);
    put(file, 16, 4);
    put(file, audio->bytes == 2 ? 1 : 3, 2);
    put(file, audio->channels, 2);
    put(file, audio->sample_rate, 4);
    put(file, audio->sample_rate * frame, 4);
    put(file, frame, 2);
    put(file, 8 * audio->bytes, 2);
    fputs("data", file);
    put(file, size, 4);
    if (fwrite(audio->samples, 1, size, file) != size || fclose(file))
        stop("cannot be written", name);
}

/* Return the trace as text of 0s and 1s alone. */
static char *read_trace(const char *name) {
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
    return text;
}

int main(int count, char **given) {
    plc_options options;
    plc_counters counters;
    wav audio;
    char *trace;
    size_t packet, packets, frame, k;
    unsigned char *block;
    int64_t stream;

    if (count < 4) {
        fprintf(stderr, "usage: conceal IN.wav TRACE OUT.wav [PACKET_SAMPLES [MODEL]]\n");
        return 2;
    }
    audio = read_wav(given[1]);
    trace = read_trace(given[2]);
    frame = (size_t)audio.bytes * audio.channels;

    plc_options_init(&options);
    options.sample_rate = audio.sample_rate;
    options.channels = audio.channels;
    options.packet_samples = count > 4 ? (uint32_t)atoi(given[4]) : audio.sample_rate / 100;
    options.format = audio.bytes == 2 ? PLC_INT16 : PLC_FLOAT32;
    options.budget_ms = INFINITY; /* a file has time */
    options.model = count > 5 ? given[5] : NULL;
    stream = plc_open(&options);
    if (stream <= 0)
        stop(plc_error(), "plc_open");

    packet = options.packet_samples;
    packets = (audio.length + packet - 1) / packet;
    if (strlen(trace) < packets)
        stop("has fewer packets than the audio", given[2]);
    block = malloc(packet * frame);
    for (k = 0; k < packets; k++) {
        size_t begin = k * packet;
        size_t here = audio.length - begin < packet ? audio.length - begin : packet;
        memset(block, 0, packet * frame);
        memcpy(block, audio.samples + begin * frame, here * frame);
        if (plc_push(stream, trace[k] == '1' ? NULL : block, block) < 0)
            stop(plc_error(), "plc_push");
        memcpy(audio.samples + begin * frame, block, here * frame);
    }
    counters.struct_size = sizeof counters;
    if (plc_stats(stream, &counters))
        stop(plc_error(), "plc_stats");
    plc_close(stream);
    write_wav(given[3], &audio);
    printf("%llu packets, %llu lost: %llu samples concealed in %llu bursts\n",
           (unsigned long long)counters.packets, (unsigned long long)counters.lost_packets,
           (unsigned long long)counters.concealed_samples,
           (unsigned long long)counters.concealment_events);
    return 0;
}
