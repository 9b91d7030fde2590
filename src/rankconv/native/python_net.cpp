// The type behind SmallNet: a network with its weights laid out for the kernels.
#include "python_arrays.hpp"

#include <structmember.h>

#include <algorithm>
#include <new>

#include "kernels.hpp"
#include "memory.hpp"
#include "threads.hpp"

namespace rankconv::python {
namespace {

template <typename T>
struct Model {
    Net<T> net{};
    Buffer<T> weights;
    Buffer<T> scratch, logits;  // of a single image, which runs under the GIL
};

struct NetObject {
    PyObject_HEAD
    vectorcallfunc call;
    Model<float>* single;
    Model<double>* twice;
};

// One after the other, each on its own cache line.
template <typename T>
class Shelf {
  public:
    explicit Shelf(T* memory) : next_(memory) {}
    T* take(std::ptrdiff_t count) {
        T* here = next_;
        constexpr std::ptrdiff_t line = 64 / sizeof(T);
        next_ += (count + line - 1) / line * line;
        return here;
    }
    const T* put(PyObject* array) {
        const npy_intp count = PyArray_SIZE(reinterpret_cast<PyArrayObject*>(array));
        T* here = take(count);
        std::copy_n(items<T>(array), count, here);
        return here;
    }

  private:
    T* next_;
};

struct LayerArguments {
    PyObject *kernel, *columns, *rows;
    double bias;
};

// Checks a layer's arrays; they are prepared by the Python side, so this only keeps memory safe.
template <typename T>
bool check_layer(const LayerArguments& from, PoolLayer<T>& to, npy_intp height, npy_intp width) {
    if (!is_plain<T>(from.kernel, 2)) {
        PyErr_SetString(PyExc_TypeError, "kernel must be a plain 2-D array");
        return false;
    }
    to.height = height;
    to.width = width;
    to.kernel_height = extent(from.kernel, 0);
    to.kernel_width = extent(from.kernel, 1);
    to.bias = static_cast<T>(from.bias);
    if (to.kernel_height < 1 || to.kernel_width < 1 || to.out_height() < 1 || to.out_width() < 1 ||
        height < to.kernel_height || width < to.kernel_width) {
        PyErr_SetString(PyExc_ValueError, "the image is too small for its kernel and the pool");
        return false;
    }
    to.rank = 0;
    if (from.columns == Py_None) return true;
    if (!is_plain<T>(from.columns, 2) || !is_plain<T>(from.rows, 2) ||
        extent(from.columns, 0) < 1 || extent(from.columns, 0) != extent(from.rows, 0) ||
        extent(from.columns, 1) != to.kernel_height || extent(from.rows, 1) != to.kernel_width) {
        PyErr_SetString(PyExc_ValueError, "factors must be (rank, kH) and (rank, kW)");
        return false;
    }
    to.rank = extent(from.columns, 0);
    return true;
}

template <typename T>
Model<T>* build(npy_intp height, npy_intp width, const LayerArguments (&layers)[2],
                PyObject* const (&linear)[4]) {
    Model<T> model;
    Net<T>& net = model.net;
    if (!check_layer(layers[0], net.first, height, width) ||
        !check_layer(layers[1], net.second, net.first.out_height(), net.first.out_width()))
        return nullptr;
    net.features = net.second.out_height() * net.second.out_width();
    if (!is_plain<T>(linear[0], 2) || !is_plain<T>(linear[1], 1) || !is_plain<T>(linear[2], 2) ||
        !is_plain<T>(linear[3], 1) || extent(linear[0], 1) != net.features ||
        extent(linear[1], 0) != extent(linear[0], 0) ||
        extent(linear[2], 1) != extent(linear[0], 0) ||
        extent(linear[3], 0) != extent(linear[2], 0) || extent(linear[0], 0) < 1 ||
        extent(linear[2], 0) < 1) {
        PyErr_Format(PyExc_ValueError,
                     "the linear layers must map %zd features to hidden units to outputs",
                     static_cast<Py_ssize_t>(net.features));
        return nullptr;
    }
    net.hidden = extent(linear[0], 0);
    net.outputs = extent(linear[2], 0);
    net.hidden_stride = (net.hidden + 15) / 16 * 16;

    npy_intp count = 6 * 16;
    for (const LayerArguments& layer : layers) {
        count += PyArray_SIZE(reinterpret_cast<PyArrayObject*>(layer.kernel));
        if (layer.columns != Py_None)
            count += PyArray_SIZE(reinterpret_cast<PyArrayObject*>(layer.columns)) +
                     PyArray_SIZE(reinterpret_cast<PyArrayObject*>(layer.rows));
    }
    count += (net.features + net.outputs + 1) * net.hidden_stride + net.outputs + 4 * 16;
    model.weights = Buffer<T>(count);
    std::fill_n(model.weights.get(), count, T(0));
    Shelf<T> shelf(model.weights.get());
    const auto place = [&](const LayerArguments& from, PoolLayer<T>& to) {
        to.kernel = shelf.put(from.kernel);
        if (to.rank == 0) return;
        to.columns = shelf.put(from.columns);
        to.rows = shelf.put(from.rows);
    };
    place(layers[0], net.first);
    place(layers[1], net.second);

    T* weight1 = shelf.take(net.features * net.hidden_stride);
    T* bias1 = shelf.take(net.hidden_stride);
    T* weight2 = shelf.take(net.outputs * net.hidden_stride);
    for (npy_intp h = 0; h < net.hidden; ++h) {
        bias1[h] = items<T>(linear[1])[h];
        for (npy_intp i = 0; i < net.features; ++i)
            weight1[i * net.hidden_stride + h] = items<T>(linear[0])[h * net.features + i];
        for (npy_intp o = 0; o < net.outputs; ++o)
            weight2[o * net.hidden_stride + h] = items<T>(linear[2])[o * net.hidden + h];
    }
    net.weight1 = weight1;
    net.bias1 = bias1;
    net.weight2 = weight2;
    net.bias2 = shelf.put(linear[3]);
    model.scratch = Buffer<T>(kernels().small(T()).net_scratch(net));
    model.logits = Buffer<T>(net.outputs);
    return new Model<T>(std::move(model));
}

PyObject* call_net(PyObject*, PyObject* const*, size_t, PyObject*);

PyObject* make(PyTypeObject* type, PyObject* arguments, PyObject*) {
    Py_ssize_t height, width;
    LayerArguments layers[2];
    PyObject* linear[4];
    if (!PyArg_ParseTuple(arguments, "nnOOOdOOOdOOOO", &height, &width, &layers[0].kernel,
                          &layers[0].columns, &layers[0].rows, &layers[0].bias, &layers[1].kernel,
                          &layers[1].columns, &layers[1].rows, &layers[1].bias, &linear[0],
                          &linear[1], &linear[2], &linear[3]))
        return nullptr;
    Reference object(type->tp_alloc(type, 0));
    if (!object) return nullptr;
    NetObject* self = reinterpret_cast<NetObject*>(object.get());
    try {
        if (is_plain<double>(layers[0].kernel, 2))
            self->twice = build<double>(height, width, layers, linear);
        else
            self->single = build<float>(height, width, layers, linear);
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
    if (self->single == nullptr && self->twice == nullptr) return nullptr;
    self->call = call_net;
    return object.release();
}

void destroy(PyObject* object) {
    NetObject* self = reinterpret_cast<NetObject*>(object);
    delete self->single;
    delete self->twice;
    PyTypeObject* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

// Images as a plain array of T, converted where they are not; nullptr with an error otherwise.
template <typename T>
PyObject* as_images(const Net<T>& net, PyObject* images, int dimensions) {
    PyObject* array;
    if (is_plain<T>(images, dimensions)) {
        Py_INCREF(images);
        array = images;
    } else {
        array = PyArray_FROMANY(images, type_number<T>(), 0, 0,
                                NPY_ARRAY_CARRAY_RO | NPY_ARRAY_FORCECAST);
        if (array == nullptr) return nullptr;
    }
    const int ndim = PyArray_NDIM(reinterpret_cast<PyArrayObject*>(array));
    if (ndim != dimensions || extent(array, dimensions - 2) != net.first.height ||
        extent(array, dimensions - 1) != net.first.width) {
        Reference shape(PyObject_GetAttrString(array, "shape"));
        if (shape)
            PyErr_Format(PyExc_ValueError, "images of shape %R; this network takes (%s%zd, %zd)",
                         shape.get(), dimensions == 3 ? "n, " : "",
                         static_cast<Py_ssize_t>(net.first.height),
                         static_cast<Py_ssize_t>(net.first.width));
        Py_DECREF(array);
        return nullptr;
    }
    return array;
}

template <typename T>
PyObject* call_one(const Model<T>& model, PyObject* image) {
    const Net<T>& net = model.net;
    Reference input(as_images(net, image, 2));
    if (!input) return nullptr;
    npy_intp count = net.outputs;
    PyObject* logits = PyArray_SimpleNew(1, &count, type_number<T>());
    if (logits == nullptr) return nullptr;
    kernels().small(T()).net(net, 1, items<T>(input.get()), items<T>(logits),
                             model.scratch.get());
    return logits;
}

// The first of the largest values; a NaN is larger than any number, as for numpy.argmax.
template <typename T>
npy_intp largest(const T* values, npy_intp count) {
    npy_intp best = 0;
    for (npy_intp i = 0; i < count && values[best] == values[best]; ++i)
        if (values[i] > values[best] || values[i] != values[i]) best = i;
    return best;
}

template <typename T>
PyObject* classify_one(const Model<T>& model, PyObject* image) {
    const Net<T>& net = model.net;
    Reference input(as_images(net, image, 2));
    if (!input) return nullptr;
    kernels().small(T()).net(net, 1, items<T>(input.get()), model.logits.get(),
                             model.scratch.get());
    return PyLong_FromSsize_t(largest(model.logits.get(), net.outputs));
}

// Logits (n, outputs), or with `classes` the largest of each row (n).
template <typename T>
PyObject* call_batch(const Model<T>& model, PyObject* images, Py_ssize_t workers, bool classes) {
    const Net<T>& net = model.net;
    Reference input(as_images(net, images, 3));
    if (!input) return nullptr;
    npy_intp shape[2] = {extent(input.get(), 0), net.outputs};
    Reference result(classes ? PyArray_SimpleNew(1, shape, NPY_INTP)
                             : PyArray_SimpleNew(2, shape, type_number<T>()));
    if (!result) return nullptr;
    constexpr npy_intp grain = 64;  // a multiple of every kernel's batch
    workers = std::min<Py_ssize_t>(workers, (shape[0] + grain - 1) / grain);
    workers = std::max<Py_ssize_t>(workers, 1);
    const std::ptrdiff_t scratch = (kernels().small(T()).net_scratch(net) + 63) / 64 * 64;
    try {
        const Buffer<T> memory(scratch * workers);
        const Buffer<T> piece_logits(classes ? grain * net.outputs * workers : 0);
        const WithoutGil free;
        const T* from = items<T>(input.get());
        const npy_intp pixels = net.first.height * net.first.width;
        const auto run = kernels().small(T()).net;
        parallel(shape[0], workers, grain,
                 [&](std::ptrdiff_t piece, std::ptrdiff_t begin, std::ptrdiff_t end) {
                     T* own = memory.get() + piece * scratch;
                     if (!classes) {
                         T* to = items<T>(result.get()) + begin * net.outputs;
                         run(net, end - begin, from + begin * pixels, to, own);
                         return;
                     }
                     T* logits = piece_logits.get() + piece * grain * net.outputs;
                     for (npy_intp n = begin; n < end; n += grain) {
                         const npy_intp count = std::min<npy_intp>(grain, end - n);
                         run(net, count, from + n * pixels, logits, own);
                         for (npy_intp i = 0; i < count; ++i)
                             items<npy_intp>(result.get())[n + i] =
                                 largest(logits + i * net.outputs, net.outputs);
                     }
                 });
    } catch (const std::bad_alloc&) {
        return PyErr_NoMemory();
    }
    return result.release();
}

PyObject* call_net(PyObject* object, PyObject* const* arguments, size_t flags, PyObject* names) {
    if (PyVectorcall_NARGS(flags) != 1 || names != nullptr) {
        PyErr_SetString(PyExc_TypeError, "a network takes exactly one image");
        return nullptr;
    }
    const NetObject* self = reinterpret_cast<NetObject*>(object);
    return self->single != nullptr ? call_one(*self->single, arguments[0])
                                   : call_one(*self->twice, arguments[0]);
}

PyObject* classify(PyObject* object, PyObject* image) {
    const NetObject* self = reinterpret_cast<NetObject*>(object);
    return self->single != nullptr ? classify_one(*self->single, image)
                                   : classify_one(*self->twice, image);
}

PyObject* run_batch(PyObject* object, PyObject* arguments, PyObject* names, bool classes) {
    static const char* keywords[] = {"images", "workers", nullptr};
    PyObject* images;
    Py_ssize_t workers = 1;
    if (!PyArg_ParseTupleAndKeywords(arguments, names, "O|$n", const_cast<char**>(keywords),
                                     &images, &workers))
        return nullptr;
    if (workers < 1) {
        PyErr_Format(PyExc_ValueError, "workers=%zd is not 1 or more", workers);
        return nullptr;
    }
    const NetObject* self = reinterpret_cast<NetObject*>(object);
    return self->single != nullptr ? call_batch(*self->single, images, workers, classes)
                                   : call_batch(*self->twice, images, workers, classes);
}

PyObject* batch(PyObject* object, PyObject* arguments, PyObject* names) {
    return run_batch(object, arguments, names, false);
}

PyObject* classify_batch(PyObject* object, PyObject* arguments, PyObject* names) {
    return run_batch(object, arguments, names, true);
}

PyMethodDef methods[] = {
    {"batch", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(batch)),
     METH_VARARGS | METH_KEYWORDS,
     "batch($self, images, *, workers=1)\n--\n\n"
     "Logits (n, outputs) of images (n, H, W), the same bits as one call an image."},
    {"classify", classify, METH_O,
     "classify($self, image, /)\n--\n\nThe index of the image's largest logit, as an int."},
    {"classify_batch", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(classify_batch)),
     METH_VARARGS | METH_KEYWORDS,
     "classify_batch($self, images, *, workers=1)\n--\n\n"
     "The indices (n,) of the largest logits of images (n, H, W)."},
    {nullptr, nullptr, 0, nullptr},
};

PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(NetObject, call), READONLY, nullptr},
    {nullptr, 0, 0, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_new, reinterpret_cast<void*>(make)},
    {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
    {Py_tp_call, reinterpret_cast<void*>(PyVectorcall_Call)},
    {Py_tp_methods, methods},
    {Py_tp_members, members},
    {0, nullptr},
};

PyType_Spec spec = {
    "rankconv._native.Net",
    sizeof(NetObject),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_VECTORCALL,
    slots,
};

}  // namespace

int add_net_type(PyObject* module) {
    Reference type(PyType_FromSpec(&spec));
    if (!type) return -1;
    return PyModule_AddObjectRef(module, "Net", type.get());
}

}  // namespace rankconv::python
