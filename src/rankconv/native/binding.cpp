// The only file that knows Python: it checks shapes, releases the GIL and calls the kernels.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include "correlate.hpp"

namespace nb = nanobind;

template <typename T>
using Matrix = nb::ndarray<const T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
template <typename T>
using Output = nb::ndarray<T, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

template <typename T>
void correlate_valid(Matrix<T> image, Matrix<T> kernel, Output<T> out) {
    if (kernel.shape(0) == 0 || kernel.shape(1) == 0 || image.shape(0) < kernel.shape(0) ||
        image.shape(1) < kernel.shape(1))
        throw nb::value_error("the kernel must be non-empty and fit into the image");
    if (out.shape(0) != image.shape(0) - kernel.shape(0) + 1 ||
        out.shape(1) != image.shape(1) - kernel.shape(1) + 1)
        throw nb::value_error("out must have the shape of the valid correlation");
    nb::gil_scoped_release released;
    rankconv::correlate_valid(image.data(), image.shape(0), image.shape(1), kernel.data(),
                              kernel.shape(0), kernel.shape(1), out.data());
}

NB_MODULE(_native, m) {
    m.def("correlate_valid", &correlate_valid<float>, nb::arg("image").noconvert(),
          nb::arg("kernel").noconvert(), nb::arg("out").noconvert());
    m.def("correlate_valid", &correlate_valid<double>, nb::arg("image").noconvert(),
          nb::arg("kernel").noconvert(), nb::arg("out").noconvert());
}
