// The small-image path: correlation, bias, ReLU and 2x2 max-pool without leaving the registers.
//
// A tile is `Rows` correlation rows by V vectors; the pooled half of it is what gets stored.
// Inputs narrower than a vector are first copied into padded scratch; all others are read in
// place, the last vector of a row moved left so that it ends where the row ends.
#pragma once

#include <type_traits>
#include <utility>

#include "simd.hpp"
#include "small_types.hpp"

namespace rankconv::RANKCONV_ISA {

// The larger of two values, NaN if either is: what PyTorch's max-pool does.
template <typename V>
RANKCONV_INLINE V larger_or_nan(V a, V b) {
    const V value = held(a > b ? a : b);  // one instruction, which answers b if either is NaN
    return a != a ? a : value;
}

template <typename V>
RANKCONV_INLINE V relu(V a) {
    return a < V{} ? V{} : a;  // NaN stays NaN
}

// The largest of each two neighbours, of `a` and then of `b`.
template <typename V, std::size_t... I>
RANKCONV_INLINE V max_of_pairs(V a, V b, std::index_sequence<I...>) {
    const V even = __builtin_shufflevector(a, b, (2 * I)...);
    const V odd = __builtin_shufflevector(a, b, (2 * I + 1)...);
    return larger_or_nan(even, odd);
}

template <typename V, std::size_t... I>
RANKCONV_INLINE auto upper_half(V a, std::index_sequence<I...>) {
    return __builtin_shufflevector(a, a, (I + sizeof...(I))...);
}
template <typename V, std::size_t... I>
RANKCONV_INLINE auto lower_half(V a, std::index_sequence<I...>) {
    return __builtin_shufflevector(a, a, I...);
}

// Which columns a layer's vectors start at.
struct Columns {
    Index used;     // correlation columns that reach the pool, even
    Index lanes;    // a vector's width
    bool padded;    // reads and writes past `used` stay inside the buffers
    Index count() const { return (used + lanes - 1) / lanes; }
    Index start(Index p) const { return padded ? p * lanes : smaller(p * lanes, used - lanes); }
};

// Pools `Rows` correlation rows of V vectors, at `starts` of their row, into rows of half as much.
template <typename T, int Rows, int V>
RANKCONV_INLINE void pool_and_store(const Vec<T> (&acc)[Rows][V], T bias, const Index* starts,
                                    T* out, Index out_stride) {
    constexpr auto all = std::make_index_sequence<Simd<T>::lanes>{};
    constexpr auto half = std::make_index_sequence<Simd<T>::lanes / 2>{};
    RANKCONV_UNROLL for (int v = 0; v < V; ++v) {
        T* to = out + starts[v] / 2;
        RANKCONV_UNROLL for (int r = 0; r < Rows; r += 4) {
            const int next = r + 2 < Rows ? r + 2 : r;
            const Vec<T> first = larger_or_nan(acc[r][v], acc[r + 1][v]);
            const Vec<T> second = larger_or_nan(acc[next][v], acc[next + 1][v]);
            const Vec<T> both = relu(max_of_pairs(first, second, all) + splat(bias));
            store(to, lower_half(both, half));
            to += out_stride;
            if (next != r) {
                store(to, upper_half(both, half));
                to += out_stride;
            }
        }
    }
}

// acc[r] += sum_i taps[i * tap_step] * line r + i, for K taps or, where K = 0, for `length`.
template <typename T, int K, int Rows, int V>
RANKCONV_INLINE void column_of_taps(const T* line, Index stride, const Index* starts,
                                    const T* taps, Index tap_step, Index length,
                                    Vec<T> (&acc)[Rows][V]) {
    if constexpr (K > 0) {
        const Index apart = starts[V - 1] - starts[0];
        line += starts[0];
        Vec<T> tap[K];
        RANKCONV_UNROLL for (int i = 0; i < K; ++i) tap[i] = held(splat(taps[i * tap_step]));
        RANKCONV_UNROLL for (int i = 0; i < K + Rows - 1; ++i) {
            RANKCONV_UNROLL for (int v = 0; v < V; ++v) {
                const Vec<T> x = held(load(line + (v == 0 ? 0 : apart)));
                RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
                    if (i - r >= 0 && i - r < K) acc[r][v] += tap[i - r] * x;
                }
            }
            line = walking(line + stride);
        }
    } else {
        for (Index i = 0; i < length; ++i) {
            const Vec<T> tap = held(splat(taps[i * tap_step]));
            RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
                RANKCONV_UNROLL for (int v = 0; v < V; ++v)
                    acc[r][v] += tap * load(line + (r + i) * stride + starts[v]);
            }
        }
    }
}

