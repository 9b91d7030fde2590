// One term with few taps: both passes in one sweep down the image, all sums in registers.
//
// A tile is V vectors wide. Each image row's row sum is added to the K results that it is part of,
// the oldest of which is then finished, so that no line is stored and read again. Every sum is
// added up in the same order as by the ring of filter.hpp: the two give the same bits.
#pragma once

#include <type_traits>

#include "filter_types.hpp"
#include "passes.hpp"
#include "rows.hpp"

namespace rankconv::RANKCONV_ISA {

// Asks for the cache lines of the tile to the right, which no hardware sees coming down here.
template <int V, int ToWrite, typename T>
RANKCONV_INLINE void fetch_next_tile(const T* from) {
    const char* bytes = reinterpret_cast<const char*>(from);
    RANKCONV_UNROLL for (int at = 0; at < V * RANKCONV_VECTOR_BYTES; at += 64)
        __builtin_prefetch(bytes + V * RANKCONV_VECTOR_BYTES + at, ToWrite);
}

// `rows` rows of V vectors at `out`, from the rows + K - 1 rows that begin at `image`.
template <typename T, int K, int V>
RANKCONV_INLINE void rolling_tile(const Filtering<T>& task, const T* image, T* out, Index last,
                                  Index rows) {
    Vec<T> across[K], down[K];
    RANKCONV_UNROLL for (int i = 0; i < K; ++i) {
        across[i] = held(splat(task.rows[i]));
        down[i] = held(splat(task.columns[i]));
    }
    Vec<T> sums[K][V] = {};  // of the K results that the next row belongs to, the newest first
    for (Index r = 1 - K; r < rows; ++r) {
        RANKCONV_UNROLL for (int v = 0; v < V; ++v) {
            const T* line = image + vector_at<T, V>(v, last);
            Vec<T> x{};
            RANKCONV_UNROLL for (int j = 0; j < K; ++j) x += across[j] * load(line + j);
            RANKCONV_UNROLL for (int i = K - 1; i > 0; --i)
                sums[i][v] = sums[i - 1][v] + down[i] * x;
            sums[0][v] = Vec<T>{} + down[0] * x;
        }
        fetch_next_tile<V, 0>(image + K - 1);
        image = walking(image + task.row_step);
        if (r < 0) continue;
        RANKCONV_UNROLL for (int v = 0; v < V; ++v)
            store(out + vector_at<T, V>(v, last), sums[K - 1][v]);
        fetch_next_tile<V, 1>(out + Simd<T>::lanes - 1);
        out = walking(out + task.out_step);
    }
}

// Rows [begin, end) of the output, `tall` at a time.
template <typename T, int K, int V>
void rolling_filter(const Filtering<T>& task, Index begin, Index end, Index tall) {
    constexpr Index lanes = Simd<T>::lanes;
    const Index width = task.out_width;
    for (; begin < end; begin += tall) {
        const Index rows = smaller(tall, end - begin);
        const T* image = static_cast<const T*>(task.image) + (begin - task.top) * task.row_step -
                         task.left;
        T* out = static_cast<T*>(task.out) + begin * task.out_step;
        Index at = 0;
        for (; at + V * lanes <= width; at += V * lanes)
            rolling_tile<T, K, V>(task, image + at, out + at, (V - 1) * lanes, rows);
        // What is left is narrower than V vectors: the last one overlaps its neighbour.
        if (V == 2 && width - at > lanes)
            rolling_tile<T, K, V>(task, image + at, out + at, width - at - lanes, rows);
        else if (at < width)
            rolling_tile<T, K, 1>(task, image + width - lanes, out + width - lanes, 0, rows);
    }
}

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int vector_registers = 32;
#else
constexpr int vector_registers = 16;
#endif

// How far apart the rows of the image are: each step down a tile meets a new line of the cache, and
// in wide images a new page of memory too.
struct Apart {
    Index bytes;
    bool few() const { return bytes <= 1280; }
    bool some() const { return bytes <= 2560; }
};

template <typename T, int K>
bool rolls_with(const Filtering<T>& task, Index begin, Index end, Apart apart) {
    if (task.kernel_width != K || task.kernel_height != K) return false;
    // K row taps, K column taps and K sums a vector are to stay in registers. Where they hardly
    // do, this is faster than the ring on small images alone.
    constexpr int needed = 3 * K;
    if constexpr (needed <= vector_registers + 1) {
        if (needed > 24 && !apart.few()) return false;
        constexpr int V = needed + K <= vector_registers - 2 ? 2 : 1;
        // Taller tiles repeat fewer row sums.
        rolling_filter<T, K, V>(task, begin, end, apart.some() ? 8 * (K - 1) : 16);
        return true;
    }
    return false;
}

// Filters rows [begin, end) this way if it can and pays: one term, all rows readable in place.
template <typename In, typename Sum>
bool roll(const Filtering<Sum>& task, Index begin, Index end) {
    if constexpr (std::is_same_v<In, Sum>) {
        if (task.rank != 1 || task.out_width < Simd<Sum>::lanes ||
            !can_read_in_place<In>(task, begin - task.top, end - begin + task.kernel_height - 1,
                                   -task.left, task.out_width + task.kernel_width - 1))
            return false;
        const Index step = task.row_step < 0 ? -task.row_step : task.row_step;
        const Apart apart{step * Index(sizeof(Sum))};
        return rolls_with<Sum, 3>(task, begin, end, apart) ||
               rolls_with<Sum, 5>(task, begin, end, apart) ||
               rolls_with<Sum, 7>(task, begin, end, apart) ||
               rolls_with<Sum, 9>(task, begin, end, apart) ||
               rolls_with<Sum, 11>(task, begin, end, apart);
    }
    return false;
}

}  // namespace rankconv::RANKCONV_ISA
