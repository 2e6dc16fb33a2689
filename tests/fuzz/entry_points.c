/* Calls the functions of a generated library with hostile arguments: any number of images and parts, null and misaligned
 * pointers, every form of the kernels. Memory is exactly as long as the header says, so that sanitizers see a byte too far.
 *
 * network.h, written by build.py, says what the network is: PREFIX, PORTS, port_of, CALL_PORTS. */
#include "model.h"
#include "model_weights.h"
#include "network.h"

#include <stdlib.h>
#include <string.h>

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define F(name) JOIN(PREFIX, name)

enum { MOST_IMAGES = 70, MOST_PARTS = 9 };

typedef struct {
    const uint8_t *at;
    size_t left;
} bytes;

static unsigned next(bytes *b)
{
    if (b->left == 0)
        return 0;
    --b->left;
    return *b->at++;
}

static void require(int is_true)
{
    if (!is_true)
        abort();
}

/* Memory of a port: as aligned as its elements are, and no more. */
typedef struct {
    void *whole;
    unsigned char *start;
    size_t length;
} memory;

static memory memory_of(const port *p, size_t images)
{
    memory m;
    m.length = p->bytes_per_image * images;
    require(posix_memalign(&m.whole, 64, p->element_bytes + m.length + (m.length == 0)) == 0);
    m.start = (unsigned char *)m.whole + p->element_bytes;
    return m;
}

static void fill(const port *p, memory *m, bytes *b)
{
    for (size_t i = 0; i < m->length; ++i) {
        const unsigned byte = next(b) + 37u * (unsigned)(i % 251);
        m->start[i] = (unsigned char)(p->is_sign ? (byte & 1 ? 1 : 0xff) : byte);
    }
}

/* The parts of a loop, forwards or backwards, one after another. */
static void for_each(void *pool, size_t parts, bnncc_part *part, void *job)
{
    for (size_t i = 0; i < parts; ++i)
        part(job, *(const int *)pool ? parts - 1 - i : i);
}

static void check_sizes(size_t images, size_t parts)
{
    const size_t one = F(workspace_size)(images);
    require(F(workspace_size)(SIZE_MAX) >= one && F(workspace_size)(0) <= one);
    require(F(workspace_size_parallel)(images, 0) == one && F(workspace_size_parallel)(images, 1) == one);
    require(F(workspace_size_parallel)(images, parts) >= one);
    require(F(workspace_size_parallel)(SIZE_MAX, SIZE_MAX) == F(workspace_size_parallel)(SIZE_MAX, BNNCC_MAX_PARTS));
    require(F(weights_size)() <= sizeof F(weights) && F(abi_version)() == BNNCC_ABI_VERSION);
}

/* A pointer is missing, or weights or workspace are misaligned: nothing is read or written, so it points nowhere. */
static void check_refusals(unsigned which, size_t images, size_t parts)
{
    unsigned char *const nowhere = (unsigned char *)(uintptr_t)64;
    unsigned char *at[PORTS + 2], **const arrays = at;
    for (size_t i = 0; i < PORTS + 2; ++i)
        at[i] = nowhere;
    if (which % 2 == 0)
        at[which / 2 % (PORTS + 2)] = NULL;
    else
        at[PORTS + which / 2 % 2] = nowhere + 1 + which / 4 % 63;
    const int expected = which % 2 == 0 ? BNNCC_ERROR_NULL : BNNCC_ERROR_ALIGNMENT;
    int backwards = 0;
    require(F(run)(at[PORTS], CALL_PORTS(arrays), images, at[PORTS + 1]) == expected);
    require(F(run_parallel)(
                at[PORTS], CALL_PORTS(arrays), images, at[PORTS + 1], parts, for_each, &backwards) == expected);
    require(F(run_parallel)(nowhere, CALL_PORTS(arrays), images, nowhere, 2, NULL, NULL) == BNNCC_ERROR_NULL);
}

static void run(memory *ports, size_t images, size_t parts, int backwards)
{
    const size_t needed = F(workspace_size_parallel)(images, parts);
    unsigned char *arrays[PORTS];
    void *workspace = NULL;
    require(posix_memalign(&workspace, 64, needed + (needed == 0)) == 0);
    memset(workspace, 0xa5, needed);
    for (size_t i = 0; i < PORTS; ++i)
        arrays[i] = ports[i].start;
    require(F(run_parallel)(
                F(weights), CALL_PORTS(arrays), images, workspace, parts, for_each, &backwards) == BNNCC_OK);
    free(workspace);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const forms[] = {"portable", "avx2", "avx512", "neon", "sve", "", "portablE", "avx51"};
    static const size_t huge[] = {SIZE_MAX, SIZE_MAX / 2, BNNCC_MAX_PARTS, BNNCC_MAX_PARTS + 1};
    bytes b = {data, size};
    const char *const form = forms[next(&b) % (sizeof forms / sizeof forms[0])];
    const unsigned counted = next(&b), wanted = next(&b);
    const size_t images = counted < 240 ? counted % 6 : counted % (MOST_IMAGES + 1); /* rarely more than a chunk */
    const size_t parts = wanted < 4 ? huge[wanted] : wanted % (MOST_PARTS + 1);
    const unsigned refused = next(&b);
    const int backwards = next(&b) & 1;
    memory ports[PORTS], expected[PORTS];

    require(F(init)("portable") == BNNCC_OK && strcmp(F(form)(), "portable") == 0);
    check_sizes(images, parts);
    check_refusals(refused, images, parts);
    for (size_t i = 0; i < PORTS; ++i) {
        ports[i] = memory_of(&port_of[i], images);
        expected[i] = memory_of(&port_of[i], images);
        fill(&port_of[i], &ports[i], &b);
        if (!port_of[i].is_output && images > 0)
            memcpy(expected[i].start, ports[i].start, ports[i].length);
    }
    run(expected, images, 1, 0);
    if (F(init)(form) == BNNCC_OK)
        require(strcmp(F(form)(), form) == 0);
    run(ports, images, parts, backwards);
    for (size_t i = 0; i < PORTS; ++i) {
        require(ports[i].length == 0 || memcmp(ports[i].start, expected[i].start, ports[i].length) == 0);
        free(ports[i].whole);
        free(expected[i].whole);
    }
    return 0;
}

#if defined(WITHOUT_LIBFUZZER)
int main(void)
{
    uint32_t state = 1;
    for (int run = 0; run < 400; ++run) {
        uint8_t data[64];
        for (size_t i = 0; i < sizeof data; ++i) {
            state = state * 1664525u + 1013904223u;
            data[i] = (uint8_t)(state >> 24);
        }
        data[0] = (uint8_t)run;
        LLVMFuzzerTestOneInput(data, sizeof data);
    }
    return 0;
}
#endif
