/* W1 of two samples by counting in bins: see metrics/sliced/wasserstein.py for the method.
 *
 * A value is taken as a whole number of 2^-15 bins, so that all sums are exact. Values are counted first; then D has a
 * sign in most bins, and their distances to the bin's edge are summed with it. Values are added to a shift and multiplied
 * then, which no processor contracts.
 */
#include "native.h"

#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { EIGHT = 8, CACHE_LINE = 16, PIECE = 2048, FRACTION_BITS = 15, CODES = 16, RUN = 64 };
#define UNITS ((float)(1 << FRACTION_BITS))
#define FRACTION_MASK ((1 << FRACTION_BITS) - 1)
/* RUN times as many are below 2^31. */
#define MOST_ROWS ((Py_ssize_t)1 << 24)
#define MOST_BINS ((int64_t)1 << 15)

/* One side: rows values in blocks of `block`, `step` values apart, to each of which `shift` is added. */
typedef struct {
    const float *values;
    Py_ssize_t block, step, rows;
    float shift;
} Side;

/* A value plus `shift` in units of 2^-15 bins, clipped to the bins, at most 2^15. */
ALWAYS_INLINE int32_t in_units(float value, float shift, int64_t bins) {
    const float last = (float)((bins << FRACTION_BITS) - 64);
    float units = (value + shift) * UNITS;
    units = units > 0 ? units : 0;
    return (int32_t)(units < last ? units : last);
}

/* How many values fall into each bin. */
FOR_PROCESSORS static void count_values(const Side *side, int32_t *restrict counts, int64_t bins) {
    uint16_t piece[PIECE];
    for (int64_t k = 0; k < bins; k++) counts[k] = 0;
    for (Py_ssize_t start = 0; start < side->rows; start += side->block) {
        const float *row = side->values + start / side->block * side->step;
        Py_ssize_t stop = side->rows - start < side->block ? side->rows - start : side->block;
        for (Py_ssize_t first = 0; first < stop; first += PIECE) {
            int count = stop - first < PIECE ? (int)(stop - first) : PIECE, i = 0;
            const float *ahead = row + first + PIECE;
            if (first + PIECE >= stop) ahead = start + side->block < side->rows ? row + side->step : row;
            for (int k = 0; k < count; k++) {
                piece[k] = (uint16_t)(in_units(row[first + k], side->shift, bins) >> FRACTION_BITS);
            }
            /* Four bins are read at once, and the next values come from memory meanwhile. */
            for (; i + CACHE_LINE <= count; i += CACHE_LINE) {
                __builtin_prefetch(ahead + i);
                for (int j = 0; j < CACHE_LINE; j += 4) {
                    uint64_t four;
                    memcpy(&four, piece + i + j, sizeof four);
                    counts[four & 0xffff]++;
                    counts[four >> 16 & 0xffff]++;
                    counts[four >> 32 & 0xffff]++;
                    counts[four >> 48]++;
                }
            }
            for (; i < count; i++) counts[piece[i]]++;
        }
    }
}

/* The sign of D in a bin, 1, -1 or 0 where it may change, from the codes of 16 bins a number. */
ALWAYS_INLINE int32_t sign_of(const int32_t *signs, int32_t bin) {
    return (int32_t)((uint32_t)signs[bin / CODES] << (30 - 2 * (bin % CODES))) >> 30;
}

/* What is found in a side's values: how many lie in bins without a sign, and the sum of the others' distances to their
 * bins' edges, times their signs. */
typedef struct {
    Py_ssize_t chosen;
    int64_t sum;
} Picked;

/* Write those of a piece's values, with the shift, that lie in bins without a sign. Without branches, which could not be
 * predicted. */
typedef Picked Pick(const float *values, int count, float shift, const int32_t *signs, int64_t bins, float *out);

