/* Forward convolution over channels: every filter against a block of columns. */
#include "mcu_columns.h"
#if MCU_MVE
#include "mcu_conv_mve.h"
#endif

#if MCU_DSP
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

/* Four filters, n weights apart, and 1 pixel; a function of its own, since it takes all registers. */
#define OF_FILTER(sum, load)                                                                                           \
    load "sxtb16 r12, lr\n\t"                                                                                          \
         "sxtb16 lr, lr, ror #8\n\t"                                                                                   \
         "smlad %[" sum "], r12, r8, %[" sum "]\n\t"                                                                   \
         "smlad %[" sum "], lr, r9, %[" sum "]\n\t"
__attribute__((noinline)) static void dot1_of_four(int32_t acc[4], const int16_t *columns, const int8_t *w, int32_t n) {
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3];
    const lanes *x = (const lanes *)(const void *)columns;
    const int8_t *later = w + 2 * n, *end = w + (n & ~3);
    if (w != end) {
        /* clang-format off */
        __asm__ volatile("1:\n\t"
                         "ldrd r8, r9, [%[x]], #8\n\t" /**/
                         OF_FILTER("b", "ldr lr, [%[w], %[n]]\n\t") OF_FILTER("a", "ldr lr, [%[w]], #4\n\t")
                             OF_FILTER("d", "ldr lr, [%[later], %[n]]\n\t")
                                 OF_FILTER("c", "ldr lr, [%[later]], #4\n\t") "cmp %[w], %[end]\n\t"
                         "bne 1b"
                         : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [w] "+r"(w), [later] "+r"(later),
                           [x] "+r"(x)
                         : [n] "r"(n), [end] "r"(end)
                         : "r8", "r9", "r12", "lr", "cc", "memory");
        /* clang-format on */
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
    for (int32_t i = 0; (n & 3) != 0 && i < 4; i++) {
        const uint32_t word = last_weights(w + i * n, n & 3);
        acc[i] = dot_lanes(dot_lanes(acc[i], bytes_02(word), x[0]), bytes_13(word), x[1]);
    }
}

#elif MCU_MVE
INLINE void dot1(int32_t acc[2], const int16_t *columns, const int8_t *w, const int8_t *other, int32_t n) {
    const int8_t *x = (const int8_t *)columns;
    for (int32_t k = 0; k < n; k += 16) {
        const mve_pred16_t there = vctp8q((uint32_t)(n - k));
        const int8x16_t some = vldrbq_z_s8(x + k, there);
        const int8x16_t one = vldrbq_z_s8(w + k, there), two = vldrbq_z_s8(other + k, there);
        acc[0] = vmladavaq_s8(acc[0], some, one) - columns_zero(columns, n, 1) * vaddvq_s8(one);
        acc[1] = vmladavaq_s8(acc[1], some, two) - columns_zero(columns, n, 1) * vaddvq_s8(two);
    }
}

#else
INLINE void dot4(int32_t acc[4], const int16_t *columns, const int8_t *w, int32_t n) {
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3], k = 0;
#define MET_BY(k)                                                                                                      \
    do {                                                                                                               \
        const int32_t weight = w[k];                                                                                   \
        a += weight * columns[COLUMN(k, 0, n, 4)];                                                                     \
        b += weight * columns[COLUMN(k, 1, n, 4)];                                                                     \
        c += weight * columns[COLUMN(k, 2, n, 4)];                                                                     \
        d += weight * columns[COLUMN(k, 3, n, 4)];                                                                     \
    } while (0)
#if defined(__arm__) /* a host has vectors instead */
    for (; n >= 4; n -= 4, w += 4, columns += 16) {
        MET_BY(0);
        MET_BY(1);
        MET_BY(2);
        MET_BY(3);
    }
#endif
    for (; k < n; k++) {
        MET_BY(k);
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
        bits->bytes = 0; /* or they would move on into the byte of the pixel before */
    }
}

/* Requantises, clamps and stores filter o of 4 pixels; a bit at the top of a byte a pixel where the clamp changed
 * nothing. */
