// Runs the kernels without Python on random tasks, against plain loops in double precision.
//
// Every array is a separate allocation of exactly the size it needs, so that AddressSanitizer sees
// any access beyond it. Usage: kernels_test [cases] [seed]
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <type_traits>
#include <vector>

#include "kernels.hpp"
#include "memory.hpp"
#include "threads.hpp"

using namespace rankconv;
using Index = std::ptrdiff_t;

namespace {

std::mt19937_64 generator;
Index between(Index low, Index high) {
    return std::uniform_int_distribution<Index>(low, high)(generator);
}
double normal() { return std::normal_distribution<double>()(generator); }

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "%s: %s\n", kernels().isa, what);
    std::exit(1);
}

// The definition of each boundary, one step at a time.
Index inside(Index at, Index n, Boundary boundary) {
    while (at < 0 || at >= n) {
        switch (boundary) {
            case Boundary::constant: return -1;
            case Boundary::nearest: at = at < 0 ? 0 : n - 1; break;
            case Boundary::wrap: at += at < 0 ? n : -n; break;
            case Boundary::reflect: at = at < 0 ? -1 - at : 2 * n - 1 - at; break;
            case Boundary::mirror: at = n == 1 ? 0 : at < 0 ? -at : 2 * n - 2 - at; break;
        }
    }
    return at;
}

template <typename Sum>
struct Task : Filtering<Sum> {
    std::vector<Sum> column_taps, row_taps;

    double tap(Index i, Index j, bool magnitude) const {
        if (this->rank == 0) {
            const double t = column_taps[static_cast<size_t>(j * this->kernel_height + i)];
            return magnitude ? std::abs(t) : t;
        }
        double sum = 0;
        for (Index t = 0; t < this->rank; ++t) {
            const double product =
                double{column_taps[static_cast<size_t>(t * this->kernel_height + i)]} *
                row_taps[static_cast<size_t>(t * this->kernel_width + j)];
            sum += magnitude ? std::abs(product) : product;
        }
        return sum;
    }
};

template <typename Sum>
Task<Sum> random_task() {
    Task<Sum> task{};
    const Index sizes[] = {3, 9, 70}, lengths[] = {3, 7, 30};
    const Index size = sizes[between(0, 2)], length = lengths[between(0, 2)];
    task.kernel_height = between(1, length);
    task.kernel_width = between(1, length);
    const bool few_taps = between(0, 2) == 0;  // what rolling.hpp has a way of its own for
    if (few_taps) task.kernel_height = task.kernel_width = 2 * between(1, 5) + 1;
    const bool valid = between(0, 2) == 0;
    task.height = between(1, size) + (valid ? task.kernel_height - 1 : 0);
    task.width = between(1, 2 * size) + (valid ? task.kernel_width - 1 : 0);
    task.top = valid ? 0 : between(0, task.kernel_height + 2);
    task.left = valid ? 0 : between(0, task.kernel_width + 2);
    task.out_height = valid ? task.height - task.kernel_height + 1 : between(1, size);
    task.out_width = valid ? task.width - task.kernel_width + 1 : between(1, 2 * size);
    task.boundary = static_cast<Boundary>(between(0, 4));
    task.constant = static_cast<Sum>(between(-2, 2));
    task.rank = few_taps ? 1 : between(0, 5);
    task.ring_bytes = between(0, 1) ? 1 << 20 : 1 << 14;
    task.column_step = between(0, 3) ? 1 : between(1, 3) * (between(0, 1) ? 1 : -1);
    task.row_step = (std::abs(task.column_step) * task.width + between(0, 3)) *
                    (between(0, 3) ? 1 : -1);
    task.out_step = task.out_width + between(0, 2);
    const Index terms = task.rank > 0 ? task.rank : task.kernel_width;
    task.column_taps.resize(static_cast<size_t>(terms * task.kernel_height));
    task.row_taps.resize(static_cast<size_t>(task.rank * task.kernel_width));
    for (Sum& tap : task.column_taps) tap = static_cast<Sum>(normal());
    for (Sum& tap : task.row_taps) tap = static_cast<Sum>(normal());
    task.columns = task.column_taps.data();
    task.rows = task.row_taps.data();
    return task;
}

