/* Forward convolution over channels, of 4 pixels, where scales are floats and the clamp is int8's own range: where most
 * of an inference is spent. On cores with DSP instructions and an FPU all filters run in one loop of assembly, since the
 * compiler keeps neither the sums in registers nor the columns in one load. */
#include "mcu_columns.h"

#if MCU_DSP
/* What the loop works on, in the order of its loads and stores of several words. A segment is a weight argument. */
struct segment {
    int32_t blocks, steps, rest, shift; /* 16 inputs each, 4 inputs each, the last 1 to 3, and 32 - 8 * rest */
};
struct filters {
    const float *scale;
    int8_t *y, *y2; /* of pixels 0 and 2 */
    int32_t stride, zero;
    const int32_t *bias;
    const int16_t *columns;
    struct segment first;
    const int8_t *end; /* of the first segment's weights */
    const int8_t *w1;
    struct segment second;
    uint32_t bits; /* a byte a pixel */
};
FIELD_AT(struct filters, bias, 20);
FIELD_AT(struct filters, columns, 24);
FIELD_AT(struct filters, first, 28);
FIELD_AT(struct filters, end, 44);
FIELD_AT(struct filters, w1, 48);
FIELD_AT(struct filters, second, 52);
FIELD_AT(struct filters, bits, 68);

/* The sums start at the bias; %[n] holds the blocks of the first segment. */
#define BEGIN                                                                                                          \
    "ldr r12, [%[f], #20]\n\t"                                                                                         \
    "ldrd %[x], %[n], [%[f], #24]\n\t"                                                                                 \
    "ldr %[a], [r12], #4\n\t"                                                                                          \
    "str r12, [%[f], #20]\n\t"                                                                                         \
    "mov %[b], %[a]\n\t"                                                                                               \
    "mov %[c], %[a]\n\t"                                                                                               \
    "mov %[d], %[a]\n\t"

/* The rest of a segment is taken from the last word of the filter's weights, so that nothing behind them is read. */
#define SEGMENT(steps, rest, shift)                                                                                    \
    "b 3f\n"                                                                                                           \
    "2:\n\t" STEP STEP STEP STEP "3:\n\t"                                                                              \
    "subs %[n], #1\n\t"                                                                                                \
    "bpl 2b\n\t"                                                                                                       \
    "ldr %[n], [%[f], #" steps "]\n\t"                                                                                 \
    "cbz %[n], 5f\n"                                                                                                   \
    "4:\n\t" STEP "subs %[n], #1\n\t"                                                                                  \
    "bne 4b\n"                                                                                                         \
    "5:\n\t"                                                                                                           \
    "ldr %[n], [%[f], #" rest "]\n\t"                                                                                  \
    "cbz %[n], 6f\n\t"                                                                                                 \
    "add %[w], %[n]\n\t"                                                                                               \
    "ldr %[n], [%[f], #" shift "]\n\t"                                                                                 \
    "ldr lr, [%[w], #-4]\n\t"                                                                                          \
    "lsr lr, lr, %[n]\n\t" PRODUCTS "6:\n\t"

/* Weights that lie in memory as pairs, filled up to a multiple of 4. */
#define WIDE_STEP "ldrd r12, lr, [%[w]], #8\n\t" MET_BY("r12") MET_BY("lr")
#define WIDE                                                                                                           \
    "b 3f\n"                                                                                                           \
    "2:\n\t" WIDE_STEP WIDE_STEP WIDE_STEP WIDE_STEP "3:\n\t"                                                          \
    "subs %[n], #1\n\t"                                                                                                \
    "bpl 2b\n\t"                                                                                                       \
    "ldr %[n], [%[f], #32]\n\t"                                                                                        \
    "cbz %[n], 5f\n"                                                                                                   \
    "4:\n\t" WIDE_STEP "subs %[n], #1\n\t"                                                                             \
    "bne 4b\n"                                                                                                         \
    "5:\n\t"

/* The other segment's weights change places with the first one's, in memory. */
/* clang-format off */
#define SECOND                                                                                                         \
    "ldr r12, [%[f], #48]\n\t"                                                                                         \
    "str %[w], [%[f], #48]\n\t"                                                                                        \
    "mov %[w], r12\n\t"                                                                                                \
    "ldr %[n], [%[f], #52]\n\t" SEGMENT("56", "60", "64") "ldr r12, [%[f], #48]\n\t"                                   \
    "str %[w], [%[f], #48]\n\t"                                                                                        \
    "mov %[w], r12\n\t"

/* Sums in steps of the output; r8 scale, r9 y, r10 y2, r11 stride. */
#define SCALED                                                                                                         \
    "ldmia %[f], {r8, r9, r10, r11, r12}\n\t"                                                                          \
    "vldmia r8!, {s4}\n\t"                                                                                             \
    IN_STEPS                                                                                                           \
    "vmov %[a], %[b], s0, s1\n\t"                                                                                      \
    "vmov %[c], %[d], s2, s3\n\t"                                                                                      \
    "qadd %[a], %[a], r12\n\t"                                                                                         \
    "qadd %[b], %[b], r12\n\t"                                                                                         \
    "qadd %[c], %[c], r12\n\t"                                                                                         \
    "qadd %[d], %[d], r12\n\t"

