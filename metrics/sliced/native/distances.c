/* W1 of two samples by counting in bins: see metrics/sliced/wasserstein.py for the method.
 *
 * A value is taken as a whole number of 2^-15 bins, so that all sums are exact: one 64-bit number per bin holds how many
 * values fell into it and, below that, the sum of their distances to the bin's edge. Values are added to a shift and
 * multiplied then, which no processor contracts.
 */
#include "native.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { EIGHT = 8, PIECE = 2048, FRACTION_BITS = 15, COUNT_SHIFT = 39, WORD_BITS = 64 };
#define UNITS ((float)(1 << FRACTION_BITS))
#define FRACTION_MASK ((1u << FRACTION_BITS) - 1)
#define ONE ((uint64_t)1 << COUNT_SHIFT)
#define SUM_MASK (ONE - 1)
/* A sum of 2^24 fractions stays below COUNT_SHIFT bits. */
#define MOST_ROWS ((Py_ssize_t)1 << 24)

/* One side: rows values in blocks of `block`, `step` values apart, to each of which `shift` is added. */
typedef struct {
    const float *values;
    Py_ssize_t block, step, rows;
    float shift;
} Side;

/* Values plus `shift` in units of 2^-15 bins, clipped to the bins, at most 2^15. */
ALWAYS_INLINE void split(const float *values, int count, float shift, int64_t bins, uint32_t *restrict out) {
    const float last = (float)((bins << FRACTION_BITS) - 64);
    for (int i = 0; i < count; i++) {
        float units = (values[i] + shift) * UNITS;
        units = units > 0 ? units : 0;
        out[i] = (uint32_t)(int32_t)(units < last ? units : last);
    }
}

/* Count the values: sums (bins,) = count << 39 | sum of fractions. */
FOR_PROCESSORS static void count_values(const Side *side, uint64_t *restrict sums, int64_t bins) {
    uint32_t piece[PIECE];
    for (int64_t k = 0; k < bins; k++) sums[k] = 0;
    for (Py_ssize_t start = 0; start < side->rows; start += side->block) {
        const float *row = side->values + start / side->block * side->step;
        Py_ssize_t stop = side->rows - start < side->block ? side->rows - start : side->block;
        for (Py_ssize_t first = 0; first < stop; first += PIECE) {
            int count = stop - first < PIECE ? (int)(stop - first) : PIECE;
            split(row + first, count, side->shift, bins, piece);
            for (int i = 0; i < count; i++) sums[piece[i] >> FRACTION_BITS] += ONE + (piece[i] & FRACTION_MASK);
        }
    }
}

/* Those of a piece's values, with the shift, that lie in open bins: how many. Without branches, which could not be
 * predicted. */
typedef int Pick(const float *values, int count, float shift, const uint64_t *open, int64_t bins, float *out);

FOR_PROCESSORS static int pick_piece(const float *values, int count, float shift, const uint64_t *open, int64_t bins,
                                     float *restrict out) {
    uint32_t piece[PIECE];
    uint16_t places[PIECE + 1];
    int chosen = 0;
    split(values, count, shift, bins, piece);
    for (int i = 0; i < count; i++) {
        uint32_t k = piece[i] >> FRACTION_BITS;
        places[chosen] = (uint16_t)i;
        chosen += (int)(open[k / WORD_BITS] >> (k % WORD_BITS) & 1);
    }
    for (int i = 0; i < chosen; i++) out[i] = values[places[i]] + shift;
    return chosen;
}

#if defined(__x86_64__)
/* Per choice of eight values the places of those that are chosen. */
static uint8_t chosen_places[1 << EIGHT][EIGHT];

static void fill_chosen_places(void) {
    for (int choice = 0; choice < 1 << EIGHT; choice++) {
        for (int place = 0, chosen = 0; place < EIGHT; place++) {
            if (choice >> place & 1) chosen_places[choice][chosen++] = (uint8_t)place;
        }
    }
}

/* Eight values at a time, `out` may be written eight values beyond what is chosen. */
__attribute__((target("avx2"))) static int pick_piece_by_eights(const float *values, int count, float shift,
                                                                const uint64_t *open, int64_t bins, float *out) {
    const __m256 shifts = _mm256_set1_ps(shift), units = _mm256_set1_ps(UNITS);
    const __m256 last = _mm256_set1_ps((float)((bins << FRACTION_BITS) - 64));
    const __m256i low = _mm256_set1_epi32(31);
    int chosen = 0, eights = count / EIGHT * EIGHT;
    for (int i = 0; i < eights; i += EIGHT) {
        __m256 moved = _mm256_add_ps(_mm256_loadu_ps(values + i), shifts);
        __m256 clipped = _mm256_min_ps(_mm256_max_ps(_mm256_mul_ps(moved, units), _mm256_setzero_ps()), last);
        __m256i bin = _mm256_srli_epi32(_mm256_cvttps_epi32(clipped), FRACTION_BITS);
        __m256i word = _mm256_i32gather_epi32((const int *)open, _mm256_srli_epi32(bin, 5), 4);
        /* The bit of the bin becomes the sign. */
        __m256i bit = _mm256_sllv_epi32(word, _mm256_andnot_si256(bin, low));
        int choice = _mm256_movemask_ps(_mm256_castsi256_ps(bit));
        __m256i places = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)chosen_places[choice]));
        _mm256_storeu_ps(out + chosen, _mm256_permutevar8x32_ps(moved, places));
        chosen += __builtin_popcount((unsigned)choice);
    }
    return chosen + pick_piece(values + eights, count - eights, shift, open, bins, out + chosen);
}
#endif