// Direct: every column of the filter runs over the image, one item further right each time.
template <typename T, int K, int Rows, int V>
RANKCONV_INLINE void direct_sums(const PoolLayer<T>& layer, const T* image, Index stride,
                                 const Index* starts, Vec<T> (&acc)[Rows][V]) {
    const Index width = K > 0 ? K : layer.kernel_width;
    for (Index j = 0; j < width; ++j)
        column_of_taps<T, K, Rows, V>(image + j, stride, starts, layer.kernel + j, width,
                                      layer.kernel_height, acc);
}

// Separable: every term's column runs over `half`, its row pass's results (rank, rows, stride).
template <typename T, int K, int Rows, int V>
RANKCONV_INLINE void separable_sums(const PoolLayer<T>& layer, const T* half, Index stride,
                                    Index plane, const Index* starts, Vec<T> (&acc)[Rows][V]) {
    for (Index term = 0; term < layer.rank; ++term)
        column_of_taps<T, K, Rows, V>(half + term * plane, stride, starts,
                                      layer.columns + term * layer.kernel_height, 1,
                                      layer.kernel_height, acc);
}

template <typename T, int K, int Rows, int V>
RANKCONV_INLINE void row_pass_tile(const T* image, Index stride, const T* row, Index length,
                                   const Index* starts, T* half, Index half_stride) {
    Vec<T> acc[Rows][V] = {};
    const Index width = K > 0 ? K : length;
    if constexpr (K > 0) {
        RANKCONV_UNROLL for (int j = 0; j < K; ++j) {
            const Vec<T> tap = held(splat(row[j]));
            RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
                RANKCONV_UNROLL for (int v = 0; v < V; ++v)
                    acc[r][v] += tap * load(image + r * stride + starts[v] + j);
            }
        }
    } else {
        for (Index j = 0; j < width; ++j) {
            const Vec<T> tap = held(splat(row[j]));
            RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
                RANKCONV_UNROLL for (int v = 0; v < V; ++v)
                    acc[r][v] += tap * load(image + r * stride + starts[v] + j);
            }
        }
    }
    RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
        RANKCONV_UNROLL for (int v = 0; v < V; ++v)
            store(half + r * half_stride + starts[v], acc[r][v]);
    }
}

template <typename T, int K>
RANKCONV_INLINE void row_pass(const PoolLayer<T>& layer, const T* image, Index stride,
                              const Columns& columns, T* half, Index half_stride, Index count) {
    for (Index term = 0; term < layer.rank; ++term, half += count * half_stride) {
        const T* row = layer.rows + term * layer.kernel_width;
        for (Index p = 0; p < columns.count(); p += 2) {
            const bool two = p + 1 < columns.count();
            const Index starts[2] = {columns.start(p), two ? columns.start(p + 1) : 0};
            Index r = 0;
            for (; r + 4 <= count; r += 4) {
                if (two)
                    row_pass_tile<T, K, 4, 2>(image + r * stride, stride, row, layer.kernel_width,
                                              starts, half + r * half_stride, half_stride);
                else
                    row_pass_tile<T, K, 4, 1>(image + r * stride, stride, row, layer.kernel_width,
                                              starts, half + r * half_stride, half_stride);
            }
            for (; r < count; ++r) {
                if (two)
                    row_pass_tile<T, K, 1, 2>(image + r * stride, stride, row, layer.kernel_width,
                                              starts, half + r * half_stride, half_stride);
                else
                    row_pass_tile<T, K, 1, 1>(image + r * stride, stride, row, layer.kernel_width,
                                              starts, half + r * half_stride, half_stride);
            }
        }
    }
}

template <typename T, int K, int Rows, int V>
RANKCONV_INLINE void pool_tile(const PoolLayer<T>& layer, const T* source, Index stride,
                               Index plane, const Index* starts, T* out, Index out_stride) {
    Vec<T> acc[Rows][V] = {};
    if (layer.rank == 0)
        direct_sums<T, K, Rows, V>(layer, source, stride, starts, acc);
    else
        separable_sums<T, K, Rows, V>(layer, source, stride, plane, starts, acc);
    pool_and_store<T, Rows, V>(acc, layer.bias, starts, out, out_stride);
}

