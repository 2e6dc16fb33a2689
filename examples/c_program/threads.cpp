// The same in C++, all images at once on several threads: digits_threads WEIGHTS IMAGES THREADS
#include "bnncc_threads.h"
#include "model.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <new>
#include <vector>

namespace {

constexpr std::size_t PIXELS = 8 * 8, CLASSES = 10, ALIGNMENT = 64;

struct Free {
    void operator()(void *memory) const { ::operator delete(memory, std::align_val_t{ALIGNMENT}); }
};
using Aligned = std::unique_ptr<void, Free>;

Aligned aligned(std::size_t bytes) { return Aligned{::operator new(std::max<std::size_t>(bytes, 1), std::align_val_t{ALIGNMENT})}; }

std::vector<char> content(const char *name)
{
    std::ifstream file(name, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

} // namespace

int main(int argc, char **argv)
{
    if (argc != 4) {
        std::fputs("usage: digits_threads WEIGHTS IMAGES THREADS\n", stderr);
        return 2;
    }
    const std::vector<char> blob = content(argv[1]), images = content(argv[2]);
    if (bnncc_digits_abi_version() != BNNCC_ABI_VERSION || blob.size() != bnncc_digits_weights_size()) {
        std::fputs("the weights are not those of this network\n", stderr);
        return 1;
    }
    const std::size_t count = images.size() / PIXELS;
    bnncc_threads *const pool = bnncc_threads_start(std::strtoul(argv[3], nullptr, 10));
    const std::size_t threads = bnncc_threads_count(pool);
    const Aligned weights = aligned(blob.size());
    const Aligned workspace = aligned(bnncc_digits_workspace_size_parallel(count, threads));
    std::copy(blob.begin(), blob.end(), static_cast<char *>(weights.get()));
    std::vector<float> scores(count * CLASSES);
    const int status = bnncc_digits_run_parallel(
        weights.get(), reinterpret_cast<const uint8_t *>(images.data()), scores.data(), count, workspace.get(), threads,
        bnncc_threads_for_each, pool);
    bnncc_threads_stop(pool);
    if (status != BNNCC_OK)
        return 1;
    for (auto first = scores.begin(); first != scores.end(); first += CLASSES)
        std::printf("%d\n", static_cast<int>(std::max_element(first, first + CLASSES) - first));
    return 0;
}