static Pick *fastest_pick = pick_piece;

void choose_pick(void) {
#if defined(__x86_64__)
    fill_chosen_places();
    if (__builtin_cpu_supports("avx2")) fastest_pick = pick_piece_by_eights;
#endif
}

/* Write the values that lie in open bins: how many, or -1 if there is no room for them. */
static Py_ssize_t pick(const Side *side, const uint64_t *open, int64_t bins, float *out, Py_ssize_t room) {
    float picked[PIECE + EIGHT];
    Py_ssize_t found = 0;
    for (Py_ssize_t start = 0; start < side->rows; start += side->block) {
        const float *row = side->values + start / side->block * side->step;
        Py_ssize_t stop = side->rows - start < side->block ? side->rows - start : side->block;
        for (Py_ssize_t first = 0; first < stop; first += PIECE) {
            int count = stop - first < PIECE ? (int)(stop - first) : PIECE;
            int chosen = fastest_pick(row + first, count, side->shift, open, bins, picked);
            if (chosen > room - found) return -1;
            memcpy(out + found, picked, (size_t)chosen * sizeof(float));
            found += chosen;
        }
    }
    return found;
}

typedef struct {
    int64_t total, values, turns;
} Walked;

/* Follow D from bin to bin: find the open ones, where it may change its sign, and integrate over the others.
 *
 * open    (bins / 64,), filled: a bit for every bin
 * turns   (bins + 1, 2), filled: edges where runs of open bins end or begin, and how many values the left side lacks
 *         there, negative: the right side
 */
static Walked walk(const uint64_t *left, const uint64_t *right, int64_t bins, uint64_t *restrict open,
                   int32_t *restrict turns) {
    Walked walked = {0, 0, 0};
    int64_t difference = 0;
    int before = 1;
    for (int64_t k = 0; k < bins / WORD_BITS; k++) open[k] = 0;
    for (int64_t k = 0; k < bins; k++) {
        int64_t ones = (int64_t)(left[k] >> COUNT_SHIFT), others = (int64_t)(right[k] >> COUNT_SHIFT);
        int64_t following = difference + ones - others;
        int positive = difference >= others, negative = difference <= -ones;
        int is_open = positive == negative || k == 0 || k == bins - 1;
        if (is_open != before) {
            int64_t missing = is_open ? difference : -difference;
            turns[2 * walked.turns] = (int32_t)k;
            turns[2 * walked.turns + 1] = (int32_t)missing;
            walked.turns++;
            walked.values += missing > 0 ? missing : 0;
        }
        if (is_open) {
            walked.values += ones;
            open[k / WORD_BITS] |= (uint64_t)1 << (k % WORD_BITS);
        } else {
            int64_t part = following * (1 << FRACTION_BITS) - (int64_t)(left[k] & SUM_MASK) + (int64_t)(right[k] & SUM_MASK);
            walked.total += positive ? part : -part;
        }
        difference = following;
        before = is_open;
    }
    return walked;
}

/* Both sides from blocks (b, block) with room for `rows` values: 1, or 0 with an exception set. */
static int sides_of(const Py_buffer *views, Py_ssize_t rows, const float *shifts, Side *sides) {
    for (int which = 0; which < 2; which++) {
        const Py_buffer *view = &views[which];
        sides[which] = (Side){view->buf, view->shape[1], step_of(view, 0), rows, shifts[which]};
        if (rows < 1 || rows > MOST_ROWS || view->shape[1] < 1 || view->shape[0] * view->shape[1] < rows) {
            wrong_shape(which ? "fake" : "real");
            return 0;
        }
    }
    return 1;
}

const char count_doc[] =
    "count(real, fake, rows, real_shift, fake_shift, sums, open, turns)\n--\n\n"
    "Count the first `rows` values, at most 2^24, of either side's blocks (b, block) float32, each plus its shift.\n\n"
    "sums   (2, bins) uint64, filled: count << 39 | sum of fractions; at most 2^15 bins\n"
    "open   (bins / 64,) uint64, filled: a bit for every bin in which D may change its sign\n"
    "turns  (bins + 1, 2) int32, filled: edges where runs of such bins end or begin, and how many values the real\n"
    "       side lacks there, negative: the fake side. They have their partners beyond that edge\n\n"
    "Returns (integral of |D| over the other bins in 2^-15; values of either side in open bins, with partners; turns).";

