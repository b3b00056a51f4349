/* SPDX-License-Identifier: MIT */
/* libgstplc.so: the element plcconceal of GStreamer, on libplc. See docs/embedding.md.
 *
 * `sink` takes and `src` gives audio/x-raw, float32 or int16, interleaved. Every GAP event, which is
 * what rtpjitterbuffer do-lost=true, a depayloader or a demuxer makes of what is lost, becomes a
 * buffer; received buffers pass. A packet of the stream is as long as its first buffer, so that where
 * buffers are RTP packets, each is pushed as it comes, and nothing is held back. What does not come in
 * whole packets waits for its packet to fill up, and a packet with anything lost in it is lost:
 *
 *   buffers   |-----|-----|  gap  |-----|-----|        |---|-------|gap|--|
 *   packets   |-----|-----|-lost--|-----|-----|        |-----|-----|-lost-|
 *
 * As long as buffers come in whole packets, so do gaps: a jitter buffer estimates how long they are
 * from when packets come, and is a little off. A gap may be told twice, by `identity` that drops a
 * packet and by the jitter buffer that misses it: what has been filled is not filled again.
 *
 * What is behind a loss is known where the buffer that ends its packet goes on. With whole packets it
 * never is: the jitter buffer, which may hold the next one, pushes it only after the gap.
 */
#define _GNU_SOURCE /* dladdr */
#include <dlfcn.h>
#include <gst/gst.h>
#include <math.h>
#include <string.h>
#include <time.h>

#include "plc.h"

#define NAME "plcconceal"
#define MODELS "plc.plcm" /* beside the plugin: the networks of model=auto */
#define CAPS                                                                                \
    "audio/x-raw, format=(string){F32LE, S16LE}, layout=(string)interleaved, "               \
    "rate=(int)[8000, 192000], channels=(int)[1, 8]"
#define LEAST_MS 1.0
#define MOST_MS 120.0
#define USUAL_MS 10.0
#define MOST_LOOKAHEAD 2000
/* More than that is not filled at once; by then there is only falling noise left to play. */
#define LONGEST_GAP_S 5.0
#define CALIBRATIONS 3
#define UNLIMITED 1e15

enum { MODEL = 1, CONTENT, LOOKAHEAD, BUDGET, DETECT, INTERVAL, STATS };

static const char *const contents[] = {"auto", "music", "speech"};

typedef struct {
    GstElement element;
    GstPad *sink, *src;
    char *model_name, *content;
    gint lookahead, interval_ms;
    gdouble budget_ms;
    gboolean detect;

    plc_model *model;
    gdouble work_per_ms; /* of this processor; 0: not measured yet */
    plc_options options; /* of the caps; sample_rate 0: there were none */
    gsize frame;         /* bytes */
    plc_stream *stream;  /* from the first buffer on */
    guint8 *packet, *out;
    GstClockTime *stamps; /* of the packets that are not played yet: a ring of lookahead + 2 */
    guint first_stamp, stamped;
    guint skip;      /* packets of silence that the lookahead begins with */
    guint filled;    /* samples of the packet */
    gboolean spoilt; /* something of it is lost */
    gboolean held_back;  /* a buffer was once not whole packets */
    gboolean discont;    /* the next buffer is behind a break */
    GstClockTime next;   /* when what comes next is due */
    GstFlowReturn flow;  /* of what was pushed since it was asked last */
    guint64 posted;      /* samples played when the counters were posted last */
    plc_counters counters; /* under the object's lock */
} PlcConceal;

typedef struct {
    GstElementClass element;
} PlcConcealClass;

G_DEFINE_TYPE(PlcConceal, plc_conceal, GST_TYPE_ELEMENT)

static GstStaticPadTemplate sinks =
    GST_STATIC_PAD_TEMPLATE("sink", GST_PAD_SINK, GST_PAD_ALWAYS, GST_STATIC_CAPS(CAPS));
static GstStaticPadTemplate sources =
    GST_STATIC_PAD_TEMPLATE("src", GST_PAD_SRC, GST_PAD_ALWAYS, GST_STATIC_CAPS(CAPS));

