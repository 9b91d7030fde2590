// Plain C++17 kernels; no Python here.
//
// image  (H, W), row-major      kernel (kH, kW), row-major
// out    (H - kH + 1, W - kW + 1), row-major: valid correlation, no flip
#pragma once

#include <algorithm>
#include <cstddef>

namespace rankconv {

// Direct correlation: for every output row, one multiply-add sweep a filter tap,
// so the inner loop runs over contiguous memory and vectorises.
template <typename T>
void correlate_valid(const T* image, std::size_t height, std::size_t width,
                     const T* kernel, std::size_t kernel_height, std::size_t kernel_width,
                     T* out) {
    const std::size_t out_height = height - kernel_height + 1;
    const std::size_t out_width = width - kernel_width + 1;
    for (std::size_t r = 0; r < out_height; ++r) {
        T* row = out + r * out_width;
        std::fill(row, row + out_width, T(0));
        for (std::size_t i = 0; i < kernel_height; ++i) {
            const T* source = image + (r + i) * width;
            for (std::size_t j = 0; j < kernel_width; ++j) {
                const T tap = kernel[i * kernel_width + j];
                for (std::size_t c = 0; c < out_width; ++c) row[c] += tap * source[c + j];
            }
        }
    }
}

}  // namespace rankconv