INLINE uint32_t store4(const int32_t acc[4], const void *table, int8_t *y, int32_t o, int32_t filters, int32_t zero,
                       int32_t lo, int32_t hi, enum rounding rounding) {
#if MCU_MVE
    if (rounding == EVEN) {
        const int32x4_t sums = {acc[0], acc[1], acc[2], acc[3]};
        mve_pred16_t equal; /* four bits a lane */
        const int32x4_t limited = outputs(sums, vdupq_n_f32(((const float *)table)[o]), zero, lo, hi, &equal);
        vstrbq_scatter_offset_s32(y + o, vmulq_n_u32(vidupq_n_u32(0, 1), (uint32_t)filters), limited);
        return (equal & 1u) << 7 | (equal & 0x10u) << 11 | (equal & 0x100u) << 15 | (equal & 0x1000u) << 19;
    }
#endif
    const struct factor factor = factor_of(table, o, filters, rounding);
    uint32_t inside = 0;
    if (factor.right != 0) {
        UNROLL for (int32_t p = 0; p < 4; p++) {
            const int32_t v = multiplied(acc[p], &factor, rounding) + zero;
            inside |= store_clamped(y + p * filters + o, v, lo, hi) << (8 * p + 7);
        }
        return inside;
    }
    UNROLL for (int32_t p = 0; p < 4; p++) {
        const int32_t v = requantised(acc[p], table, o, filters, zero, rounding);
        inside |= store_clamped(y + p * filters + o, v, lo, hi) << (8 * p + 7);
    }
    return inside;
}

INLINE void conv4(MCU_CONV_ARGUMENTS(void), enum rounding rounding, uint8_t *mask, int32_t bit) {
    struct bits bits = {mask, bit, 0};
    const int16_t *second = columns + 4 * padded(n0);
    for (int32_t o = 0; o < filters; o++) {
        int32_t acc[4] = {bias[o], bias[o], bias[o], bias[o]};
        dot4(acc, columns, w0, n0);
        w0 += n0;
        if (n1 != 0) {
            dot4(acc, second, w1, n1);
            w1 += n1;
        }
        const uint32_t inside = store4(acc, table, y, o, filters, zero, lo, hi, rounding);
        if (mask != 0) {
            set_bits(&bits, o, filters, 4, inside);
        }
    }
}

/* Outputs of `count` filters from o on and 1 pixel. */
INLINE void store1(const int32_t *acc, int32_t count, const void *table, int8_t *y, int32_t o, int32_t filters,
                   int32_t zero, int32_t lo, int32_t hi, enum rounding rounding, struct bits *bits) {
    for (int32_t i = 0; i < count; i++) {
        const int32_t v = requantised(acc[i], table, o + i, filters, zero, rounding);
        const uint32_t inside = store_clamped(y + o + i, v, lo, hi);
        if (bits->mask != 0) {
            set_bits(bits, o + i, filters, 1, inside << 7);
        }
    }
}

INLINE void conv1(MCU_CONV_ARGUMENTS(void), enum rounding rounding, uint8_t *mask, int32_t bit) {
    struct bits bits = {mask, bit, 0};
    const int16_t *second = columns + padded(n0);
    int32_t o = 0;
#if MCU_DSP
    for (; o + 4 <= filters; o += 4) {
        int32_t acc[4] = {bias[o], bias[o + 1], bias[o + 2], bias[o + 3]};
        dot1_of_four(acc, columns, w0, n0);
        if (n1 != 0) {
            dot1_of_four(acc, second, w1, n1);
        }
        w0 += 4 * n0;
        w1 += 4 * n1;
        store1(acc, 4, table, y, o, filters, zero, lo, hi, rounding, &bits);
    }
#endif
    for (; o < filters; o += 2) {
        const int32_t next = o + 1 < filters ? 1 : 0; /* of an odd last filter the second sum is its own */
        int32_t acc[2] = {bias[o], bias[o + next]};
        dot1(acc, columns, w0, w0 + next * n0, n0);
        dot1(acc, second, w1, w1 + next * n1, n1);
        w0 += 2 * n0;
        w1 += 2 * n1;
        store1(acc, 1 + next, table, y, o, filters, zero, lo, hi, rounding, &bits);
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