static gboolean fail(PlcConceal *self, const char *what, const char *why) {
    GST_ELEMENT_ERROR(self, STREAM, FAILED, (NAME ": %s: %s", what, why), (NULL));
    return FALSE;
}

static gboolean check(PlcConceal *self, const char *what, gint64 code) {
    return code >= 0 || fail(self, what, plc_error(code));
}

/* ---- time ------------------------------------------------------------------------------------ */

static GstClockTime time_of(const PlcConceal *self, guint64 samples) {
    return gst_util_uint64_scale(samples, GST_SECOND, self->options.sample_rate);
}

static GstClockTime later(GstClockTime time, GstClockTime by) {
    return GST_CLOCK_TIME_IS_VALID(time) && by < GST_CLOCK_TIME_NONE - time ? time + by
                                                                           : GST_CLOCK_TIME_NONE;
}

static GstClockTime latency(const PlcConceal *self) {
    if (!self->stream)
        return 0;
    return time_of(self, (guint64)(self->options.lookahead + (self->held_back ? 1u : 0u)) *
                             self->options.packet_samples);
}

/* ---- counters -------------------------------------------------------------------------------- */

static GstStructure *stats(PlcConceal *self) {
    GstStructure *made;
    GST_OBJECT_LOCK(self);
    const plc_counters *c = &self->counters;
#define COUNTER(name) name, G_TYPE_UINT64
    made = gst_structure_new(
        NAME, COUNTER("total-samples-received"), c->total_samples_received,
        COUNTER("concealed-samples"), c->concealed_samples, COUNTER("silent-concealed-samples"),
        c->silent_concealed_samples, COUNTER("concealment-events"), c->concealment_events,
        COUNTER("packets"), c->packets, COUNTER("lost-packets"), c->lost_packets,
        COUNTER("invalid-packets"), c->invalid_packets, COUNTER("detected-dropouts"),
        c->detected_dropouts, COUNTER("network-samples"), c->network_samples,
        COUNTER("longest-burst-samples"), c->longest_burst_samples, NULL);
    GST_OBJECT_UNLOCK(self);
    return made;
}

static void post_stats(PlcConceal *self) {
    GstObject *object = GST_OBJECT(self);
    gst_element_post_message(GST_ELEMENT(self), gst_message_new_element(object, stats(self)));
}

static void post_now_and_then(PlcConceal *self) {
    guint64 played = self->counters.total_samples_received;
    guint64 apart = gst_util_uint64_scale((guint64)self->interval_ms, self->options.sample_rate, 1000);
    if (!apart || played - self->posted < apart)
        return;
    self->posted = played;
    post_stats(self);
}

static void count(PlcConceal *self) {
    plc_counters counters = {.struct_size = sizeof counters};
    plc_stats(self->stream, &counters);
    GST_OBJECT_LOCK(self);
    self->counters = counters;
    GST_OBJECT_UNLOCK(self);
}

/* ---- streams --------------------------------------------------------------------------------- */

static void close_stream(PlcConceal *self) {
    if (self->stream)
        plc_close(self->stream);
    self->stream = NULL;
    g_clear_pointer(&self->packet, g_free);
    g_clear_pointer(&self->out, g_free);
    g_clear_pointer(&self->stamps, g_free);
}

/* Be as new: nothing held, and the silence of the lookahead yet to come. */
static void begin(PlcConceal *self) {
    self->first_stamp = self->stamped = self->filled = 0;
    self->skip = self->options.lookahead;
    self->spoilt = FALSE;
    self->next = GST_CLOCK_TIME_NONE;
}

static double cpu_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1e3 * (double)now.tv_sec + 1e-6 * (double)now.tv_nsec;
}

