/* Patches of the levels of a Laplacian pyramid: the same bits as by OpenCV and NumPy.
 *
 * All sums in `halve` are exact, and in `up_under` only powers of two are multiplied, so that contracting products and
 * sums changes nothing.
 */
#include "native.h"

#include <string.h>

enum { FILTER = 5, PATCH = 7, CHANNELS = 3, WINDOW = 6, WIDE = 2 * WINDOW - 3, TILE = 16, LANES = 8 };
enum { PLANE_VALUES = PATCH * PATCH, PATCH_VALUES = CHANNELS * PLANE_VALUES };

typedef float Lanes __attribute__((vector_size(4 * LANES)));

/* The pixel that stands for pixel k of a row, the edge pixel not repeated. */
ALWAYS_INLINE Py_ssize_t mirrored(Py_ssize_t k, Py_ssize_t size) {
    if (k < 0) return -k;
    return k < size ? k : 2 * size - 2 - k;
}

/* Two neighbouring pixels, of which the even one is the lower half. */
typedef uint16_t Pair __attribute__((may_alias, aligned(1)));
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "pairs of pixels are read as numbers");

ALWAYS_INLINE void weigh_bytes(const uint8_t *const rows[FILTER], Py_ssize_t half, uint16_t *sums,
                               uint16_t *restrict even, uint16_t *restrict odd) {
    const Pair *a = (const Pair *)rows[0], *b = (const Pair *)rows[1], *c = (const Pair *)rows[2];
    const Pair *d = (const Pair *)rows[3], *e = (const Pair *)rows[4];
    (void)sums;
#pragma GCC ivdep
    for (Py_ssize_t x = 0; x < half; x++) {
        uint16_t outer = (uint16_t)((a[x] & 255) + (e[x] & 255)), near = (uint16_t)((b[x] & 255) + (d[x] & 255));
        even[x] = (uint16_t)(outer + 4 * near + 6 * (c[x] & 255));
        outer = (uint16_t)((a[x] >> 8) + (e[x] >> 8)), near = (uint16_t)((b[x] >> 8) + (d[x] >> 8));
        odd[x] = (uint16_t)(outer + 4 * near + 6 * (c[x] >> 8));
    }
}

ALWAYS_INLINE void weigh_floats(const float *const rows[FILTER], Py_ssize_t half, float *restrict sums,
                                float *restrict even, float *restrict odd) {
    const float *a = rows[0], *b = rows[1], *c = rows[2], *d = rows[3], *e = rows[4];
#pragma GCC ivdep
    for (Py_ssize_t x = 0; x < 2 * half; x++) sums[x] = (a[x] + e[x]) + 4 * (b[x] + d[x]) + 6 * c[x];
#pragma GCC ivdep
    for (Py_ssize_t x = 0; x < half; x++) {
        even[x] = sums[2 * x];
        odd[x] = sums[2 * x + 1];
    }
}

#define NAME row_of_bytes
#define PIXEL uint8_t
#define SUM uint16_t
#define WEIGH weigh_bytes
#include "halve_row.h"

/* What came out of bytes are whole numbers of 1/256 below 256, whose sums float32 holds exactly. */
#define NAME row_of_floats
#define PIXEL float
#define SUM float
#define WEIGH weigh_floats
#include "halve_row.h"

/* down() of a plane (size, size) to out (size / 2, size / 2), and down() of that, row by row while it is in the cache,
 * to `again` unless it is NULL; sums is scratch of 2 size + 4 floats. */
FOR_PROCESSORS static void halve_plane(const uint8_t *plane, Py_ssize_t size, void *sums, float *out, float *again) {
    Py_ssize_t half = size / 2;
    for (Py_ssize_t y = 0; y < half; y++) {
        row_of_bytes(plane, size, y, sums, out + y * half);
        if (again != NULL && y >= 2 && y % 2 == 0) {
            Py_ssize_t ready = y / 2 - 1;
            row_of_floats(out, half, ready, sums, again + ready * (half / 2));
        }
    }
    if (again != NULL) row_of_floats(out, half, half / 2 - 1, sums, again + (half / 2 - 1) * (half / 2));
}

/* Whether an array is of bytes; -1 if it is no array. */
static int is_bytes(PyObject *array) {
    Py_buffer view;
    if (PyObject_GetBuffer(array, &view, PyBUF_STRIDES) < 0) return -1;
    int bytes = view.itemsize == 1;
    PyBuffer_Release(&view);
    return bytes;
}

/* Whether an array is (images, 3, size, size) of whole planes. */
static int are_planes(const Py_buffer *view, Py_ssize_t images, Py_ssize_t size) {
    return view->shape[0] == images && view->shape[1] == CHANNELS && view->shape[2] == size && view->shape[3] == size &&
           step_of(view, 2) == size;
}

