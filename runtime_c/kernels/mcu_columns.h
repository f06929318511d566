/* How the int16 columns of a block of pixels lie in memory: an agreement between mcu_columns.c and the convolutions. */
#ifndef MCU_COLUMNS_H
#define MCU_COLUMNS_H

#include "mcu_core.h"

INLINE int32_t padded(int32_t n) {
    return (n + 3) & ~3;
}

/* With DSP instructions: for each four inputs the pairs (0, 2) of all pixels, then the pairs (1, 3), as words. In this
 * order sxtb16 takes weights apart, so that neither side is ever shuffled. With Helium: the inputs of each pixel as
 * bytes, and behind the last pixel the zero point as a word. Otherwise int16, [input][pixel] where one load after the
 * other comes from memory, [pixel][input] where vectors do. */
#if MCU_MVE
INLINE int32_t columns_zero(const int16_t *columns, int32_t n, int32_t pixels) {
    int32_t zero;
    __builtin_memcpy(&zero, (const int8_t *)columns + pixels * padded(n), sizeof zero);
    return zero;
}
#elif defined(__arm__)
#define COLUMN(k, p, n, pixels) ((k) * (pixels) + (p))
#else
#define COLUMN(k, p, n, pixels) ((p) * padded(n) + (k))
#endif

#if MCU_DSP
/* The columns of 4 pixels met by a pair of weights, in `w`. The compiler would not load them with one instruction. */
#define MET_BY(w)                                                                                                      \
    "ldmia %[x]!, {r8, r9, r10, r11}\n\t"                                                                              \
    "smlad %[a], " w ", r8, %[a]\n\t"                                                                                  \
    "smlad %[b], " w ", r9, %[b]\n\t"                                                                                  \
    "smlad %[c], " w ", r10, %[c]\n\t"                                                                                 \
    "smlad %[d], " w ", r11, %[d]\n\t"
/* ... by the four weights in lr. */
#define PRODUCTS "sxtb16 r12, lr\n\t" MET_BY("r12") "sxtb16 r12, lr, ror #8\n\t" MET_BY("r12")
#define STEP "ldr lr, [%[w]], #4\n\t" PRODUCTS
#endif

#endif
