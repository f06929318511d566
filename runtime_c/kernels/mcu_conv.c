/* Forward convolution over channels: columns of int16, and every filter against a block of them.
 *
 * Columns with DSP instructions: for each four inputs of the block, the pairs (0, 2) of all pixels, then the pairs
 * (1, 3): the order in which sxtb16 takes weights apart, so that neither side is ever shuffled. */
#include "mcu_core.h"

INLINE int32_t padded(int32_t n) {
    return (n + 3) & ~3;
}

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

/* The last 1 to 3 weights of a filter as a word. */
INLINE uint32_t last_weights(const int8_t *w, int32_t n) {
    uint32_t word = (uint8_t)w[0];
    if (n > 1) {
        word |= (uint32_t)(uint8_t)w[1] << 8;
    }
    if (n > 2) {
        word |= (uint32_t)(uint8_t)w[2] << 16;
    }
    return word;
}

/* Four weights of a filter, in lr, and the columns of 4 pixels that they meet. The compiler would not load these with
 * one instruction. */
#define PRODUCTS                                                                                                       \
    "ldmia %[x]!, {r8, r9, r10, r11}\n\t"                                                                              \
    "sxtb16 r12, lr\n\t"                                                                                               \
    "smlad %[a], r12, r8, %[a]\n\t"                                                                                    \
    "smlad %[b], r12, r9, %[b]\n\t"                                                                                    \
    "smlad %[c], r12, r10, %[c]\n\t"                                                                                   \
    "smlad %[d], r12, r11, %[d]\n\t"                                                                                   \
    "ldmia %[x]!, {r8, r9, r10, r11}\n\t"                                                                              \
    "sxtb16 r12, lr, ror #8\n\t"                                                                                       \
    "smlad %[a], r12, r8, %[a]\n\t"                                                                                    \
    "smlad %[b], r12, r9, %[b]\n\t"                                                                                    \
    "smlad %[c], r12, r10, %[c]\n\t"                                                                                   \
    "smlad %[d], r12, r11, %[d]\n\t"
#define STEP "ldr lr, [%[w]], #4\n\t" PRODUCTS