/* Where plane number k of (images, 3, size, size) begins, in values. */
ALWAYS_INLINE Py_ssize_t plane_at(const Py_buffer *view, Py_ssize_t k) {
    return k / CHANNELS * step_of(view, 0) + k % CHANNELS * step_of(view, 1);
}

const char halve_doc[] =
    "halve(planes, out, again)\n--\n\n"
    "down() of planes (k, 3, R, R) uint8 to out (k, 3, R / 2, R / 2) float32, and of that to again (k, 3, R / 4, R / 4)\n"
    "or None.\n\n"
    "R a multiple of 4, 8 or more.";

PyObject *halve(PyObject *module, PyObject *arguments) {
    PyObject *planes, *out, *again;
    if (!PyArg_ParseTuple(arguments, "OOO", &planes, &out, &again)) return NULL;
    Py_buffer views[3];
    const Wanted wanted[] = {{planes, "planes", 'B', 4, 0}, {out, "out", 'f', 4, 1}, {again, "again", 'f', 4, 1}};
    int twice = again != Py_None, opened = twice ? 3 : 2;
    if (open_arrays(wanted, opened, views) < 0) return NULL;
    Py_ssize_t count = views[0].shape[0], size = views[0].shape[2];
    PyObject *result = NULL;
    if (size < 8 || size % 4 || !are_planes(&views[0], count, size)) {
        wrong_shape("planes");
    } else if (!are_planes(&views[1], count, size / 2)) {
        wrong_shape("out");
    } else if (twice && !are_planes(&views[2], count, size / 4)) {
        wrong_shape("again");
    } else {
        void *sums = PyMem_RawMalloc((size_t)(2 * size + 4) * sizeof(float));
        if (sums == NULL) {
            PyErr_NoMemory();
        } else {
            Py_BEGIN_ALLOW_THREADS;
            for (Py_ssize_t k = 0; k < CHANNELS * count; k++) {
                halve_plane((const uint8_t *)views[0].buf + plane_at(&views[0], k), size, sums,
                            (float *)views[1].buf + plane_at(&views[1], k),
                            twice ? (float *)views[2].buf + plane_at(&views[2], k) : NULL);
            }
            Py_END_ALLOW_THREADS;
            PyMem_RawFree(sums);
            result = Py_NewRef(Py_None);
        }
    }
    close_arrays(views, opened);
    return result;
}

/* Three planes (size, size) of one image, `step` values apart; of bytes or of floats. */
typedef struct {
    const uint8_t *bytes;
    const float *floats;
    Py_ssize_t step, size;
} Planes;

static Planes planes_of(const Py_buffer *view, Py_ssize_t image) {
    Py_ssize_t first = image * step_of(view, 0);
    return (Planes){(const uint8_t *)view->buf + first, (const float *)view->buf + first, step_of(view, 1),
                    view->shape[2]};
}

/* up() of one coarse plane under a patch whose top left pixel is (y, x), on 9 x 9 pixels: those between two coarse
 * columns in `between` (WIDE,), five in use, and those on one in `on` (WIDE,), four in use. */
ALWAYS_INLINE void up_under(const float *coarse, Py_ssize_t size, Py_ssize_t y, Py_ssize_t x, Lanes *between,
                            Lanes *on) {
    Lanes between_rows[WINDOW], on_rows[WINDOW];
    Py_ssize_t top = ((y + 1) >> 1) - 1, left = ((x + 1) >> 1) - 1;
    /* Where possible lanes are read from the plane itself, with some pixels that are not used. */
    int inside = left >= 0 && left + LANES + 2 <= size;
    for (int r = 0; r < WINDOW; r++) {
        float edge[LANES + 2] = {0};
        Lanes first, second, third;
        Py_ssize_t k = top + r;
        const float *row = coarse + (k < 0 ? -k : k < size ? k : size - 1) * size, *near = row + left;
        if (!inside) {
            for (int c = 0; c < WINDOW; c++) {
                k = left + c;
                edge[c] = row[k < 0 ? -k : k < size ? k : size - 1];
            }
            near = edge;
        }
        memcpy(&first, near, sizeof first);
        memcpy(&second, near + 1, sizeof second);
        memcpy(&third, near + 2, sizeof third);
        between_rows[r] = (first + second) * 0.5f;
        on_rows[r] = ((second * 4 + (first + second)) + (second + third)) * 0.125f;
    }
#define UP(rows, out)                                                                                                 \
    for (int i = 0; i < WINDOW - 1; i++) out[2 * i] = (rows[i] + rows[i + 1]) * 0.5f;                                 \
    for (int i = 1; i < WINDOW - 1; i++) {                                                                            \
        out[2 * i - 1] = ((rows[i] * 4 + (rows[i - 1] + rows[i])) + (rows[i] + rows[i + 1])) * 0.125f;                \
    }
    UP(between_rows, between)
    UP(on_rows, on)
#undef UP
}

