/* The inputs of a block of pixels: windows gathered byte by byte, and widened to columns of int16. */
#include "mcu_columns.h"

#if MCU_DSP
INLINE void widen(int16_t *columns, const int8_t *x, int32_t stride, int32_t n, int32_t zero, int32_t pixels) {
    const uint32_t minus = both_lanes(-zero);
    lanes *to = (lanes *)(void *)columns;
    for (int32_t k = 0; k + 4 <= n; k += 4) {
        UNROLL for (int32_t p = 0; p < pixels; p++) {
            const uint32_t bytes = load_word(x + p * stride);
            to[p] = add_bytes_02(minus, bytes);
            to[pixels + p] = add_bytes_13(minus, bytes);
        }
        x += 4;
        to += 2 * pixels;
    }
    if ((n & 3) != 0) {
        int16_t *lane = (int16_t *)(void *)to;
        for (int32_t p = 0; p < pixels; p++) {
            to[p] = 0;
            to[pixels + p] = 0;
            for (int32_t k = 0; k < (n & 3); k++) {
                lane[(k & 1) * 2 * pixels + 2 * p + (k >> 1)] = (int16_t)(x[p * stride + k] - zero);
            }
        }
    }
}
#elif MCU_MVE
INLINE void move(int8_t *to, const int8_t *from, int32_t n) {
    for (; n >= 16; n -= 16, to += 16, from += 16) {
        vst1q_s8(to, vld1q_s8(from));
    }
    const mve_pred16_t rest = vctp8q((uint32_t)n);
    vstrbq_p_s8(to, vldrbq_z_s8(from, rest), rest);
}

INLINE void widen(int16_t *columns, const int8_t *x, int32_t stride, int32_t n, int32_t zero, int32_t pixels) {
    int8_t *to = (int8_t *)columns;
    for (int32_t p = 0; p < pixels; p++, x += stride, to += padded(n)) {
        move(to, x, n);
    }
    __builtin_memcpy(to, &zero, sizeof zero);
}
#else
INLINE void widen(int16_t *columns, const int8_t *x, int32_t stride, int32_t n, int32_t zero, int32_t pixels) {
    for (int32_t p = 0; p < pixels; p++) {
        for (int32_t k = 0; k < n; k++) {
            columns[COLUMN(k, p, n, pixels)] = (int16_t)(x[p * stride + k] - zero);
        }
    }
}
#endif

void mcu_columns4(int16_t *columns, const void *x, int32_t stride, int32_t n, int32_t zero) {
    widen(columns, x, stride, n, zero, 4);
}

void mcu_columns1(int16_t *columns, const void *x, int32_t stride, int32_t n, int32_t zero) {
    widen(columns, x, stride, n, zero, 1);
}

INLINE void copy(int8_t *to, const int8_t *from, int32_t n) {
#if MCU_MVE
    move(to, from, n);
#else
    for (; n >= 4; n -= 4, to += 4, from += 4) {
        __builtin_memcpy(to, from, 4);
    }
    for (; n > 0; n--) {
        *to++ = *from++;
    }
#endif
}

INLINE int is_inside(int32_t position, int32_t extent) {
    return (uint32_t)position < (uint32_t)extent;
}

/* Rarely more than a few bytes: no call of memset. */
INLINE void fill(int8_t *to, int32_t value, int32_t n) {
    for (volatile int8_t *byte = to, *end = to + n; byte < end; byte++) {
        *byte = (int8_t)value;
    }
}

INLINE const int8_t *row_at(const int8_t *x, int32_t in_w, int32_t channels, int32_t ring, int32_t y) {
    return x + (ring != 0 ? y % ring : y) * in_w * channels;
}

/* A window's part in one row: columns ix .. ix + kw of `row`. */
INLINE void window_row(int8_t *to, const int8_t *row, int32_t in_w, int32_t channels, int32_t kw, int32_t ix,
                       int32_t zero) {
    if (ix >= 0 && ix + kw <= in_w) {
        copy(to, row + ix * channels, kw * channels);
        return;
    }
    const int32_t before = ix < 0 ? -ix : 0, behind = ix + kw > in_w ? ix + kw - in_w : 0;
    const int32_t inside = kw - before - behind;
    if (inside <= 0) {
        fill(to, zero, kw * channels);
        return;
    }
    fill(to, zero, before * channels);
    copy(to + before * channels, row + (ix + before) * channels, inside * channels);
    fill(to + (before + inside) * channels, zero, behind * channels);
}

void mcu_windows(MCU_WINDOW_ARGUMENTS) {
    const int32_t part = kw * channels, stride = padded(kh * part);
    int8_t *to = window;
    for (int32_t y = iy; y < iy + kh; y++, to += part) {
        const int has_row = is_inside(y, in_h);
        const int8_t *row = has_row ? row_at(x, in_w, channels, ring, y) : 0;
        for (int32_t p = 0; p < pixels; p++) {
            if (has_row) {
                window_row(to + p * stride, row, in_w, channels, kw, ix + p * step, zero);
            } else {
                fill(to + p * stride, zero, part);
            }
        }
    }
    for (int32_t p = 0; p < pixels; p++) {
        fill(to + p * stride, zero, stride - kh * part);
    }
}

void mcu_windows_listed(MCU_WINDOW_ARGUMENTS, const int16_t *list, int32_t n) {
    int8_t *to = window;
    for (int32_t p = 0; p < pixels; p++, ix += step) {
        for (int32_t y = iy; y < iy + kh; y++) {
            for (int32_t column = ix; column < ix + kw; column++, to += n) {
                if (!is_inside(y, in_h) || !is_inside(column, in_w)) {
                    fill(to, zero, n);
                    continue;
                }
                const int8_t *pixel = row_at(x, in_w, channels, ring, y) + column * channels;
                for (int32_t i = 0; i < n; i++) {
                    to[i] = pixel[list[i]];
                }
            }
        }
        const int32_t behind = padded(kh * kw * n) - kh * kw * n;
        fill(to, zero, behind);
        to += behind;
    }
}