template <typename In, typename Sum, typename Out>
void check_filter(FilterFunction<Sum> kernel, Index (*scratch_bytes)(const Filtering<Sum>&)) {
    Task<Sum> task = random_task<Sum>();
    const Index rows = task.row_step * (task.height - 1);
    const Index columns = task.column_step * (task.width - 1);
    const Index low = std::min<Index>(rows, 0) + std::min<Index>(columns, 0);
    const Index items = std::max<Index>(rows, 0) + std::max<Index>(columns, 0) - low + 1;
    const std::unique_ptr<In[]> memory(new In[static_cast<size_t>(items)]);
    for (Index i = 0; i < items; ++i)
        memory[static_cast<size_t>(i)] = std::is_floating_point_v<In>
                                             ? static_cast<In>(normal())
                                             : static_cast<In>(between(0, In(-1) > 0 ? In(-1) : 0));
    const In* image = memory.get() - low;
    task.image = image;
    const Index out_items = task.out_step * (task.out_height - 1) + task.out_width;
    const auto filtered = [&](Index workers) {
        std::unique_ptr<Out[]> out(new Out[static_cast<size_t>(out_items)]());
        task.out = out.get();
        const Index bytes = (scratch_bytes(task) + 63) / 64 * 64;
        std::vector<Buffer<char>> scratch;
        for (Index i = 0; i < workers; ++i) scratch.emplace_back(bytes);
        parallel(task.out_height, workers, 1, [&](Index piece, Index begin, Index end) {
            kernel(task, begin, end, scratch[static_cast<size_t>(piece)].get());
        });
        return out;
    };
    const auto out = filtered(1);
    const Index workers = between(2, 5);
    const auto threaded = filtered(workers);
    if (!std::equal(out.get(), out.get() + out_items, threaded.get()))
        fail("the result depends on the number of threads");

    const double unit = std::is_same_v<Sum, float> ? std::pow(2.0, -24) : std::pow(2.0, -52);
    const double steps = task.rank == 0 ? task.kernel_height * task.kernel_width
                                        : task.rank * task.kernel_height + task.kernel_width;
    for (int sample = 0; sample < 50; ++sample) {
        const Index r = sample == 0 ? task.out_height - 1 : between(0, task.out_height - 1);
        const Index c = sample == 0 ? task.out_width - 1 : between(0, task.out_width - 1);
        double sum = 0, magnitude = 0;
        for (Index i = 0; i < task.kernel_height; ++i) {
            for (Index j = 0; j < task.kernel_width; ++j) {
                const Index y = inside(r + i - task.top, task.height, task.boundary);
                const Index x = inside(c + j - task.left, task.width, task.boundary);
                const double pixel = y < 0 || x < 0
                                         ? double{task.constant}
                                         : double(image[y * task.row_step + x * task.column_step]);
                sum += task.tap(i, j, false) * pixel;
                magnitude += task.tap(i, j, true) * std::abs(pixel);
            }
        }
        const double found = double(out[static_cast<size_t>(r * task.out_step + c)]);
        double bound = (steps + 2) * unit * magnitude;
        if (!std::is_floating_point_v<Out>) {
            sum = std::clamp(sum, 0.0, double(std::numeric_limits<Out>::max()));
            bound += 0.5;
        }
        if (!(std::abs(found - sum) <= bound)) fail("a sum is not within its bound");
    }
}

template <typename T>
struct Owned {
    std::vector<T> kernel, columns, rows;
    PoolLayer<T> layer{};

    Owned(Index height, Index width, Index kernel_height, Index kernel_width, Index rank)
        : kernel(static_cast<size_t>(kernel_height * kernel_width)),
          columns(static_cast<size_t>(rank * kernel_height)),
          rows(static_cast<size_t>(rank * kernel_width)) {
        for (T& tap : kernel) tap = static_cast<T>(normal());
        for (T& tap : columns) tap = static_cast<T>(normal());
        for (T& tap : rows) tap = static_cast<T>(normal());
        layer.height = height;
        layer.width = width;
        layer.kernel_height = kernel_height;
        layer.kernel_width = kernel_width;
        layer.rank = rank;
        layer.kernel = kernel.data();
        layer.columns = columns.data();
        layer.rows = rows.data();
        layer.bias = static_cast<T>(normal());
    }

    double tap(Index i, Index j) const {
        if (layer.rank == 0) return double(kernel[static_cast<size_t>(i * layer.kernel_width + j)]);
        double sum = 0;
        for (Index t = 0; t < layer.rank; ++t)
            sum += double(columns[static_cast<size_t>(t * layer.kernel_height + i)]) *
                   double(rows[static_cast<size_t>(t * layer.kernel_width + j)]);
        return sum;
    }

    std::vector<double> reference(const std::vector<double>& image) const {
        std::vector<double> out;
        for (Index r = 0; r < layer.out_height(); ++r) {
            for (Index c = 0; c < layer.out_width(); ++c) {
                double best = 0;
                for (Index k = 0; k < 4; ++k) {
                    double sum = double(layer.bias);
                    for (Index i = 0; i < layer.kernel_height; ++i)
                        for (Index j = 0; j < layer.kernel_width; ++j)
                            sum += tap(i, j) *
                                   image[static_cast<size_t>((2 * r + k / 2 + i) * layer.width +
                                                             2 * c + k % 2 + j)];
                    best = std::max(best, sum);
                }
                out.push_back(best);
            }
        }
        return out;
    }
};

template <typename T>
std::vector<T> random_vector(Index count) {
    std::vector<T> values(static_cast<size_t>(count));
    for (T& value : values) value = static_cast<T>(normal());
    return values;
}

template <typename T>
void expect_close(const T* found, const std::vector<double>& wanted, const char* what) {
    double scale = 1;
    for (double value : wanted) scale = std::max(scale, std::abs(value));
    const double bound = scale * (std::is_same_v<T, float> ? 1e-4 : 1e-12);
    for (size_t i = 0; i < wanted.size(); ++i)
        if (!(std::abs(double(found[i]) - wanted[i]) <= bound)) fail(what);
}

