// Compiled once an instruction set: RANKCONV_ISA names the copy, RANKCONV_VECTOR_BYTES its lanes.
#include "kernels.hpp"

#include "filter.hpp"
#include "small_net.hpp"

#define RANKCONV_JOIN_(a, b) a##b
#define RANKCONV_JOIN(a, b) RANKCONV_JOIN_(a, b)
#define RANKCONV_TEXT_(a) #a
#define RANKCONV_TEXT(a) RANKCONV_TEXT_(a)

namespace rankconv {
namespace RANKCONV_ISA {

template <typename T>
constexpr SmallKernels<T> small_kernels() {
    return {&conv_relu_pool<T>, &run_net<T>, &net_scratch<T>, &pool_scratch<T>};
}

}  // namespace RANKCONV_ISA

extern const Kernels RANKCONV_JOIN(kernels_, RANKCONV_ISA);
const Kernels RANKCONV_JOIN(kernels_, RANKCONV_ISA) = {
    RANKCONV_TEXT(RANKCONV_ISA),
    RANKCONV_ISA::small_kernels<float>(),
    RANKCONV_ISA::small_kernels<double>(),
    {&RANKCONV_ISA::filter<float, float, float>,
     &RANKCONV_ISA::filter<std::uint8_t, float, float>,
     &RANKCONV_ISA::filter<std::uint8_t, float, std::uint8_t>,
     &RANKCONV_ISA::filter<std::uint16_t, float, float>,
     &RANKCONV_ISA::filter<std::uint16_t, float, std::uint16_t>,
     &RANKCONV_ISA::filter<double, double, double>,
     &RANKCONV_ISA::scratch_bytes<float>,
     &RANKCONV_ISA::scratch_bytes<double>},
};

}  // namespace rankconv
