/* Receive RTP (L16 or PCMU, mono), conceal what is late or lost, and write what is played:
 *
 *   ./receiver 5004 heard.wav --rate 48000                L16, as plc send and ffmpeg send it
 *   ./receiver 5004 heard.wav --codec pcmu --rate 8000    telephony
 *   ./receiver 5004 - --rate 48000 | aplay -f S16_LE -r 48000     16 bits, as they are played
 *
 * Build: cc examples/c/receiver.c -o receiver -Ibuild -Lbuild -lplc -Wl,-rpath,"$PWD/build"
 * It ends 3 s after the last packet. POSIX; see docs/embedding.md.
 */
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "plc.h"

#define TICK_MS 10
#define QUIET_MS 3000
#define MOST_SAMPLES 32768 /* more than a datagram has */

static volatile sig_atomic_t is_over;

static void stop(int number) {
    (void)number;
    is_over = 1;
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int fail(const char *what, const char *why) {
    fprintf(stderr, "receiver: %s: %s\n", what, why);
    return 1;
}

/* Take an RTP packet (RFC 3550, section 5.1) in, unless it is none; return whether it was one. The
 * first packet's payload type and source count: programs that may change both look further. */
static int take(plc_receiver *receiver, const uint8_t *data, size_t size, int is_mulaw) {
    static int64_t at; /* the time stamp, unwrapped */
    static int has_begun;
    static uint8_t type, source[4];
    int16_t samples[MOST_SAMPLES];
    size_t begin = 12 + 4 * (size_t)(data[0] & 15), count, i;
    uint32_t stamp;
    if (size < begin || data[0] >> 6 != 2 || (data[1] & 127u) - 64 < 32)
        return 0; /* another version, or RTCP (RFC 5761) */
    if (data[0] & 16) /* an extension */
        begin += size < begin + 4 ? size : 4 + 4 * (size_t)(data[begin + 2] << 8 | data[begin + 3]);
    if (data[0] & 32) /* padding */
        size -= data[size - 1] < size ? data[size - 1] : size;
    if (size <= begin || (has_begun && ((data[1] & 127) != type || memcmp(data + 8, source, 4))))
        return 0;
    type = data[1] & 127;
    memcpy(source, data + 8, sizeof source);
    stamp = (uint32_t)data[4] << 24 | (uint32_t)data[5] << 16 | (uint32_t)data[6] << 8 | data[7];
    at = has_begun ? at + (int32_t)(stamp - (uint32_t)at) : stamp;
    has_begun = 1;
    data += begin;
    count = (size - begin) / (is_mulaw ? 1 : 2);
    if (is_mulaw)
        return plc_receive(receiver, data, count, at) >= 0;
    count = count < MOST_SAMPLES ? count : MOST_SAMPLES;
    for (i = 0; i < count; i++) /* RFC 3551, section 4.5.11: the high byte comes first */
        samples[i] = (int16_t)(data[2 * i] << 8 | data[2 * i + 1]);
    return plc_receive(receiver, samples, count, at) >= 0;
}

/* Write the head of a WAV file of `bytes` of samples, little-endian as they are. */
static void write_head(FILE *file, uint32_t rate, uint32_t each, uint32_t bytes) {
    uint32_t words[11] = {0x46464952, 36 + bytes, 0x45564157, 0x20746d66, 16,   0,
                          rate,       rate * each, 0,          0x61746164, bytes};
    words[5] = 1u << 16 | (each == 1 ? 7 : 1); /* a channel; G.711 µ-law, or integers */
    words[8] = 8 * each << 16 | each;
    fwrite(words, sizeof *words, 11, file);
}

int main(int count, char **given) {
    struct sockaddr_in here = {.sin_family = AF_INET};
    plc_options options;
    plc_receiver_counters now = {.struct_size = sizeof now}, counters = now;
    plc_receiver *receiver;
    int k, code, is_mulaw = 0, socket_, has_come = 0;
    uint32_t bytes = 0, end = 0, each, tick; /* written; up to the last sound that came */
    int64_t heard_ms, begun_ms, ticks = 0;
    uint8_t data[1 << 16], *out;
    FILE *file;
    plc_options_init(&options);
    for (k = 3; k + 1 < count; k += 2) {
        if (!strcmp(given[k], "--codec") && !strcmp(given[k + 1], "pcmu"))
            is_mulaw = 1;
        else if (!strcmp(given[k], "--codec") && !strcmp(given[k + 1], "l16"))
            is_mulaw = 0;
        else if (!strcmp(given[k], "--rate"))
            options.sample_rate = (uint32_t)atoi(given[k + 1]);
        else
            break;
    }
    if (count < 3 || k != count || atoi(given[1]) < 1 || atoi(given[1]) > 65535)
        return fail("usage", "receiver PORT OUT.wav|- [--codec l16|pcmu] [--rate HZ]");
    options.format = is_mulaw ? PLC_MULAW : PLC_INT16;
    options.packet_samples = tick = options.sample_rate * TICK_MS / 1000;
    each = is_mulaw ? 1 : 2;
    if ((code = plc_receiver_open(&receiver, &options, NULL)) < 0)
        return fail("cannot open a receiver", plc_error(code));
    here.sin_port = htons((uint16_t)atoi(given[1]));
    socket_ = socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(socket_, (struct sockaddr *)&here, sizeof here))
        return fail(given[1], "this port cannot be opened");
    file = strcmp(given[2], "-") ? fopen(given[2], "wbx") : stdout; /* no file is replaced */
    if (!file || !(out = malloc(tick * each)))
        return fail(given[2], "cannot be written, or is there already");
    if (file != stdout)
        write_head(file, options.sample_rate, each, 0);
    signal(SIGINT, stop);
    signal(SIGTERM, stop);
    begun_ms = heard_ms = now_ms();
    while (!is_over && (!has_come || now_ms() - heard_ms < QUIET_MS)) {
        struct pollfd wait = {socket_, POLLIN, 0};
        int64_t left_ms = begun_ms + ticks * 1000 * tick / options.sample_rate - now_ms();
        if (left_ms > 0 && poll(&wait, 1, (int)left_ms) > 0) {
            ssize_t size = recv(socket_, data, sizeof data, 0);
            if (size >= 12 && take(receiver, data, (size_t)size, is_mulaw)) {
                has_come = 1;
                heard_ms = now_ms();
            }
            continue;
        }
        if (left_ms > 0)
            continue; /* by a signal */
        ticks++;
        if (plc_play(receiver, out, tick, NULL) >= 0 && has_come)
            bytes += (uint32_t)fwrite(out, 1, tick * each, file);
        fflush(file);
        plc_receiver_stats(receiver, &now);
        if (now.waiting_samples) { /* what is made up behind the last packet does not count */
            counters = now;
            end = bytes + (uint32_t)now.waiting_samples * each;
        }
    }
    fprintf(stderr, "received %.2f s; made up: late %.2f s, lost %.2f s, unsent %.2f s\n",
            (double)counters.received_samples / options.sample_rate,
            (double)counters.late_samples / options.sample_rate,
            (double)counters.lost_samples / options.sample_rate,
            (double)counters.unsent_samples / options.sample_rate);
    end = end < bytes ? end : bytes;
    if (file != stdout && !fseek(file, 0, SEEK_SET) && !ftruncate(fileno(file), 44 + end))
        write_head(file, options.sample_rate, each, end);
    free(out);
    close(socket_);
    return fclose(file) || plc_receiver_close(receiver);
}