INLINE void dot4(int32_t acc[4], const int16_t *columns, const int8_t *w, int32_t n) {
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3], steps = n >> 2;
    const lanes *x = (const lanes *)(const void *)columns;
    if (steps != 0) {
        __asm__ volatile("1:\n\t" STEP "subs %[steps], #1\n\t"
                         "bne 1b"
                         : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [w] "+r"(w), [x] "+r"(x),
                           [steps] "+l"(steps)
                         :
                         : "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory");
    }
    if ((n & 3) != 0) {
        const uint32_t word = last_weights(w, n & 3);
        __asm__ volatile("mov lr, %[w]\n\t" PRODUCTS
                         : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [x] "+r"(x)
                         : [w] "r"(word)
                         : "r8", "r9", "r10", "r11", "r12", "lr", "memory");
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

/* Two filters and 1 pixel. */
INLINE void dot1(int32_t acc[2], const int16_t *columns, const int8_t *w, const int8_t *other, int32_t n) {
    int32_t a = acc[0], b = acc[1];
    const lanes *x = (const lanes *)(const void *)columns;
    for (int32_t steps = n >> 2; steps != 0; steps--) {
        const uint32_t one = load_word(w), two = load_word(other);
        a = dot_lanes(dot_lanes(a, bytes_02(one), x[0]), bytes_13(one), x[1]);
        b = dot_lanes(dot_lanes(b, bytes_02(two), x[0]), bytes_13(two), x[1]);
        w += 4;
        other += 4;
        x += 2;
    }
    if ((n & 3) != 0) {
        const uint32_t one = last_weights(w, n & 3), two = last_weights(other, n & 3);
        a = dot_lanes(dot_lanes(a, bytes_02(one), x[0]), bytes_13(one), x[1]);
        b = dot_lanes(dot_lanes(b, bytes_02(two), x[0]), bytes_13(two), x[1]);
    }
    acc[0] = a;
    acc[1] = b;
}

#else
/* [input][pixel] where one load after the other comes from memory, [pixel][input] where vectors do. */
#if defined(__arm__) && !MCU_MVE
#define COLUMN(k, p, n, pixels) ((k) * (pixels) + (p))
#else
#define COLUMN(k, p, n, pixels) ((p) * padded(n) + (k))
#endif

INLINE void widen(int16_t *columns, const int8_t *x, int32_t stride, int32_t n, int32_t zero, int32_t pixels) {
    for (int32_t p = 0; p < pixels; p++) {
        for (int32_t k = 0; k < n; k++) {
            columns[COLUMN(k, p, n, pixels)] = (int16_t)(x[p * stride + k] - zero);
        }
    }
}

INLINE void dot4(int32_t acc[4], const int16_t *columns, const int8_t *w, int32_t n) {
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3];
    for (int32_t k = 0; k < n; k++) {
        const int32_t weight = w[k];
        a += weight * columns[COLUMN(k, 0, n, 4)];
        b += weight * columns[COLUMN(k, 1, n, 4)];
        c += weight * columns[COLUMN(k, 2, n, 4)];
        d += weight * columns[COLUMN(k, 3, n, 4)];
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

INLINE void dot1(int32_t acc[2], const int16_t *columns, const int8_t *w, const int8_t *other, int32_t n) {
    int32_t a = acc[0], b = acc[1];
    for (int32_t k = 0; k < n; k++) {
        a += w[k] * columns[k];
        b += other[k] * columns[k];
    }
    acc[0] = a;
    acc[1] = b;
}
#endif

void mcu_columns4(int16_t *columns, const void *x, int32_t stride, int32_t n, int32_t zero) {
    widen(columns, x, stride, n, zero, 4);
}

void mcu_columns1(int16_t *columns, const void *x, int32_t stride, int32_t n, int32_t zero) {
    widen(columns, x, stride, n, zero, 1);
}

INLINE void copy(int8_t *to, const int8_t *from, int32_t n) {
    for (; n >= 4; n -= 4, to += 4, from += 4) {
        __builtin_memcpy(to, from, 4);
    }
    for (; n > 0; n--) {
        *to++ = *from++;
    }
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

/* Bits of one filter and the block's pixels, gathered over 8 filters in a byte a pixel. */
struct bits {
    uint8_t *mask;
    int32_t first; /* of pixel 0, filter 0 */
    uint32_t bytes;
};

/* inside: a bit at the top of a byte a pixel. */
INLINE void set_bits(struct bits *bits, int32_t o, int32_t filters, int32_t pixels, uint32_t inside) {
    if ((filters & 7) != 0) {
        for (int32_t p = 0; p < pixels; p++) {
            const int32_t bit = bits->first + p * filters + o;
            bits->mask[bit >> 3] |= (uint8_t)((inside >> (8 * p + 7) & 1u) << (bit & 7));
        }
        return;
    }
    /* eight filters later a bit has moved from the top of its byte to the bottom */
    bits->bytes = bits->bytes >> 1 | inside;
    if ((o & 7) == 7) {
        for (int32_t p = 0; p < pixels; p++) {
            bits->mask[(bits->first + p * filters + o) >> 3] = (uint8_t)(bits->bytes >> (8 * p));
        }
    }
}

INLINE void conv4(MCU_CONV_ARGUMENTS(void), enum rounding rounding, uint8_t *mask, int32_t bit) {
    struct bits bits = {mask, bit, 0};
    const int16_t *second = columns + 4 * padded(n0);
    for (int32_t o = 0; o < filters; o++) {
        int32_t acc[4] = {bias[o], bias[o], bias[o], bias[o]};
        uint32_t inside = 0;
        dot4(acc, columns, w0, n0);
        w0 += n0;
        if (n1 != 0) {
            dot4(acc, second, w1, n1);
            w1 += n1;
        }
        UNROLL for (int32_t p = 0; p < 4; p++) {
            const int32_t v = requantised(acc[p], table, o, filters, zero, rounding), limited = clamped(v, lo, hi);
            y[p * filters + o] = (int8_t)limited;
            inside |= (uint32_t)(v == limited) << (8 * p + 7);
        }
        if (mask != 0) {
            set_bits(&bits, o, filters, 4, inside);
        }
    }
}

INLINE void conv1(MCU_CONV_ARGUMENTS(void), enum rounding rounding, uint8_t *mask, int32_t bit) {
    struct bits bits = {mask, bit, 0};
    const int16_t *second = columns + padded(n0);
    for (int32_t o = 0; o < filters; o += 2) {
        const int32_t next = o + 1 < filters ? 1 : 0; /* of an odd last filter the second sum is its own */
        int32_t acc[2] = {bias[o], bias[o + next]};
        dot1(acc, columns, w0, w0 + next * n0, n0);
        dot1(acc, second, w1, w1 + next * n1, n1);
        w0 += 2 * n0;
        w1 += 2 * n1;
        for (int32_t i = 0; i <= next; i++) {
            const int32_t v = requantised(acc[i], table, o + i, filters, zero, rounding), limited = clamped(v, lo, hi);
            y[o + i] = (int8_t)limited;
            if (mask != 0) {
                set_bits(&bits, o + i, filters, 1, (uint32_t)(v == limited) << 7);
            }
        }
    }
}

#define CONV(block, name, value, table_type)                                                                           \
    void mcu_conv##block##_##name(MCU_CONV_ARGUMENTS(table_type)) {                                                    \
        conv##block(columns, w0, n0, w1, n1, bias, table, y, filters, zero, lo, hi, value, 0, 0);                      \
    }                                                                                                                  \
    void mcu_conv##block##_##name##_mask(MCU_CONV_ARGUMENTS(table_type), uint8_t *mask, int32_t bit) {                 \
        conv##block(columns, w0, n0, w1, n1, bias, table, y, filters, zero, lo, hi, value, mask, bit);                 \
    }
CONV(4, even, EVEN, float)
CONV(4, tflite, TFLITE, int32_t)
CONV(4, upward, UPWARD, int32_t)
CONV(1, even, EVEN, float)
CONV(1, tflite, TFLITE, int32_t)
CONV(1, upward, UPWARD, int32_t)
