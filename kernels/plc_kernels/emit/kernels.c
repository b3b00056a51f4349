/* Kernels as functions of Python, without numba: one for each name in kernels.h, which says of what
   types their arguments are. Arguments become 64-bit words, an array its address, extents and
   strides in bytes, a tuple what is in it; the kernel's entry makes numba's of them and writes its
   result over them. Arrays and numbers of other types are refused with TypeError. */

#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>
#include <stdint.h>
#include <string.h>

typedef int64_t (*Run)(int64_t *words);

typedef struct {
    const char *name;
    const char *takes; /* by argument: see take(); a tuple stands in brackets */
    const char *gives; /* one of give() */
} Entry;

#include "kernels.h" /* PLCK_SOURCES, PLCK_LEVELS(X), PLCK_ENTRIES(X) */

#define ENTRY(name, takes, gives) {name, takes, gives},
static const Entry ENTRIES[] = {PLCK_ENTRIES(ENTRY)};
enum { COUNT = sizeof ENTRIES / sizeof *ENTRIES };

#define DECLARE(level, test, shown) PLCK_FUNCTIONS_##level(DECLARE_ONE)
#define DECLARE_ONE(function) extern int64_t function(int64_t *words);
PLCK_LEVELS(DECLARE)
#define ADDRESS(function) function,
#define TABLE(level, test, shown) static const Run RUNS_##level[] = {PLCK_FUNCTIONS_##level(ADDRESS)};
PLCK_LEVELS(TABLE)

static const Run *runs;
static const char *level_name;
static PyMethodDef methods[COUNT];

#if defined(__x86_64__)
#define PLCK_RUNS(level) __builtin_cpu_supports(level)
#else
#define PLCK_RUNS(level) 1
#endif

/* Choose the best level that this processor can run. */
static void choose(void) {
#define CHOOSE(level, test, shown)                                                                 \
    if (test) {                                                                                    \
        runs = RUNS_##level;                                                                       \
        level_name = shown;                                                                        \
    }
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    PLCK_LEVELS(CHOOSE)
}

/* Write an argument's words; 0: it is of another type. */
static int take(const char **type, PyObject *given, int64_t **words) {
    double real;
    float narrow;
    switch (*(*type)++) {
    case 'a': { /* an array: a type of NumPy's, dimensions, C or A */
        char of = *(*type)++;
        int dimensions = *(*type)++ - '0', contiguous = *(*type)++ == 'C';
        if (!PyArray_Check(given)) return 0;
        PyArrayObject *array = (PyArrayObject *)given;
        if (PyArray_DESCR(array)->type != of || PyArray_NDIM(array) != dimensions) return 0;
        if (!PyArray_CHKFLAGS(array, NPY_ARRAY_ALIGNED) || !PyArray_ISNOTSWAPPED(array)) return 0;
        if (contiguous && !PyArray_CHKFLAGS(array, NPY_ARRAY_C_CONTIGUOUS)) return 0;
        *(*words)++ = (int64_t)(intptr_t)PyArray_DATA(array);
        for (int k = 0; k < dimensions; k++) *(*words)++ = PyArray_DIM(array, k);
        for (int k = 0; k < dimensions; k++) *(*words)++ = PyArray_STRIDE(array, k);
        return 1;
    }
    case '(': { /* a tuple */
        if (!PyTuple_Check(given)) return 0;
        Py_ssize_t count = PyTuple_Size(given);
        for (Py_ssize_t k = 0; k < count; k++) {
            if (**type == ')' || !take(type, PyTuple_GetItem(given, k), words)) return 0;
        }
        return *(*type)++ == ')';
    }
    case 'b':
        *(*words)++ = PyObject_IsTrue(given) > 0;
        return 1;
    case 'l':
    case 'L': { /* a whole number, L without a sign */
        PyObject *whole = PyLong_Check(given) ? Py_NewRef(given) : PyNumber_Index(given);
        if (whole) {
            *(*words)++ = (*type)[-1] == 'l' ? PyLong_AsLongLong(whole)
                                             : (int64_t)PyLong_AsUnsignedLongLongMask(whole);
            Py_DecRef(whole);
        }
        if (!PyErr_Occurred()) return 1;
        PyErr_Clear();
        return 0;
    }
    case 'd':
    case 'f':
        real = PyFloat_AsDouble(given);
        if (real == -1.0 && PyErr_Occurred()) {
            PyErr_Clear();
            return 0;
        }
        narrow = (float)real;
        **words = 0;
        if ((*type)[-1] == 'd') memcpy(*words, &real, sizeof real);
        else memcpy(*words, &narrow, sizeof narrow);
        ++*words;
        return 1;
    default:
        return 0;
    }
}

