/* How the int16 columns of a block of pixels lie in memory: an agreement between mcu_columns.c and the convolutions. */
#ifndef MCU_COLUMNS_H
#define MCU_COLUMNS_H

#include "mcu_core.h"

INLINE int32_t padded(int32_t n) {
    return (n + 3) & ~3;
}

/* With DSP instructions: for each four inputs the pairs (0, 2) of all pixels, then the pairs (1, 3), as words. In this
 * order sxtb16 takes weights apart, so that neither side is ever shuffled. Otherwise, where input k of pixel p lies:
 * [input][pixel] where one load after the other comes from memory, [pixel][input] where vectors do. */
#if defined(__arm__) && !MCU_MVE
#define COLUMN(k, p, n, pixels) ((k) * (pixels) + (p))
#else
#define COLUMN(k, p, n, pixels) ((p) * padded(n) + (k))
#endif

#if MCU_DSP
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
#endif

#endif
