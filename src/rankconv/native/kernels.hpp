// Everything the rest of the library may call: one table of kernels, chosen at run time.
#pragma once

#include "filter_types.hpp"
#include "small_types.hpp"

namespace rankconv {

struct Kernels {
    const char* isa;  // "v4", "v3", "v2", "neon" or "baseline"
    SmallKernels<float> small_float;
    SmallKernels<double> small_double;
    FilterKernels filter;

    const SmallKernels<float>& small(float) const { return small_float; }
    const SmallKernels<double>& small(double) const { return small_double; }
};

// The best table this processor can run; RANKCONV_ISA in the environment asks for a lesser one.
const Kernels& kernels();

// How much of this processor's second-level cache the lines of a filtering should fill.
std::ptrdiff_t ring_bytes();

}  // namespace rankconv
