// What the small-image kernels are told; plain data, shared by every instruction set.
#pragma once

#include <cstddef>

namespace rankconv {

// One layer: valid correlation, bias, ReLU, 2x2 max-pool (a last odd row or column is dropped).
//
// image (H, W) -> out ((H - kH + 1) / 2, (W - kW + 1) / 2), both row-major
template <typename T>
struct PoolLayer {
    std::ptrdiff_t height, width;                // H, W
    std::ptrdiff_t kernel_height, kernel_width;  // kH, kW
    std::ptrdiff_t rank;                         // 0: direct, else the number of separable terms
    const T* kernel;                             // (kH, kW), read when rank == 0
    const T* columns;                            // (rank, kH)
    const T* rows;                               // (rank, kW)
    T bias;

    // Always inline: no instruction set may link another one's copy.
    __attribute__((always_inline)) std::ptrdiff_t out_height() const {
        return (height - kernel_height + 1) / 2;
    }
    __attribute__((always_inline)) std::ptrdiff_t out_width() const {
        return (width - kernel_width + 1) / 2;
    }
};

// The paper's network: two such layers, then two linear layers with a ReLU in between.
//
// `hidden` is padded with zero weights to `hidden_stride`, a multiple of every vector width.
template <typename T>
struct Net {
    PoolLayer<T> first, second;
    std::ptrdiff_t features, hidden, hidden_stride, outputs;
    const T* weight1;  // (features, hidden_stride)
    const T* bias1;    // (hidden_stride)
    const T* weight2;  // (outputs, hidden_stride)
    const T* bias2;    // (outputs)
};

template <typename T>
struct SmallKernels {
    // `scratch` holds pool_scratch(layer) items.
    void (*conv_relu_pool)(const PoolLayer<T>&, const T* image, T* out, T* scratch);
    // images (n, H, W), contiguous -> logits (n, outputs); `scratch` holds net_scratch(net) items.
    void (*net)(const Net<T>&, std::ptrdiff_t n, const T* images, T* logits, T* scratch);
    std::ptrdiff_t (*net_scratch)(const Net<T>&);
    std::ptrdiff_t (*pool_scratch)(const PoolLayer<T>&);
};

}  // namespace rankconv
