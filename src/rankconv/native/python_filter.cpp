// The type behind compiled filters: taps in both precisions, and one call for every image.
#include "python_arrays.hpp"

#include <structmember.h>

#include <algorithm>
#include <new>
#include <thread>
#include <vector>

#if defined(__linux__)
#include <sched.h>
#endif

#include "kernels.hpp"
#include "memory.hpp"
#include "threads.hpp"

namespace rankconv::python {
namespace {

constexpr npy_intp pixels_worth_a_thread = 1 << 20;
constexpr npy_intp pixels_worth_the_gil = 1 << 12;

template <typename Sum>
struct Taps {
    Buffer<Sum> columns, rows;
};

struct FilterObject {
    PyObject_HEAD
    vectorcallfunc call;
    Taps<float>* single;
    Taps<double>* twice;
    npy_intp kernel_height, kernel_width, rank;
    npy_intp top, bottom, left, right;  // rows and columns that the image is extended by
    Boundary boundary;
    double constant;
    int keep_type;
    npy_intp workers;  // 0: as many as pay off
};

std::ptrdiff_t processors() {
#if defined(__linux__)
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    return std::max(1U, std::thread::hardware_concurrency());
}

// Where one image of a stack and its result stand; the last axes are the filtered ones.
struct Stack {
    int leading;
    const npy_intp* shape;
    const char* image;
    const npy_intp* image_strides;
    char* out;
    const npy_intp* out_strides;

    npy_intp count() const {
        npy_intp n = 1;
        for (int axis = 0; axis < leading; ++axis) n *= shape[axis];
        return n;
    }
    const char* image_at(npy_intp n) const { return image + offset(n, image_strides); }
    char* out_at(npy_intp n) const { return out + offset(n, out_strides); }