/* Return the limit of work that stands for the budget on this processor; 0: none. */
static guint64 work_limit(PlcConceal *self) {
    plc_options options = self->options;
    plc_stream *tried = NULL;
    double budget_ms = self->budget_ms;
    if (budget_ms <= 0.0)
        budget_ms = 250.0 * options.packet_samples / options.sample_rate;
    options.work_limit = 0;
    if (self->work_per_ms <= 0.0 && plc_open(&tried, &options) >= 0) {
        for (int k = 0; k < CALIBRATIONS; k++) {
            double before = cpu_ms(), done = (double)plc_calibrate(tried);
            self->work_per_ms = fmax(self->work_per_ms, done / fmax(cpu_ms() - before, 1e-3));
        }
        plc_close(tried);
    }
    budget_ms *= self->work_per_ms;
    return budget_ms < UNLIMITED ? (guint64)fmax(budget_ms, 1.0) : 0;
}

/* Open a stream whose packets are as long as a buffer, if packets may be that long. */
static gboolean open_stream(PlcConceal *self, gsize samples) {
    plc_options *options = &self->options;
    double ms = 1e3 * (double)samples / options->sample_rate;
    gboolean fits = ms <= MOST_MS && (samples >= 32 || ms >= LEAST_MS);
    gsize bytes;
    options->packet_samples =
        fits ? (guint32)samples : (guint32)lrint(USUAL_MS * options->sample_rate / 1e3);
    options->work_limit = work_limit(self);
    if (!check(self, "the stream", plc_open(&self->stream, options)))
        return FALSE;
    bytes = options->packet_samples * self->frame;
    self->packet = g_malloc0(bytes);
    self->out = g_malloc(MAX(options->lookahead, 1) * bytes);
    self->stamps = g_new(GstClockTime, options->lookahead + 2);
    begin(self);
    return TRUE;
}

/* Take the caps of a stream; its first buffer says how long a packet is. */
static gboolean take_caps(PlcConceal *self, GstCaps *caps) {
    GstStructure *given = gst_caps_get_structure(caps, 0);
    const char *format = gst_structure_get_string(given, "format");
    plc_options *options = &self->options;
    gint rate = 0, channels = 0, content = 0;
    gboolean small = format && strcmp(format, "S16LE") == 0;
    close_stream(self);
    gst_structure_get_int(given, "rate", &rate);
    gst_structure_get_int(given, "channels", &channels);
    while (content < 3 && strcmp(self->content, contents[content]) != 0)
        content++;
    if (content == 3) {
        char *what = g_strdup_printf("content is '%s'", self->content);
        fail(self, what, "known: auto, music, speech");
        g_free(what);
        return FALSE;
    }
    plc_options_init(options);
    options->sample_rate = (guint32)rate;
    options->channels = (guint32)channels;
    options->packet_samples = (guint32)lrint(USUAL_MS * rate / 1e3);
    options->format = small ? PLC_INT16 : PLC_FLOAT32;
    options->lookahead = (guint32)self->lookahead;
    options->detect_dropouts = self->detect;
    options->content = (guint32)content;
    if (self->model && plc_model_serves(self->model, (guint32)rate) == 1)
        options->model = self->model;
    else if (self->model && strcmp(self->model_name, "auto") != 0)
        return check(self, self->model_name, PLC_ERROR_MODEL_RATE);
    self->frame = (gsize)channels * (small ? sizeof(gint16) : sizeof(gfloat));
    self->posted = 0;
    return TRUE;
}

/* ---- what is played -------------------------------------------------------------------------- */

static void push_samples(PlcConceal *self, const void *samples, gsize count) {
    GstBuffer *buffer;
    gsize bytes = count * self->frame;
    GstClockTime pts = self->stamps[self->first_stamp];
    self->first_stamp = (self->first_stamp + 1) % (self->options.lookahead + 2);
    self->stamped--;
    if (self->flow != GST_FLOW_OK)
        return;
    buffer = gst_buffer_new_memdup(samples, bytes);
    GST_BUFFER_PTS(buffer) = pts;
    GST_BUFFER_DURATION(buffer) = time_of(self, count);
    if (self->discont)
        GST_BUFFER_FLAG_SET(buffer, GST_BUFFER_FLAG_DISCONT);
    self->discont = FALSE;
    self->flow = gst_pad_push(self->src, buffer);
}

