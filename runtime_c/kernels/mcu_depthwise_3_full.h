/* Depthwise 3 x 3 over the whole range of int8 for cores with DSP instructions and an FPU, of the common geometry:
 * one column of padding on the left, out_w even and in_w == stride * out_w. As mcu_depthwise_3.h, in assembly: all
 * 14 registers are in use, and what does not fit lies in the structure that r0 points to. */
#ifndef MCU_DEPTHWISE_3_FULL_H
#define MCU_DEPTHWISE_3_FULL_H

#include "mcu_depthwise_3.h"

struct filters3 {
    uint32_t first, last;    /* 0: (w6, w7), (w8, w7) */
    int32_t zero;            /* 8: of y */
    int32_t to_y;            /* 12: from a column to the output that its column completes */
    int32_t bias;            /* 16: of the channel, the zero point of x subtracted */
    const int8_t *end;       /* 20: where the loop over columns ends */
    const int8_t *w;         /* 24 */
    const int32_t *biases;   /* 28 */
    const float *table;      /* 32 */
    const int8_t *x;         /* 36: of the next channel */
    const int8_t *last_x;    /* 40 */
    uint32_t minus_zero, zeros; /* 44, 48 */
    int32_t row;             /* 52: bytes from the first column to `end` */
    int32_t has_edge;        /* 56: tap rows outside the image lose their weights */
    uint32_t upper, crossed, third; /* 60, 64, 68: masks of these weights */
    uint8_t *mask;           /* 72: byte of the next output */
    int32_t mask_step;       /* 76 */
    uint8_t *first_byte;     /* 80 */
    int32_t bit;             /* 84: of the channel, in its byte */
};
FIELD_AT(struct filters3, end, 20);
FIELD_AT(struct filters3, w, 24);
FIELD_AT(struct filters3, biases, 28);
FIELD_AT(struct filters3, table, 32);
FIELD_AT(struct filters3, x, 36);
FIELD_AT(struct filters3, last_x, 40);
FIELD_AT(struct filters3, minus_zero, 44);
FIELD_AT(struct filters3, row, 52);
FIELD_AT(struct filters3, has_edge, 56);
FIELD_AT(struct filters3, upper, 60);
FIELD_AT(struct filters3, mask, 72);
FIELD_AT(struct filters3, mask_step, 76);
FIELD_AT(struct filters3, first_byte, 80);
FIELD_AT(struct filters3, bit, 84);

/* r1: x, r2, r3: its second and third row, r4: bytes a pixel, r5, r6, r7: (w0, w3), (w1, w4), (w5, w2),
 * r8, r9: sums that wait, or (stride 2) y in r9; r10, r11, r12, lr: temporary. */
