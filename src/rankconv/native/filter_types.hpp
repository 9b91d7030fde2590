// What the filter kernels are told; plain data, shared by every instruction set.
#pragma once

#include <cstddef>

namespace rankconv {

// How an image goes on beyond its edges, named as in scipy.ndimage.
enum class Boundary { constant, nearest, reflect, mirror, wrap };

// One filtering of one image. `Sum` is the type that products are added up in.
//
//   out[r, c] = sum_ij F[i, j] * image[r + i - top, c + j - left]
//
// image  (height, width), read at row * row_step + column * column_step, beyond its edges by
//        `boundary`; a filtering that stays inside ("valid") has top = left = 0
// out    (out_height, out_width), written at row * out_step + column; must not overlap the image
//
// rank > 0: F = sum_t columns[t] rows[t]^T, columns (rank, kernel_height),
//           rows (rank, kernel_width)
// rank = 0: columns holds F transposed, (kernel_width, kernel_height)
template <typename Sum>
struct Filtering {
    const void* image;
    std::ptrdiff_t height, width, row_step, column_step;
    void* out;
    std::ptrdiff_t out_height, out_width, out_step;
    std::ptrdiff_t kernel_height, kernel_width, rank;
    const Sum* columns;
    const Sum* rows;
    std::ptrdiff_t top, left;
    Boundary boundary;
    Sum constant;
    std::ptrdiff_t ring_bytes;  // of cache for the lines in flight; affects the speed alone
};

// Rows [begin, end) of the output. `scratch` holds `scratch_bytes(task)`, aligned to 64 bytes.
template <typename Sum>
using FilterFunction = void (*)(const Filtering<Sum>& task, std::ptrdiff_t begin,
                                std::ptrdiff_t end, char* scratch);

struct FilterKernels {
    FilterFunction<float> float_to_float, byte_to_float, byte_to_byte, short_to_float,
        short_to_short;
    FilterFunction<double> double_to_double;
    std::ptrdiff_t (*scratch_float)(const Filtering<float>&);
    std::ptrdiff_t (*scratch_double)(const Filtering<double>&);
};

}  // namespace rankconv
