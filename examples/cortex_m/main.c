/* A network without an operating system: weights are constants in flash, the workspace is an array, images are constants
 * as well. Prints the bits of every score as a hexadecimal word, one image a line. */
#include "images.h"
#include "model.h"
#include "model_weights.h"

enum { CLASSES = 10, IMAGES = sizeof images / sizeof images[0] };

BNNCC_MNIST_MLP_SMALL_ARENA(workspace, 1);

void print(const char *text);

static void print_word(uint32_t word)
{
    char text[10];
    for (int digit = 0; digit < 8; ++digit)
        text[digit] = "0123456789abcdef"[word >> (28 - 4 * digit) & 15];
    text[8] = ' ';
    text[9] = '\0';
    print(text);
}

int main(void)
{
    static union {
        float score[CLASSES];
        uint32_t word[CLASSES];
    } scores;
    for (int i = 0; i < IMAGES; ++i) {
        if (bnncc_mnist_mlp_small_run(bnncc_mnist_mlp_small_weights, images[i], scores.score, 1, workspace) != BNNCC_OK)
            return 1;
        for (int c = 0; c < CLASSES; ++c)
            print_word(scores.word[c]);
        print("\n");
    }
    return 0;
}