#define CHANNEL                                                                                                        \
    "ldr lr, [r0, #24]\n\t"                                                                                            \
    "ldr r8, [lr]\n\t"                                                                                                 \
    "ldr r9, [lr, #4]\n\t"                                                                                             \
    "ldrsb r11, [lr, #8]\n\t"                                                                                          \
    "add lr, #9\n\t"                                                                                                   \
    "str lr, [r0, #24]\n\t"                                                                                            \
    "sxtb16 r10, r8\n\t"                                                                                               \
    "sxtb16 r8, r8, ror #8\n\t"                                                                                        \
    "sxtb16 r12, r9\n\t"                                                                                               \
    "sxtb16 r9, r9, ror #8\n\t"                                                                                        \
    "pkhbt r5, r10, r8\n\t"                                                                                            \
    "pkhbt r6, r8, r12, lsl #16\n\t"                                                                                   \
    "pkhbt r7, r9, r10\n\t"                                                                                            \
    "pkhtb r10, r9, r12, asr #16\n\t"                                                                                  \
    "pkhbt r11, r11, r9\n\t"                                                                                           \
    "ldr r12, [r0, #56]\n\t"                                                                                           \
    "cmp r12, #0\n\t"                                                                                                  \
    "beq 2f\n\t"                                                                                                       \
    "ldrd r12, lr, [r0, #60]\n\t"                                                                                      \
    "and r5, r12\n\t"                                                                                                  \
    "and r6, r12\n\t"                                                                                                  \
    "and r7, lr\n\t"                                                                                                   \
    "ldr r12, [r0, #68]\n\t"                                                                                           \
    "and r10, r12\n\t"                                                                                                 \
    "and r11, r12\n\t"                                                                                                 \
    "2:\n\t"                                                                                                           \
    "strd r10, r11, [r0]\n\t"                                                                                          \
    "ldrd r12, lr, [r0, #28]\n\t"                                                                                      \
    "ldr r9, [r12], #4\n\t"                                                                                            \
    "vldmia lr!, {s4}\n\t"                                                                                             \
    "strd r12, lr, [r0, #28]\n\t"                                                                                      \
    "ldr r12, [r0, #44]\n\t"                                                                                           \
    "smlad r9, r5, r12, r9\n\t"                                                                                        \
    "smlad r9, r6, r12, r9\n\t"                                                                                        \
    "smlad r9, r7, r12, r9\n\t"                                                                                        \
    "smlad r9, r10, r12, r9\n\t"                                                                                       \
    "smlabb r9, r11, r12, r9\n\t"                                                                                      \
    "ldr r1, [r0, #36]\n\t"                                                                                            \
    "ldr r12, [r0, #52]\n\t"                                                                                           \
    "add lr, r1, #1\n\t"                                                                                               \
    "str lr, [r0, #36]\n\t"                                                                                            \
    "add r12, r1\n\t"                                                                                                  \
    "str r9, [r0, #16]\n\t"                                                                                            \
    "str r12, [r0, #20]\n\t"                                                                                           \
    "ldr r11, [r0, #48]\n\t"
/* A column of the upper rows in r10. */
#define COLUMN_AT_X                                                                                                    \
    "ldrsb r10, [r1]\n\t"                                                                                              \
    "ldrsb r12, [r1, r2]\n\t"                                                                                          \
    "pkhbt r10, r10, r12, lsl #16\n\t"
/* Stride 1. Outside, then column 0. */
/* clang-format off */
#define BEGIN_1                                                                                                        \
    "ldrsb lr, [r1, r3]\n\t" COLUMN_AT_X                                                                               \
    "smlad r8, r11, r5, r9\n\t"                                                                                        \
    "pkhbt r11, r11, lr, lsl #16\n\t"                                                                                  \
    "ldr lr, [r0]\n\t"                                                                                                 \
    "smlad r8, r10, r6, r8\n\t"                                                                                        \
    "smlad r9, r10, r5, r9\n\t"                                                                                        \
    "smlad r8, r11, lr, r8\n\t"                                                                                        \
    "smlatb r9, r11, lr, r9\n\t"                                                                                       \
    "add r1, r4\n\t"                                                                                                   \
    "ldr r12, [r0, #20]\n\t"                                                                                           \
    "cmp r1, r12\n\t"                                                                                                  \
    "beq 4f\n\t"                                                                                                       \
    "3:\n\t"
/* The sums of two outputs in lr and r11; those of the next two in r8 and r9. x then stands at the second column. */
#define TWO_OUTPUTS                                                                                                    \
    "ldrsb r10, [r1]\n\t"                                                                                              \
    "ldrsb lr, [r1, r2]\n\t"                                                                                           \
    "ldrsb r12, [r1, r3]\n\t"                                                                                          \
    "pkhbt r10, r10, lr, lsl #16\n\t"                                                                                  \
    "add r1, r4\n\t"                                                                                                   \
    "smladx lr, r10, r7, r8\n\t"                                                                                       \
    "smlad r11, r10, r6, r9\n\t"                                                                                       \
    "ldr r9, [r0, #16]\n\t"                                                                                            \
    "smlad r8, r10, r5, r9\n\t"                                                                                        \
    "ldrsb r10, [r1, r3]\n\t"                                                                                          \
    "pkhbt r12, r12, r10, lsl #16\n\t"                                                                                 \
    "ldr r10, [r0, #4]\n\t"                                                                                            \
    "smlabb lr, r12, r10, lr\n\t"                                                                                      \
    "smladx r11, r12, r10, r11\n\t"                                                                                    \
    "ldr r10, [r0]\n\t"                                                                                                \
    "smlad r8, r12, r10, r8\n\t"                                                                                       \
    "smlatb r9, r12, r10, r9\n\t"                                                                                      \
    COLUMN_AT_X                                                                                                        \
    "smladx r11, r10, r7, r11\n\t"                                                                                     \
    "smlad r8, r10, r6, r8\n\t"                                                                                        \
    "smlad r9, r10, r5, r9\n\t"
