/* down() of a plane, for one type of pixels: defines NAME.
 *
 * Expects NAME, PIXEL and SUM, the type that holds 256 times a pixel exactly.
 */

/* plane (size, size) to out (size / 2, size / 2); sums (2 size + 4,) is scratch for the weighted sums of five rows. */
FOR_PROCESSORS static void NAME(const PIXEL *plane, Py_ssize_t size, SUM *restrict sums, float *restrict out) {
    Py_ssize_t half = size / 2;
    SUM *restrict even = sums + size + 1, *restrict odd = even + half + 2;
    for (Py_ssize_t y = 0; y < half; y++, out += half) {
        const PIXEL *a = plane + mirrored(2 * y - 2, size) * size, *b = plane + mirrored(2 * y - 1, size) * size;
        const PIXEL *c = plane + 2 * y * size, *d = plane + mirrored(2 * y + 1, size) * size;
        const PIXEL *e = plane + mirrored(2 * y + 2, size) * size;
        for (Py_ssize_t x = 0; x < size; x++) sums[x] = (SUM)((SUM)(a[x] + e[x]) + 4 * (SUM)(b[x] + d[x]) + 6 * c[x]);
        for (Py_ssize_t x = 0; x < half; x++) {
            even[x] = sums[2 * x];
            odd[x] = sums[2 * x + 1];
        }
        even[-1] = even[1];
        odd[-1] = odd[0];
        even[half] = even[half - 1];
        for (Py_ssize_t x = 0; x < half; x++) {
            SUM outer = (SUM)(even[x - 1] + even[x + 1]), near = (SUM)(odd[x - 1] + odd[x]);
            out[x] = (float)(SUM)(outer + 4 * near + 6 * even[x]) * (1.0f / 256);
        }
    }
}

#undef NAME
#undef PIXEL
#undef SUM
