// Vectors of the width this translation unit is compiled for; no Python, no intrinsics.
//
// The same sources are compiled once an instruction set. Each copy lives in a namespace of its own
// (RANKCONV_ISA), so that the linker can never mix two of them up.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef RANKCONV_VECTOR_BYTES
#define RANKCONV_VECTOR_BYTES 16
#endif
#ifndef RANKCONV_ISA
#define RANKCONV_ISA baseline
#endif

#define RANKCONV_INLINE inline __attribute__((always_inline))
#if defined(__clang__)
#define RANKCONV_UNROLL _Pragma("clang loop unroll(full)")
#else
#define RANKCONV_UNROLL _Pragma("GCC unroll 64")
#endif

namespace rankconv::RANKCONV_ISA {

using Index = std::ptrdiff_t;

template <typename T>
struct Simd {
    static constexpr Index lanes = RANKCONV_VECTOR_BYTES / static_cast<Index>(sizeof(T));
    typedef T type __attribute__((vector_size(RANKCONV_VECTOR_BYTES)));
};

template <typename T>
using Vec = typename Simd<T>::type;

template <typename T>
RANKCONV_INLINE Vec<T> load(const T* from) {
    Vec<T> value;
    __builtin_memcpy(&value, from, sizeof value);
    return value;
}

// Holds a vector in a register. Without it GCC reads memory again in every multiply-add that uses
// the vector, which halves the speed of a loop that shares its loads.
template <typename V>
RANKCONV_INLINE V held(V value) {
#if defined(__AVX512F__)
    __asm__("" : "+v"(value));
#elif defined(__x86_64__)
    __asm__("" : "+x"(value));
#elif defined(__aarch64__)
    __asm__("" : "+w"(value));
#endif
    return value;
}

// A pointer that GCC must not split into one pointer for every row that it walks over.
template <typename T>
RANKCONV_INLINE T* walking(T* pointer) {
    __asm__("" : "+r"(pointer));
    return pointer;
}

template <typename T, typename V>
RANKCONV_INLINE void store(T* to, V value) {
    __builtin_memcpy(to, &value, sizeof value);
}

template <typename T>
RANKCONV_INLINE Vec<T> splat(T value) {
    return value - Vec<T>{};  // minus zero keeps every value, signed zeros too
}

constexpr Index smaller(Index a, Index b) { return a < b ? a : b; }
constexpr Index larger(Index a, Index b) { return a > b ? a : b; }
constexpr Index round_up(Index n, Index multiple) {
    return (n + multiple - 1) / multiple * multiple;
}

}  // namespace rankconv::RANKCONV_ISA
