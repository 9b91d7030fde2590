// A base for filters planned in Python: images like the last one skip the Python frame of a call,
// which takes longer than a 32 x 32 image.
#include "python_arrays.hpp"

#include <algorithm>

namespace rankconv::python {
namespace {

constexpr int most_axes = 4;

struct PlannedObject {
    PyObject_HEAD
    PyObject* filter;  // what images of this type and shape go to; null: nothing is kept yet
    int type, result;  // of the image and of the filter's result
    int axes;
    npy_intp shape[most_axes];
};

PyObject *out_name, *general_name;

// A NumPy array itself, not a subclass of it, of this type and in native byte order.
bool is_array_of(PyObject* object, int type) {
    if (!PyArray_CheckExact(object)) return false;
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(object);
    return PyArray_TYPE(array) == type && PyArray_ISNOTSWAPPED(array);
}

bool is_known(const PlannedObject& self, PyObject* image) {
    if (self.filter == nullptr || !is_array_of(image, self.type)) return false;
    PyArrayObject* array = reinterpret_cast<PyArrayObject*>(image);
    return PyArray_NDIM(array) == self.axes &&
           std::equal(self.shape, self.shape + self.axes, PyArray_DIMS(array));
}

PyObject* call(PyObject* object, PyObject* arguments, PyObject* names) {
    const PlannedObject& self = *reinterpret_cast<PlannedObject*>(object);
    if (PyTuple_GET_SIZE(arguments) == 1 && is_known(self, PyTuple_GET_ITEM(arguments, 0))) {
        const bool alone = names == nullptr || PyDict_GET_SIZE(names) == 0;
        PyObject* out = alone ? nullptr : PyDict_GetItemWithError(names, out_name);
        if (alone || (out != nullptr && PyDict_GET_SIZE(names) == 1 &&
                      (out == Py_None || is_array_of(out, self.result)))) {
            Py_INCREF(self.filter);  // another thread may keep another one meanwhile
            const Reference filter(self.filter);
            return apply_filter(filter.get(), PyTuple_GET_ITEM(arguments, 0),
                                out == Py_None ? nullptr : out);
        }
        if (PyErr_Occurred()) return nullptr;
    }
    const Reference general(PyObject_GetAttr(object, general_name));
    return general ? PyObject_Call(general.get(), arguments, names) : nullptr;
}

// _keep(filter, image type's number, result type's number, shape)
PyObject* keep(PyObject* object, PyObject* arguments) {
    PyObject *filter, *shape;
    int type, result;
    if (!PyArg_ParseTuple(arguments, "OiiO!", &filter, &type, &result, &PyTuple_Type, &shape))
        return nullptr;
    if (!is_filter(filter)) {
        PyErr_SetString(PyExc_TypeError, "only a native filter can be kept");
        return nullptr;
    }
    const Py_ssize_t axes = PyTuple_GET_SIZE(shape);
    if (axes > most_axes) Py_RETURN_NONE;
    npy_intp sizes[most_axes] = {};
    for (Py_ssize_t axis = 0; axis < axes; ++axis) {
        sizes[axis] = PyLong_AsSsize_t(PyTuple_GET_ITEM(shape, axis));
        if (sizes[axis] == -1 && PyErr_Occurred()) return nullptr;
    }
    PlannedObject& self = *reinterpret_cast<PlannedObject*>(object);
    const Reference before(self.filter);  // released at the end, when nothing points to it
    Py_INCREF(filter);
    self.filter = filter;
    self.type = type;
    self.result = result;
    self.axes = static_cast<int>(axes);
    std::copy_n(sizes, most_axes, self.shape);
    Py_RETURN_NONE;
}

void destroy(PyObject* object) {
    Py_XDECREF(reinterpret_cast<PlannedObject*>(object)->filter);
    PyTypeObject* type = Py_TYPE(object);
    type->tp_free(object);
    Py_DECREF(type);
}

PyMethodDef methods[] = {
    {"_keep", keep, METH_VARARGS, "_keep(filter, image_type, result_type, shape)"},
    {nullptr, nullptr, 0, nullptr},
};

PyType_Slot slots[] = {
    {Py_tp_dealloc, reinterpret_cast<void*>(destroy)},
    {Py_tp_call, reinterpret_cast<void*>(call)},
    {Py_tp_methods, methods},
    {0, nullptr},
};

PyType_Spec spec = {
    "rankconv._native.Planned",
    sizeof(PlannedObject),
    0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    slots,
};

}  // namespace

int add_planned_type(PyObject* module) {
    out_name = PyUnicode_InternFromString("out");
    general_name = PyUnicode_InternFromString("_filtered");
    Reference type(PyType_FromSpec(&spec));
    if (out_name == nullptr || general_name == nullptr || !type) return -1;
    return PyModule_AddObjectRef(module, "Planned", type.get());
}

}  // namespace rankconv::python