  private:
    npy_intp offset(npy_intp n, const npy_intp* strides) const {
        npy_intp bytes = 0;
        for (int axis = leading - 1; axis >= 0; --axis) {
            bytes += n % shape[axis] * strides[axis];
            n /= shape[axis];
        }
        return bytes;
    }
};

// Rows [begin, end) of the whole stack.
template <typename Sum>
void filter_rows(FilterFunction<Sum> kernel, Filtering<Sum> task, const Stack& stack,
                 npy_intp begin, npy_intp end, char* scratch) {
    for (npy_intp n = begin / task.out_height; begin < end; ++n) {
        const npy_intp first = begin - n * task.out_height;
        const npy_intp last = std::min(end - n * task.out_height, npy_intp{task.out_height});
        task.image = stack.image_at(n);
        task.out = stack.out_at(n);
        kernel(task, first, last, scratch);
        begin = (n + 1) * task.out_height;
    }
}

template <typename Sum>
void filter_stack(const FilterObject& self, FilterFunction<Sum> kernel,
                  std::ptrdiff_t (*scratch_bytes)(const Filtering<Sum>&), const Taps<Sum>& taps,
                  PyArrayObject* image, PyArrayObject* out) {
    const int leading = PyArray_NDIM(image) - 2;
    const npy_intp in_size = PyArray_ITEMSIZE(image), out_size = PyArray_ITEMSIZE(out);
    Filtering<Sum> task{};
    task.height = PyArray_DIM(image, leading);
    task.width = PyArray_DIM(image, leading + 1);
    task.row_step = PyArray_STRIDE(image, leading) / in_size;
    task.column_step = PyArray_STRIDE(image, leading + 1) / in_size;
    task.out_height = PyArray_DIM(out, leading);
    task.out_width = PyArray_DIM(out, leading + 1);
    task.out_step = PyArray_STRIDE(out, leading) / out_size;
    task.kernel_height = self.kernel_height;
    task.kernel_width = self.kernel_width;
    task.rank = self.rank;
    task.columns = taps.columns.get();
    task.rows = taps.rows.get();
    task.top = self.top;
    task.left = self.left;
    task.boundary = self.boundary;
    task.constant = static_cast<Sum>(self.constant);
    task.ring_bytes = ring_bytes();
    const Stack stack{leading,
                      PyArray_DIMS(out),
                      static_cast<const char*>(PyArray_DATA(image)),
                      PyArray_STRIDES(image),
                      static_cast<char*>(PyArray_DATA(out)),
                      PyArray_STRIDES(out)};

    const npy_intp pixels = PyArray_SIZE(out), rows = stack.count() * task.out_height;
    if (pixels == 0) return;
    const std::ptrdiff_t bytes = (scratch_bytes(task) + 63) / 64 * 64;
    if (pixels < pixels_worth_the_gil && bytes <= 32768) {
        alignas(64) char scratch[32768];
        filter_rows(kernel, task, stack, 0, rows, scratch);
        return;
    }
    std::ptrdiff_t workers = self.workers;
    if (workers == 0) workers = pixels < 3 * pixels_worth_a_thread / 2 ? 1 : processors();
    constexpr std::ptrdiff_t grain = 6;
    workers = std::min<std::ptrdiff_t>(workers, (rows + grain - 1) / grain);
    const Buffer<char> scratch(bytes * workers);
    const WithoutGil free;
    parallel(rows, workers, grain,
             [&](std::ptrdiff_t piece, std::ptrdiff_t begin, std::ptrdiff_t end) {
                 filter_rows(kernel, task, stack, begin, end, scratch.get() + piece * bytes);
             });
}

bool run(const FilterObject& self, PyArrayObject* image, PyArrayObject* out) {
    const FilterKernels& table = kernels().filter;
    const bool narrow = PyArray_TYPE(out) == PyArray_TYPE(image);
    switch (PyArray_TYPE(image)) {
        case NPY_DOUBLE:
            filter_stack(self, table.double_to_double, table.scratch_double, *self.twice, image,
                         out);
            return true;
        case NPY_FLOAT:
            filter_stack(self, table.float_to_float, table.scratch_float, *self.single, image, out);
            return true;
        case NPY_UINT8:
            filter_stack(self, narrow ? table.byte_to_byte : table.byte_to_float,
                         table.scratch_float, *self.single, image, out);
            return true;
        default:
            filter_stack(self, narrow ? table.short_to_short : table.short_to_float,
                         table.scratch_float, *self.single, image, out);
            return true;
    }
}

bool is_supported(int type) {
    return type == NPY_FLOAT || type == NPY_DOUBLE || type == NPY_UINT8 || type == NPY_UINT16;
}

// The image as the kernels can read it: any strides, but aligned and in native byte order.
PyObject* readable(PyObject* object) {
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "image is %R, not a NumPy array",
                     reinterpret_cast<PyObject*>(Py_TYPE(object)));
        return nullptr;
    }
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(object);
    if (!is_supported(PyArray_TYPE(array))) {
        PyErr_Format(PyExc_TypeError, "image of type %R is not float32, float64, uint8 or uint16",
                     reinterpret_cast<PyObject*>(PyArray_DESCR(array)));
        return nullptr;
    }
    if (PyArray_NDIM(array) < 2) {
        PyErr_SetString(PyExc_ValueError, "an image has two axes or more");
        return nullptr;
    }
    const npy_intp size = PyArray_ITEMSIZE(array);
    bool whole = PyArray_ISBEHAVED_RO(array);
    for (int axis = 0; axis < PyArray_NDIM(array) && whole; ++axis)
        whole = PyArray_STRIDE(array, axis) % size == 0;
    if (whole) {
        Py_INCREF(object);
        return object;
    }
    return PyArray_FROM_OF(object,
                           NPY_ARRAY_CARRAY_RO | NPY_ARRAY_NOTSWAPPED | NPY_ARRAY_ENSURECOPY);
}

// The bytes that an array's items lie in.
void extent_in_memory(PyArrayObject* array, const char** low, const char** high) {
    *low = static_cast<const char*>(PyArray_DATA(array));
    *high = *low + PyArray_ITEMSIZE(array);
    for (int axis = 0; axis < PyArray_NDIM(array); ++axis) {
        const npy_intp reach = PyArray_STRIDE(array, axis) * (PyArray_DIM(array, axis) - 1);
        (reach < 0 ? *low : *high) += reach;
    }
}

