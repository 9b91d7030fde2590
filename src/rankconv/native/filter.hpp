// Fused correlation, separable or direct: rows pass through a ring of lines that stays in cache.
//
// Separable: each image row is correlated with every term's row taps as it enters the ring, and
// the column pass adds up all terms in registers. Direct: the ring holds the image rows as they
// are (pointers where no copy is needed) and the column pass runs over them once a filter
// column, one item further right each time.
#pragma once

#include "passes.hpp"
#include "rolling.hpp"
#include "rows.hpp"

namespace rankconv::RANKCONV_ISA {

constexpr Index rows_at_once = 6;  // output rows of a column pass: each line read serves them all

// How a filtering is cut: columns into strips whose ring fits the cache, rows into blocks.
template <typename Sum>
struct Cut {
    Index block;      // output rows at once
    Index lines;      // of the ring
    Index most_lines;  // of any ring for this task, however many rows are asked for
    Index strip;      // output columns at once
    Index line_step;  // from one term's line to the next; an odd number of cache lines
    Index line;       // items of an image row with its padding
    Index terms;      // lines kept for each row

    explicit Cut(const Filtering<Sum>& task, Index rows) {
        constexpr Index lanes = Simd<Sum>::lanes, cache_line = 64 / sizeof(Sum);
        const Index kh = task.kernel_height;
        block = rows >= rows_at_once && (kh >= rows_at_once - 1 || kh == 3) ? rows_at_once
                : rows >= 2                                                 ? 2
                                                                            : 1;
        lines = kh + block - 1;
        terms = larger(task.rank, 1);
        most_lines = kh + rows_at_once - 1;
        const Index most = larger(task.ring_bytes / Index(sizeof(Sum)) / (most_lines * terms), 512);
        const Index strips = (task.out_width + most - 1) / most;
        strip = smaller(round_up((task.out_width + strips - 1) / strips, 4 * lanes),
                        task.out_width);
        line = round_up(strip + task.kernel_width - 1, lanes) + lanes;
        const Index needed = task.rank > 0 ? round_up(strip, lanes) : line;
        line_step = (round_up(needed, cache_line) / cache_line | 1) * cache_line;
    }

    Index line_bytes() const { return round_up(4 * line * Index(sizeof(Sum)), 64); }
    Index table_bytes() const { return round_up(2 * most_lines * Index(sizeof(Sum*)), 64); }
    Index span_bytes() const { return round_up(line * Index(sizeof(Index)), 64); }
    Index bytes() const {
        return line_bytes() + table_bytes() + span_bytes() +
               most_lines * terms * line_step * Index(sizeof(Sum));
    }
};

template <typename Sum>
Index scratch_bytes(const Filtering<Sum>& task) {
    return Cut<Sum>(task, task.out_height).bytes();
}

template <typename Sum, typename Out, int Rows>
void filter_block(const ColumnPass<Sum>& pass, Index width, Out* out, Index out_step) {
    if constexpr (Rows > 2) {
        if (pass.length == 3) {
            column_pass<Sum, Out, Rows, 3>(pass, width, out, out_step);
            return;
        }
    }
    column_pass<Sum, Out, Rows, 0>(pass, width, out, out_step);
}

// Feeds rows of the image into a ring of lines. Each pointer stands in the table twice, `lines`
// apart, so that the lines in use follow each other in it wherever the ring begins.
template <typename In, typename Sum>
class Ring {
  public:
    Ring(const Filtering<Sum>& task, const Cut<Sum>& cut, Index first, Index width, char* scratch)
        : task_(task),
          cut_(cut),
          width_(width),
          span_(task, first - task.left, width + task.kernel_width - 1,
                reinterpret_cast<Index*>(scratch + cut.line_bytes() + cut.table_bytes())),
          line_(reinterpret_cast<Sum*>(scratch)),
          table_(reinterpret_cast<const Sum**>(scratch + cut.line_bytes())),
          memory_(reinterpret_cast<Sum*>(scratch + cut.line_bytes() + cut.table_bytes() +
                                         cut.span_bytes())) {
        const bool narrow = width < Simd<Sum>::lanes;
        padded_ = narrow ? Simd<Sum>::lanes + task.kernel_width - 1 : 0;
        // A tall direct filter reads so many rows at once that their places in the cache collide.
        in_place_ = !narrow && (task.rank > 0 || task.kernel_height < 9);
    }

