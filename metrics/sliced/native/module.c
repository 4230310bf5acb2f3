/* The module and the checks of its arguments. */
#include "native.h"

/* 'l' is 64 bits wide on some systems. */
static char kind_of(const Py_buffer *view) {
    const char *format = view->format ? view->format : "B";
    char kind = format[0];
    if (kind == '\0' || format[1] != '\0') return '?';
    if ((kind == 'l' || kind == 'q') && view->itemsize == 8) return 'q';
    if (kind == 'l' && view->itemsize == 4) return 'i';
    return kind;
}

static int open_array(const Wanted *wanted, Py_buffer *view) {
    int flags = PyBUF_STRIDES | PyBUF_FORMAT | (wanted->writable ? PyBUF_WRITABLE : 0);
    if (PyObject_GetBuffer(wanted->object, view, flags) < 0) return -1;
    int last = view->ndim - 1;
    if (view->ndim != wanted->axes || kind_of(view) != wanted->kind) {
        PyErr_Format(PyExc_TypeError, "%s: expected %d axes of type '%c', found %d of '%s'", wanted->name,
                     wanted->axes, wanted->kind, view->ndim, view->format ? view->format : "B");
    } else if (view->shape[last] > 1 && view->strides[last] != view->itemsize) {
        PyErr_Format(PyExc_ValueError, "%s: values along the last axis do not follow one another", wanted->name);
    } else {
        return 0;
    }
    PyBuffer_Release(view);
    return -1;
}

int open_arrays(const Wanted *wanted, int count, Py_buffer *views) {
    for (int i = 0; i < count; i++) {
        if (open_array(&wanted[i], &views[i]) < 0) {
            close_arrays(views, i);
            return -1;
        }
    }
    return 0;
}

void close_arrays(Py_buffer *views, int count) {
    for (int i = 0; i < count; i++) PyBuffer_Release(&views[i]);
}

PyObject *wrong_shape(const char *name) {
    PyErr_Format(PyExc_ValueError, "%s: the shape does not fit the other arguments", name);
    return NULL;
}

static PyMethodDef methods[] = {
    {"halve", halve, METH_VARARGS, halve_doc},
    {"cut", cut, METH_VARARGS, cut_doc},
    {"sum_channels", sum_channels, METH_VARARGS, sum_channels_doc},
    {"count", count, METH_VARARGS, count_doc},
    {"collect", collect, METH_VARARGS, collect_doc},
    {"project", project, METH_VARARGS, project_doc},
    {NULL, NULL, 0, NULL},
};

/* Counts the changes of what the functions take and give: metrics/sliced/acceleration.py knows it, too. */
static int prepare(PyObject *module) {
    choose_pick();
    return PyModule_AddIntConstant(module, "VERSION", 3);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, prepare},
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "metrics.sliced._native",
    .m_doc = "The loops of the sliced Wasserstein distance that cost most.",
    .m_size = 0,
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__native(void) { return PyModuleDef_Init(&definition); }