template <typename T>
void check_pool() {
    const Index kernel_height = between(1, 7);
    const Index kernel_width = between(0, 1) ? kernel_height : between(1, 7);
    const Owned<T> owned(between(2, 40) + kernel_height - 1, between(2, 40) + kernel_width - 1,
                         kernel_height, kernel_width, between(0, 4));
    const PoolLayer<T>& layer = owned.layer;
    const std::vector<T> image = random_vector<T>(layer.height * layer.width);
    std::vector<T> out(static_cast<size_t>(layer.out_height() * layer.out_width()));
    const Buffer<T> scratch(kernels().small(T()).pool_scratch(layer));
    kernels().small(T()).conv_relu_pool(layer, image.data(), out.data(), scratch.get());
    expect_close(out.data(), owned.reference({image.begin(), image.end()}), "a pooled layer");
}

template <typename T>
void check_net() {
    const Index size = between(0, 2) ? 32 : between(20, 45), rank = between(0, 3);
    const Index k = between(0, 2) ? 5 : between(1, 6);
    const Owned<T> first(size, size + between(0, 2), k, k, rank);
    const Owned<T> second(first.layer.out_height(), first.layer.out_width(), k, k, rank);
    Net<T> net{};
    net.first = first.layer;
    net.second = second.layer;
    if (net.second.out_height() < 1 || net.second.out_width() < 1) return;
    net.features = net.second.out_height() * net.second.out_width();
    net.hidden = between(1, 200);
    net.hidden_stride = (net.hidden + 15) / 16 * 16;
    net.outputs = between(1, 12);
    std::vector<T> weight1 = random_vector<T>(net.features * net.hidden_stride);
    std::vector<T> bias1 = random_vector<T>(net.hidden_stride);
    std::vector<T> weight2 = random_vector<T>(net.outputs * net.hidden_stride);
    const std::vector<T> bias2 = random_vector<T>(net.outputs);
    for (Index h = net.hidden; h < net.hidden_stride; ++h) {
        bias1[static_cast<size_t>(h)] = 0;
        for (Index i = 0; i < net.features; ++i)
            weight1[static_cast<size_t>(i * net.hidden_stride + h)] = 0;
        for (Index o = 0; o < net.outputs; ++o)
            weight2[static_cast<size_t>(o * net.hidden_stride + h)] = 0;
    }
    net.weight1 = weight1.data();
    net.bias1 = bias1.data();
    net.weight2 = weight2.data();
    net.bias2 = bias2.data();

    const Index count = between(1, 20), pixels = net.first.height * net.first.width;
    const std::vector<T> images = random_vector<T>(count * pixels);
    std::vector<T> logits(static_cast<size_t>(count * net.outputs)), one(logits.size());
    const Buffer<T> scratch(kernels().small(T()).net_scratch(net));
    kernels().small(T()).net(net, count, images.data(), logits.data(), scratch.get());
    for (Index n = 0; n < count; ++n) {
        kernels().small(T()).net(net, 1, images.data() + n * pixels,
                                 one.data() + n * net.outputs, scratch.get());
        const std::vector<double> maps = second.reference(
            first.reference({images.begin() + n * pixels, images.begin() + (n + 1) * pixels}));
        std::vector<double> wanted;
        for (Index o = 0; o < net.outputs; ++o) {
            double sum = double(bias2[static_cast<size_t>(o)]);
            for (Index h = 0; h < net.hidden; ++h) {
                double unit = double(bias1[static_cast<size_t>(h)]);
                for (Index i = 0; i < net.features; ++i)
                    unit += double(weight1[static_cast<size_t>(i * net.hidden_stride + h)]) *
                            maps[static_cast<size_t>(i)];
                sum += double(weight2[static_cast<size_t>(o * net.hidden_stride + h)]) *
                       std::max(unit, 0.0);
            }
            wanted.push_back(sum);
        }
        expect_close(one.data() + n * net.outputs, wanted, "a network's logits");
    }
    if (logits != one) fail("a batch differs from single images");
}

}  // namespace

int main(int count, char** arguments) {
    const int cases = count > 1 ? std::atoi(arguments[1]) : 300;
    generator.seed(count > 2 ? std::strtoul(arguments[2], nullptr, 10) : 0);
    const FilterKernels& f = kernels().filter;
    for (int i = 0; i < cases; ++i) {
        check_filter<float, float, float>(f.float_to_float, f.scratch_float);
        check_filter<double, double, double>(f.double_to_double, f.scratch_double);
        check_filter<std::uint8_t, float, float>(f.byte_to_float, f.scratch_float);
        check_filter<std::uint8_t, float, std::uint8_t>(f.byte_to_byte, f.scratch_float);
        check_filter<std::uint16_t, float, float>(f.short_to_float, f.scratch_float);
        check_filter<std::uint16_t, float, std::uint16_t>(f.short_to_short, f.scratch_float);
        check_pool<float>();
        check_pool<double>();
        check_net<float>();
        check_net<double>();
    }
    std::printf("%s: %d cases of each kernel\n", kernels().isa, cases);
    return 0;
}
