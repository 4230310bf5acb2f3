/* One tile of a matrix product, for one kind of processor: defines NAME.
 *
 * Expects NAME, TARGET (attributes), ROWS and LANES: a tile has ROWS rows and 2 * LANES columns, and ROWS * 2 + 3
 * registers of LANES values hold all that is needed.
 */
#define VECTOR_OF(name) name##_vector
#define VECTOR_NAME(name) VECTOR_OF(name)
#define VECTOR VECTOR_NAME(NAME)

typedef float VECTOR __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

/* out (ROWS, 2 * LANES), `step` apart = left (values, ROWS) transposed x right (values, 2 * LANES). */
TARGET static void NAME(const float *left, const float *right, Py_ssize_t values, float *out, Py_ssize_t step) {
    VECTOR sums[ROWS][2];
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) {
        sums[row][0] = sums[row][1] = (VECTOR){0};
        /* Until it is written, the line has come from memory. */
        __builtin_prefetch(out + row * step, 1);
    }
    for (Py_ssize_t v = 0; v < values; v++, left += ROWS, right += 2 * LANES) {
        VECTOR first = *(const VECTOR *)right, second = *(const VECTOR *)(right + LANES);
#pragma GCC unroll 16
        for (int row = 0; row < ROWS; row++) {
            sums[row][0] += left[row] * first;
            sums[row][1] += left[row] * second;
        }
    }
#pragma GCC unroll 16
    for (int row = 0; row < ROWS; row++) {
        *(VECTOR *)(out + row * step) = sums[row][0];
        *(VECTOR *)(out + row * step + LANES) = sums[row][1];
    }
}

#undef VECTOR
#undef VECTOR_NAME
#undef VECTOR_OF
#undef NAME
#undef TARGET
#undef ROWS
#undef LANES
