// Rows of an image as if it had no edges, converted to the type of the sums.
#pragma once

#include <type_traits>

#include "filter_types.hpp"
#include "simd.hpp"

namespace rankconv::RANKCONV_ISA {

// The index inside [0, n) that stands for `at`, or -1 for the constant.
RANKCONV_INLINE Index inside(Index at, Index n, Boundary boundary) {
    if (at >= 0 && at < n) return at;
    switch (boundary) {
        case Boundary::constant:
            return -1;
        case Boundary::nearest:
            return at < 0 ? 0 : n - 1;
        case Boundary::wrap: {
            const Index rest = at % n;
            return rest < 0 ? rest + n : rest;
        }
        case Boundary::reflect: {  // d c b a | a b c d | d c b a
            Index rest = at % (2 * n);
            if (rest < 0) rest += 2 * n;
            return rest < n ? rest : 2 * n - 1 - rest;
        }
        case Boundary::mirror: {  // d c b | a b c d | c b a
            if (n == 1) return 0;
            Index rest = at % (2 * n - 2);
            if (rest < 0) rest += 2 * n - 2;
            return rest < n ? rest : 2 * n - 2 - rest;
        }
    }
    return -1;
}

template <typename In, typename Sum>
RANKCONV_INLINE void convert(const In* from, Index step, Index count, Sum* to) {
    if (step != 1) {
        for (Index i = 0; i < count; ++i) to[i] = static_cast<Sum>(from[i * step]);
        return;
    }
    if constexpr (std::is_same_v<In, Sum>) {
        constexpr Index lanes = Simd<Sum>::lanes;
        if (count >= lanes) {
            for (Index i = 0; i < count - lanes; i += lanes) store(to + i, load(from + i));
            store(to + count - lanes, load(from + count - lanes));
            return;
        }
    }
    for (Index i = 0; i < count; ++i) to[i] = static_cast<Sum>(from[i]);
}

// Whether `rows` rows from `row` on, and `count` items of each from `column` on, can be read where
// they are: inside of the image, side by side and of the right type.
template <typename In, typename Sum>
RANKCONV_INLINE bool can_read_in_place(const Filtering<Sum>& task, Index row, Index rows,
                                       Index column, Index count) {
    return std::is_same_v<In, Sum> && row >= 0 && row + rows <= task.height && column >= 0 &&
           column + count <= task.width && task.column_step == 1;
}

// Columns [column, column + count) of an image that goes on beyond its edges. Those in
// [first, last)
// of them stand inside of it; `source` names the column to read (or -1) for all others.
struct Span {
    Index column, count, first, last;
    Index* source;

    template <typename Sum>
    Span(const Filtering<Sum>& task, Index column_, Index count_, Index* memory)
        : column(column_), count(count_), source(memory) {
        first = column < 0 ? smaller(-column, count) : 0;
        last = larger(first, smaller(count, task.width - column));
        for (Index i = 0; i < first; ++i)
            source[i] = inside(column + i, task.width, task.boundary);
        for (Index i = last; i < count; ++i)
            source[i] = inside(column + i, task.width, task.boundary);
    }
};

// Copies row `row`, which may lie outside of the image, and adds zeros up to `padded` items, so
// that a vector may be read at the end.
template <typename In, typename Sum>
void copy_row_without_edges(const Filtering<Sum>& task, Index row, const Span& span, Index padded,
                            Sum* line) {
    const Index r = inside(row, task.height, task.boundary);
    if (r < 0) {
        for (Index i = 0; i < span.count; ++i) line[i] = task.constant;
    } else {
        const In* image = static_cast<const In*>(task.image) + r * task.row_step;
        const Index step = task.column_step;
        const auto edges = [&](Index begin, Index end) {
            for (Index i = begin; i < end; ++i) {
                const Index c = span.source[i];
                line[i] = c < 0 ? task.constant : static_cast<Sum>(image[c * step]);
            }
        };
        edges(0, span.first);
        if (span.last > span.first)
            convert(image + (span.column + span.first) * step, step, span.last - span.first,
                    line + span.first);
        edges(span.last, span.count);
    }
    for (Index i = span.count; i < padded; ++i) line[i] = Sum(0);
}

}  // namespace rankconv::RANKCONV_ISA
