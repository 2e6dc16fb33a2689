/* Reads images of 8x8 bytes and prints the digit on each: digits WEIGHTS IMAGES */
#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#if defined(__linux__)
#include <sys/resource.h>
#endif

enum { PIXELS = 8 * 8, CLASSES = 10, BATCH = 64 };

/* Memory as the network wants it: aligned to 64 bytes (aligned_alloc takes whole multiples of that). */
static void *aligned(size_t bytes)
{
    void *memory = aligned_alloc(64, (bytes + 64) / 64 * 64);
    if (memory == NULL) {
        fputs("no memory\n", stderr);
        exit(1);
    }
    return memory;
}

static void *load_weights(const char *name)
{
    const size_t bytes = bnncc_digits_weights_size();
    void *weights = aligned(bytes);
    FILE *file = fopen(name, "rb");
    if (file == NULL || fread(weights, 1, bytes, file) != bytes || fgetc(file) != EOF) {
        fprintf(stderr, "'%s' does not hold the %zu bytes of weights of this network\n", name, bytes);
        exit(1);
    }
    fclose(file);
    return weights;
}

static void report_memory(void)
{
#if defined(__linux__)
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0)
        fprintf(stderr, "%s kernels, peak resident set %ld KiB\n", bnncc_digits_form(), usage.ru_maxrss);
#endif
}

static int best(const float *scores)
{
    int found = 0;
    for (int i = 1; i < CLASSES; ++i)
        if (scores[i] > scores[found])
            found = i;
    return found;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fputs("usage: digits WEIGHTS IMAGES\n", stderr);
        return 2;
    }
    if (bnncc_digits_abi_version() != BNNCC_ABI_VERSION) {
        fputs("model.c and model.h are of different versions\n", stderr);
        return 1;
    }
    void *weights = load_weights(argv[1]);
    void *workspace = aligned(bnncc_digits_workspace_size(BATCH));
    FILE *file = fopen(argv[2], "rb");
    if (file == NULL) {
        fprintf(stderr, "cannot read '%s'\n", argv[2]);
        return 1;
    }
    uint8_t images[BATCH * PIXELS];
    float scores[BATCH * CLASSES];
    size_t count = 0;
    while ((count = fread(images, PIXELS, BATCH, file)) > 0) {
        const int status = bnncc_digits_run(weights, images, scores, count, workspace);
        if (status != BNNCC_OK) {
            fprintf(stderr, "the network refused to run: error %d\n", status);
            return 1;
        }
        for (size_t i = 0; i < count; ++i)
            printf("%d\n", best(scores + i * CLASSES));
    }
    fclose(file);
    report_memory();
    free(workspace);
    free(weights);
    return 0;
}
