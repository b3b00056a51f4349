/* The C side of libplc: checks what needs no engine, starts Python once, and hands over.
 *
 * The plc_python_* functions are plc/embed/calls.py. PLC_PYTHON_DEFAULT, the interpreter whose
 * packages are used, is set where this is compiled.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_ROOM 1024

static _Thread_local char error_text[ERROR_ROOM];
static char start_text[ERROR_ROOM];
static pthread_once_t started = PTHREAD_ONCE_INIT;

static int64_t plc_python_open(plc_options *options, char *error);
static int plc_python_push(int64_t stream, void *packet, void *out, char *error);
static int64_t plc_python_delay(int64_t stream, char *error);
static int64_t plc_python_flush(int64_t stream, void *out, uint64_t room, char *error);
static int plc_python_stats(int64_t stream, plc_counters *counters, char *error);
static int plc_python_close(int64_t stream, char *error);

static int fail(int code, const char *text) {
    snprintf(error_text, ERROR_ROOM, "%s", text);
    return code;
}

/* Start the interpreter of the virtual environment that this was built in, so that its packages,
 * cffi's own among them, are found; leave the process's signals, locale and environment alone. */
static void start_python(void) {
    const char *executable = getenv("PLC_PYTHON");
    PyPreConfig before;
    PyConfig config;
    PyStatus status;
    if (Py_IsInitialized())
        return; /* the process is a Python itself */
    PyPreConfig_InitIsolatedConfig(&before);
    before.utf8_mode = 1;
    status = Py_PreInitialize(&before);
    if (!PyStatus_Exception(status)) {
        PyConfig_InitIsolatedConfig(&config);
        status = PyConfig_SetBytesString(
            &config, &config.program_name, executable ? executable : PLC_PYTHON_DEFAULT);
        if (!PyStatus_Exception(status))
            status = Py_InitializeFromConfig(&config);
        PyConfig_Clear(&config);
    }
    if (PyStatus_Exception(status))
        snprintf(start_text, ERROR_ROOM, "Python cannot start: %s",
                 status.err_msg ? status.err_msg : "no reason given");
    else
        PyEval_SaveThread();
}

static int start(void) {
    pthread_once(&started, start_python);
    if (start_text[0])
        return fail(PLC_ERROR_START, start_text);
    if (cffi_start_python() != 0)
        return fail(PLC_ERROR_START, "the engine cannot be loaded; standard error says why");
    return 0;
}

static int is_aligned(const void *memory) { return (uintptr_t)memory % sizeof(float) == 0; }

/* No stream was opened, so there is none; and nothing needs to be started to say so. */
static int refuse(int64_t stream) {
    if (stream <= 0)
        return fail(PLC_ERROR_STREAM, "there is no such stream; plc_open returns one above 0");
    return start();
}

PLC_API void plc_options_init(plc_options *options) {
    if (!options)
        return;
    memset(options, 0, sizeof *options);
    options->struct_size = sizeof *options;
    options->sample_rate = 48000;
    options->channels = 1;
    options->packet_samples = 480;
    options->format = PLC_FLOAT32;
}

PLC_API int64_t plc_open(const plc_options *options) {
    int code;
    if (!options)
        return fail(PLC_ERROR_ARGUMENT, "options is NULL");
    if (options->struct_size != sizeof *options)
        return fail(PLC_ERROR_ARGUMENT,
                    "options.struct_size is not sizeof(plc_options); call plc_options_init first");
    code = start();
    return code ? code : plc_python_open((plc_options *)options, error_text);
}

PLC_API int plc_push(int64_t stream, const void *packet, void *out) {
    int code = refuse(stream);
    if (code)
        return code;
    if (!out)
        return fail(PLC_ERROR_ARGUMENT, "out is NULL");
    if (!is_aligned(packet) || !is_aligned(out))
        return fail(PLC_ERROR_ARGUMENT, "packet and out must be aligned to 4 bytes");
    return plc_python_push(stream, (void *)packet, out, error_text);
}

PLC_API int64_t plc_delay(int64_t stream) {
    int code = refuse(stream);
    return code ? code : plc_python_delay(stream, error_text);
}

PLC_API int64_t plc_flush(int64_t stream, void *out, size_t room) {
    int code = refuse(stream);
    if (code)
        return code;
    if (room && !out)
        return fail(PLC_ERROR_ARGUMENT, "out is NULL");
    return plc_python_flush(stream, out, room, error_text);
}

PLC_API int plc_stats(int64_t stream, plc_counters *counters) {
    int code = refuse(stream);
    if (code)
        return code;
    if (!counters || counters->struct_size != sizeof *counters)
        return fail(PLC_ERROR_ARGUMENT,
                    "counters is NULL, or its struct_size is not sizeof(plc_counters)");
    return plc_python_stats(stream, counters, error_text);
}

PLC_API int plc_close(int64_t stream) {
    int code = refuse(stream);
    return code ? code : plc_python_close(stream, error_text);
}

PLC_API const char *plc_error(void) { return error_text; }
