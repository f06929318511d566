/* What the micro-kernels share: the instructions of each kind of core behind names, and requantisation. */
#ifndef MCU_CORE_H
#define MCU_CORE_H

#include "mcu_kernels.h"
#include "mcu_math.h"

#if defined(__ARM_FEATURE_MVE)
#define MCU_MVE 1 /* Helium: vectors of 128 bits */
#include <arm_mve.h>
#else
#define MCU_MVE 0
#endif
#if defined(__ARM_FEATURE_DSP) && MCU_ARM_FPU && !MCU_MVE
#define MCU_DSP 1 /* two 16 bit products and their sum in one instruction, and an FPU; of one alone no use is made */
#else
#define MCU_DSP 0
#endif

#if MCU_ARM_FPU && MCU_HAS_FMA
#define MCU_VFMA 1 /* mcu_fma is one instruction, and one load or store moves several floats */
/* Float registers, for the clobbers of assembly. */
#define S0_TO_S15 "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", "s15"
#define S16_TO_S23 "s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23"
#define S24_TO_S31 "s24", "s25", "s26", "s27", "s28", "s29", "s30", "s31"
#else
#define MCU_VFMA 0
#endif

/* Arrays of a few accumulators become registers; a host's compiler decides for itself, in a tenth of the time. */
#if defined(__arm__)
#define UNROLL _Pragma("GCC unroll 8")
#else
#define UNROLL
#endif
#define INLINE static inline __attribute__((always_inline))

