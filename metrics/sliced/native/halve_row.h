/* One row of down() of a plane, for one type of pixels: defines NAME.
 *
 * Expects NAME, PIXEL, SUM, the type that holds 256 times a pixel exactly, and WEIGH, which adds five rows by their
 * weights and parts even columns from odd ones.
 */

/* Row y, of size / 2 pixels, of a plane (size, size); sums (2 size + 4,) is scratch. */
ALWAYS_INLINE void NAME(const PIXEL *plane, Py_ssize_t size, Py_ssize_t y, SUM *restrict sums, float *restrict out) {
    Py_ssize_t half = size / 2;
    SUM *restrict even = sums + size + 1, *restrict odd = even + half + 2;
    const PIXEL *rows[FILTER];
    for (int i = 0; i < FILTER; i++) rows[i] = plane + mirrored(2 * y - 2 + i, size) * size;
    WEIGH(rows, half, sums, even, odd);
    even[-1] = even[1];
    odd[-1] = odd[0];
    even[half] = even[half - 1];
#pragma GCC ivdep
    for (Py_ssize_t x = 0; x < half; x++) {
        SUM outer = (SUM)(even[x - 1] + even[x + 1]), near = (SUM)(odd[x - 1] + odd[x]);
        out[x] = (float)(SUM)(outer + 4 * near + 6 * even[x]) * (1.0f / 256);
    }
}

#undef NAME
#undef PIXEL
#undef SUM
#undef WEIGH
