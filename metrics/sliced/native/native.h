/* What the parts of `metrics.sliced._native` share. */
#ifndef METRICS_NATIVE_H
#define METRICS_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* A function is compiled for several processors and chosen when the module is loaded, where compiler and system can.
 * By what a processor can do: names of processors would be true of those models only.
 * Only instructions are chosen: nothing here depends on whether products and sums are contracted (see each file). */
#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__clang__)
#if __GNUC__ >= 12
#define FOR_PROCESSORS __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define FOR_PROCESSORS __attribute__((target_clones("default", "avx2", "avx512f")))
#endif
#else
#define FOR_PROCESSORS
#endif

#define ALWAYS_INLINE static inline __attribute__((always_inline))

/* An argument that has to be an array.
 *
 * kind      'B' uint8, 'f' float32, 'i' int32, 'q' int64, 'd' float64
 * axes      how many; the values along the last one have to follow one another
 * writable  whether it is filled
 */
typedef struct {
    PyObject *object;
    const char *name;
    char kind;
    int axes;
    int writable;
} Wanted;

/* Open all arrays, or none: returns 0, or -1 with an exception set. */
int open_arrays(const Wanted *wanted, int count, Py_buffer *views);
void close_arrays(Py_buffer *views, int count);

/* Set a ValueError that `name` has another shape than the other arguments ask for; returns NULL. */
PyObject *wrong_shape(const char *name);

/* Values, not bytes, from one entry along an axis to the next. */
ALWAYS_INLINE Py_ssize_t step_of(const Py_buffer *view, int axis) { return view->strides[axis] / view->itemsize; }

/* Whether all values lie one after the other. */
ALWAYS_INLINE int is_dense(const Py_buffer *view) { return PyBuffer_IsContiguous(view, 'C'); }

/* Called once, before any other function. */
void choose_pick(void);

extern const char halve_doc[], cut_doc[], sum_channels_doc[], count_doc[], collect_doc[], project_doc[];
PyObject *halve(PyObject *module, PyObject *arguments);
PyObject *cut(PyObject *module, PyObject *arguments);
PyObject *sum_channels(PyObject *module, PyObject *arguments);
PyObject *count(PyObject *module, PyObject *arguments);
PyObject *collect(PyObject *module, PyObject *arguments);
PyObject *project(PyObject *module, PyObject *arguments);

#endif