#define STORED                                                                                                         \
    "ssat %[a], #8, %[a]\n\t"                                                                                          \
    "ssat %[b], #8, %[b]\n\t"                                                                                          \
    "ssat %[c], #8, %[c]\n\t"                                                                                          \
    "ssat %[d], #8, %[d]\n\t"                                                                                          \
    "strb %[b], [r9, r11]\n\t"                                                                                         \
    "strb %[a], [r9], #1\n\t"                                                                                          \
    "strb %[d], [r10, r11]\n\t"                                                                                        \
    "strb %[c], [r10], #1\n\t"

/* ... and a bit at the top of a byte a pixel where the clamp has changed nothing. */
#define STORED_WITH_BITS                                                                                               \
    "ldr r12, [%[f], #68]\n\t"                                                                                         \
    "ssat %[n], #8, %[a]\n\t"                                                                                          \
    "ssat %[x], #8, %[b]\n\t"                                                                                          \
    "lsr r12, r12, #1\n\t"                                                                                             \
    "cmp %[n], %[a]\n\t"                                                                                               \
    "it eq\n\t"                                                                                                        \
    "orreq r12, r12, #0x80\n\t"                                                                                        \
    "cmp %[x], %[b]\n\t"                                                                                               \
    "it eq\n\t"                                                                                                        \
    "orreq r12, r12, #0x8000\n\t"                                                                                      \
    "strb %[x], [r9, r11]\n\t"                                                                                         \
    "strb %[n], [r9], #1\n\t"                                                                                          \
    "ssat %[n], #8, %[c]\n\t"                                                                                          \
    "ssat %[x], #8, %[d]\n\t"                                                                                          \
    "cmp %[n], %[c]\n\t"                                                                                               \
    "it eq\n\t"                                                                                                        \
    "orreq r12, r12, #0x800000\n\t"                                                                                    \
    "cmp %[x], %[d]\n\t"                                                                                               \
    "it eq\n\t"                                                                                                        \
    "orreq r12, r12, #0x80000000\n\t"                                                                                  \
    "strb %[x], [r10, r11]\n\t"                                                                                        \
    "strb %[n], [r10], #1\n\t"                                                                                         \
    "str r12, [%[f], #68]\n\t"

/* Runs the filters up to f->end and returns where their weights end. */
#define LOOP(name, sums, stored)                                                                                       \
    __attribute__((noinline, optimize("omit-frame-pointer"))) static const int8_t *name(struct filters *f,             \
                                                                                        const int8_t *w) {             \
        int32_t a, b, c, d, n;                                                                                         \
        const lanes *x;                                                                                                \
        __asm__ volatile("1:\n\t" BEGIN sums SCALED stored                                                               \
                         "stmia %[f], {r8, r9, r10}\n\t"                                                               \
                         "ldr r12, [%[f], #44]\n\t"                                                                    \
                         "cmp %[w], r12\n\t"                                                                           \
                         "bne 1b"                                                                                      \
                         : [a] "=&l"(a), [b] "=&l"(b), [c] "=&l"(c), [d] "=&l"(d), [n] "=&l"(n), [x] "=&l"(x),         \
                           [w] "+l"(w)                                                                                 \
                         : [f] "l"(f)                                                                                  \
                         : "r8", "r9", "r10", "r11", "r12", "lr", "s0", "s1", "s2", "s3", "s4", "cc", "memory");       \
        return w;                                                                                                      \
    }
/* clang-format on */
#define FIRST SEGMENT("32", "36", "40")
LOOP(one_segment, FIRST, STORED)
LOOP(two_segments, FIRST SECOND, STORED)
LOOP(one_segment_bits, FIRST, STORED_WITH_BITS)
LOOP(two_segments_bits, FIRST SECOND, STORED_WITH_BITS)
LOOP(wide_segment, WIDE, STORED)

INLINE struct segment segment_of(int32_t n) {
    return (struct segment){n >> 4, (n >> 2) & 3, n & 3, 32 - 8 * (n & 3)};
}

INLINE struct filters filters_of(MCU_CONV_FULL_ARGUMENTS) {
    return (struct filters){table,          y,       y + 2 * filters, filters,           zero,
                            bias,           columns, segment_of(n0),  w0 + filters * n0, w1,
                            segment_of(n1), 0};
}

void mcu_conv4_full(MCU_CONV_FULL_ARGUMENTS) {
    struct filters f = filters_of(columns, w0, n0, w1, n1, bias, table, y, filters, zero);
    one_segment(&f, w0);
}