/* The patches of one image, out (147, patches); less up() of `coarse`, if it has planes. */
ALWAYS_INLINE void cut_image(const Planes *fine, const Planes *coarse, const int64_t *corners, Py_ssize_t patches,
                             int bytes, int laplacian, int transposed, float *restrict out) {
    float tile[PATCH_VALUES][TILE];
    const int down_step = transposed ? 1 : PATCH, right_step = transposed ? PATCH : 1;
    for (Py_ssize_t first = 0; first < patches; first += TILE) {
        int count = patches - first < TILE ? (int)(patches - first) : TILE;
        for (int p = 0; p < count; p++) {
            int64_t corner = corners[first + p];
            Py_ssize_t y = corner / fine->size, x = corner % fine->size;
            for (int channel = 0; channel < CHANNELS; channel++) {
                union {
                    Lanes lanes[WIDE];
                    float values[WIDE][LANES];
                } between, on;
                if (laplacian) {
                    up_under(coarse->floats + channel * coarse->step, coarse->size, y, x, between.lanes, on.lanes);
                }
                /* Columns take turns: the patch begins with one between two coarse ones, or with one on one. */
                const Py_ssize_t on_first = x & 1 ? 0 : 1, top = y & 1 ? 0 : 1;
                for (int i = 0; i < PATCH; i++) {
                    Py_ssize_t place = channel * fine->step + corner + i * fine->size;
                    float(*to)[TILE] = tile + channel * PLANE_VALUES + i * down_step;
                    const float *even = on_first ? on.values[top + i] : between.values[top + i];
                    const float *odd = on_first ? between.values[top + i] + 1 : on.values[top + i];
#pragma GCC unroll 7
                    for (int j = 0; j < PATCH; j++) {
                        float value = bytes ? fine->bytes[place + j] : fine->floats[place + j];
                        if (laplacian) value -= (j & 1 ? odd : even)[j >> 1];
                        to[j * right_step][p] = value;
                    }
                }
            }
        }
        for (int v = 0; v < PATCH_VALUES; v++) {
            memcpy(out + v * patches + first, tile[v], (size_t)count * sizeof(float));
        }
    }
}

FOR_PROCESSORS static void cut_bytes(const Planes *fine, const int64_t *corners, Py_ssize_t patches, int transposed,
                                     float *out) {
    cut_image(fine, NULL, corners, patches, 1, 0, transposed, out);
}

FOR_PROCESSORS static void cut_floats(const Planes *fine, const int64_t *corners, Py_ssize_t patches, int transposed,
                                      float *out) {
    cut_image(fine, NULL, corners, patches, 0, 0, transposed, out);
}

FOR_PROCESSORS static void cut_bytes_less_up(const Planes *fine, const Planes *coarse, const int64_t *corners,
                                             Py_ssize_t patches, int transposed, float *out) {
    cut_image(fine, coarse, corners, patches, 1, 1, transposed, out);
}

FOR_PROCESSORS static void cut_floats_less_up(const Planes *fine, const Planes *coarse, const int64_t *corners,
                                              Py_ssize_t patches, int transposed, float *out) {
    cut_image(fine, coarse, corners, patches, 0, 1, transposed, out);
}

/* Whether all patches lie within planes of `size`. */
static int all_within(const int64_t *corners, Py_ssize_t patches, Py_ssize_t size) {
    int within = 1;
    for (Py_ssize_t p = 0; p < patches; p++) {
        within &= corners[p] >= 0 && corners[p] % size <= size - PATCH && corners[p] / size <= size - PATCH;
    }
    return within;
}

const char cut_doc[] =
    "cut(planes, corners, coarse, transposed, out)\n--\n\n"
    "Patches of planes (k, 3, R, R), uint8 or float32, to out (k, 147, P) float32.\n\n"
    "corners     (k, P) int64, y * R + x of the patches' top left pixels\n"
    "coarse      (k, 3, R / 2, R / 2) float32, the next level, of which up() is subtracted under the patches, or None\n"
    "transposed  whether the columns of a patch come before its rows\n\n"
    "Raises IndexError for patches outside.";

