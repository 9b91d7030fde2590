// The two inner loops: a row pass over one line, a column pass over many.
//
// A tile covers V vectors of a row. The last of them starts `last` items after the first, so a
// row that is no multiple of the vector ends with a vector that overlaps its neighbour: nothing
// outside of the row is touched, and each pixel's sum has one order wherever it stands.
#pragma once

#include <type_traits>

#include "simd.hpp"

namespace rankconv::RANKCONV_ISA {

template <typename T, int V>
RANKCONV_INLINE Index vector_at(int v, Index last) {
    return v == V - 1 ? last : v * Simd<T>::lanes;
}

// Calls tile(vectors, at, last) so that [0, width) is covered; width >= a vector, or is padded.
template <typename T, int Most, typename Tile>
RANKCONV_INLINE void cover(Index width, Tile tile) {
    constexpr Index lanes = Simd<T>::lanes;
    Index at = 0;
    for (; at + Most * lanes <= width; at += Most * lanes)
        tile(std::integral_constant<int, Most>{}, at, (Most - 1) * lanes);
    if constexpr (Most > 4) {
        if (at + 4 * lanes <= width) {
            tile(std::integral_constant<int, 4>{}, at, 3 * lanes);
            at += 4 * lanes;
        }
    }
    if (at == width) return;
    const Index end = larger(width - lanes, 0);
    switch ((width - at + lanes - 1) / lanes) {
        case 1:
            tile(std::integral_constant<int, 1>{}, end, 0);
            break;
        case 2:
            tile(std::integral_constant<int, 2>{}, at, end - at);
            break;
        case 3:
            tile(std::integral_constant<int, 3>{}, at, end - at);
            break;
        default:
            tile(std::integral_constant<int, 4>{}, at, end - at);
    }
}

// to[t, c] = sum_j taps[t, j] * line[c + j] for `Terms` rows of taps at once: each load serves all.
template <typename T, int Terms, int V>
RANKCONV_INLINE void row_tile(const T* line, const T* taps, Index length, Index last, T* to,
                              Index term_step) {
    Vec<T> acc[Terms][V] = {};
    for (Index j = 0; j < length; ++j) {
        Vec<T> tap[Terms];
        RANKCONV_UNROLL for (int t = 0; t < Terms; ++t) tap[t] = held(splat(taps[t * length + j]));
        RANKCONV_UNROLL for (int v = 0; v < V; ++v) {
            const Vec<T> x = held(load(line + vector_at<T, V>(v, last) + j));
            RANKCONV_UNROLL for (int t = 0; t < Terms; ++t) acc[t][v] += tap[t] * x;
        }
    }
    RANKCONV_UNROLL for (int t = 0; t < Terms; ++t) {
        RANKCONV_UNROLL for (int v = 0; v < V; ++v)
            store(to + t * term_step + vector_at<T, V>(v, last), acc[t][v]);
    }
}

template <typename T, int Terms>
void row_pass_of(const T* line, const T* taps, Index length, Index width, T* to, Index term_step) {
    constexpr int most = RANKCONV_VECTOR_BYTES >= 64 ? 8 : Terms == 1 ? 8 : Terms == 2 ? 5 : 4;
    cover<T, most>(width, [&](auto vectors, Index at, Index last) {
        row_tile<T, Terms, vectors>(line + at, taps, length, last, to + at, term_step);
    });
}

// All `terms` rows of taps, three, two or one at a time.
template <typename T>
void row_pass(const T* line, const T* taps, Index terms, Index length, Index width, T* to,
              Index term_step) {
    Index t = 0;
    for (; terms - t == 3 || terms - t > 4; t += 3)
        row_pass_of<T, 3>(line, taps + t * length, length, width, to + t * term_step, term_step);
    for (; t + 2 <= terms; t += 2)
        row_pass_of<T, 2>(line, taps + t * length, length, width, to + t * term_step, term_step);
    if (t < terms)
        row_pass_of<T, 1>(line, taps + t * length, length, width, to + t * term_step, term_step);
}

// Row passes over short rows, several at once: one alone would wait for its own sums.
template <typename T, int Rows, int V>
RANKCONV_INLINE void short_row_tile(const T* line, Index step, const T* taps, Index length,
                                    Index last, T* to, Index to_step) {
    Vec<T> acc[Rows][V] = {};
    for (Index j = 0; j < length; ++j, ++line) {
        const Vec<T> tap = held(splat(taps[j]));
        RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
            RANKCONV_UNROLL for (int v = 0; v < V; ++v)
                acc[r][v] += tap * load(line + r * step + vector_at<T, V>(v, last));
        }
    }
    RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
        RANKCONV_UNROLL for (int v = 0; v < V; ++v)
            store(to + r * to_step + vector_at<T, V>(v, last), acc[r][v]);
    }
}

// Rows of the image are `step` apart, rows of the result `to_step`, a row's terms `term_step`.
template <typename T, int Rows>
void short_row_passes(const T* line, Index step, const T* taps, Index terms, Index length,
                      Index width, T* to, Index to_step, Index term_step) {
    for (Index t = 0; t < terms; ++t, taps += length, to += term_step) {
        cover<T, 2>(width, [&](auto vectors, Index at, Index last) {
            short_row_tile<T, Rows, vectors>(line + at, step, taps, length, last, to + at, to_step);
        });
    }
}