/* Return a result as an object of Python. */
static PyObject *give(const char **type, int64_t **words) {
    double real;
    float narrow;
    switch (*(*type)++) {
    case 'b': return PyBool_FromLong((long)*(*words)++);
    case 'l': return PyLong_FromLongLong(*(*words)++);
    case 'L': return PyLong_FromUnsignedLongLong((uint64_t)*(*words)++);
    case 'd':
        memcpy(&real, (*words)++, sizeof real);
        return PyFloat_FromDouble(real);
    case 'f':
        memcpy(&narrow, (*words)++, sizeof narrow);
        return PyFloat_FromDouble((double)narrow);
    case '(': {
        PyObject *parts = PyList_New(0);
        while (parts && **type != ')') {
            PyObject *part = give(type, words);
            if (!part || PyList_Append(parts, part)) Py_CLEAR(parts);
            Py_XDECREF(part);
        }
        PyObject *all = parts ? PyList_AsTuple(parts) : NULL;
        Py_XDECREF(parts);
        ++*type;
        return all;
    }
    default: return Py_NewRef(Py_None);
    }
}

/* Entries of one name differ in their types and follow one another. */
static PyObject *call(PyObject *self, PyObject *const *arguments, Py_ssize_t count) {
    const Entry *entry = PyCapsule_GetPointer(self, NULL);
    if (!entry) return NULL;
    const Entry *first = entry;
    for (; entry < ENTRIES + COUNT && !strcmp(entry->name, first->name); entry++) {
        int64_t words[PLCK_MOST_WORDS], *next = words;
        const char *type = entry->takes;
        Py_ssize_t k = 0;
        while (k < count && *type && take(&type, arguments[k], &next)) k++;
        if (k < count || *type) continue;
        Run run = runs[entry - ENTRIES];
        int64_t failed;
        Py_BEGIN_ALLOW_THREADS
        failed = run(words);
        Py_END_ALLOW_THREADS
        if (failed) return PyErr_Format(PyExc_RuntimeError, "the kernel %s failed", first->name);
        next = words;
        type = entry->gives;
        return give(&type, &next);
    }
    return PyErr_Format(PyExc_TypeError, "%s takes arguments of other types: %s", first->name,
                        first->takes);
}

/* A PaStreamCallback: the ring's block holds its header, and the samples behind it. */
static Run take_in, give_out;
static int copy(Run run, void *samples, unsigned long count, unsigned long flags, int64_t *block) {
    int64_t channels = block[PLCK_RING_CHANNELS];
    int64_t header = (int64_t)(intptr_t)block, begin = header + 8 * PLCK_RING_HEADER;
    int64_t size = block[PLCK_RING_CAPACITY] * channels, given = (int64_t)count * channels;
    int64_t words[] = {header,     PLCK_RING_HEADER, 8,     begin, size, 4,
                       flags != 0, (int64_t)(intptr_t)samples, given, 4};
    run(words);
    return 0;
}
static int record(const void *in, void *out, unsigned long count, const void *when,
                  unsigned long flags, void *block) {
    (void)out, (void)when;
    return copy(take_in, (void *)in, count, flags, block);
}
static int play(const void *in, void *out, unsigned long count, const void *when,
                unsigned long flags, void *block) {
    (void)in, (void)when;
    return copy(give_out, out, count, flags, block);
}

static int run_module(PyObject *module) {
    import_array1(-1);
    choose();
    if (!runs) {
        PyErr_SetString(PyExc_ImportError, "there is no machine code for this processor");
        return -1;
    }
    for (int k = 0; k < COUNT; k++) {
        if (!strcmp(ENTRIES[k].name, "plc_kernels.signal.ring.take_in")) take_in = runs[k];
        if (!strcmp(ENTRIES[k].name, "plc_kernels.signal.ring.give_out")) give_out = runs[k];
        if (k && !strcmp(ENTRIES[k].name, ENTRIES[k - 1].name)) continue;
        methods[k] = (PyMethodDef){ENTRIES[k].name, (PyCFunction)(void (*)(void))call,
                                   METH_FASTCALL, NULL};
        PyObject *self = PyCapsule_New((void *)&ENTRIES[k], NULL, NULL);
        PyObject *function = self ? PyCFunction_NewEx(&methods[k], self, NULL) : NULL;
        Py_XDECREF(self);
        int bad = !function || PyModule_AddObjectRef(module, ENTRIES[k].name, function);
        Py_XDECREF(function);
        if (bad) return -1;
    }
    const struct {
        const char *name;
        void *address;
    } callbacks[] = {{"record", (void *)record}, {"play", (void *)play}};
    for (int k = 0; k < 2; k++) {
        PyObject *address = PyLong_FromVoidPtr(callbacks[k].address);
        int bad = !address || PyModule_AddObjectRef(module, callbacks[k].name, address);
        Py_XDECREF(address);
        if (bad) return -1;
    }
    if (PyModule_AddStringConstant(module, "level", level_name)) return -1;
    return PyModule_AddStringConstant(module, "sources", PLCK_SOURCES);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, (void *)run_module}, {0, NULL}};
static PyModuleDef definition = {PyModuleDef_HEAD_INIT, .m_name = "kernels", .m_slots = slots};

PyMODINIT_FUNC PyInit_kernels(void) { return PyModuleDef_Init(&definition); }