void mcu_conv4_full_split(MCU_CONV_FULL_ARGUMENTS) {
    struct filters f = filters_of(columns, w0, n0, w1, n1, bias, table, y, filters, zero);
    two_segments(&f, w0);
}

void mcu_conv4_wide(MCU_CONV_WIDE_ARGUMENTS) {
    const int8_t *bytes = (const int8_t *)w;
    struct filters f = filters_of(columns, bytes, 2 * padded(n), bytes, 0, bias, table, y, filters, zero);
    f.first = segment_of(padded(n));
    wide_segment(&f, bytes);
}

INLINE void with_bits(struct filters *f, const int8_t *w, int32_t n, uint8_t *mask,
                      const int8_t *(*run)(struct filters *, const int8_t *)) {
    const int32_t row = f->stride >> 3;
    for (uint8_t *end = mask + row; mask != end; mask++) {
        f->end = w + 8 * n;
        w = run(f, w);
        UNROLL for (int32_t p = 0; p < 4; p++) {
            mask[p * row] = (uint8_t)(f->bits >> (8 * p));
        }
        f->bits = 0;
    }
}

void mcu_conv4_full_mask(MCU_CONV_FULL_ARGUMENTS, uint8_t *mask) {
    struct filters f = filters_of(columns, w0, n0, w1, n1, bias, table, y, filters, zero);
    with_bits(&f, w0, n0, mask, one_segment_bits);
}

void mcu_conv4_full_split_mask(MCU_CONV_FULL_ARGUMENTS, uint8_t *mask) {
    struct filters f = filters_of(columns, w0, n0, w1, n1, bias, table, y, filters, zero);
    with_bits(&f, w0, n0, mask, two_segments_bits);
}

#else
#if MCU_MVE
#include "mcu_conv_mve.h"

void mcu_conv4_full(MCU_CONV_FULL_ARGUMENTS) {
    (void)n1;
    if (n0 <= 16) {
        filters4(columns, w0, n0, w1, 0, bias, table, y, filters, zero, 1);
    } else {
        filters4(columns, w0, n0, w1, 0, bias, table, y, filters, zero, 0);
    }
}

void mcu_conv4_full_split(MCU_CONV_FULL_ARGUMENTS) {
    filters4(columns, w0, n0, w1, n1, bias, table, y, filters, zero, 0);
}

void mcu_conv4_wide(MCU_CONV_WIDE_ARGUMENTS) {
    const int32_t row = padded(n), input_zero = columns_zero(columns, n, 4);
    for (int32_t o = 0; o < filters; o++, w += row) {
        for (int32_t p = 0; p < 4; p++) {
            const int8_t *x = (const int8_t *)columns + p * row;
            int32_t acc = bias[o];
            for (int32_t k = 0; k < n; k++) {
                acc += w[(k & ~3) + ((k & 1) << 1 | (k & 2) >> 1)] * (x[k] - input_zero);
            }
            y[p * filters + o] = (int8_t)clamped(requantised(acc, table, o, filters, zero, EVEN), -128, 127);
        }
    }
}
#else

void mcu_conv4_full(MCU_CONV_FULL_ARGUMENTS) {
    mcu_conv4_even(columns, w0, n0, w1, n1, bias, table, y, filters, zero, -128, 127);
}

void mcu_conv4_full_split(MCU_CONV_FULL_ARGUMENTS) {
    mcu_conv4_even(columns, w0, n0, w1, n1, bias, table, y, filters, zero, -128, 127);
}

void mcu_conv4_wide(MCU_CONV_WIDE_ARGUMENTS) {
    const int32_t row = padded(n);
    for (int32_t o = 0; o < filters; o++, w += row) {
        for (int32_t p = 0; p < 4; p++) {
            int32_t acc = bias[o];
            for (int32_t k = 0; k < row; k += 4) { /* what lies behind the last input meets weights of 0 */
                acc += w[k] * columns[COLUMN(k, p, n, 4)] + w[k + 1] * columns[COLUMN(k + 2, p, n, 4)] +
                       w[k + 2] * columns[COLUMN(k + 1, p, n, 4)] + w[k + 3] * columns[COLUMN(k + 3, p, n, 4)];
            }
            y[p * filters + o] = (int8_t)clamped(requantised(acc, table, o, filters, zero, EVEN), -128, 127);
        }
    }
}
#endif

void mcu_conv4_full_mask(MCU_CONV_FULL_ARGUMENTS, uint8_t *mask) {
    mcu_conv4_even_mask(columns, w0, n0, w1, n1, bias, table, y, filters, zero, -128, 127, mask, 0);
}

void mcu_conv4_full_split_mask(MCU_CONV_FULL_ARGUMENTS, uint8_t *mask) {
    mcu_conv4_even_mask(columns, w0, n0, w1, n1, bias, table, y, filters, zero, -128, 127, mask, 0);
}
#endif
