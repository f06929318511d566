/* Depthwise 5 x 5 and 7 x 7 over the whole range of int8 for cores with DSP instructions and an FPU, of multiples of
 * 4 channels and 4 outputs, with (k - 1) / 2 columns of padding on the left and in_w a multiple of 4, so that the
 * groups of the image are whole: as mcu_depthwise_pairs.h, and four channels in one run of assembly. */
#ifndef MCU_DEPTHWISE_PAIRS_FULL_H
#define MCU_DEPTHWISE_PAIRS_FULL_H

#include "mcu_depthwise_pairs.h"

struct filters4 {
    int32_t zero;           /* 0: of y */
    int8_t *at;             /* 4: y of the next block */
    int32_t channels;       /* 8 */
    int32_t bias;           /* 12 */
    const int8_t *w;        /* 16 */
    const lanes *x;         /* 20: of the next block */
    int32_t span;           /* 24: bytes of all tap rows */
    const lanes *end;       /* 28: of the block's tap rows */
    const int32_t *biases;  /* 32 */
    const float *table;     /* 36 */
    const lanes *first_x;   /* 40: of the channel */
    int8_t *y;              /* 44: of the channel */
    int32_t row;            /* 48: bytes from the first block to behind the last */
    const lanes *last_x;    /* 52 */
    const lanes *end_x;     /* 56: first_x of the channel behind the last */
    uint8_t *mask;          /* 60: byte of the block's first output */
    int32_t mask_step;      /* 64 */
    uint8_t *first_byte;    /* 68 */
};
FIELD_AT(struct filters4, at, 4);
FIELD_AT(struct filters4, bias, 12);
FIELD_AT(struct filters4, w, 16);
FIELD_AT(struct filters4, x, 20);
FIELD_AT(struct filters4, span, 24);
FIELD_AT(struct filters4, end, 28);
FIELD_AT(struct filters4, biases, 32);
FIELD_AT(struct filters4, first_x, 40);
FIELD_AT(struct filters4, row, 48);
FIELD_AT(struct filters4, last_x, 52);
FIELD_AT(struct filters4, end_x, 56);
FIELD_AT(struct filters4, mask, 60);
FIELD_AT(struct filters4, mask_step, 64);
FIELD_AT(struct filters4, first_byte, 68);

#define ALL_ROWS(taps)                                                                                                 \
    "1:\n\t" taps "add %[x], %[stride]\n\t"                                                                            \
    "ldr r12, [%[f], #28]\n\t"                                                                                         \
    "cmp %[x], r12\n\t"                                                                                                \
    "bne 1b\n\t"
#define BEGIN_CHANNEL                                                                                                  \
    "2:\n\t"                                                                                                           \
    "ldrd r8, r9, [%[f], #32]\n\t"                                                                                     \
    "ldrd r10, r11, [%[f], #40]\n\t"                                                                                   \
    "ldr r12, [r8], #4\n\t"                                                                                            \
    "vldmia r9!, {s4}\n\t"                                                                                             \
    "str r10, [%[f], #20]\n\t"                                                                                         \
    "str r11, [%[f], #4]\n\t"                                                                                          \
    "str r12, [%[f], #12]\n\t"                                                                                         \
    "ldr r12, [%[f], #48]\n\t"                                                                                         \
    "strd r8, r9, [%[f], #32]\n\t"                                                                                     \
    "add r12, r10\n\t"                                                                                                 \
    "add r10, #8\n\t"                                                                                                  \
    "add r11, #1\n\t"                                                                                                  \
    "strd r10, r11, [%[f], #40]\n\t"                                                                                   \
    "str r12, [%[f], #52]\n\t"
#define BEGIN_BLOCK                                                                                                    \
    "3:\n\t"                                                                                                           \
    "ldrd %[a], %[w], [%[f], #12]\n\t"                                                                                 \
    "ldrd %[x], r12, [%[f], #20]\n\t"                                                                                  \
    "mov %[b], %[a]\n\t"                                                                                               \
    "mov %[c], %[a]\n\t"                                                                                               \
    "mov %[d], %[a]\n\t"                                                                                               \
    "add r12, %[x]\n\t"                                                                                                \
    "str r12, [%[f], #28]\n\t"
#define SCALED_BLOCK                                                                                                   \
    IN_STEPS                                                                                                           \
    "ldrd r8, r9, [%[f]]\n\t"                                                                                          \
    "ldr r10, [%[f], #8]\n\t"                                                                                          \
    "vmov %[a], %[b], s0, s1\n\t"                                                                                      \
    "vmov %[c], %[d], s2, s3\n\t"                                                                                      \
    "qadd %[a], %[a], r8\n\t"                                                                                          \
    "qadd %[b], %[b], r8\n\t"                                                                                          \
    "qadd %[c], %[c], r8\n\t"                                                                                          \
    "qadd %[d], %[d], r8\n\t"
#define OUTPUT(sum, at, bit)                                                                                           \
    "ssat r11, #8, %[" sum "]\n\t"                                                                                     \
    "strb r11, " at "\n\t" bit("%[" sum "]")
#define NO_BIT(sum)
#define BIT_OF(sum)                                                                                                    \
    "cmp r11, " sum "\n\t"                                                                                             \
    "ldrb r11, [r12]\n\t"                                                                                              \
    "it eq\n\t"                                                                                                        \
    "orreq r11, r11, #0x100\n\t"                                                                                       \
    "lsr r11, r11, #1\n\t"                                                                                             \
    "strb r11, [r12]\n\t"                                                                                              \
    "add r12, r8\n\t"
