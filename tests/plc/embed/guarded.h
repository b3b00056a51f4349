/* Memory that ends where a page begins that nobody may touch, so that a read or write beyond it ends the
 * program, in code that no sanitizer looks into, too; and random numbers.
 *
 * With FUZZ defined a program is a target of libFuzzer: its numbers are the bytes that the fuzzer gives, one
 * for a number below 257, and where those end random ones that follow from them.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef _WIN32
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

enum { PROT_NONE = 0, PROT_READ = 1, PROT_WRITE = 2, MAP_PRIVATE = 0, MAP_ANONYMOUS = 0, _SC_PAGESIZE = 0 };
#define MAP_FAILED NULL

static DWORD protection(int asked) {
    return asked & PROT_WRITE ? PAGE_READWRITE : asked ? PAGE_READONLY : PAGE_NOACCESS;
}

static void *mmap(void *at, size_t size, int asked, int flags, int file, int begin) {
    (void)flags, (void)file, (void)begin;
    return VirtualAlloc(at, size, MEM_RESERVE | MEM_COMMIT, protection(asked));
}

static int mprotect(void *at, size_t size, int asked) {
    DWORD before;
    return !VirtualProtect(at, size, protection(asked), &before);
}

static int munmap(void *at, size_t size) {
    (void)size;
    return !VirtualFree(at, 0, MEM_RELEASE);
}

static long sysconf(int asked) {
    (void)asked;
    return 4096;
}
#else
#include <sys/mman.h>
#endif

static uint64_t state;

#ifdef FUZZ
static const uint8_t *fuzz_data;
static size_t fuzz_left;

static void draw_from(const uint8_t *data, size_t size) {
    fuzz_data = data;
    fuzz_left = size;
    state = 1;
}
#endif

static uint32_t below(uint32_t end) {
#ifdef FUZZ
    size_t wanted = end <= 0x100 ? 1 : end <= 0x10000 ? 2 : 4;
    if (fuzz_left >= wanted) {
        uint32_t drawn = 0;
        for (; wanted; wanted--, fuzz_left--)
            drawn = drawn << 8 | *fuzz_data++;
        state += drawn;
        return drawn % end;
    }
#endif
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return (uint32_t)((state * 2685821657736338717u >> 32) % end);
}

static void stop(const char *what) {
    fprintf(stderr, "%s\n", what);
#ifdef FUZZ
    abort();
#endif
    exit(1);
}

typedef struct guarded {
    char *begin; /* of the mapping */
    size_t mapped;
    char *memory;
} guarded;

static guarded guard(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guarded made;
    made.mapped = (size + page - 1) / page * page + page;
    made.begin = mmap(NULL, made.mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made.begin == MAP_FAILED)
        stop("no memory");
    if (mprotect(made.begin + made.mapped - page, page, PROT_NONE))
        stop("no guard");
    made.memory = made.begin + made.mapped - page - size;
    memset(made.begin, 0x7E, made.mapped - page); /* what was not written is no silence: 1e301 */
    return made;
}

static void unguard(guarded *made) { munmap(made->begin, made->mapped); }

/* Read a file. */
static guarded read_guarded(const char *path, size_t *size) {
    FILE *file = fopen(path, "rb");
    guarded made;
    long end;
    if (!file || fseek(file, 0, SEEK_END) || (end = ftell(file)) <= 0 || fseek(file, 0, SEEK_SET))
        stop("no file");
    made = guard((size_t)end);
    if (fread(made.memory, 1, (size_t)end, file) != (size_t)end)
        stop("no file");
    fclose(file);
    *size = (size_t)end;
    return made;
}
