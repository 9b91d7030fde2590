// The Python module: it checks arrays, releases the GIL where that pays and calls the kernels.
//
// Plain CPython instead of a binding generator: with METH_FASTCALL and NumPy's C API a call
// costs some 30 ns, a tenth of a generator's typed arguments, and a 32 x 32 image is all call.
#define RANKCONV_IMPORTS_NUMPY
#include "python_arrays.hpp"

#include <new>

#include "kernels.hpp"
#include "memory.hpp"

namespace rankconv::python {
namespace {

bool refuse(const char* message) {
    PyErr_SetString(PyExc_ValueError, message);
    return false;
}

template <typename T>
bool pool_images(PyObject* images, PyObject* kernel, PyObject* columns, PyObject* rows, double bias,
                 PyObject* out) {
    if (!is_plain<T>(images, 3) || !is_plain<T>(kernel, 2) || !is_plain<T>(out, 3) ||
        !PyArray_ISWRITEABLE(reinterpret_cast<PyArrayObject*>(out)))
        return refuse("arrays must be plain and of one type");
    PoolLayer<T> layer{};
    layer.height = extent(images, 1);
    layer.width = extent(images, 2);
    layer.kernel_height = extent(kernel, 0);
    layer.kernel_width = extent(kernel, 1);
    layer.kernel = items<T>(kernel);
    layer.bias = static_cast<T>(bias);
    if (layer.kernel_height < 1 || layer.kernel_width < 1 || layer.height < layer.kernel_height ||
        layer.width < layer.kernel_width || layer.out_height() < 1 || layer.out_width() < 1)
        return refuse("the image is too small for its kernel and the pool");
    if (columns != Py_None) {
        if (!is_plain<T>(columns, 2) || !is_plain<T>(rows, 2) || extent(columns, 0) < 1 ||
            extent(columns, 0) != extent(rows, 0) ||
            extent(columns, 1) != layer.kernel_height || extent(rows, 1) != layer.kernel_width)
            return refuse("factors must be (rank, kH) and (rank, kW)");
        layer.rank = extent(columns, 0);
        layer.columns = items<T>(columns);
        layer.rows = items<T>(rows);
    }
    if (extent(out, 0) != extent(images, 0) || extent(out, 1) != layer.out_height() ||
        extent(out, 2) != layer.out_width())
        return refuse("out must have the shape of the pooled images");
    const SmallKernels<T>& small = kernels().small(T());
    const Buffer<T> scratch(small.pool_scratch(layer));
    const T* from = items<T>(images);
    T* to = items<T>(out);
    const npy_intp count = extent(images, 0);
    const WithoutGil free;
    for (npy_intp n = 0; n < count; ++n)
        small.conv_relu_pool(layer, from + n * layer.height * layer.width,
                             to + n * layer.out_height() * layer.out_width(), scratch.get());
    return true;
}

// conv_relu_pool(images, kernel, columns, rows, bias, out)
PyObject* conv_relu_pool(PyObject*, PyObject* const* arguments, Py_ssize_t count) {
    if (count != 6) {
        PyErr_SetString(PyExc_TypeError,
                        "conv_relu_pool(images, kernel, columns, rows, bias, out)");
        return nullptr;
    }
    const double bias = PyFloat_AsDouble(arguments[4]);
    if (bias == -1.0 && PyErr_Occurred()) return nullptr;
    try {
        const bool done = is_plain<double>(arguments[0], 3)
                              ? pool_images<double>(arguments[0], arguments[1], arguments[2],
                                                    arguments[3], bias, arguments[5])
                              : pool_images<float>(arguments[0], arguments[1], arguments[2],
                                                   arguments[3], bias, arguments[5]);
        if (!done) return nullptr;
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
    Py_RETURN_NONE;
}

template <typename Function>
PyCFunction as_method(Function* function) {
    return reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(function));
}

PyMethodDef methods[] = {
    {"conv_relu_pool", as_method(conv_relu_pool), METH_FASTCALL,
     "conv_relu_pool(images, kernel, columns, rows, bias, out)"},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Native kernels.", -1, methods, nullptr, nullptr, nullptr,
    nullptr,
};

}  // namespace
}  // namespace rankconv::python

PyMODINIT_FUNC PyInit__native() {
    import_array();
    rankconv::python::Reference module(PyModule_Create(&rankconv::python::definition));
    if (!module || rankconv::python::add_net_type(module.get()) < 0 ||
        rankconv::python::add_filter_type(module.get()) < 0 ||
        rankconv::python::add_planned_type(module.get()) < 0 ||
        PyModule_AddStringConstant(module.get(), "isa", rankconv::kernels().isa) < 0)
        return nullptr;
    return module.release();
}