/* The same of the last column, and one outside. */
#define LAST_OUTPUTS                                                                                                   \
    "4:\n\t"                                                                                                           \
    "ldrsb r12, [r1, r3]\n\t"                                                                                          \
    "ldr r11, [r0, #4]\n\t"                                                                                            \
    "ldr r10, [r0, #48]\n\t"                                                                                           \
    "pkhbt r12, r12, r10, lsl #16\n\t"                                                                                 \
    "smlabb lr, r12, r11, r8\n\t"                                                                                      \
    "smladx r11, r12, r11, r9\n\t"                                                                                     \
    "smladx r11, r10, r7, r11\n\t" COLUMN_AT_X                                                                         \
    "smladx lr, r10, r7, lr\n\t"                                                                                       \
    "smlad r11, r10, r6, r11\n\t"                                                                                      \
    "add r1, r4\n\t"
#define SCALED_TWO                                                                                                     \
    "vmov s0, s1, lr, r11\n\t"                                                                                         \
    "vcvt.f32.s32 s0, s0\n\t"                                                                                          \
    "vcvt.f32.s32 s1, s1\n\t"                                                                                          \
    "vmul.f32 s0, s0, s4\n\t"                                                                                          \
    "vmul.f32 s1, s1, s4\n\t"                                                                                          \
    "vcvtr.s32.f32 s0, s0\n\t"                                                                                         \
    "vcvtr.s32.f32 s1, s1\n\t"                                                                                         \
    "ldrd r10, r12, [r0, #8]\n\t"                                                                                      \
    "vmov lr, r11, s0, s1\n\t"                                                                                         \
    "qadd lr, lr, r10\n\t"                                                                                             \
    "qadd r11, r11, r10\n\t"
#define STORED_TWO                                                                                                     \
    SCALED_TWO                                                                                                         \
    "ssat lr, #8, lr\n\t"                                                                                              \
    "ssat r11, #8, r11\n\t"                                                                                            \
    "strb lr, [r1, r12]\n\t"                                                                                           \
    "add r1, r4\n\t"                                                                                                   \
    "strb r11, [r1, r12]\n\t"
/* r10: what was stored for `sum`; the byte of its bit at r5. Eight channels later the bit is in its place. */
#define BIT(sum)                                                                                                       \
    "cmp r10, " sum "\n\t"                                                                                             \
    "ldrb r10, [r5]\n\t"                                                                                               \
    "it eq\n\t"                                                                                                        \
    "orreq r10, r10, #0x100\n\t"                                                                                       \
    "lsr r10, r10, #1\n\t"                                                                                             \
    "strb r10, [r5]\n\t"
#define STORED_TWO_WITH_BITS                                                                                           \
    SCALED_TWO                                                                                                         \
    "vmov s5, r5\n\t"                                                                                                  \
    "ldr r5, [r0, #72]\n\t"                                                                                            \
    "ssat r10, #8, lr\n\t"                                                                                             \
    "strb r10, [r1, r12]\n\t" BIT("lr")                                                                                \
    "add r1, r4\n\t"                                                                                                   \
    "ldr lr, [r0, #76]\n\t"                                                                                            \
    "ssat r10, #8, r11\n\t"                                                                                            \
    "add r5, lr\n\t"                                                                                                   \
    "strb r10, [r1, r12]\n\t" BIT("r11")                                                                               \
    "add r5, lr\n\t"                                                                                                   \
    "str r5, [r0, #72]\n\t"                                                                                            \
    "vmov r5, s5\n\t"