bool overlap(PyArrayObject* a, PyArrayObject* b) {
    const char *a_low, *a_high, *b_low, *b_high;
    extent_in_memory(a, &a_low, &a_high);
    extent_in_memory(b, &b_low, &b_high);
    return a_low < b_high && b_low < a_high;
}

bool is_writable_by_kernel(PyArrayObject* out) {
    const int last = PyArray_NDIM(out) - 1;
    const npy_intp size = PyArray_ITEMSIZE(out);
    if (!PyArray_ISBEHAVED(out)) return false;
    if (PyArray_STRIDE(out, last) != size && PyArray_DIM(out, last) > 1) return false;
    for (int axis = 0; axis < last; ++axis)
        if (PyArray_STRIDE(out, axis) % size != 0) return false;
    return true;
}

bool check_out(PyObject* out, int type, int dimensions, const npy_intp* shape) {
    if (!PyArray_Check(out)) {
        PyErr_SetString(PyExc_TypeError, "out is not a NumPy array");
        return false;
    }
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(out);
    if (PyArray_TYPE(array) == type && PyArray_NDIM(array) == dimensions &&
        std::equal(shape, shape + dimensions, PyArray_DIMS(array)))
        return PyArray_FailUnlessWriteable(array, "out") == 0;
    Reference found(PyObject_GetAttrString(out, "shape"));
    Reference wanted(PyArray_IntTupleFromIntp(dimensions, shape));
    Reference wanted_type(reinterpret_cast<PyObject*>(PyArray_DescrFromType(type)));
    if (found && wanted && wanted_type)
        PyErr_Format(PyExc_ValueError, "out of shape %R and type %R; this needs %R and %R",
                     found.get(), reinterpret_cast<PyObject*>(PyArray_DESCR(array)), wanted.get(),
                     wanted_type.get());
    return false;
}

PyObject* apply(const FilterObject& self, PyObject* given, PyObject* out) {
    Reference image(readable(given));
    if (!image) return nullptr;
    const int dimensions = PyArray_NDIM(image.array());
    npy_intp shape[NPY_MAXDIMS];
    std::copy_n(PyArray_DIMS(image.array()), dimensions, shape);
    npy_intp& height = shape[dimensions - 2];
    npy_intp& width = shape[dimensions - 1];
    if (height < 1 || width < 1 || height + self.top + self.bottom < self.kernel_height ||
        width + self.left + self.right < self.kernel_width)
        return PyErr_Format(PyExc_ValueError, "an image of %zd x %zd is too small for a %zd x %zd "
                            "kernel", height, width, self.kernel_height, self.kernel_width);
    height += self.top + self.bottom - self.kernel_height + 1;
    width += self.left + self.right - self.kernel_width + 1;
    const int in_type = PyArray_TYPE(image.array());
    const int type = self.keep_type || in_type == NPY_DOUBLE ? in_type : NPY_FLOAT;
    if (out == nullptr) {
        Reference made(PyArray_SimpleNew(dimensions, shape, type));
        if (!made || !run(self, image.array(), made.array())) return nullptr;
        return made.release();
    }
    if (!check_out(out, type, dimensions, shape)) return nullptr;
    PyArrayObject* target = reinterpret_cast<PyArrayObject*>(out);
    if (is_writable_by_kernel(target) && !overlap(image.array(), target)) {
        if (!run(self, image.array(), target)) return nullptr;
    } else {
        Reference made(PyArray_SimpleNew(dimensions, shape, type));
        if (!made || !run(self, image.array(), made.array()) ||
            PyArray_CopyInto(target, made.array()) < 0)
            return nullptr;
    }
    Py_INCREF(out);
    return out;
}

