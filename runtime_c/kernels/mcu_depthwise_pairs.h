/* Depthwise 5 x 5 and 7 x 7 with DSP instructions: the window's rows of 4 channels are widened, x - zero, four
 * columns of a channel as the two words (0, 2) and (1, 3); so are the taps. A pair that begins at column 2 or 3 of
 * its four takes one half of each word, the wrong way round, and SMLADX meets it. Four outputs share the taps. */
#ifndef MCU_DEPTHWISE_PAIRS_H
#define MCU_DEPTHWISE_PAIRS_H

#include "mcu_depthwise.h"

/* Widened row: groups of 4 columns, each [channel 4][2 words]. */
#define GROUP 8

/* A group from a word of 4 channels of each of its pixels. */
INLINE void widen_group(lanes *to, uint32_t a, uint32_t b, uint32_t c, uint32_t d, uint32_t minus_zero) {
    const uint32_t a02 = add_bytes_02(minus_zero, a), b02 = add_bytes_02(minus_zero, b);
    const uint32_t c02 = add_bytes_02(minus_zero, c), d02 = add_bytes_02(minus_zero, d);
    to[0] = lows(a02, c02);
    to[1] = lows(b02, d02);
    to[4] = highs(a02, c02);
    to[5] = highs(b02, d02);
    const uint32_t a13 = add_bytes_13(minus_zero, a), b13 = add_bytes_13(minus_zero, b);
    const uint32_t c13 = add_bytes_13(minus_zero, c), d13 = add_bytes_13(minus_zero, d);
    to[2] = lows(a13, c13);
    to[3] = lows(b13, d13);
    to[6] = highs(a13, c13);
    to[7] = highs(b13, d13);
}

/* Channels 0 and 2, or turned by 8 bits 1 and 3, of the pixels in a, b, c, d. */
#define HALF(turn, first, second)                                                                                      \
    "sxtab16 %[e], %[zero], %[a]" turn "\n\t"                                                                          \
    "sxtab16 %[g], %[zero], %[c]" turn "\n\t"                                                                          \
    "pkhbt r12, %[e], %[g], lsl #16\n\t"                                                                               \
    "pkhtb %[g], %[g], %[e], asr #16\n\t"                                                                              \
    "str r12, [%[to], #" first "]\n\t"                                                                                 \
    "str %[g], [%[to], #" second "]\n\t"                                                                               \
    "sxtab16 %[e], %[zero], %[b]" turn "\n\t"                                                                          \
    "sxtab16 %[g], %[zero], %[d]" turn "\n\t"                                                                          \
    "pkhbt r12, %[e], %[g], lsl #16\n\t"                                                                               \
    "pkhtb %[g], %[g], %[e], asr #16\n\t"                                                                              \
    "str r12, [%[to], #4 + " first "]\n\t"                                                                             \
    "str %[g], [%[to], #4 + " second "]\n\t"

/* `groups` groups, at least one, whose pixels lie inside the image. */
INLINE void widen_groups(lanes *to, const int8_t *x, int32_t channels, uint32_t minus_zero, int32_t groups) {
    uint32_t a, b, c, d, e, g;
    /* clang-format off */
    __asm__ volatile("1:\n\t"
                     "ldr %[a], [%[x]]\n\t"
                     "ldr %[b], [%[x], %[channels]]\n\t"
                     "add %[x], %[x], %[channels], lsl #1\n\t"
                     "ldr %[c], [%[x]]\n\t"
                     "ldr %[d], [%[x], %[channels]]\n\t"
                     "add %[x], %[x], %[channels], lsl #1\n\t" HALF("", "0", "16") HALF(", ror #8", "8", "24")
                     "add %[to], #32\n\t"
                     "subs %[groups], #1\n\t"
                     "bne 1b"
                     : [a] "=&r"(a), [b] "=&r"(b), [c] "=&r"(c), [d] "=&r"(d), [e] "=&r"(e), [g] "=&r"(g),
                       [to] "+r"(to), [x] "+r"(x), [groups] "+r"(groups)
                     : [channels] "r"(channels), [zero] "r"(minus_zero)
                     : "r12", "cc", "memory");
    /* clang-format on */
}