/* Stride 2. Outside. */
#define BEGIN_2                                                                                                        \
    "smlad r8, r11, r5, r9\n\t"                                                                                        \
    "smlatb r8, r11, r10, r8\n\t"                                                                                      \
    "ldr r9, [r0, #12]\n\t"                                                                                            \
    "add r9, r1\n\t"                                                                                                   \
    "3:\n\t"
/* The sum of one output in s0 or s1; of the next in r8. */
#define ONE_OUTPUT(number)                                                                                             \
    "ldrsb r10, [r1]\n\t"                                                                                              \
    "ldrsb lr, [r1, r2]\n\t"                                                                                           \
    "ldrsb r12, [r1, r3]\n\t"                                                                                          \
    "pkhbt r10, r10, lr, lsl #16\n\t"                                                                                  \
    "add r1, r4\n\t"                                                                                                   \
    "smlad lr, r10, r6, r8\n\t"                                                                                        \
    "ldrsb r10, [r1, r3]\n\t"                                                                                          \
    "ldr r8, [r0, #16]\n\t"                                                                                            \
    "pkhbt r12, r12, r10, lsl #16\n\t"                                                                                 \
    "ldrd r10, r11, [r0]\n\t"                                                                                          \
    "smladx lr, r12, r11, lr\n\t"                                                                                      \
    "smlatb r8, r12, r10, r8\n\t"                                                                                      \
    COLUMN_AT_X                                                                                                        \
    "smladx lr, r10, r7, lr\n\t"                                                                                       \
    "smlad r8, r10, r5, r8\n\t"                                                                                        \
    "add r1, r4\n\t"                                                                                                   \
    "vmov s" number ", lr\n\t"
#define SCALED_PAIR                                                                                                    \
    "vcvt.f32.s32 s0, s0\n\t"                                                                                          \
    "vcvt.f32.s32 s1, s1\n\t"                                                                                          \
    "vmul.f32 s0, s0, s4\n\t"                                                                                          \
    "vmul.f32 s1, s1, s4\n\t"                                                                                          \
    "vcvtr.s32.f32 s0, s0\n\t"                                                                                         \
    "vcvtr.s32.f32 s1, s1\n\t"                                                                                         \
    "ldr r10, [r0, #8]\n\t"                                                                                            \
    "vmov lr, r11, s0, s1\n\t"                                                                                         \
    "qadd lr, lr, r10\n\t"                                                                                             \
    "qadd r11, r11, r10\n\t"
#define STORED_PAIR                                                                                                    \
    SCALED_PAIR                                                                                                        \
    "ssat lr, #8, lr\n\t"                                                                                              \
    "ssat r11, #8, r11\n\t"                                                                                            \
    "strb lr, [r9]\n\t"                                                                                                \
    "strb r11, [r9, r4]\n\t"                                                                                           \
    "add r9, r9, r4, lsl #1\n\t"
#define STORED_PAIR_WITH_BITS                                                                                          \
    SCALED_PAIR                                                                                                        \
    "vmov s5, r5\n\t"                                                                                                  \
    "ldrd r5, r12, [r0, #72]\n\t"                                                                                      \
    "ssat r10, #8, lr\n\t"                                                                                             \
    "strb r10, [r9]\n\t"                                                                                               \
    BIT("lr")                                                                                                          \
    "add r5, r12\n\t"                                                                                                  \
    "ssat r10, #8, r11\n\t"                                                                                            \
    "strb r10, [r9, r4]\n\t"                                                                                           \
    BIT("r11")                                                                                                         \
    "add r5, r12\n\t"                                                                                                  \
    "add r9, r9, r4, lsl #1\n\t"                                                                                       \
    "str r5, [r0, #72]\n\t"                                                                                            \
    "vmov r5, s5\n\t"

#define AGAIN                                                                                                          \
    "ldr r12, [r0, #20]\n\t"                                                                                           \
    "cmp r1, r12\n\t"                                                                                                  \
    "bne 3b\n\t"