static void stamp(PlcConceal *self, GstClockTime pts, guint64 done) {
    guint place = (self->first_stamp + self->stamped++) % (self->options.lookahead + 2);
    GstClockTime base = GST_CLOCK_TIME_IS_VALID(pts) ? pts : self->next;
    self->stamps[place] = later(base, time_of(self, done));
}

/* Play a packet, NULL for a lost one, of which the first `count` samples are pushed; return its
 * flags. `same` is the buffer that it is all of, which passes where nothing of it was made up. */
static void play(PlcConceal *self, const void *packet, gsize count_of, GstBuffer *same) {
    int flags = plc_push(self->stream, packet, self->out);
    count(self);
    if (!check(self, "a packet", flags)) {
        self->flow = GST_FLOW_ERROR;
        return;
    }
    if (self->skip) {
        self->skip--;
    } else if (same && !flags && !self->options.lookahead && !self->held_back) {
        self->first_stamp = self->stamped = 0;
        if (self->flow == GST_FLOW_OK)
            self->flow = gst_pad_push(self->src, gst_buffer_ref(same));
    } else {
        push_samples(self, self->out, count_of);
    }
}

/* Add samples, lost ones if NULL; play each full packet. */
static void advance(PlcConceal *self, const guint8 *samples, guint64 count_of, GstClockTime pts,
                    GstBuffer *same) {
    gsize size = self->options.packet_samples;
    guint64 done = 0;
    while (done < count_of) {
        gsize taken = (gsize)MIN(size - self->filled, count_of - done);
        if (!self->filled) {
            self->spoilt = FALSE;
            stamp(self, pts, done);
        }
        if (samples)
            memcpy(self->packet + self->filled * self->frame, samples + done * self->frame,
                   taken * self->frame);
        else
            self->spoilt = TRUE;
        self->filled += (guint)taken;
        done += taken;
        if (self->filled == size) {
            self->filled = 0;
            if (self->spoilt && samples && done < count_of)
                plc_know(self->stream, samples + done * self->frame, count_of - done, 0);
            play(self, self->spoilt ? NULL : self->packet, size, count_of == size ? same : NULL);
        }
    }
    if (self->filled)
        self->held_back = TRUE;
    self->next = later(pts, time_of(self, count_of));
}

/* Push the samples held back, or drop them, and begin anew; a partial packet is cut short. */
static void drain(PlcConceal *self, gboolean dropped) {
    gsize size = self->options.packet_samples, short_of = self->filled, skip;
    gint64 tail;
    if (!self->stream)
        return;
    if (dropped)
        self->flow = GST_FLOW_FLUSHING;
    if (short_of) {
        gsize last = self->options.lookahead ? size : short_of;
        memset(self->packet + short_of * self->frame, 0, (size - short_of) * self->frame);
        play(self, self->spoilt ? NULL : self->packet, last, NULL);
    }
    /* A stream shorter than its lookahead has yet to play the silence that it began with. */
    skip = self->skip;
    tail = plc_flush(self->stream, self->out, MAX(self->options.lookahead, 1) * size);
    for (gint64 k = (gint64)(skip * size); k < tail; k += (gint64)size) {
        gboolean is_last = k + (gint64)size >= tail;
        push_samples(self, self->out + (gsize)k * self->frame,
                     is_last && short_of ? short_of : size);
    }
    begin(self);
}

static GstFlowReturn flow_of(PlcConceal *self) {
    GstFlowReturn flow = self->flow;
    self->flow = GST_FLOW_OK;
    return flow;
}

/* ---- what comes ------------------------------------------------------------------------------ */

