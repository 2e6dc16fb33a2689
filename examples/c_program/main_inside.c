/* The same for a machine without files and without malloc: the weights are constants, the workspace an array.
 * Images come from standard input here, one at a time, and the digits go to standard output. */
#include "model.h"
#include "model_weights.h"

#include <stdio.h>

enum { PIXELS = 8 * 8, CLASSES = 10 };

BNNCC_DIGITS_ARENA(workspace, 1);

int main(void)
{
    uint8_t image[PIXELS];
    float scores[CLASSES];
    while (fread(image, PIXELS, 1, stdin) == 1) {
        int best = 0, i;
        if (bnncc_digits_run(bnncc_digits_weights, image, scores, 1, workspace) != BNNCC_OK)
            return 1;
        for (i = 1; i < CLASSES; ++i)
            if (scores[i] > scores[best])
                best = i;
        printf("%d\n", best);
    }
    return 0;
}