template <typename T, int K>
void pool_layer_k(const PoolLayer<T>& layer, const T* image, Index stride, bool padded, T* out,
                  Index out_stride, T* half) {
    const Columns columns{2 * layer.out_width(), Simd<T>::lanes, padded};
    const Index rows = 2 * layer.out_height();
    const T* source = image;
    Index plane = 0;
    if (layer.rank > 0) {
        const Index half_stride = round_up(columns.used, columns.lanes);
        const Index count = rows + layer.kernel_height - 1;
        row_pass<T, K>(layer, image, stride, columns, half, half_stride, count);
        source = half;
        stride = half_stride;
        plane = count * half_stride;
    }
    // Tall tiles: each row that is loaded serves up to kernel_height of theirs. Two vectors wide,
    // so that a multiply-add need not wait for the one before it.
    constexpr int tall = RANKCONV_VECTOR_BYTES >= 64 ? 10 : 4;
    const auto tiles = [&](auto vectors, const Index* starts) {
        Index r = 0;
        const auto tiles_of = [&](auto tile_rows) {
            for (; r + tile_rows <= rows; r += tile_rows)
                pool_tile<T, K, tile_rows, vectors>(layer, source + r * stride, stride, plane,
                                                    starts, out + r / 2 * out_stride, out_stride);
        };
        tiles_of(std::integral_constant<int, tall>{});
        if constexpr (tall > 4) tiles_of(std::integral_constant<int, 8>{});
        if constexpr (tall > 4) tiles_of(std::integral_constant<int, 4>{});
        tiles_of(std::integral_constant<int, 2>{});
    };
    Index p = 0;
    for (; p + 2 <= columns.count(); p += 2) {
        const Index starts[2] = {columns.start(p), columns.start(p + 1)};
        tiles(std::integral_constant<int, 2>{}, starts);
    }
    if (p < columns.count()) {
        const Index start = columns.start(p);
        tiles(std::integral_constant<int, 1>{}, &start);
    }
}

// Strides of a layer's padded input and output.
template <typename T>
Index padded_stride(const PoolLayer<T>& layer) {
    return round_up(layer.out_width() * 2, Simd<T>::lanes) +
           round_up(layer.kernel_width, Simd<T>::lanes);
}
template <typename T>
Index padded_out_stride(const PoolLayer<T>& layer) {
    return round_up(layer.out_width() * 2, Simd<T>::lanes) / 2;
}
template <typename T>
Index half_size(const PoolLayer<T>& layer) {
    return layer.rank * (2 * layer.out_height() + layer.kernel_height - 1) *
           round_up(layer.out_width() * 2, Simd<T>::lanes);
}
template <typename T>
bool is_narrow(const PoolLayer<T>& layer) {
    return 2 * layer.out_width() < Simd<T>::lanes;
}

template <typename T>
Index pool_scratch(const PoolLayer<T>& layer) {
    Index items = half_size(layer);
    if (is_narrow(layer))
        items += layer.height * padded_stride(layer) +
                 layer.out_height() * padded_out_stride(layer);
    return items;
}

template <typename T>
void pool_layer(const PoolLayer<T>& layer, const T* image, Index stride, bool padded, T* out,
                Index out_stride, T* half) {
    const bool square = layer.kernel_height == layer.kernel_width;
    if (square && layer.kernel_width == 5)
        pool_layer_k<T, 5>(layer, image, stride, padded, out, out_stride, half);
    else if (square && layer.kernel_width == 3)
        pool_layer_k<T, 3>(layer, image, stride, padded, out, out_stride, half);
    else
        pool_layer_k<T, 0>(layer, image, stride, padded, out, out_stride, half);
}

template <typename T>
RANKCONV_INLINE void copy_rows(const T* from, Index from_stride, T* to, Index to_stride,
                               Index rows, Index columns) {
    for (Index r = 0; r < rows; ++r)
        for (Index c = 0; c < columns; ++c) to[r * to_stride + c] = from[r * from_stride + c];
}

// A layer between buffers that end where the array ends.
template <typename T>
void pool_layer_exact(const PoolLayer<T>& layer, const T* image, T* out, Index out_stride,
                      bool padded_out, T* scratch) {
    const Index width = layer.width, out_width = layer.out_width();
    if (!is_narrow(layer)) {
        pool_layer(layer, image, width, false, out, out_stride, scratch);
        return;
    }
    T* wide = scratch + half_size(layer);
    const Index stride = padded_stride(layer), wide_out_stride = padded_out_stride(layer);
    for (Index r = 0; r < layer.height; ++r) {
        T* to = wide + r * stride;
        for (Index c = 0; c < stride; ++c) to[c] = c < width ? image[r * width + c] : T(0);
    }
    if (padded_out) {
        pool_layer(layer, wide, stride, true, out, out_stride, scratch);
        return;
    }
    T* wide_out = wide + layer.height * stride;
    pool_layer(layer, wide, stride, true, wide_out, wide_out_stride, scratch);
    copy_rows(wide_out, wide_out_stride, out, out_stride, layer.out_height(), out_width);
}

template <typename T>
void conv_relu_pool(const PoolLayer<T>& layer, const T* image, T* out, T* scratch) {
    pool_layer_exact(layer, image, out, layer.out_width(), false, scratch);
}

}  // namespace rankconv::RANKCONV_ISA