static GstFlowReturn chain(GstPad *pad, GstObject *parent, GstBuffer *buffer) {
    PlcConceal *self = (PlcConceal *)parent;
    gboolean opens = !self->stream;
    GstClockTime before;
    GstMapInfo map;
    (void)pad;
    if (!self->options.sample_rate || !gst_buffer_map(buffer, &map, GST_MAP_READ)) {
        GstFlowReturn flow = self->options.sample_rate ? GST_FLOW_ERROR : GST_FLOW_NOT_NEGOTIATED;
        gst_buffer_unref(buffer);
        return flow;
    }
    before = latency(self);
    self->discont = GST_BUFFER_FLAG_IS_SET(buffer, GST_BUFFER_FLAG_DISCONT);
    if (map.size >= self->frame && (self->stream || open_stream(self, map.size / self->frame))) {
        gboolean whole = map.size % self->frame == 0;
        advance(self, map.data, map.size / self->frame, GST_BUFFER_PTS(buffer),
                whole ? buffer : NULL);
    } else if (map.size >= self->frame) {
        self->flow = GST_FLOW_ERROR;
    }
    gst_buffer_unmap(buffer, &map);
    gst_buffer_unref(buffer);
    if (self->stream && (opens || latency(self) != before)) {
        GstMessage *told = gst_message_new_latency(GST_OBJECT(self));
        gst_element_post_message(GST_ELEMENT(self), told);
    }
    post_now_and_then(self);
    return flow_of(self);
}

static gboolean take_gap(PlcConceal *self, GstEvent *event) {
    GstClockTime pts, lasts, from, rest;
    guint64 size = self->options.packet_samples, samples, filled;
    GstFlowReturn flow;
    gst_event_parse_gap(event, &pts, &lasts);
    gst_event_unref(event);
    if (!self->stream) { /* nothing has been heard that could go on */
        if (GST_CLOCK_TIME_IS_VALID(pts) && GST_CLOCK_TIME_IS_VALID(lasts) && lasts)
            gst_pad_push_event(self->src, gst_event_new_gap(pts, lasts));
        return TRUE;
    }
    from = pts;
    rest = lasts;
    if (GST_CLOCK_TIME_IS_VALID(pts) && GST_CLOCK_TIME_IS_VALID(lasts) &&
        GST_CLOCK_TIME_IS_VALID(self->next) && self->next > pts) {
        rest = lasts > self->next - pts ? lasts - (self->next - pts) : 0;
        from = self->next;
    }
    samples = size;
    if (GST_CLOCK_TIME_IS_VALID(lasts)) {
        double exact = (double)rest * self->options.sample_rate / GST_SECOND;
        samples = (guint64)(self->held_back ? rint(exact) : rint(exact / (double)size) * (double)size);
    }
    filled = MIN(samples,
                 size * (guint64)rint(LONGEST_GAP_S * self->options.sample_rate / (double)size));
    self->discont = FALSE;
    advance(self, NULL, filled, from, NULL);
    flow = flow_of(self);
    rest = time_of(self, samples - filled);
    if (samples > filled && GST_CLOCK_TIME_IS_VALID(pts)) {
        from = later(pts, lasts > rest ? lasts - rest : 0);
        if (GST_CLOCK_TIME_IS_VALID(from))
            gst_pad_push_event(self->src, gst_event_new_gap(from, rest));
    }
    post_now_and_then(self);
    return flow == GST_FLOW_OK || flow == GST_FLOW_FLUSHING || flow == GST_FLOW_EOS;
}

static gboolean sink_event(GstPad *pad, GstObject *parent, GstEvent *event) {
    PlcConceal *self = (PlcConceal *)parent;
    GstCaps *caps;
    switch (GST_EVENT_TYPE(event)) {
    case GST_EVENT_GAP:
        if (self->options.sample_rate)
            return take_gap(self, event);
        break;
    case GST_EVENT_EOS:
        drain(self, FALSE);
        flow_of(self);
        post_stats(self);
        break;
    case GST_EVENT_SEGMENT:
        drain(self, FALSE);
        flow_of(self);
        break;
    case GST_EVENT_FLUSH_STOP:
        drain(self, TRUE);
        flow_of(self);
        break;
    case GST_EVENT_CAPS:
        drain(self, FALSE);
        flow_of(self);
        gst_event_parse_caps(event, &caps);
        if (!take_caps(self, caps)) {
            self->options.sample_rate = 0;
            gst_event_unref(event);
            return FALSE;
        }
        break;
    default:
        break;
    }
    return gst_pad_event_default(pad, parent, event);
}