/* n of the 4 channels of pixel ix, which lie at x; `outside` where there is no such pixel. */
INLINE uint32_t load_pixel(const int8_t *x, int32_t n, int32_t ix, int32_t in_w, uint32_t outside) {
    uint32_t word = 0;
    if (ix < 0 || ix >= in_w) {
        return outside;
    }
    for (int32_t i = 0; i < n; i++) {
        word |= (uint32_t)(uint8_t)x[i] << (8 * i);
    }
    return word;
}

/* n channels from x on of an input row; its first column is ix. */
INLINE void widen_row(const struct row *r, lanes *to, const int8_t *x, int32_t ix, int32_t groups, int32_t n) {
    const uint32_t minus_zero = both_lanes(-r->in_zero), outside = (uint32_t)(uint8_t)r->in_zero * 0x01010101u;
    const int32_t channels = r->channels;
    x += ix * channels;
    while (groups > 0) {
        const int32_t whole = n == 4 && ix >= 0 ? (r->in_w - ix) >> 2 : 0;
        int32_t run = whole < groups ? whole : groups;
        if (run > 0) {
            widen_groups(to, x, channels, minus_zero, run);
        } else {
            uint32_t words[4];
            for (int32_t i = 0; i < 4; i++) {
                words[i] = load_pixel(x + i * channels, n, ix + i, r->in_w, outside);
            }
            widen_group(to, words[0], words[1], words[2], words[3], minus_zero);
            run = 1;
        }
        to += run * GROUP;
        x += 4 * run * channels;
        ix += 4 * run;
        groups -= run;
    }
}

/* The tap rows of 4 outputs. Registers: r8 to r11 hold columns, r12 and lr taps; of the tap row the first four (k = 7:
 * then the last four) come as the pairs (0, 2) and (1, 3). x stands at the group that the first window begins in, whose
 * columns 0, 1 | 4, 5 | 8, 9 | 12, 13 begin a word. CROSSED(to, a, b): the pair of a's second and b's first column. */
#define TAPS(after)                                                                                                    \
    "ldr r12, [%[w]], #" after "\n\t"                                                                                  \
    "sxtb16 lr, r12, ror #8\n\t"                                                                                       \
    "sxtb16 r12, r12\n\t"
#define COLUMNS(one, other, at) "ldrd " one ", " other ", [%[x], #" at "]\n\t"
#define CROSSED(to, a, b) "pkhbt " to ", " b ", " a "\n\t"
#define MAC(kind, sum, x, tap) kind " %[" sum "], " x ", " tap ", %[" sum "]\n\t"
#define NEXT_ROW                                                                                                       \
    "add %[x], %[stride]\n\t"                                                                                          \
    "cmp %[x], %[end]\n\t"                                                                                             \
    "bne 1b"
/* clang-format off */
#define FIVE_1                                                                                                         \
    TAPS("4") COLUMNS("r8", "r9", "0") COLUMNS("r10", "r11", "32") CROSSED("r8", "r8", "r10")                          \
    MAC("smladx", "a", "r8", "r12") CROSSED("r9", "r9", "r11") MAC("smladx", "a", "r9", "lr")                          \
    MAC("smladx", "b", "r9", "r12") MAC("smlad", "b", "r10", "lr") COLUMNS("r8", "r9", "64")                           \
    MAC("smlad", "c", "r10", "r12") MAC("smlad", "c", "r11", "lr") MAC("smlad", "d", "r11", "r12")                     \
    "ldrsb r12, [%[w]], #1\n\t"                                                                                        \
    MAC("smlatb", "a", "r10", "r12") CROSSED("r10", "r10", "r8") MAC("smladx", "d", "r10", "lr")                       \
    MAC("smlatb", "b", "r11", "r12") MAC("smlabb", "c", "r8", "r12") MAC("smlabb", "d", "r9", "r12")