PyObject* call(PyObject* object, PyObject* const* arguments, size_t flags, PyObject* names) {
    const Py_ssize_t positional = PyVectorcall_NARGS(flags);
    const Py_ssize_t named = names == nullptr ? 0 : PyTuple_GET_SIZE(names);
    PyObject* out = nullptr;
    bool good = positional == 1 && named <= 1;
    if (good && named == 1) {
        good = PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, 0), "out") == 0;
        out = arguments[1] == Py_None ? nullptr : arguments[1];
    }
    if (!good) {
        PyErr_SetString(PyExc_TypeError, "a filter is called as filter(image, *, out=None)");
        return nullptr;
    }
    return apply_filter(object, arguments[0], out);
}

template <typename Sum>
Taps<Sum>* copy_taps(PyObject* columns, PyObject* rows) {
    const auto copy = [](PyObject* from) {
        const npy_intp count = PyArray_SIZE(reinterpret_cast<PyArrayObject*>(from));
        Buffer<Sum> to(count);
        std::copy_n(items<double>(from), count, to.get());
        return to;
    };
    Taps<Sum> taps;
    taps.columns = copy(columns);
    if (rows != Py_None) taps.rows = copy(rows);
    return new Taps<Sum>(std::move(taps));
}

// Filter(columns, rows, top, bottom, left, right, boundary, constant, keep_type, workers)
PyObject* make(PyTypeObject* type, PyObject* arguments, PyObject*) {
    PyObject *columns, *rows;
    npy_intp top, bottom, left, right, workers;
    int boundary, keep_type;
    double constant;
    if (!PyArg_ParseTuple(arguments, "OOnnnnidpn", &columns, &rows, &top, &bottom, &left, &right,
                          &boundary, &constant, &keep_type, &workers))
        return nullptr;
    const bool separable = rows != Py_None;
    if (!is_plain<double>(columns, 2) || (separable && !is_plain<double>(rows, 2)) ||
        extent(columns, 0) < 1 || extent(columns, 1) < 1 ||
        (separable && (extent(rows, 0) != extent(columns, 0) || extent(rows, 1) < 1)) ||
        std::min({top, bottom, left, right, workers}) < 0 || boundary < 0 || boundary > 4) {
        PyErr_SetString(PyExc_ValueError, "a filter's taps, margins or boundary make no sense");
        return nullptr;
    }
    Reference object(type->tp_alloc(type, 0));
    if (!object) return nullptr;
    FilterObject* self = reinterpret_cast<FilterObject*>(object.get());
    self->call = call;
    self->kernel_height = extent(columns, 1);
    self->kernel_width = separable ? extent(rows, 1) : extent(columns, 0);
    self->rank = separable ? extent(columns, 0) : 0;
    self->top = top;
    self->bottom = bottom;
    self->left = left;
    self->right = right;
    self->boundary = static_cast<Boundary>(boundary);
    self->constant = constant;
    self->keep_type = keep_type;
    self->workers = workers;
    try {
        self->single = copy_taps<float>(columns, rows);
        self->twice = copy_taps<double>(columns, rows);
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
    return object.release();
}

void destroy(PyObject* object) {
    FilterObject* self = reinterpret_cast<FilterObject*>(object);
    delete self->single;
    delete self->twice;
    PyTypeObject* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(FilterObject, call), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(make)},
    {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_members, members},
    {0, nullptr},
};

PyType_Spec spec = {
    "rankconv._native.Filter",
    sizeof(FilterObject),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_VECTORCALL,
    slots,
};

PyTypeObject* filter_type;  // lives as long as the process, as the module does

}  // namespace

int add_filter_type(PyObject* module) {
    PyObject* type = PyType_FromSpec(&spec);
    if (type == nullptr) return -1;
    filter_type = reinterpret_cast<PyTypeObject*>(type);
    return PyModule_AddObjectRef(module, "Filter", type);
}

bool is_filter(PyObject* object) { return Py_IS_TYPE(object, filter_type); }

PyObject* apply_filter(PyObject* filter, PyObject* image, PyObject* out) {
    try {
        return apply(*reinterpret_cast<FilterObject*>(filter), image, out);
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
}

}  // namespace rankconv::python
