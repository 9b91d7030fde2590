// The paper's network: two small-image layers and two linear layers, one image or many.
//
// Linear layers take `Batch` images at a time, so that their weights are read once for all of
// them. Every sum has the same order whatever the batch: one image or a thousand, same bits.
#pragma once

#include "small.hpp"

namespace rankconv::RANKCONV_ISA {

// Where a network's intermediate arrays stand in the scratch memory.
template <typename T>
struct NetLayout {
    static constexpr Index batch = RANKCONV_VECTOR_BYTES >= 64 ? 8 : 4;
    Index half, middle, middle_stride, pooled, pooled_stride, features, hidden, end;

    explicit NetLayout(const Net<T>& net) {
        const PoolLayer<T>&a = net.first, &b = net.second;
        middle_stride = larger(padded_stride(b), padded_out_stride(a));
        pooled_stride = padded_out_stride(b);
        half = 0;
        middle = round_up(larger(pool_scratch(a), pool_scratch(b)), 64 / sizeof(T));
        pooled = middle + b.height * middle_stride + Simd<T>::lanes;
        features = pooled + b.out_height() * pooled_stride + Simd<T>::lanes;
        hidden = round_up(features + batch * net.features, 64 / sizeof(T));
        end = hidden + batch * net.hidden_stride;
    }
};

template <typename T>
Index net_scratch(const Net<T>& net) {
    return NetLayout<T>(net).end;
}

template <typename T, int Images, int V>
RANKCONV_INLINE void linear_relu_tile(const Net<T>& net, const T* features, Index at, T* hidden) {
    constexpr Index lanes = Simd<T>::lanes;
    Vec<T> acc[Images][V];
    RANKCONV_UNROLL for (int n = 0; n < Images; ++n) {
        RANKCONV_UNROLL for (int v = 0; v < V; ++v)
            acc[n][v] = load(net.bias1 + at + v * lanes);
    }
    for (Index i = 0; i < net.features; ++i) {
        const T* weights = net.weight1 + i * net.hidden_stride + at;
        Vec<T> w[V];
        RANKCONV_UNROLL for (int v = 0; v < V; ++v) w[v] = held(load(weights + v * lanes));
        RANKCONV_UNROLL for (int n = 0; n < Images; ++n) {
            const Vec<T> x = held(splat(features[n * net.features + i]));
            RANKCONV_UNROLL for (int v = 0; v < V; ++v) acc[n][v] += w[v] * x;
        }
    }
    RANKCONV_UNROLL for (int n = 0; n < Images; ++n) {
        RANKCONV_UNROLL for (int v = 0; v < V; ++v)
            store(hidden + n * net.hidden_stride + at + v * lanes, relu(acc[n][v]));
    }
}

template <typename T, int Images>
void linear_relu(const Net<T>& net, const T* features, T* hidden) {
    constexpr int V = Images == 1 ? 8 : 2;
    constexpr Index lanes = Simd<T>::lanes;
    Index at = 0;
    for (; at + V * lanes <= net.hidden_stride; at += V * lanes)
        linear_relu_tile<T, Images, V>(net, features, at, hidden);
    for (; at < net.hidden_stride; at += lanes)
        linear_relu_tile<T, Images, 1>(net, features, at, hidden);
}

template <typename V, std::size_t... I>
RANKCONV_INLINE auto sum_of_halves(V value, std::index_sequence<I...>) {
    constexpr std::size_t half = sizeof...(I);
    return __builtin_shufflevector(value, value, I...) +
           __builtin_shufflevector(value, value, (I + half)...);
}

template <int Lanes, typename V>
RANKCONV_INLINE auto sum_of_lanes(V value) {
    if constexpr (Lanes == 1)
        return value[0];
    else
        return sum_of_lanes<Lanes / 2>(sum_of_halves(value, std::make_index_sequence<Lanes / 2>{}));
}

template <typename T, int Images, int Outputs>
RANKCONV_INLINE void linear_tile(const Net<T>& net, const T* hidden, Index output, T* logits) {
    constexpr Index lanes = Simd<T>::lanes;
    Vec<T> acc[Images][Outputs] = {};
    const T* weights = net.weight2 + output * net.hidden_stride;
    for (Index i = 0; i < net.hidden_stride; i += lanes) {
        Vec<T> x[Images];
        RANKCONV_UNROLL for (int n = 0; n < Images; ++n)
            x[n] = held(load(hidden + n * net.hidden_stride + i));
        RANKCONV_UNROLL for (int o = 0; o < Outputs; ++o) {
            const Vec<T> w = held(load(weights + o * net.hidden_stride + i));
            RANKCONV_UNROLL for (int n = 0; n < Images; ++n) acc[n][o] += w * x[n];
        }
    }
    RANKCONV_UNROLL for (int n = 0; n < Images; ++n) {
        RANKCONV_UNROLL for (int o = 0; o < Outputs; ++o)
            logits[n * net.outputs + output + o] =
                sum_of_lanes<lanes>(acc[n][o]) + net.bias2[output + o];
    }
}

template <typename T, int Images>
void linear(const Net<T>& net, const T* hidden, T* logits) {
    Index output = 0;
    for (; output + 5 <= net.outputs; output += 5)
        linear_tile<T, Images, 5>(net, hidden, output, logits);
    for (; output < net.outputs; ++output)
        linear_tile<T, Images, 1>(net, hidden, output, logits);
}

template <typename T>
void convolve_image(const Net<T>& net, const NetLayout<T>& at, const T* image, T* scratch,
                    T* features) {
    pool_layer_exact(net.first, image, scratch + at.middle, at.middle_stride, true,
                     scratch + at.half);
    pool_layer(net.second, scratch + at.middle, at.middle_stride, true, scratch + at.pooled,
               at.pooled_stride, scratch + at.half);
    copy_rows(scratch + at.pooled, at.pooled_stride, features, net.second.out_width(),
              net.second.out_height(), net.second.out_width());
}

template <typename T>
void run_net(const Net<T>& net, Index n, const T* images, T* logits, T* scratch) {
    const NetLayout<T> at(net);
    const Index pixels = net.first.height * net.first.width;
    T* features = scratch + at.features;
    T* hidden = scratch + at.hidden;
    // What padding reads must be finite: stale memory could slow the arithmetic down.
    for (Index i = at.middle; i < at.pooled; ++i) scratch[i] = T(0);
    for (; n >= at.batch; n -= at.batch) {
        for (Index i = 0; i < at.batch; ++i, images += pixels)
            convolve_image(net, at, images, scratch, features + i * net.features);
        linear_relu<T, at.batch>(net, features, hidden);
        for (Index i = 0; i < at.batch; i += 2)
            linear<T, 2>(net, hidden + i * net.hidden_stride, logits + i * net.outputs);
        logits += at.batch * net.outputs;
    }
    for (; n > 0; --n, images += pixels, logits += net.outputs) {
        convolve_image(net, at, images, scratch, features);
        linear_relu<T, 1>(net, features, hidden);
        linear<T, 1>(net, hidden, logits);
    }
}

}  // namespace rankconv::RANKCONV_ISA
