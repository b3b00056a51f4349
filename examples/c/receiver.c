/* Receive RTP (L16 or PCMU, mono), conceal what is late or lost, and write what is played:
 *
 *   ./receiver 5004 heard.wav --rate 48000                L16, as plc send and ffmpeg send it
 *   ./receiver 5004 heard.wav --codec pcmu --rate 8000    telephony
 *   ./receiver 5004 - --rate 48000 | aplay -f S16_LE -r 48000     16 bits, as they are played
 *
 * Build: cc examples/c/receiver.c -o receiver -Ibuild -Lbuild -lplc -Wl,-rpath,"$PWD/build"
 * (on Windows: -lplc -lws2_32). It ends 3 s after the last packet; see docs/embedding.md.
 */
#define _POSIX_C_SOURCE 200809L /* with -std=c99, too: poll, clock_gettime, ftruncate */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "plc.h"

#ifdef _WIN32
#include <fcntl.h>
#include <winsock2.h>
#define poll WSAPoll
static int64_t now_ms(void) {
    LARGE_INTEGER now, rate;
    QueryPerformanceFrequency(&rate);
    QueryPerformanceCounter(&now);
    return now.QuadPart * 1000 / rate.QuadPart;
}
#else
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
#endif

enum { TICK_MS = 10, END_MS = 3000, QUIET_MS = 100, STEP_MOST = 3, SOURCES = 4 };
static volatile sig_atomic_t is_over;
static void stop(int number) { is_over = number; }

static int fail(const char *what, const char *why) {
    fprintf(stderr, "receiver: %s: %s\n", what, why);
    return 1;
}

/* Play the sound of an RTP packet (RFC 3550, section 5.1); `is_first`: of another source. */
static int play(plc_receiver *receiver, const uint8_t *data, size_t size, int is_mulaw,
                int is_first) {
    static int64_t at, next;      /* the time stamp, unwrapped; the end of the newest packet */
    int16_t samples[1 << 15];     /* more than a datagram has */
    size_t first = 12 + 4 * (size_t)(data[0] & 15), count, i;
    uint32_t stamp = (uint32_t)data[4] << 24 | data[5] << 16 | data[6] << 8 | data[7];
    static uint32_t before;
    if (data[0] & 16) /* an extension */
        first += size < first + 4 ? size : 4 + 4 * (size_t)(data[first + 2] << 8 | data[first + 3]);
    if (data[0] & 32) /* padding */
        size -= data[size - 1] < size ? data[size - 1] : size;
    if (size <= first)
        return 0;
    at = is_first ? next : at + (int32_t)(stamp - before);
    before = stamp;
    data += first;
    count = (size - first) / (is_mulaw ? 1 : 2);
    next = at + (int64_t)count;
    for (i = 0; !is_mulaw && i < count; i++) /* RFC 3551, section 4.5.11: the high byte comes first */
        samples[i] = (int16_t)(data[2 * i] << 8 | data[2 * i + 1]);
    return plc_receive(receiver, is_mulaw ? (const void *)data : samples, count, at) >= 0;
}

/* Take an RTP packet in, unless it is none; return whether it is played. A source is believed after
 * two packets next to each other, which are both played, and while no other one has been heard for
 * QUIET_MS. Packets of another payload type than its first are no sound (DTMF, comfort noise). */
static int take(plc_receiver *receiver, const uint8_t *data, size_t size, int is_mulaw) {
    static struct {
        uint8_t data[1 << 16]; /* the newest packet of a source that is not believed */
        size_t size;
    } waiting[SOURCES];
    static uint8_t source[4];
    static int type = -1, oldest;
    static int64_t heard_ms;
    int k, step;
    if (size < 12 + 4 * (size_t)(data[0] & 15) || data[0] >> 6 != 2 || (data[1] & 127u) - 64 < 32)
        return 0; /* another version, or RTCP (RFC 5761) */
    if (type < 0 || memcmp(data + 8, source, 4)) {
        for (k = 0; k < SOURCES && memcmp(waiting[k].data + 8, data + 8, 4);)
            k++;
        if (k == SOURCES)
            waiting[k = oldest++ % SOURCES].size = 0;
        step = (int16_t)((data[2] << 8 | data[3]) - (waiting[k].data[2] << 8 | waiting[k].data[3]));
        if (!waiting[k].size || !step || abs(step) > STEP_MOST ||
            (type >= 0 && now_ms() - heard_ms < QUIET_MS)) {
            memcpy(waiting[k].data, data, waiting[k].size = size);
            return 0;
        }
        memcpy(source, data + 8, 4);
        type = data[1] & 127;
        play(receiver, waiting[k].data, waiting[k].size, is_mulaw, 1);
        waiting[k].size = 0;
    }
    if ((data[1] & 127) != type)
        return 0;
    heard_ms = now_ms();
    return play(receiver, data, size, is_mulaw, 0);
}

