// What the binding's files share: NumPy's C API and a reference that releases itself.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_1_22_API_VERSION
#define PY_ARRAY_UNIQUE_SYMBOL rankconv_array_api
#ifndef RANKCONV_IMPORTS_NUMPY
#define NO_IMPORT_ARRAY
#endif
#include <numpy/arrayobject.h>

namespace rankconv::python {

class Reference {
  public:
    explicit Reference(PyObject* object = nullptr) : object_(object) {}
    ~Reference() { Py_XDECREF(object_); }
    Reference(const Reference&) = delete;
    Reference& operator=(const Reference&) = delete;
    PyObject* get() const { return object_; }
    PyArrayObject* array() const { return reinterpret_cast<PyArrayObject*>(object_); }
    PyObject* release() {
        PyObject* object = object_;
        object_ = nullptr;
        return object;
    }
    explicit operator bool() const { return object_ != nullptr; }

  private:
    PyObject* object_;
};

// The GIL is free while this lives.
class WithoutGil {
  public:
    WithoutGil() : state_(PyEval_SaveThread()) {}
    ~WithoutGil() { PyEval_RestoreThread(state_); }
    WithoutGil(const WithoutGil&) = delete;
    WithoutGil& operator=(const WithoutGil&) = delete;

  private:
    PyThreadState* state_;
};

template <typename T>
constexpr int type_number();
template <>
constexpr int type_number<float>() { return NPY_FLOAT; }
template <>
constexpr int type_number<double>() { return NPY_DOUBLE; }

// A native, aligned, C-contiguous array of T: what a kernel may read.
template <typename T>
bool is_plain(PyObject* object, int dimensions) {
    if (!PyArray_Check(object)) return false;
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(object);
    return PyArray_TYPE(array) == type_number<T>() && PyArray_NDIM(array) == dimensions &&
           PyArray_ISCARRAY_RO(array);
}

template <typename T>
T* items(PyObject* array) {
    return static_cast<T*>(PyArray_DATA(reinterpret_cast<PyArrayObject*>(array)));
}
inline npy_intp extent(PyObject* array, int axis) {
    return PyArray_DIM(reinterpret_cast<PyArrayObject*>(array), axis);
}

int add_net_type(PyObject* module);
int add_filter_type(PyObject* module);
int add_planned_type(PyObject* module);

// Whether this is a native filter, and what it makes of an image, in `out` if that is not null.
bool is_filter(PyObject* object);
PyObject* apply_filter(PyObject* filter, PyObject* image, PyObject* out);

}  // namespace rankconv::python