static gboolean source_query(GstPad *pad, GstObject *parent, GstQuery *query) {
    PlcConceal *self = (PlcConceal *)parent;
    GstClockTime least, most;
    gboolean live;
    if (GST_QUERY_TYPE(query) != GST_QUERY_LATENCY)
        return gst_pad_query_default(pad, parent, query);
    if (!gst_pad_peer_query(self->sink, query))
        return FALSE;
    gst_query_parse_latency(query, &live, &least, &most);
    gst_query_set_latency(query, live, least + latency(self), later(most, latency(self)));
    return TRUE;
}

/* ---- the element ----------------------------------------------------------------------------- */

/* Load the networks of model=auto, a file beside the plugin; none, if it is not there. */
static gboolean load_model(PlcConceal *self) {
    char *path = NULL, *folder;
    Dl_info here;
    int code = 0;
    if (strcmp(self->model_name, "ar") == 0)
        return TRUE;
    if (strcmp(self->model_name, "auto") != 0) {
        path = g_strdup(self->model_name);
    } else if (dladdr((void *)load_model, &here) && here.dli_fname) {
        folder = g_path_get_dirname(here.dli_fname);
        path = g_build_filename(folder, MODELS, NULL);
        g_free(folder);
        if (!g_file_test(path, G_FILE_TEST_EXISTS))
            g_clear_pointer(&path, g_free);
    }
    if (path && (code = plc_model_load(&self->model, path)) < 0) {
        self->model = NULL;
        fail(self, path, plc_error(code));
    }
    g_free(path);
    return code >= 0;
}

static void unload_model(PlcConceal *self) {
    if (self->model)
        plc_model_close(self->model);
    self->model = NULL;
}

static GstStateChangeReturn change_state(GstElement *element, GstStateChange change) {
    PlcConceal *self = (PlcConceal *)element;
    GstStateChangeReturn result;
    if (change == GST_STATE_CHANGE_NULL_TO_READY && !load_model(self))
        return GST_STATE_CHANGE_FAILURE;
    result = GST_ELEMENT_CLASS(plc_conceal_parent_class)->change_state(element, change);
    if (change == GST_STATE_CHANGE_PAUSED_TO_READY) {
        close_stream(self);
        self->options.sample_rate = 0;
    } else if (change == GST_STATE_CHANGE_READY_TO_NULL) {
        unload_model(self);
    }
    return result;
}

static void take_text(char **place, const GValue *value) {
    const char *text = g_value_get_string(value);
    g_free(*place);
    *place = g_strdup(text && *text ? text : "auto");
}