PyObject *count(PyObject *module, PyObject *arguments) {
    PyObject *real, *fake, *sums, *open, *turns;
    Py_ssize_t rows;
    float shifts[2];
    if (!PyArg_ParseTuple(arguments, "OOnffOOO", &real, &fake, &rows, &shifts[0], &shifts[1], &sums, &open, &turns)) {
        return NULL;
    }
    Py_buffer views[5];
    const Wanted wanted[] = {{real, "real", 'f', 2, 0},
                             {fake, "fake", 'f', 2, 0},
                             {sums, "sums", 'Q', 2, 1},
                             {open, "open", 'Q', 1, 1},
                             {turns, "turns", 'i', 2, 1}};
    if (open_arrays(wanted, 5, views) < 0) return NULL;
    int64_t bins = views[2].shape[1];
    Side sides[2];
    PyObject *result = NULL;
    if (!sides_of(views, rows, shifts, sides)) {
        /* The exception is set. */
    } else if (views[2].shape[0] != 2 || bins < WORD_BITS || bins > 1 << FRACTION_BITS || bins % WORD_BITS) {
        wrong_shape("sums");
    } else if (views[3].shape[0] != bins / WORD_BITS) {
        wrong_shape("open");
    } else if (views[4].shape[0] != bins + 1 || views[4].shape[1] != 2 || !is_dense(&views[4])) {
        wrong_shape("turns");
    } else {
        uint64_t *left = views[2].buf, *right = left + step_of(&views[2], 0);
        Walked walked;
        Py_BEGIN_ALLOW_THREADS;
        count_values(&sides[0], left, bins);
        count_values(&sides[1], right, bins);
        walked = walk(left, right, bins, views[3].buf, views[4].buf);
        Py_END_ALLOW_THREADS;
        result = Py_BuildValue("LLL", (long long)walked.total, (long long)walked.values, (long long)walked.turns);
    }
    close_arrays(views, 5);
    return result;
}

/* Write edges in the place of partners beyond them to the beginning of either side of rest (2, room): how many. */
static int fill_partners(const int32_t *turns, Py_ssize_t found, float *const rest[2], Py_ssize_t room,
                         Py_ssize_t filled[2]) {
    filled[0] = filled[1] = 0;
    for (Py_ssize_t turn = 0; turn < found; turn++) {
        int32_t edge = turns[2 * turn], missing = turns[2 * turn + 1];
        int which = missing < 0;
        Py_ssize_t many = which ? -(Py_ssize_t)missing : missing;
        if (many > room - filled[which]) return 0;
        for (Py_ssize_t i = 0; i < many; i++) rest[which][filled[which] + i] = (float)edge;
        filled[which] += many;
    }
    return 1;
}

const char collect_doc[] =
    "collect(real, fake, rows, real_shift, fake_shift, open, turns, found, rest)\n--\n\n"
    "After `count`: write either side's values in open bins, with their partners, to rest (2, m) float32.\n\n"
    "found  turns that are in use\n\n"
    "Returns how many there are on either side; raises ValueError if they do not fit.";

PyObject *collect(PyObject *module, PyObject *arguments) {
    PyObject *real, *fake, *open, *turns, *rest;
    Py_ssize_t rows, found;
    float shifts[2];
    if (!PyArg_ParseTuple(arguments, "OOnffOOnO", &real, &fake, &rows, &shifts[0], &shifts[1], &open, &turns, &found,
                          &rest)) {
        return NULL;
    }
    Py_buffer views[5];
    const Wanted wanted[] = {{real, "real", 'f', 2, 0},
                             {fake, "fake", 'f', 2, 0},
                             {open, "open", 'Q', 1, 0},
                             {turns, "turns", 'i', 2, 0},
                             {rest, "rest", 'f', 2, 1}};
    if (open_arrays(wanted, 5, views) < 0) return NULL;
    int64_t bins = views[2].shape[0] * WORD_BITS;
    Side sides[2];
    PyObject *result = NULL;
    if (!sides_of(views, rows, shifts, sides)) {
        /* The exception is set. */
    } else if (bins < WORD_BITS || bins > 1 << FRACTION_BITS) {
        wrong_shape("open");
    } else if (found < 0 || found > views[3].shape[0] || views[3].shape[1] != 2 || !is_dense(&views[3])) {
        wrong_shape("turns");
    } else if (views[4].shape[0] != 2) {
        wrong_shape("rest");
    } else {
        float *const out[2] = {views[4].buf, (float *)views[4].buf + step_of(&views[4], 0)};
        Py_ssize_t room = views[4].shape[1], filled[2];
        int fits;
        Py_BEGIN_ALLOW_THREADS;
        fits = fill_partners(views[3].buf, found, out, room, filled);
        for (int which = 0; which < 2 && fits; which++) {
            Py_ssize_t more = pick(&sides[which], views[2].buf, bins, out[which] + filled[which], room - filled[which]);
            fits = more >= 0;
            filled[which] += more;
        }
        Py_END_ALLOW_THREADS;
        if (fits) {
            result = Py_BuildValue("nn", filled[0], filled[1]);
        } else {
            PyErr_SetString(PyExc_ValueError, "rest: no room for all values");
        }
    }
    close_arrays(views, 5);
    return result;
}
