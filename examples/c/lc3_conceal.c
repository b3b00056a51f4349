/* Code a WAV file by LC3 (Debian's liblc3-dev 1.0.1), lose frames, conceal them by LC3 or libplc:
 *
 *   cc examples/c/lc3_conceal.c -o lc3_conceal -Ibuild -Lbuild -lplc -llc3 -Wl,-rpath,"$PWD/build"
 *   ./lc3_conceal in.wav lost.trace out.wav 10 lc3                     frames of 10 or 7.5 ms
 *   ./lc3_conceal in.wav lost.trace out.wav 7.5 plc2 models/all.plcm   two frames are waited for
 *
 * in.wav: mono, 16 bits, 8 to 48 kHz, coded by 2 bits a sample (48 kHz: 96 kb/s). lost.trace: 1 for
 * each lost frame, else 0. out.wav stands where in.wav does: all delay is taken out.
 */
#include <lc3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include "plc.h"

#define HEAD 44       /* bytes of a WAV file before its samples */
#define MOST 480      /* samples of a frame: 10 ms at 48 kHz */
#define STACK 0x40000 /* bytes below a call that are looked at */

static void fail(const char *what, const char *why) {
    fprintf(stderr, "lc3_conceal: %s: %s\n", what, why);
    exit(1);
}

/* Read a whole file, with zeros behind it. */
static char *read_file(const char *name, size_t *size) {
    FILE *file = fopen(name, "rb");
    char *data = NULL;
    long end = file && !fseek(file, 0, SEEK_END) ? ftell(file) : -1;
    if (end < 0 || !(data = calloc((size_t)end + HEAD, 1)) || fseek(file, 0, SEEK_SET) ||
        fread(data, 1, *size = (size_t)end, file) != (size_t)end)
        fail(name, "cannot be read");
    fclose(file);
    return data;
}

/* Fill the stack below, or return how much of it was written since: what a call needs. */
static __attribute__((noinline)) size_t stack(int is_filled) {
    volatile unsigned char below[STACK];
    size_t k;
    for (k = 0; !is_filled && k < STACK; k++)
        below[k] = 0xA5;
    for (k = 0; k < STACK && below[k] == 0xA5;)
        k++;
    return STACK - k;
}

int main(int count, char **given) {
    size_t size, n, length, frames, used, most = 0, lost = 0, kept = 0, k;
    char *wav, *trace, coded[LC3_MAX_FRAME_BYTES];
    int16_t *sound, *heard, played[MOST];
    int us, rate, bytes, is_lc3, is_lost, was_lost = 0, code = 0;
    double begin, ms = 0.0;
    plc_model *model = NULL;
    plc_options options;
    plc_stream *stream;
    if (count < 6 || count > 7)
        fail("usage", "lc3_conceal IN.wav TRACE OUT.wav 10|7.5 lc3|plc|plc1|plc2|plc3 [MODELS]");
    if (fopen(given[3], "r+b"))
        fail(given[3], "exists; name a new file");
    trace = read_file(given[2], &size);
    wav = read_file(given[1], &size);
    if (size < HEAD || memcmp(wav + 12, "fmt \20\0\0\0\1\0\1", 11) || memcmp(wav + 36, "data", 4))
        fail(given[1], "is no plain WAV file of one channel: sox IN.wav -b 16 -c 1 OUT.wav");
    memcpy(&rate, wav + 24, 4);
    us = (int)(1e3 * atof(given[4]));
    n = (size_t)lc3_frame_samples(us, rate);
    bytes = lc3_frame_bytes(us, 2 * rate);
    if (n > MOST || bytes < LC3_MIN_FRAME_BYTES || wav[34] != 16)
        fail(given[1], "LC3 takes 16, 24, 32, 48 kHz (10 ms: 8, too), 10 or 7.5 ms, here 16 bits");
    lc3_encoder_t encoder = lc3_setup_encoder(us, rate, 0, malloc(lc3_encoder_size(us, rate)));
    lc3_decoder_t decoder = lc3_setup_decoder(us, rate, 0, malloc(lc3_decoder_size(us, rate)));
    plc_options_init(&options);
    options.sample_rate = (uint32_t)rate;
    options.packet_samples = (uint32_t)n;
    options.format = PLC_INT16;
    is_lc3 = given[5][0] != 'p';
    options.lookahead = is_lc3 ? 0 : (uint32_t)atoi(given[5] + strspn(given[5], "plc"));
    if (count == 7 && (code = plc_model_load(&model, given[6])) < 0)
        fail(given[6], plc_error(code));
    options.model = model;
    if ((code = plc_open(&stream, &options)) < 0)
        fail(given[5], plc_error(code));
    for (k = 0; trace[k]; k++)
        if (trace[k] == '#') /* a comment, to the end of its line */
            k += strcspn(trace + k, "\n");
        else if (trace[k] == '0' || trace[k] == '1')
            trace[kept++] = trace[k];
    length = (size - HEAD) / 2;
    frames = (length + n - 1) / n < kept ? (length + n - 1) / n : kept;
    sound = calloc(length + 3 * MOST, sizeof *sound);
    heard = calloc(length + (options.lookahead + 3) * MOST, sizeof *heard);
    /* Led in by a frame less LC3's delay: frame k + 1 decodes to where frame k of the file is. */
    memcpy(sound + n - lc3_delay_samples(us, rate), wav + HEAD, 2 * length);
    int64_t broken[2] = {0, us == 7500 ? 23 * (int)n / 30 : 5 * (int)n / 8}; /* frames overlap */
    for (k = 0; k <= frames; k++, was_lost = is_lost) {
        lc3_encode(encoder, LC3_PCM_FORMAT_S16, sound + k * n, 1, bytes, coded);
        is_lost = k && trace[k - 1] == '1';
        stack(0);
        begin = (double)clock();
        lc3_decode(decoder, is_lost ? NULL : coded, bytes, LC3_PCM_FORMAT_S16, played, 1);
        if (!is_lc3) /* LC3's beginning behind a loss is made up, too, if more is waited for */
            plc_push_part(stream, is_lost ? NULL : played, broken,
                          options.lookahead > 1 && was_lost > is_lost, played);
        if (is_lost) {
            ms += 1e3 * ((double)clock() - begin) / CLOCKS_PER_SEC;
            most = (used = stack(1)) > most ? used : most;
            lost++;
        }
        memcpy(heard + k * n, played, 2 * n);
    }
    plc_flush(stream, heard + k * n, options.lookahead * n);
    memcpy(wav + HEAD, heard + (1 + options.lookahead) * n, 2 * length);
    FILE *file = fopen(given[3], "wb");
    if (!file || fwrite(wav, 1, size, file) != size || fclose(file))
        fail(given[3], "cannot be written");
    printf("%zu of %zu frames lost: %.3f ms of processor time each; stack %zu, state %zu bytes\n",
           lost, frames, ms / (double)(lost + !lost), most,
           is_lc3 ? lc3_decoder_size(us, rate) : (size_t)plc_size(&options));
    return 0;
}
