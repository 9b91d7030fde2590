// The small-image path: correlation, bias, ReLU and 2x2 max-pool without leaving the registers.
//
// A tile is `Rows` correlation rows by `V` vectors; the pooled half of it is what gets stored.
// Inputs narrower than a vector are first copied into padded scratch; all others are read in
// place, the last vector of a row moved left so that it ends where the row ends.
#pragma once

#include <utility>

#include "simd.hpp"
#include "small_types.hpp"

namespace rankconv::RANKCONV_ISA {

// The larger of two values, NaN if either is: what PyTorch's max-pool does.
template <typename V>
RANKCONV_INLINE V larger_or_nan(V a, V b) {
    const V value = a > b ? a : b;
    return a != a ? a : value;
}

template <typename V>
RANKCONV_INLINE V relu(V a) {
    return a < V{} ? V{} : a;  // NaN stays NaN
}

template <typename T, std::size_t... I>
RANKCONV_INLINE Half<T> max_of_pairs(Vec<T> a, std::index_sequence<I...>) {
    const Half<T> even = __builtin_shufflevector(a, a, (2 * I)...);
    const Half<T> odd = __builtin_shufflevector(a, a, (2 * I + 1)...);
    return larger_or_nan(even, odd);
}

// Which columns a layer's vectors start at.
struct Columns {
    Index used;     // correlation columns that reach the pool, even
    Index lanes;    // a vector's width
    bool padded;    // reads and writes past `used` stay inside the buffers
    Index count() const { return (used + lanes - 1) / lanes; }
    Index start(Index p) const { return padded ? p * lanes : smaller(p * lanes, used - lanes); }
};

template <typename T, int Rows, int V>
RANKCONV_INLINE void pool_and_store(Vec<T> (&acc)[Rows][V], T bias, const Index* starts, T* out,
                                    Index out_stride) {
    constexpr auto pairs = std::make_index_sequence<Simd<T>::lanes / 2>{};
    RANKCONV_UNROLL for (int r = 0; r < Rows; r += 2) {
        RANKCONV_UNROLL for (int v = 0; v < V; ++v) {
            const Vec<T> sum = larger_or_nan(acc[r][v], acc[r + 1][v]) + splat(bias);
            store(out + (r / 2) * out_stride + starts[v] / 2, relu(max_of_pairs<T>(sum, pairs)));
        }
    }
}

// K: the filter's height and width when known here, 0 when known at run time.
template <typename T, int K, int Rows, int V>
RANKCONV_INLINE void direct_sums(const PoolLayer<T>& layer, const T* image, Index stride,
                                 const Index* starts, Vec<T> (&acc)[Rows][V]) {
    if constexpr (K > 0) {
        RANKCONV_UNROLL for (int j = 0; j < K; ++j) {
            Vec<T> taps[K];
            RANKCONV_UNROLL for (int i = 0; i < K; ++i) taps[i] = held(splat(layer.kernel[i * K + j]));
            RANKCONV_UNROLL for (int i = 0; i < K + Rows - 1; ++i) {
                RANKCONV_UNROLL for (int v = 0; v < V; ++v) {
                    const Vec<T> x = held(load(image + i * stride + starts[v] + j));
                    RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
                        if (i - r >= 0 && i - r < K) acc[r][v] += taps[i - r] * x;
                    }
                }
            }
        }
    } else {
        for (Index j = 0; j < layer.kernel_width; ++j) {
            for (Index i = 0; i < layer.kernel_height; ++i) {
                const Vec<T> tap = splat(layer.kernel[i * layer.kernel_width + j]);
                RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
                    RANKCONV_UNROLL for (int v = 0; v < V; ++v)
                        acc[r][v] += tap * load(image + (r + i) * stride + starts[v] + j);
                }
            }
        }
    }
}

// Vertical pass over `half`, the horizontal results: (rank, rows, stride).
template <typename T, int K, int Rows, int V>
RANKCONV_INLINE void separable_sums(const PoolLayer<T>& layer, const T* half, Index stride,
                                    Index plane, const Index* starts, Vec<T> (&acc)[Rows][V]) {
    for (Index term = 0; term < layer.rank; ++term, half += plane) {
        const T* column = layer.columns + term * layer.kernel_height;
        if constexpr (K > 0) {
            Vec<T> taps[K];
            RANKCONV_UNROLL for (int i = 0; i < K; ++i) taps[i] = held(splat(column[i]));
            RANKCONV_UNROLL for (int i = 0; i < K + Rows - 1; ++i) {
                RANKCONV_UNROLL for (int v = 0; v < V; ++v) {
                    const Vec<T> x = held(load(half + i * stride + starts[v]));
                    RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
                        if (i - r >= 0 && i - r < K) acc[r][v] += taps[i - r] * x;
                    }
                }
            }
        } else {
            for (Index i = 0; i < layer.kernel_height; ++i) {
                const Vec<T> tap = splat(column[i]);
                RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
                    RANKCONV_UNROLL for (int v = 0; v < V; ++v)
                        acc[r][v] += tap * load(half + (r + i) * stride + starts[v]);
                }
            }
        }
    }
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
    for (Index r = 0; r < rows; r += 4) {
        const T* from = source + r * stride;
        T* to = out + r / 2 * out_stride;
        for (Index p = 0; p < columns.count(); p += 2) {
            const bool two = p + 1 < columns.count();
            const Index starts[2] = {columns.start(p), two ? columns.start(p + 1) : 0};
            if (r + 4 <= rows) {
                if (two)
                    pool_tile<T, K, 4, 2>(layer, from, stride, plane, starts, to, out_stride);
                else
                    pool_tile<T, K, 4, 1>(layer, from, stride, plane, starts, to, out_stride);
            } else {
                if (two)
                    pool_tile<T, K, 2, 2>(layer, from, stride, plane, starts, to, out_stride);
                else
                    pool_tile<T, K, 2, 1>(layer, from, stride, plane, starts, to, out_stride);
            }
        }
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