// acc[r] += sum_i taps[i] * lines[r + i], each line read once for all `Rows` rows.
// Length > 0 is the number of taps when it is known here; otherwise length >= Rows - 1.
template <typename T, int Rows, int V, int Length>
RANKCONV_INLINE void column_sums(const T* const* lines, Index offset, Index last, const T* taps,
                                 Index length, Vec<T> (&acc)[Rows][V]) {
    if constexpr (Length > 0) {
        RANKCONV_UNROLL for (int i = 0; i < Length + Rows - 1; ++i) {
            const T* line = lines[i] + offset;
            RANKCONV_UNROLL for (int v = 0; v < V; ++v) {
                const Vec<T> x = held(load(line + vector_at<T, V>(v, last)));
                RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
                    if (i - r >= 0 && i - r < Length) acc[r][v] += splat(taps[i - r]) * x;
                }
            }
        }
    } else {
        RANKCONV_UNROLL for (int i = 0; i < Rows - 1; ++i) {
            const T* line = lines[i] + offset;
            RANKCONV_UNROLL for (int v = 0; v < V; ++v) {
                const Vec<T> x = held(load(line + vector_at<T, V>(v, last)));
                RANKCONV_UNROLL for (int r = 0; r <= i; ++r) acc[r][v] += splat(taps[i - r]) * x;
            }
        }
        for (Index i = Rows - 1; i < length; ++i) {
            const T* line = lines[i] + offset;
            Vec<T> x[V];
            RANKCONV_UNROLL for (int v = 0; v < V; ++v)
                x[v] = held(load(line + vector_at<T, V>(v, last)));
            RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
                const Vec<T> tap = held(splat(taps[i - r]));
                RANKCONV_UNROLL for (int v = 0; v < V; ++v) acc[r][v] += tap * x[v];
            }
        }
        RANKCONV_UNROLL for (int i = 0; i < Rows - 1; ++i) {
            const T* line = lines[length + i] + offset;
            RANKCONV_UNROLL for (int v = 0; v < V; ++v) {
                const Vec<T> x = held(load(line + vector_at<T, V>(v, last)));
                RANKCONV_UNROLL for (int r = i + 1; r < Rows; ++r)
                    acc[r][v] += splat(taps[length + i - r]) * x;
            }
        }
    }
}

// A sum as the output's type: rounded to nearest, ties to even, and saturated; NaN becomes 0.
template <typename T, typename Out>
RANKCONV_INLINE auto as_output(Vec<T> sum) {
    if constexpr (std::is_same_v<T, Out>) {
        return sum;
    } else {
        static_assert(std::is_same_v<T, float> && sizeof(Out) <= 2);
        constexpr float top = static_cast<float>(static_cast<Out>(-1));
        constexpr float round = 12582912.0F;  // 1.5 * 2^23: leaves the integer in the low bits
        typedef Out Narrow __attribute__((vector_size(Simd<T>::lanes * sizeof(Out))));
        typedef std::int32_t Bits __attribute__((vector_size(RANKCONV_VECTOR_BYTES)));
        sum = sum > Vec<T>{} ? sum : Vec<T>{};
        sum = sum < splat(top) ? sum : splat(top);
        const Vec<T> rounded = sum + splat(round);
        Bits bits;
        __builtin_memcpy(&bits, &rounded, sizeof bits);
        return __builtin_convertvector(bits & 0xFFFF, Narrow);
    }
}

// How a column pass finds its data: term t of line i starts at lines[i] + t * term_step.
template <typename T>
struct ColumnPass {
    const T* const* lines;
    const T* taps;  // (terms, length)
    Index terms, length, term_step;
    bool fetch_output;  // pays where the column pass has few multiply-adds a line
};

template <typename T, typename Out, int Rows, int V, int Length>
RANKCONV_INLINE void column_tile(const ColumnPass<T>& pass, Index at, Index last, Out* out,
                                 Index out_step, Index width) {
    Vec<T> acc[Rows][V] = {};
    if (pass.fetch_output) {  // the next tile's places in the output
        RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
            RANKCONV_UNROLL for (int v = V; v < 2 * V; ++v)
                __builtin_prefetch(out + r * out_step + at + v * Simd<T>::lanes, 1);
        }
    }
    for (Index t = 0; t < pass.terms; ++t)
        column_sums<T, Rows, V, Length>(pass.lines, at + t * pass.term_step, last,
                                        pass.taps + t * pass.length, pass.length, acc);
    if (V == 1 && width < Simd<T>::lanes) {
        RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
            const auto value = as_output<T, Out>(acc[r][0]);
            for (Index c = 0; c < width; ++c) out[r * out_step + c] = value[c];
        }
        return;
    }
    RANKCONV_UNROLL for (int r = 0; r < Rows; ++r) {
        RANKCONV_UNROLL for (int v = 0; v < V; ++v)
            store(out + r * out_step + at + vector_at<T, V>(v, last), as_output<T, Out>(acc[r][v]));
    }
}

template <typename T, typename Out, int Rows, int Length>
void column_pass(const ColumnPass<T>& pass, Index width, Out* out, Index out_step) {
    constexpr int most = RANKCONV_VECTOR_BYTES >= 64 ? 4 : 2;
    cover<T, most>(width, [&](auto vectors, Index at, Index last) {
        column_tile<T, Out, Rows, vectors, Length>(pass, at, last, out, out_step, width);
    });
}

}  // namespace rankconv::RANKCONV_ISA