static void set_property(GObject *object, guint id, const GValue *value, GParamSpec *spec) {
    PlcConceal *self = (PlcConceal *)object;
    switch (id) {
    case MODEL:
        take_text(&self->model_name, value);
        break;
    case CONTENT:
        take_text(&self->content, value);
        break;
    case LOOKAHEAD:
        self->lookahead = g_value_get_int(value);
        break;
    case BUDGET:
        self->budget_ms = g_value_get_double(value);
        break;
    case DETECT:
        self->detect = g_value_get_boolean(value);
        break;
    case INTERVAL:
        self->interval_ms = g_value_get_int(value);
        break;
    default:
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
}

static void get_property(GObject *object, guint id, GValue *value, GParamSpec *spec) {
    PlcConceal *self = (PlcConceal *)object;
    switch (id) {
    case MODEL:
        g_value_set_string(value, self->model_name);
        break;
    case CONTENT:
        g_value_set_string(value, self->content);
        break;
    case LOOKAHEAD:
        g_value_set_int(value, self->lookahead);
        break;
    case BUDGET:
        g_value_set_double(value, self->budget_ms);
        break;
    case DETECT:
        g_value_set_boolean(value, self->detect);
        break;
    case INTERVAL:
        g_value_set_int(value, self->interval_ms);
        break;
    case STATS:
        g_value_take_boxed(value, stats(self));
        break;
    default:
        G_OBJECT_WARN_INVALID_PROPERTY_ID(object, id, spec);
    }
}

static void finalize(GObject *object) {
    PlcConceal *self = (PlcConceal *)object;
    close_stream(self);
    unload_model(self);
    g_free(self->model_name);
    g_free(self->content);
    G_OBJECT_CLASS(plc_conceal_parent_class)->finalize(object);
}

static void plc_conceal_init(PlcConceal *self) {
    self->model_name = g_strdup("auto");
    self->content = g_strdup("auto");
    self->next = GST_CLOCK_TIME_NONE;
    self->sink = gst_pad_new_from_static_template(&sinks, "sink");
    gst_pad_set_chain_function(self->sink, chain);
    gst_pad_set_event_function(self->sink, sink_event);
    GST_PAD_SET_PROXY_CAPS(self->sink);
    gst_element_add_pad(GST_ELEMENT(self), self->sink);
    self->src = gst_pad_new_from_static_template(&sources, "src");
    gst_pad_set_query_function(self->src, source_query);
    GST_PAD_SET_PROXY_CAPS(self->src);
    gst_element_add_pad(GST_ELEMENT(self), self->src);
}

static void plc_conceal_class_init(PlcConcealClass *kind) {
    const GParamFlags set = G_PARAM_READWRITE | G_PARAM_STATIC_STRINGS;
    GObjectClass *object = G_OBJECT_CLASS(kind);
    GstElementClass *element = GST_ELEMENT_CLASS(kind);
    object->set_property = set_property;
    object->get_property = get_property;
    object->finalize = finalize;
    element->change_state = change_state;
    g_object_class_install_property(
        object, MODEL,
        g_param_spec_string("model", "Model",
                            "Networks: auto (" MODELS " beside the plugin), ar (none), or a file that "
                            "\"plc c models\" writes",
                            "auto", set));
    g_object_class_install_property(
        object, CONTENT,
        g_param_spec_string("content", "Content",
                            "What plays, if you know it: auto (heard from the sound), music or speech",
                            "auto", set));
    g_object_class_install_property(
        object, LOOKAHEAD,
        g_param_spec_int("lookahead", "Lookahead", "Packets to wait for the far side of a gap", 0,
                         MOST_LOOKAHEAD, 0, set));
    g_object_class_install_property(
        object, BUDGET,
        g_param_spec_double("budget-ms", "Budget",
                            "Time that concealing a packet may take, in ms; 0: a quarter of the packet",
                            0.0, 1e9, 0.0, set));
    g_object_class_install_property(
        object, DETECT,
        g_param_spec_boolean("detect-dropouts", "Detect dropouts",
                             "Also conceal cut-off, stuck or repeated sound inside received buffers",
                             FALSE, set));
    g_object_class_install_property(
        object, INTERVAL,
        g_param_spec_int("stats-interval", "Interval of the statistics",
                         "Post a message after so many ms of audio; 0: only at the end", 0, 3600000,
                         0, set));
    g_object_class_install_property(
        object, STATS,
        g_param_spec_boxed("stats", "Statistics", "Counters of the stream", GST_TYPE_STRUCTURE,
                           G_PARAM_READABLE | G_PARAM_STATIC_STRINGS));
    gst_element_class_add_static_pad_template(element, &sinks);
    gst_element_class_add_static_pad_template(element, &sources);
    gst_element_class_set_static_metadata(
        element, "Packet-loss concealer", "Filter/Effect/Audio",
        "Fill gaps of music and speech by linear prediction and networks", "The plc authors");
}

static gboolean plugin_init(GstPlugin *plugin) {
    return gst_element_register(plugin, NAME, GST_RANK_NONE, plc_conceal_get_type());
}

#define PACKAGE "plc"
GST_PLUGIN_DEFINE(GST_VERSION_MAJOR, GST_VERSION_MINOR, plc, "Packet-loss concealment", plugin_init,
                  PLC_VERSION, "MIT/X11", "plc", "plc-engine")
