/* Projections of descriptors on directions: many small matrix products with the same left side.
 *
 * BLAS arranges the left side anew for every product; here it is arranged once for all images, and every image as it is
 * used. A value is summed in the order of the descriptor's values, so it does not depend on the other ones.
 */
#include "native.h"

#include <string.h>

#define NAME tile_of_128_bits
#define TARGET
#define ROWS 6
#define LANES 4
#include "product_tile.h"

#if defined(__x86_64__)
#define NAME tile_of_256_bits
#define TARGET __attribute__((target("avx2,fma")))
#define ROWS 6
#define LANES 8
#include "product_tile.h"

#define NAME tile_of_512_bits
#define TARGET __attribute__((target("avx512f")))
#define ROWS 12
#define LANES 16
#include "product_tile.h"
#endif

enum { MOST_ROWS = 12, MOST_COLUMNS = 32, ALIGNED = 64, CACHE_LINE = 16, COPIED = 8 };

typedef void Tile(const float *left, const float *right, Py_ssize_t values, float *out, Py_ssize_t step);
typedef struct {
    Tile *tile;
    int rows, columns;
} Kernel;

/* How many times `width` it takes. */
ALWAYS_INLINE Py_ssize_t panels(Py_ssize_t count, int width) { return (count + width - 1) / width; }

static Kernel fastest_kernel(void) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f")) return (Kernel){tile_of_512_bits, 12, 32};
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return (Kernel){tile_of_256_bits, 6, 16};
#endif
    return (Kernel){tile_of_128_bits, 6, 8};
}

/* directions (count, values), `step` apart, to panels (panels, values, rows), filled up with zeros. */
static void arrange_directions(const float *directions, Py_ssize_t step, Py_ssize_t count, Py_ssize_t values, int rows,
                               float *restrict out) {
    for (Py_ssize_t first = 0; first < count; first += rows) {
        for (Py_ssize_t v = 0; v < values; v++) {
            for (int row = 0; row < rows; row++) {
                *out++ = first + row < count ? directions[(first + row) * step + v] : 0;
            }
        }
    }
}

/* descriptors (values, patches) to panels (panels, values, columns), filled up with zeros: row by row, as they lie. */
static void arrange_descriptors(const float *descriptors, Py_ssize_t patches, Py_ssize_t values, int columns,
                                float *restrict out) {
    for (Py_ssize_t v = 0; v < values; v++, descriptors += patches) {
        for (Py_ssize_t left = 0; left < patches; left += columns) {
            float *to = out + left * values + v * columns;
            Py_ssize_t width = patches - left < columns ? patches - left : columns;
            if (width == columns) {
                /* Copies of a known size are no calls. */
                for (int i = 0; i < columns; i += COPIED) {
                    memcpy(to + i, descriptors + left + i, COPIED * sizeof(float));
                }
                continue;
            }
            memcpy(to, descriptors + left, (size_t)width * sizeof(float));
            for (Py_ssize_t column = width; column < columns; column++) to[column] = 0;
        }
    }
}

/* Ask for one of `parts` parts of what will be read soon. */
ALWAYS_INLINE void fetch_part(const float *values, Py_ssize_t count, Py_ssize_t part, Py_ssize_t parts) {
    for (Py_ssize_t i = part * count / parts; i < (part + 1) * count / parts; i += CACHE_LINE) {
        __builtin_prefetch(values + i, 0, 2);
    }
}

/* One image: out (count, patches), rows `step` apart, from arranged directions and descriptors; meanwhile the `next`
 * image comes from memory. */
static void project_image(const Kernel *kernel, const float *directions, Py_ssize_t count, const float *descriptors,
                          Py_ssize_t values, Py_ssize_t patches, float *out, Py_ssize_t step, const float *next) {
    float partial[MOST_ROWS * MOST_COLUMNS];
    Py_ssize_t tiles = panels(count, kernel->rows) * panels(patches, kernel->columns), tile = 0;
    for (Py_ssize_t top = 0; top < count; top += kernel->rows) {
        Py_ssize_t height = count - top < kernel->rows ? count - top : kernel->rows;
        for (Py_ssize_t left = 0; left < patches; left += kernel->columns, tile++) {
            Py_ssize_t width = patches - left < kernel->columns ? patches - left : kernel->columns;
            float *to = out + top * step + left;
            const float *columns = descriptors + left * values;
            fetch_part(next, values * patches, tile, tiles);
            if (height == kernel->rows && width == kernel->columns) {
                kernel->tile(directions + top * values, columns, values, to, step);
                continue;
            }
            kernel->tile(directions + top * values, columns, values, partial, kernel->columns);
            for (Py_ssize_t row = 0; row < height; row++) {
                memcpy(to + row * step, partial + row * kernel->columns, (size_t)width * sizeof(float));
            }
        }
    }
}

static float *aligned(void *memory) { return (float *)(((uintptr_t)memory + ALIGNED - 1) / ALIGNED * ALIGNED); }

const char project_doc[] =
    "project(directions, descriptors, out)\n--\n\n"
    "out[d, k] = directions[d] @ descriptors[k]: (D, V) float32 and (k, V, P) float32 to (D, k, P) float32.";

PyObject *project(PyObject *module, PyObject *arguments) {
    PyObject *directions, *descriptors, *out;
    if (!PyArg_ParseTuple(arguments, "OOO", &directions, &descriptors, &out)) return NULL;
    Py_buffer views[3];
    const Wanted wanted[] = {{directions, "directions", 'f', 2, 0},
                             {descriptors, "descriptors", 'f', 3, 0},
                             {out, "out", 'f', 3, 1}};
    if (open_arrays(wanted, 3, views) < 0) return NULL;
    Py_ssize_t count = views[0].shape[0], values = views[0].shape[1];
    Py_ssize_t images = views[1].shape[0], patches = views[1].shape[2];
    PyObject *result = NULL;
    if (views[1].shape[1] != values || (values > 1 && step_of(&views[1], 1) != patches)) {
        wrong_shape("descriptors");
    } else if (views[2].shape[0] != count || views[2].shape[1] != images || views[2].shape[2] != patches) {
        wrong_shape("out");
    } else {
        const Kernel kernel = fastest_kernel();
        Py_ssize_t rows = panels(count, kernel.rows) * kernel.rows;
        Py_ssize_t columns = panels(patches, kernel.columns) * kernel.columns;
        void *memory = PyMem_RawMalloc((size_t)((rows + columns) * values) * sizeof(float) + 2 * ALIGNED);
        if (memory == NULL) {
            PyErr_NoMemory();
        } else {
            float *left = aligned(memory), *right = aligned(left + rows * values);
            Py_BEGIN_ALLOW_THREADS;
            arrange_directions(views[0].buf, step_of(&views[0], 0), count, values, kernel.rows, left);
            for (Py_ssize_t k = 0; k < images; k++) {
                const float *image = (const float *)views[1].buf + k * step_of(&views[1], 0);
                float *to = (float *)views[2].buf + k * step_of(&views[2], 1);
                const float *next = k + 1 < images ? image + step_of(&views[1], 0) : image;
                arrange_descriptors(image, patches, values, kernel.columns, right);
                project_image(&kernel, left, count, right, values, patches, to, step_of(&views[2], 0), next);
            }
            Py_END_ALLOW_THREADS;
            PyMem_RawFree(memory);
            result = Py_NewRef(Py_None);
        }
    }
    close_arrays(views, 3);
    return result;
}