/* clang-format off */
#define FOUR_OUTPUTS(bit)                                                                                              \
    OUTPUT("a", "[r9]", bit)                                                                                           \
    OUTPUT("b", "[r9, r10]", bit)                                                                                      \
    "add r9, r9, r10, lsl #1\n\t" OUTPUT("c", "[r9]", bit) OUTPUT("d", "[r9, r10]", bit)                               \
    "add r9, r9, r10, lsl #1\n\t"                                                                                      \
    "str r9, [%[f], #4]\n\t"
/* clang-format on */
#define STORED_BLOCK SCALED_BLOCK FOUR_OUTPUTS(NO_BIT)
#define STORED_BLOCK_WITH_BITS                                                                                         \
    SCALED_BLOCK "ldrd r12, r8, [%[f], #60]\n\t" FOUR_OUTPUTS(BIT_OF) "str r12, [%[f], #60]\n\t"
/* step: words from block to block. */
#define NEXT_BLOCK(step)                                                                                               \
    "ldr r8, [%[f], #20]\n\t"                                                                                          \
    "ldr r9, [%[f], #52]\n\t"                                                                                          \
    "add r8, #" step "\n\t"                                                                                            \
    "str r8, [%[f], #20]\n\t"                                                                                          \
    "cmp r8, r9\n\t"                                                                                                   \
    "bne 3b\n\t"
/* taps: of a filter. */
#define NEXT_FILTER(taps)                                                                                              \
    "ldr r12, [%[f], #16]\n\t"                                                                                         \
    "ldr r8, [%[f], #40]\n\t"                                                                                          \
    "ldr r9, [%[f], #56]\n\t"                                                                                          \
    "add r12, #" taps "\n\t"                                                                                           \
    "str r12, [%[f], #16]\n\t"                                                                                         \
    "cmp r8, r9\n\t"                                                                                                   \
    "bne 2b"
#define SAME_BYTES                                                                                                     \
    "ldr r12, [%[f], #68]\n\t"                                                                                         \
    "str r12, [%[f], #60]\n\t"

#define GROUP_OF(name, rows, step, taps, stored, bytes)                                                                \
    __attribute__((noinline, optimize("omit-frame-pointer"))) static void name(struct filters4 *f, int32_t stride) {   \
        int32_t a, b, c, d;                                                                                            \
        const int8_t *w;                                                                                               \
        const lanes *x;                                                                                                \
        __asm__ volatile(BEGIN_CHANNEL BEGIN_BLOCK ALL_ROWS(rows) stored NEXT_BLOCK(step) bytes NEXT_FILTER(taps)      \
                         : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [w] "=&r"(w), [x] "=&r"(x)          \
                         : [f] "r"(f), [stride] "r"(stride)                                                            \
                         : "r8", "r9", "r10", "r11", "r12", "lr", "s0", "s1", "s2", "s3", "s4", "cc", "memory");       \
    }
#define GROUPS_OF(name, rows, step, taps)                                                                              \
    GROUP_OF(name, rows, step, taps, STORED_BLOCK, "")                                                                 \
    GROUP_OF(name##_bits, rows, step, taps, STORED_BLOCK_WITH_BITS, SAME_BYTES)
GROUPS_OF(group_5_1, FIVE_1, "32", "25")
GROUPS_OF(group_5_2, FIVE_2, "64", "25")
GROUPS_OF(group_7_1, SEVEN_1, "32", "49")
GROUPS_OF(group_7_2, SEVEN_2, "64", "49")

INLINE void filter_group(struct filters4 *f, int32_t stride, int32_t k, int32_t step, int32_t has_mask) {
    if (k == 5 && step == 1) {
        has_mask ? group_5_1_bits(f, stride) : group_5_1(f, stride);
    } else if (k == 5) {
        has_mask ? group_5_2_bits(f, stride) : group_5_2(f, stride);
    } else if (step == 1) {
        has_mask ? group_7_1_bits(f, stride) : group_7_1(f, stride);
    } else {
        has_mask ? group_7_2_bits(f, stride) : group_7_2(f, stride);
    }
}

INLINE void depthwise_pairs_full(const struct row *r) {
    const int32_t first = first_tap(r), some = end_tap(r) - first, k = r->kw, n = r->channels, groups = row_groups(r);
    const int32_t taps = some > 0 ? some : 1, from = some > 0 ? first : 0; /* no tap row: one of zeros */
    const int32_t stride = groups * GROUP, run = r->in_w >> 2 < groups - 1 ? r->in_w >> 2 : groups - 1;
    const int32_t size = (int32_t)sizeof(lanes);
    lanes *rows = (lanes *)(void *)r->rows;
    struct filters4 f; /* member by member: an initialiser would clear it first */
    f.zero = r->out_zero;
    f.channels = n;
    f.w = r->w + from * k;
    f.span = taps * stride * size;
    f.biases = r->bias;
    f.table = r->table;
    f.y = r->y;
    f.row = (r->out_w >> 2) * r->step * GROUP * size;
    f.end_x = rows + GROUP;
    f.mask_step = n >> 3;
    clear_rows(rows, taps * stride);
    for (int32_t c = 0; c < n; c += 4) {
        lanes *to = rows + GROUP; /* the first group is padding */
        for (int32_t ky = first; ky < first + some; ky++) {
            widen_groups(to, input_row(r, r->iy + ky) + c, n, both_lanes(-r->in_zero), run);
            to += stride;
        }
        f.first_x = rows;
        if (r->has_mask) {
            f.mask = f.first_byte = r->mask + (c >> 3);
        }
        filter_group(&f, stride * size, k, r->step, r->has_mask);
    }
}

#endif
