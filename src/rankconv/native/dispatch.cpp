// Which of the compiled instruction sets to run; decided once.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__linux__)
#include <unistd.h>
#endif

#include "kernels.hpp"

namespace rankconv {

#if defined(RANKCONV_X86)
extern const Kernels kernels_v2, kernels_v3, kernels_v4;

namespace {
const Kernels& choose() {
    __builtin_cpu_init();
    const char* wish = std::getenv("RANKCONV_ISA");
    const bool any = wish == nullptr || *wish == '\0';
    const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi2");
    const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                    __builtin_cpu_supports("avx512cd");
    if (v4 && (any || std::strcmp(wish, "v4") == 0)) return kernels_v4;
    if (v3 && (any || std::strcmp(wish, "v2") != 0)) return kernels_v3;
    return kernels_v2;
}
}  // namespace

#elif defined(RANKCONV_NEON)
extern const Kernels kernels_neon;
namespace {
const Kernels& choose() { return kernels_neon; }
}  // namespace

#else
extern const Kernels kernels_baseline;
namespace {
const Kernels& choose() { return kernels_baseline; }
}  // namespace
#endif

std::ptrdiff_t ring_bytes() {
    static const std::ptrdiff_t bytes = [] {
        long cache = 0;
#if defined(_SC_LEVEL2_CACHE_SIZE)
        cache = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
        if (cache <= 0) cache = 512 * 1024;
        const long share = cache / 8 * 5;
        return std::ptrdiff_t{std::clamp(share, 192L << 10, 1L << 20)};
    }();
    return bytes;
}

const Kernels& kernels() {
    static const Kernels& chosen = choose();
    return chosen;
}

}  // namespace rankconv