#define FIVE_2                                                                                                         \
    TAPS("4") COLUMNS("r8", "r9", "0") COLUMNS("r10", "r11", "32") CROSSED("r8", "r8", "r10")                          \
    MAC("smladx", "a", "r8", "r12") CROSSED("r9", "r9", "r11") MAC("smladx", "a", "r9", "lr")                          \
    MAC("smlad", "b", "r10", "r12") MAC("smlad", "b", "r11", "lr") COLUMNS("r8", "r9", "64")                           \
    MAC("smlad", "d", "r8", "r12") MAC("smlad", "d", "r9", "lr") CROSSED("r11", "r11", "r9")                           \
    MAC("smladx", "c", "r11", "lr")                                                                                    \
    "ldrsb lr, [%[w]], #1\n\t"                                                                                         \
    MAC("smlatb", "a", "r10", "lr") CROSSED("r10", "r10", "r8") MAC("smladx", "c", "r10", "r12")                       \
    "ldr r11, [%[x], #96]\n\t"                                                                                         \
    MAC("smlabb", "b", "r8", "lr") MAC("smlatb", "c", "r8", "lr") MAC("smlabb", "d", "r11", "lr")
#define SEVEN_1                                                                                                        \
    TAPS("3") COLUMNS("r8", "r9", "0") COLUMNS("r10", "r11", "32") MAC("smlad", "a", "r9", "r12")                      \
    CROSSED("r8", "r8", "r10") MAC("smladx", "a", "r8", "lr") MAC("smladx", "b", "r8", "r12")                          \
    CROSSED("r9", "r9", "r11") MAC("smladx", "b", "r9", "lr") MAC("smladx", "c", "r9", "r12")                          \
    MAC("smlad", "c", "r10", "lr") MAC("smlad", "d", "r10", "r12") MAC("smlad", "d", "r11", "lr")                      \
    COLUMNS("r8", "r9", "64") TAPS("4") MAC("smlad", "a", "r11", "lr") MAC("smlatt", "a", "r10", "r12")                \
    CROSSED("r10", "r10", "r8") MAC("smladx", "b", "r10", "lr") MAC("smlatt", "b", "r11", "r12")                       \
    CROSSED("r11", "r11", "r9") MAC("smladx", "c", "r11", "lr") MAC("smlabt", "c", "r8", "r12")                        \
    MAC("smlad", "d", "r8", "lr") MAC("smlabt", "d", "r9", "r12")
#define SEVEN_2                                                                                                        \
    TAPS("3") COLUMNS("r8", "r9", "0") COLUMNS("r10", "r11", "32") MAC("smlad", "a", "r9", "r12")                      \
    CROSSED("r8", "r8", "r10") MAC("smladx", "a", "r8", "lr") CROSSED("r9", "r9", "r11")                               \
    MAC("smladx", "b", "r9", "r12") MAC("smlad", "b", "r10", "lr") MAC("smlad", "c", "r11", "r12")                     \
    COLUMNS("r8", "r9", "64") CROSSED("r10", "r10", "r8") MAC("smladx", "c", "r10", "lr")                              \
    CROSSED("r10", "r11", "r9") MAC("smladx", "d", "r10", "r12") MAC("smlad", "d", "r8", "lr") TAPS("4")               \
    MAC("smlad", "a", "r11", "lr") "ldr r11, [%[x], #32]\n\t"                                                          \
    MAC("smladx", "b", "r10", "lr") MAC("smlatt", "a", "r11", "r12") COLUMNS("r10", "r11", "96")                       \
    MAC("smlabt", "b", "r8", "r12") MAC("smlad", "c", "r9", "lr") CROSSED("r9", "r9", "r11")                           \
    MAC("smladx", "d", "r9", "lr") MAC("smlatt", "c", "r8", "r12") MAC("smlabt", "d", "r10", "r12")
/* clang-format on */