FOR_PROCESSORS static Picked pick_piece(const float *values, int count, float shift, const int32_t *signs, int64_t bins,
                                        float *restrict out) {
    int32_t piece[PIECE];
    uint16_t places[PIECE + 1];
    Picked picked = {0, 0};
    for (int i = 0; i < count; i++) piece[i] = in_units(values[i], shift, bins);
    for (int i = 0; i < count; i++) {
        int32_t sign = sign_of(signs, piece[i] >> FRACTION_BITS);
        picked.sum += sign * (piece[i] & FRACTION_MASK);
        places[picked.chosen] = (uint16_t)i;
        picked.chosen += sign == 0;
    }
    for (Py_ssize_t i = 0; i < picked.chosen; i++) out[i] = values[places[i]] + shift;
    return picked;
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
__attribute__((target("avx2"))) static Picked pick_piece_by_eights(const float *values, int count, float shift,
                                                                   const int32_t *signs, int64_t bins, float *out) {
    const __m256 shifts = _mm256_set1_ps(shift), units = _mm256_set1_ps(UNITS);
    const __m256 last = _mm256_set1_ps((float)((bins << FRACTION_BITS) - 64));
    const __m256i in_word = _mm256_set1_epi32(CODES - 1), fraction = _mm256_set1_epi32(FRACTION_MASK);
    /* 2048 values in eight sums, each below 2^15. */
    __m256i sums = _mm256_setzero_si256();
    int chosen = 0, eights = count / EIGHT * EIGHT;
    for (int i = 0; i < eights; i += EIGHT) {
        __m256 moved = _mm256_add_ps(_mm256_loadu_ps(values + i), shifts);
        __m256 clipped = _mm256_min_ps(_mm256_max_ps(_mm256_mul_ps(moved, units), _mm256_setzero_ps()), last);
        __m256i whole = _mm256_cvttps_epi32(clipped), bin = _mm256_srli_epi32(whole, FRACTION_BITS);
        __m256i word = _mm256_i32gather_epi32((const int *)signs, _mm256_srli_epi32(bin, 4), 4);
        /* The code of the bin becomes the highest bits. */
        __m256i left = _mm256_slli_epi32(_mm256_andnot_si256(bin, in_word), 1);
        __m256i sign = _mm256_srai_epi32(_mm256_sllv_epi32(word, left), 30);
        sums = _mm256_add_epi32(sums, _mm256_sign_epi32(_mm256_and_si256(whole, fraction), sign));
        __m256i without = _mm256_cmpeq_epi32(sign, _mm256_setzero_si256());
        int choice = _mm256_movemask_ps(_mm256_castsi256_ps(without));
        __m256i places = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)chosen_places[choice]));
        _mm256_storeu_ps(out + chosen, _mm256_permutevar8x32_ps(moved, places));
        chosen += __builtin_popcount((unsigned)choice);
    }
    Picked picked = pick_piece(values + eights, count - eights, shift, signs, bins, out + chosen);
    int32_t parts[EIGHT];
    _mm256_storeu_si256((__m256i *)parts, sums);
    for (int i = 0; i < EIGHT; i++) picked.sum += parts[i];
    picked.chosen += chosen;
    return picked;
}
#endif

static Pick *fastest_pick = pick_piece;

void choose_pick(void) {
#if defined(__x86_64__)
    fill_chosen_places();
    if (__builtin_cpu_supports("avx2")) fastest_pick = pick_piece_by_eights;
#endif
}

/* Write the values that lie in bins without a sign; `chosen` is -1 if there is no room for them. */
static Picked pick(const Side *side, const int32_t *signs, int64_t bins, float *out, Py_ssize_t room) {
    float values[PIECE + EIGHT];
    Picked all = {0, 0};
    for (Py_ssize_t start = 0; start < side->rows; start += side->block) {
        const float *row = side->values + start / side->block * side->step;
        Py_ssize_t stop = side->rows - start < side->block ? side->rows - start : side->block;
        for (Py_ssize_t first = 0; first < stop; first += PIECE) {
            int count = stop - first < PIECE ? (int)(stop - first) : PIECE;
            Picked some = fastest_pick(row + first, count, side->shift, signs, bins, values);
            if (some.chosen > room - all.chosen) return (Picked){-1, 0};
            memcpy(out + all.chosen, values, (size_t)some.chosen * sizeof(float));
            all.chosen += some.chosen;
            all.sum += some.sum;
        }
    }
    return all;
}