PyObject *cut(PyObject *module, PyObject *arguments) {
    PyObject *planes, *corners, *coarse, *out;
    int transposed;
    if (!PyArg_ParseTuple(arguments, "OOOpO", &planes, &corners, &coarse, &transposed, &out)) return NULL;
    int bytes = is_bytes(planes);
    if (bytes < 0) return NULL;
    int laplacian = coarse != Py_None;
    Py_buffer views[4];
    const Wanted wanted[] = {{planes, "planes", bytes ? 'B' : 'f', 4, 0},
                             {corners, "corners", 'q', 2, 0},
                             {out, "out", 'f', 3, 1},
                             {coarse, "coarse", 'f', 4, 0}};
    int opened = laplacian ? 4 : 3;
    if (open_arrays(wanted, opened, views) < 0) return NULL;
    Py_ssize_t images = views[1].shape[0], patches = views[1].shape[1], size = views[0].shape[2];
    PyObject *result = NULL;
    if (!are_planes(&views[0], images, size) || size < PATCH) {
        wrong_shape("planes");
    } else if (views[2].shape[0] != images || views[2].shape[1] != PATCH_VALUES || views[2].shape[2] != patches ||
               step_of(&views[2], 1) != patches) {
        wrong_shape("out");
    } else if (laplacian && (!are_planes(&views[3], images, size / 2) || size % 2 || size < 2 * WINDOW)) {
        wrong_shape("coarse");
    } else {
        int within = 1;
        Py_BEGIN_ALLOW_THREADS;
        for (Py_ssize_t k = 0; k < images && within; k++) {
            const int64_t *own = (const int64_t *)views[1].buf + k * step_of(&views[1], 0);
            float *to = (float *)views[2].buf + k * step_of(&views[2], 0);
            Planes fine = planes_of(&views[0], k), below = laplacian ? planes_of(&views[3], k) : fine;
            within = all_within(own, patches, size);
            if (!within) {
                break;
            } else if (laplacian && bytes) {
                cut_bytes_less_up(&fine, &below, own, patches, transposed, to);
            } else if (laplacian) {
                cut_floats_less_up(&fine, &below, own, patches, transposed, to);
            } else if (bytes) {
                cut_bytes(&fine, own, patches, transposed, to);
            } else {
                cut_floats(&fine, own, patches, transposed, to);
            }
        }
        Py_END_ALLOW_THREADS;
        if (within) {
            result = Py_NewRef(Py_None);
        } else {
            PyErr_SetString(PyExc_IndexError, "corners: a patch lies outside the planes");
        }
    }
    close_arrays(views, opened);
    return result;
}

enum { SUMS = 2 };

/* Sum and sum of squares of values, in the same order on all processors; squares of float32 are exact in float64. */
FOR_PROCESSORS static void sum_values(const float *values, Py_ssize_t count, double *out) {
    double sums[LANES] = {0}, squares[LANES] = {0};
    Py_ssize_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        for (int lane = 0; lane < LANES; lane++) {
            double value = values[i + lane];
            sums[lane] += value;
            squares[lane] += value * value;
        }
    }
    for (int lane = 0; i < count; i++, lane++) {
        double value = values[i];
        sums[lane] += value;
        squares[lane] += value * value;
    }
    out[0] = out[1] = 0;
    for (int lane = 0; lane < LANES; lane++) {
        out[0] += sums[lane];
        out[1] += squares[lane];
    }
}

const char sum_channels_doc[] =
    "sum_channels(patches, out)\n--\n\n"
    "Sum and sum of squares per image and channel of patches (k, 147, P) float32 to out (k, 3, 2) float64.";

PyObject *sum_channels(PyObject *module, PyObject *arguments) {
    PyObject *patches, *out;
    if (!PyArg_ParseTuple(arguments, "OO", &patches, &out)) return NULL;
    Py_buffer views[2];
    const Wanted wanted[] = {{patches, "patches", 'f', 3, 0}, {out, "out", 'd', 3, 1}};
    if (open_arrays(wanted, 2, views) < 0) return NULL;
    Py_ssize_t images = views[0].shape[0], count = PLANE_VALUES * views[0].shape[2];
    PyObject *result = NULL;
    if (views[0].shape[1] != PATCH_VALUES || step_of(&views[0], 1) != views[0].shape[2]) {
        wrong_shape("patches");
    } else if (views[1].shape[0] != images || views[1].shape[1] != CHANNELS || views[1].shape[2] != SUMS) {
        wrong_shape("out");
    } else {
        Py_BEGIN_ALLOW_THREADS;
        for (Py_ssize_t k = 0; k < CHANNELS * images; k++) {
            Py_ssize_t image = k / CHANNELS, channel = k % CHANNELS;
            sum_values((const float *)views[0].buf + image * step_of(&views[0], 0) + channel * count, count,
                       (double *)views[1].buf + image * step_of(&views[1], 0) + channel * step_of(&views[1], 1));
        }
        Py_END_ALLOW_THREADS;
        result = Py_NewRef(Py_None);
    }
    close_arrays(views, 2);
    return result;
}