    // Takes in the extended rows [from, to), counted from `top` rows above the image.
    void fill(Index from, Index to) {
        if (task_.rank == 0) {
            for (; from < to; ++from) {
                Sum* line = memory_ + next_ * cut_.line_step;
                push(row(from, line));
            }
        } else if (task_.rank <= 2 && width_ <= 4 * Simd<Sum>::lanes) {
            while (from < to) {
                const Index rows = smaller(to - from, cut_.lines - next_);  // up to the table's end
                if (rows >= 4)
                    from += short_rows<4>(from);
                else if (rows >= 2)
                    from += short_rows<2>(from);
                else
                    from += short_rows<1>(from);
            }
        } else {
            for (; from < to; ++from) {
                Sum* line = memory_ + next_ * cut_.terms * cut_.line_step;
                row_pass(row(from, line_), task_.rows, task_.rank, task_.kernel_width, width_,
                         line, cut_.line_step);
                push(line);
            }
        }
    }

    // The lines in use, oldest first.
    const Sum* const* lines() const { return table_ + next_; }

  private:
    const Sum* row(Index at, Sum* line) const {
        const Index r = at - task_.top;
        if (in_place_ && can_read_in_place<In>(task_, r, 1, span_.column, span_.count))
            return static_cast<const Sum*>(task_.image) + r * task_.row_step + span_.column;
        copy_row_without_edges<In, Sum>(task_, r, span_, padded_, line);
        return line;
    }

    void push(const Sum* line) {
        table_[next_] = table_[next_ + cut_.lines] = line;
        next_ = next_ + 1 == cut_.lines ? 0 : next_ + 1;
    }

    template <int Rows>
    Index short_rows(Index from) {
        const Index r = from - task_.top;
        const Sum* line = line_;
        Index step = cut_.line;
        if (in_place_ && can_read_in_place<In>(task_, r, Rows, span_.column, span_.count)) {
            line = static_cast<const Sum*>(task_.image) + r * task_.row_step + span_.column;
            step = task_.row_step;
        } else {
            for (int i = 0; i < Rows; ++i)
                copy_row_without_edges<In, Sum>(task_, r + i, span_, padded_,
                                                line_ + i * cut_.line);
        }
        const Index row_items = cut_.terms * cut_.line_step;
        Sum* to = memory_ + next_ * row_items;
        short_row_passes<Sum, Rows>(line, step, task_.rows, task_.rank, task_.kernel_width, width_,
                                    to, row_items, cut_.line_step);
        for (int i = 0; i < Rows; ++i) push(to + i * row_items);
        return Rows;
    }

    const Filtering<Sum>& task_;
    const Cut<Sum>& cut_;
    Index width_, padded_;
    bool in_place_;
    Span span_;
    Sum* line_;          // what cannot be read in place, up to four rows
    const Sum** table_;  // the ring's lines, twice
    Sum* memory_;
    Index next_ = 0;
};

template <typename In, typename Sum, typename Out>
void filter_strip(const Filtering<Sum>& task, const Cut<Sum>& cut, Index first, Index width,
                  Index begin, Index end, char* scratch) {
    Ring<In, Sum> ring(task, cut, first, width, scratch);
    const bool separable = task.rank > 0;
    ColumnPass<Sum> pass{nullptr,
                         task.columns,
                         separable ? task.rank : task.kernel_width,
                         task.kernel_height,
                         separable ? cut.line_step : 1,
                         separable};
    Index filled = begin;
    for (Index r = begin; r < end; r += cut.block) {
        const Index at = smaller(r, end - cut.block);  // the last block overlaps the one before
        ring.fill(filled, at + cut.lines);
        filled = at + cut.lines;
        pass.lines = ring.lines();
        Out* out = static_cast<Out*>(task.out) + first + at * task.out_step;
        if (cut.block == rows_at_once)
            filter_block<Sum, Out, rows_at_once>(pass, width, out, task.out_step);
        else if (cut.block == 2)
            filter_block<Sum, Out, 2>(pass, width, out, task.out_step);
        else
            filter_block<Sum, Out, 1>(pass, width, out, task.out_step);
    }
}

template <typename In, typename Sum, typename Out>
void filter(const Filtering<Sum>& task, Index begin, Index end, char* scratch) {
    if constexpr (std::is_same_v<Sum, Out>)
        if (roll<In>(task, begin, end)) return;
    const Cut<Sum> cut(task, end - begin);
    for (Index first = 0; first < task.out_width; first += cut.strip) {
        const Index width = smaller(cut.strip, task.out_width - first);
        filter_strip<In, Sum, Out>(task, cut, first, width, begin, end, scratch);
    }
}

}  // namespace rankconv::RANKCONV_ISA