#define ROWS(taps)                                                                                                     \
    __asm__ volatile("1:\n\t" taps NEXT_ROW                                                                            \
                     : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [x] "+r"(x), [w] "+r"(w)                    \
                     : [stride] "r"(stride), [end] "r"(end)                                                            \
                     : "r8", "r9", "r10", "r11", "r12", "lr", "cc", "memory")

/* acc += rows of taps, at least one; stride: bytes from row to row. */
INLINE void add_rows(int32_t acc[4], const lanes *from, const int8_t *w, int32_t stride, int32_t rows, int32_t k,
                     int32_t step) {
    int32_t a = acc[0], b = acc[1], c = acc[2], d = acc[3];
    const char *x = (const char *)from, *end = x + rows * stride;
    if (k == 5 && step == 1) {
        ROWS(FIVE_1);
    } else if (k == 5) {
        ROWS(FIVE_2);
    } else if (step == 1) {
        ROWS(SEVEN_1);
    } else {
        ROWS(SEVEN_2);
    }
    acc[0] = a;
    acc[1] = b;
    acc[2] = c;
    acc[3] = d;
}

/* The row of one channel from its widened rows. */
INLINE void filter_pairs(const struct row *r, const lanes *x, int32_t c, int32_t groups, int8_t *y, uint8_t *byte) {
    const struct channel channel = channel_of(r, c);
    const int32_t k = r->kh, bytes = r->channels >> 3, from = first_tap(r), taps = end_tap(r) - from, bias = r->bias[c];
    const int8_t *w = r->w + (c * k + from) * k;
    for (int32_t left = r->out_w; left > 0; left -= 4) {
        int32_t acc[4] = {bias, bias, bias, bias};
        if (taps > 0) {
            add_rows(acc, x, w, groups * GROUP * 4, taps, k, r->step);
        }
        if (left >= 4) {
            UNROLL for (int32_t p = 0; p < 4; p++) {
                store_with_bit(r, &channel, acc[p], y + p * r->channels, byte + p * bytes);
            }
        } else {
            for (int32_t p = 0; p < left; p++) {
                store_with_bit(r, &channel, acc[p], y + p * r->channels, byte + p * bytes);
            }
        }
        y += 4 * r->channels;
        byte += 4 * bytes;
        x += r->step * GROUP;
    }
}

/* Groups of columns of a widened row. */
INLINE int32_t row_groups(const struct row *r) {
    return ((9 - r->kw) / 2 + (((r->out_w + 3) & ~3) - 1) * r->step + r->kw + 3) >> 2;
}

/* The rows of channels c .. c + n - 1 under tap rows [from, end). Groups that do not touch the image stay as they
 * are. */
INLINE void widen_window(const struct row *r, lanes *rows, int32_t c, int32_t n, int32_t from, int32_t end) {
    const int32_t groups = row_groups(r), before = r->left + (9 - r->kw) / 2; /* columns in front of the image */
    const int32_t begins = before >> 2, ends = (before + r->in_w + 3) >> 2, last = ends < groups ? ends : groups;
    for (int32_t ky = from; ky < end; ky++) {
        const int8_t *x = input_row(r, r->iy + ky) + c;
        widen_row(r, rows + ((ky - from) * groups + begins) * GROUP, x, 4 * begins - before, last - begins, n);
    }
}

INLINE void clear_rows(lanes *rows, int32_t words) {
    for (int32_t i = 0; i < words; i++) {
        rows[i] = 0;
    }
}

INLINE void depthwise_pairs(const struct row *r) {
    const int32_t from = first_tap(r), end = end_tap(r), groups = row_groups(r);
    lanes *rows = (lanes *)(void *)r->rows;
    clear_rows(rows, (end - from) * groups * GROUP);
    for (int32_t c = 0; c < r->channels; c += 4) {
        const int32_t n = r->channels - c < 4 ? r->channels - c : 4;
        widen_window(r, rows, c, n, from, end);
        for (int32_t i = 0; i < n; i++) {
            filter_pairs(r, rows + 2 * i, c + i, groups, r->y + c + i, r->mask + (c >> 3));
        }
    }
}

#endif