/* Write the head of a WAV file of `bytes` of samples, little-endian as they are. */
static void write_head(FILE *file, uint32_t rate, uint32_t each, uint32_t bytes) {
    uint32_t coding = each == 1 ? 7 : 1, channels = 1; /* G.711 µ-law, or integers */
    uint32_t words[11] = {0x46464952, 36 + bytes, 0x45564157, 0x20746d66, 16, channels << 16 | coding,
                          rate, rate * each, 8 * each << 16 | each, 0x61746164, bytes};
    fwrite(words, sizeof *words, 11, file);
}

int main(int count, char **given) {
    struct sockaddr_in here = {.sin_family = AF_INET};
    plc_options options;
    plc_receiver_counters now = {.struct_size = sizeof now}, counters = now;
    plc_receiver *receiver;
    int k, code, is_mulaw = 0, socket_;
    uint32_t bytes = 0, end = 0, each, tick; /* written; up to the last sound that came */
    int64_t heard_ms = 0;
    uint8_t data[1 << 16];
    FILE *file;
#ifdef _WIN32
    WSADATA about;
    WSAStartup(MAKEWORD(2, 2), &about);
    _setmode(1, _O_BINARY);
#endif
    plc_options_init(&options);
    for (k = 3; k + 1 < count; k += 2) {
        if (!strcmp(given[k], "--rate"))
            options.sample_rate = (uint32_t)atoi(given[k + 1]);
        else if (!strcmp(given[k], "--codec") && !strcmp(given[k + 1], "pcmu"))
            is_mulaw = 1;
        else if (strcmp(given[k], "--codec") || strcmp(given[k + 1], "l16"))
            break;
    }
    if (count < 3 || k != count || atoi(given[1]) < 1 || atoi(given[1]) > 65535)
        return fail("usage", "receiver PORT OUT.wav|- [--codec l16|pcmu] [--rate HZ]");
    double rate = options.sample_rate;
    options.format = is_mulaw ? PLC_MULAW : PLC_INT16;
    options.packet_samples = tick = options.sample_rate * TICK_MS / 1000;
    each = is_mulaw ? 1 : 2;
    if ((code = plc_receiver_open(&receiver, &options, NULL)) < 0)
        return fail("cannot open a receiver", plc_error(code));
    here.sin_port = htons((uint16_t)atoi(given[1]));
    socket_ = (int)socket(AF_INET, SOCK_DGRAM, 0);
    if (bind(socket_, (struct sockaddr *)&here, sizeof here))
        return fail(given[1], "this port cannot be opened");
    file = !strcmp(given[2], "-") ? stdout : access(given[2], F_OK) ? fopen(given[2], "wb") : NULL;
    if (!file)
        return fail(given[2], "cannot be written, or is there already");
    if (file != stdout)
        write_head(file, options.sample_rate, each, 0);
    signal(SIGINT, stop);
    double next_ms = (double)now_ms(); /* when the next tick is played */
    while (!is_over && (!heard_ms || now_ms() - heard_ms < END_MS)) {
        struct pollfd wait = {.fd = socket_, .events = POLLIN};
        int left_ms = (int)(next_ms - (double)now_ms());
        if (poll(&wait, 1, left_ms > 0 ? left_ms : 0) > 0) {
            int size = (int)recv(socket_, (char *)data, sizeof data, 0);
            if (size >= 12 && take(receiver, data, (size_t)size, is_mulaw))
                heard_ms = now_ms();
        }
        if (left_ms > 0)
            continue;
        next_ms += 1000.0 * tick / rate;
        if (plc_play(receiver, data, tick, NULL) >= 0 && heard_ms)
            bytes += (uint32_t)fwrite(data, 1, tick * each, file);
        fflush(file);
        plc_receiver_stats(receiver, &now);
        if (now.waiting_samples) { /* what is made up behind the last packet does not count */
            counters = now;
            end = bytes + (uint32_t)now.waiting_samples * each;
        }
    }
    fprintf(stderr, "received %.2f s; made up: late %.2f s, lost %.2f s, unsent %.2f s\n",
            (double)counters.received_samples / rate, (double)counters.late_samples / rate,
            (double)counters.lost_samples / rate, (double)counters.unsent_samples / rate);
    end = end < bytes ? end : bytes;
    if (file != stdout && !fseek(file, 0, SEEK_SET) && !ftruncate(fileno(file), 44 + end))
        write_head(file, options.sample_rate, each, end);
    return fclose(file) || plc_receiver_close(receiver);
}