#define NEXT_CHANNEL                                                                                                   \
    "ldrd r12, lr, [r0, #36]\n\t"                                                                                      \
    "cmp r12, lr\n\t"                                                                                                  \
    "bne 1b"
/* The mask's bytes of the next channel: those of this one, or after eight the next. */
#define NEXT_BYTES                                                                                                     \
    "ldrd r12, lr, [r0, #80]\n\t"                                                                                      \
    "add lr, #1\n\t"                                                                                                   \
    "add r12, r12, lr, lsr #3\n\t"                                                                                     \
    "and lr, #7\n\t"                                                                                                   \
    "strd r12, lr, [r0, #80]\n\t"                                                                                      \
    "str r12, [r0, #72]\n\t"

#define STRIDE_1(stored, bytes) CHANNEL BEGIN_1 TWO_OUTPUTS stored AGAIN LAST_OUTPUTS stored bytes NEXT_CHANNEL
#define STRIDE_2(stored, bytes) CHANNEL BEGIN_2 ONE_OUTPUT("0") ONE_OUTPUT("1") stored AGAIN bytes NEXT_CHANNEL
#define FILTERS(name, text)                                                                                            \
    __attribute__((noinline, optimize("omit-frame-pointer"))) static void name(                                        \
        struct filters3 *f, int32_t second, int32_t third, int32_t channels) {                                         \
        register struct filters3 *r0 __asm__("r0") = f;                                                                \
        register int32_t r2 __asm__("r2") = second;                                                                    \
        register int32_t r3 __asm__("r3") = third;                                                                     \
        register int32_t r4 __asm__("r4") = channels;                                                                  \
        __asm__ volatile("1:\n\t" text                                                                                 \
                         :                                                                                             \
                         : "r"(r0), "r"(r2), "r"(r3), "r"(r4)                                                          \
                         : "r1", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "lr", "s0", "s1", "s4", "s5",      \
                           "cc", "memory");                                                                            \
    }
/* clang-format on */
FILTERS(filters_1, STRIDE_1(STORED_TWO, ""))
FILTERS(filters_1_bits, STRIDE_1(STORED_TWO_WITH_BITS, NEXT_BYTES))
FILTERS(filters_2, STRIDE_2(STORED_PAIR, ""))
FILTERS(filters_2_bits, STRIDE_2(STORED_PAIR_WITH_BITS, NEXT_BYTES))

INLINE void depthwise3_full(const struct row *r) {
    const int32_t first = first_tap(r), end = end_tap(r), n = r->channels;
    const int8_t *x = any_row(r, r->iy);
    const uint32_t top = first > 0 || end < 1 ? 0 : 0xFFFFu, middle = first > 1 || end < 2 ? 0 : 0xFFFFu;
    struct filters3 f; /* member by member: an initialiser would clear it first */
    f.zero = r->out_zero;
    f.to_y = r->y - x - (r->step == 1 ? 2 * n : 0);
    f.w = r->w;
    f.biases = r->bias;
    f.table = r->table;
    f.x = x;
    f.last_x = x + n;
    f.minus_zero = both_lanes(-r->in_zero);
    f.zeros = both_lanes(r->in_zero);
    f.row = r->step == 1 ? (r->in_w - 1) * n : r->in_w * n;
    f.has_edge = first > 0 || end < 3;
    f.upper = top | middle << 16;
    f.crossed = middle | top << 16;
    f.third = first > 2 || end < 3 ? 0 : ~0u;
    if (r->has_mask) {
        f.mask = f.first_byte = r->mask;
        f.mask_step = n >> 3;
        f.bit = 0;
    }
    const int32_t second = any_row(r, r->iy + 1) - x, third = any_row(r, r->iy + 2) - x;
    if (r->step == 1 && r->has_mask) {
        filters_1_bits(&f, second, third, n);
    } else if (r->step == 1) {
        filters_1(&f, second, third, n);
    } else if (r->has_mask) {
        filters_2_bits(&f, second, third, n);
    } else {
        filters_2(&f, second, third, n);
    }
}

#endif
