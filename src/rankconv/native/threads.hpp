// Splits work over threads. No result may depend on how it is split.
#pragma once

#include <cstddef>
#include <system_error>
#include <thread>
#include <vector>

namespace rankconv {

// Calls work(piece, begin, end) on up to `workers` pieces of [0, count), each a multiple of
// `grain` long; the first runs here. `work` must not throw.
template <typename Work>
void parallel(std::ptrdiff_t count, std::ptrdiff_t workers, std::ptrdiff_t grain, Work work) {
    const std::ptrdiff_t grains = (count + grain - 1) / grain;
    if (workers > grains) workers = grains;
    if (workers <= 1) {
        if (count > 0) work(std::ptrdiff_t{0}, std::ptrdiff_t{0}, count);
        return;
    }
    const auto edge = [&](std::ptrdiff_t i) {
        const std::ptrdiff_t at = grains * i / workers * grain;
        return at < count ? at : count;
    };
    std::vector<std::thread> threads;
    threads.reserve(static_cast<std::size_t>(workers - 1));
    std::ptrdiff_t begin = edge(1);  // the first piece is for this thread
    for (std::ptrdiff_t i = 1; i < workers; ++i) {
        const std::ptrdiff_t end = edge(i + 1);
        try {
            threads.emplace_back(work, i, begin, end);
        } catch (const std::system_error&) {  // no thread to be had: do it here
            work(i, begin, end);
        }
        begin = end;
    }
    work(std::ptrdiff_t{0}, std::ptrdiff_t{0}, edge(1));
    for (std::thread& thread : threads) thread.join();
}

}  // namespace rankconv