typedef struct {
    int64_t total, values, turns;
} Walked;

/* What is kept of some bins: the signs of D in them, and D at their edges, the right edge of the last one included. */
typedef struct {
    int32_t signs[RUN], edges[RUN + 1];
} Run;

/* Write where runs of bins without a sign end or begin among those of a run, of which `before` is the sign before. */
static void note_turns(const Run *run, int64_t first, int32_t before, Walked *walked, int32_t *restrict turns) {
    for (int i = 0; i < RUN; i++) {
        int32_t sign = run->signs[i], missing = sign == 0 ? run->edges[i] : -run->edges[i];
        if ((sign == 0) != (before == 0)) {
            turns[2 * walked->turns] = (int32_t)(first + i);
            turns[2 * walked->turns + 1] = missing;
            walked->turns++;
            walked->values += missing > 0 ? missing : 0;
        }
        before = sign;
    }
}

/* Follow D from bin to bin: find its signs, and integrate over the bins that have one as if all values lay on their left
 * edges.
 *
 * signs   (bins / 16,), filled: two bits for every bin
 * turns   (bins + 1, 2), filled: edges where runs of bins without a sign end or begin, and how many values the left side
 *         lacks there, negative: the right side
 */
FOR_PROCESSORS static Walked walk(const int32_t *left, const int32_t *right, int64_t bins, int32_t *restrict signs,
                                  int32_t *restrict turns) {
    Walked walked = {0, 0, 0};
    Run run;
    int32_t difference = 0, before = 0;
    for (int64_t first = 0; first < bins; first += RUN) {
        const int32_t *ones = left + first, *others = right + first;
        /* Below 2^31: D is at most MOST_ROWS. */
        int32_t total = 0, values = 0, turned;
        run.edges[0] = difference;
        for (int i = 0; i < RUN; i++) run.edges[i + 1] = difference += ones[i] - others[i];
        for (int i = 0; i < RUN; i++) run.signs[i] = (run.edges[i] >= others[i]) - (run.edges[i] <= -ones[i]);
        if (first == 0) run.signs[0] = 0;
        if (first == bins - RUN) run.signs[RUN - 1] = 0;
        for (int i = 0; i < RUN; i++) {
            total += run.signs[i] * run.edges[i + 1];
            values += run.signs[i] == 0 ? ones[i] : 0;
        }
        for (int word = 0; word < RUN / CODES; word++) {
            uint32_t codes = 0;
            for (int i = 0; i < CODES; i++) codes |= ((uint32_t)run.signs[word * CODES + i] & 3) << (2 * i);
            signs[first / CODES + word] = (int32_t)codes;
        }
        turned = (run.signs[0] == 0) != (before == 0);
        for (int i = 1; i < RUN; i++) turned |= (run.signs[i] == 0) != (run.signs[i - 1] == 0);
        if (turned) note_turns(&run, first, before, &walked, turns);
        walked.total += total;
        walked.values += values;
        before = run.signs[RUN - 1];
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
    "count(real, fake, rows, real_shift, fake_shift, counts, signs, turns)\n--\n\n"
    "Count the first `rows` values, at most 2^24, of either side's blocks (b, block) float32, each plus its shift.\n\n"
    "counts  (2, bins) int32, filled; at most 2^15 bins, a multiple of 64\n"
    "signs   (bins / 16,) int32, filled: two bits for every bin, the sign of D, or 0 where it may change\n"
    "turns   (bins + 1, 2) int32, filled: edges where runs of bins without a sign end or begin, and how many values the\n"
    "        real side lacks there, negative: the fake side. They have their partners beyond that edge\n\n"
    "Returns (integral of |D| over the bins with a sign, all values moved to their left edges; values of either side in\n"
    "the other bins, with partners; turns).";

PyObject *count(PyObject *module, PyObject *arguments) {
    PyObject *real, *fake, *counts, *signs, *turns;
    Py_ssize_t rows;
    float shifts[2];
    if (!PyArg_ParseTuple(arguments, "OOnffOOO", &real, &fake, &rows, &shifts[0], &shifts[1], &counts, &signs, &turns)) {
        return NULL;
    }
    Py_buffer views[5];
    const Wanted wanted[] = {{real, "real", 'f', 2, 0},
                             {fake, "fake", 'f', 2, 0},
                             {counts, "counts", 'i', 2, 1},
                             {signs, "signs", 'i', 1, 1},
                             {turns, "turns", 'i', 2, 1}};
    if (open_arrays(wanted, 5, views) < 0) return NULL;
    int64_t bins = views[2].shape[1];
    Side sides[2];
    PyObject *result = NULL;
    if (!sides_of(views, rows, shifts, sides)) {
        /* The exception is set. */
    } else if (views[2].shape[0] != 2 || bins < RUN || bins > MOST_BINS || bins % RUN) {
        wrong_shape("counts");
    } else if (views[3].shape[0] != bins / CODES) {
        wrong_shape("signs");
    } else if (views[4].shape[0] != bins + 1 || views[4].shape[1] != 2 || !is_dense(&views[4])) {
        wrong_shape("turns");
    } else {
        int32_t *left = views[2].buf, *right = left + step_of(&views[2], 0);
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
    "collect(real, fake, rows, real_shift, fake_shift, signs, turns, found, rest)\n--\n\n"
    "After `count`: write either side's values in bins without a sign, with their partners, to rest (2, m) float32.\n\n"
    "found  turns that are in use\n\n"
    "Returns (how many there are on either side; what the distances of the other values to their left edges add to the\n"
    "integral, in 2^-15); raises ValueError if the values do not fit.";

PyObject *collect(PyObject *module, PyObject *arguments) {
    PyObject *real, *fake, *signs, *turns, *rest;
    Py_ssize_t rows, found;
    float shifts[2];
    if (!PyArg_ParseTuple(arguments, "OOnffOOnO", &real, &fake, &rows, &shifts[0], &shifts[1], &signs, &turns, &found,
                          &rest)) {
        return NULL;
    }
    Py_buffer views[5];
    const Wanted wanted[] = {{real, "real", 'f', 2, 0},
                             {fake, "fake", 'f', 2, 0},
                             {signs, "signs", 'i', 1, 0},
                             {turns, "turns", 'i', 2, 0},
                             {rest, "rest", 'f', 2, 1}};
    if (open_arrays(wanted, 5, views) < 0) return NULL;
    int64_t bins = views[2].shape[0] * CODES;
    Side sides[2];
    PyObject *result = NULL;
    if (!sides_of(views, rows, shifts, sides)) {
        /* The exception is set. */
    } else if (bins < CODES || bins > MOST_BINS) {
        wrong_shape("signs");
    } else if (found < 0 || found > views[3].shape[0] || views[3].shape[1] != 2 || !is_dense(&views[3])) {
        wrong_shape("turns");
    } else if (views[4].shape[0] != 2) {
        wrong_shape("rest");
    } else {
        float *const out[2] = {views[4].buf, (float *)views[4].buf + step_of(&views[4], 0)};
        Py_ssize_t room = views[4].shape[1], filled[2];
        int64_t sums[2] = {0, 0};
        int fits;
        Py_BEGIN_ALLOW_THREADS;
        fits = fill_partners(views[3].buf, found, out, room, filled);
        /* The side that was counted last may be in the cache still. */
        for (int which = 1; which >= 0 && fits; which--) {
            Picked more = pick(&sides[which], views[2].buf, bins, out[which] + filled[which], room - filled[which]);
            fits = more.chosen >= 0;
            filled[which] += more.chosen;
            sums[which] = more.sum;
        }
        Py_END_ALLOW_THREADS;
        if (fits) {
            result = Py_BuildValue("nnL", filled[0], filled[1], (long long)(sums[1] - sums[0]));
        } else {
            PyErr_SetString(PyExc_ValueError, "rest: no room for all values");
        }
    }
    close_arrays(views, 5);
    return result;
}