/* Assembly loads this field of a structure from so many bytes behind its begin. */
#define FIELD_AT(structure, field, bytes)                                                                              \
    _Static_assert(__builtin_offsetof(structure, field) == (bytes), "assembly knows where " #field " lies")

/* Two int16 lanes of memory that others see as int16. */
typedef uint32_t __attribute__((may_alias)) lanes;

/* Four bytes from any address. */
INLINE uint32_t load_word(const int8_t *from) {
    uint32_t word;
    __builtin_memcpy(&word, from, sizeof word);
    return word;
}

#if MCU_DSP
/* Two int16 lanes in a word: bytes 0 and 2 (1 and 3) of x, sign-extended; `add` with them. */
INLINE uint32_t bytes_02(uint32_t x) {
    uint32_t pair;
    __asm__("sxtb16 %0, %1" : "=r"(pair) : "r"(x));
    return pair;
}
INLINE uint32_t bytes_13(uint32_t x) {
    uint32_t pair;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(pair) : "r"(x));
    return pair;
}
INLINE uint32_t add_bytes_02(uint32_t add, uint32_t x) {
    uint32_t pair;
    __asm__("sxtab16 %0, %1, %2" : "=r"(pair) : "r"(add), "r"(x));
    return pair;
}
INLINE uint32_t add_bytes_13(uint32_t add, uint32_t x) {
    uint32_t pair;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(pair) : "r"(add), "r"(x));
    return pair;
}
/* acc + a.low * b.low + a.high * b.high */
INLINE int32_t dot_lanes(int32_t acc, uint32_t a, uint32_t b) {
    int32_t sum;
    __asm__("smlad %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}
/* The same with the lanes of b exchanged; of one lane each alone. */
INLINE int32_t dot_exchanged(int32_t acc, uint32_t a, uint32_t b) {
    int32_t sum;
    __asm__("smladx %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}
INLINE int32_t dot_low_low(int32_t acc, uint32_t a, uint32_t b) {
    int32_t sum;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}
INLINE int32_t dot_high_low(int32_t acc, uint32_t a, uint32_t b) {
    int32_t sum;
    __asm__("smlatb %0, %1, %2, %3" : "=r"(sum) : "r"(a), "r"(b), "r"(acc));
    return sum;
}
/* Pairs (low, high): (a.low, b.low), (a.high, b.high), (a.low, b.high). */
INLINE uint32_t lows(uint32_t a, uint32_t b) {
    uint32_t pair;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
}
INLINE uint32_t highs(uint32_t a, uint32_t b) {
    uint32_t pair;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(pair) : "r"(b), "r"(a));
    return pair;
}
INLINE uint32_t low_and_high(uint32_t a, uint32_t b) {
    uint32_t pair;
    __asm__("pkhbt %0, %1, %2" : "=r"(pair) : "r"(a), "r"(b));
    return pair;
}
/* Both lanes hold `value`. */
INLINE uint32_t both_lanes(int32_t value) {
    return ((uint32_t)value & 0xFFFFu) * 0x00010001u;
}

/* Sums a, b, c, d as whole steps of the output in s0 to s3; s4: their scale. */
#define IN_STEPS                                                                                                       \
    "vmov s0, s1, %[a], %[b]\n\t"                                                                                      \
    "vmov s2, s3, %[c], %[d]\n\t"                                                                                      \
    "vcvt.f32.s32 s0, s0\n\t"                                                                                          \
    "vcvt.f32.s32 s1, s1\n\t"                                                                                          \
    "vcvt.f32.s32 s2, s2\n\t"                                                                                          \
    "vcvt.f32.s32 s3, s3\n\t"                                                                                          \
    "vmul.f32 s0, s0, s4\n\t"                                                                                          \
    "vmul.f32 s1, s1, s4\n\t"                                                                                          \
    "vmul.f32 s2, s2, s4\n\t"                                                                                          \
    "vmul.f32 s3, s3, s4\n\t"                                                                                          \
    "vcvtr.s32.f32 s0, s0\n\t"                                                                                         \
    "vcvtr.s32.f32 s1, s1\n\t"                                                                                         \
    "vcvtr.s32.f32 s2, s2\n\t"                                                                                         \
    "vcvtr.s32.f32 s3, s3\n\t"
#endif

enum rounding { EVEN, TFLITE, UPWARD };

/* The nearest integer to v, halves to even, and `zero`; right wherever a clamp to int8 follows: it saturates. */
INLINE int32_t rounded(float v, int32_t zero) {
#if MCU_ARM_FPU && defined(__ARM_FEATURE_DSP)
    float converted;
    int32_t sum;
    __asm__("vcvtr.s32.f32 %0, %1" : "=t"(converted) : "t"(v));
    __asm__("qadd %0, %1, %2" : "=r"(sum) : "r"((int32_t)mcu_bits(converted)), "r"(zero));
    return sum;
#else
    return mcu_round_even(v) + zero;
#endif
}

/* acc of channel o in steps of the output, before the clamp. */
INLINE int32_t requantised(int32_t acc, const void *table, int32_t o, int32_t channels, int32_t zero,
                           enum rounding rounding) {
    if (rounding == EVEN) {
        return rounded((float)acc * ((const float *)table)[o], zero);
    }
    const int32_t multiplier = ((const int32_t *)table)[o], shift = ((const int32_t *)table)[channels + o];
    const int32_t v =
        rounding == TFLITE ? mcu_multiply_tflite(acc, multiplier, shift) : mcu_multiply_upward(acc, multiplier, shift);
    return v + zero;
}

/* A multiplier and shift, taken apart once for many sums, where these are of a kind that most are: of a factor so small
 * that no bit of a rounding can overflow. right: 0 where they are not. */
struct factor {
    int32_t multiplier, half, right;
};

INLINE struct factor factor_of(const void *table, int32_t o, int32_t channels, enum rounding rounding) {
    struct factor factor = {0, 0, 0};
    const int32_t shift = rounding == EVEN ? 0 : ((const int32_t *)table)[channels + o];
    if (shift < -1) {
        factor.multiplier = ((const int32_t *)table)[o];
        factor.right = -1 - shift;
        factor.half = 1 << (factor.right - 1);
    }
    return factor;
}

/* What mcu_multiply_upward or mcu_multiply_tflite give. Upward, the upper word of the product is enough. TFLite's halves
 * away from zero are halves up where a negative number is one less. */
INLINE int32_t multiplied(int32_t acc, const struct factor *factor, enum rounding rounding) {
    if (rounding == TFLITE) {
        const int32_t high = mcu_high_product(acc, factor->multiplier);
        return (((high + (high >> 31)) >> factor->right) + 1) >> 1;
    }
    uint32_t low;
    return (mcu_product(acc, factor->multiplier, &low) + factor->half) >> factor->right;
}

INLINE int32_t clamped(int32_t v, int32_t lo, int32_t hi) {
#if defined(__ARM_FEATURE_SAT)
    int32_t byte;
    __asm__("ssat %0, #8, %1" : "=r"(byte) : "r"(v));
    if (lo == -128 && hi == 127) {
        return byte;
    }
    v = byte;
#endif
    return v < lo ? lo : v > hi ? hi : v;
}

/* Clamps and stores; whether the clamp changed nothing. */
INLINE uint32_t store_clamped(int8_t *y, int32_t v, int32_t lo, int32_t hi) {
    const int32_t limited = clamped(v, lo, hi);
    *y = (int8_t)limited;
    return v == limited;
}

#endif
