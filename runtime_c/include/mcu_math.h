/* Inline numerics of the emitted kernels: the same bits on every device and on the host twin.
 *
 * Compile with -ffp-contract=off and without -ffast-math; the floating-point environment stays at its default (round to
 * nearest, no flush to zero). Only + - * / on float32 and integer operations are used, and a fused multiply-add where
 * mcu_fma asks for one. No libm, no state. */
#ifndef MCU_MATH_H
#define MCU_MATH_H

#include <stdint.h>

#if defined(__FAST_MATH__)
#error "mcu_math.h needs IEEE float32: compile without -ffast-math"
#endif

/* Helium's float vectors flush subnormals and GCC would use them in plain loops, at -O2 already. Where a kernel asks for
 * them itself, no subnormal makes a difference. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__ARM_FEATURE_MVE)
#pragma GCC optimize("no-tree-vectorize")
#endif

/* 1: mcu_fma is fused, 0: it is a product and a sum. Host twin and firmware must be given the same value. */
#ifndef MCU_HAS_FMA
#define MCU_HAS_FMA 0
#endif

#if defined(__arm__) && defined(__ARM_FP) && ((__ARM_FP & 4) != 0)
#define MCU_ARM_FPU 1
#else
#define MCU_ARM_FPU 0
#endif

#if MCU_HAS_FMA && defined(__arm__) && !defined(__ARM_FEATURE_FMA)
#error "MCU_HAS_FMA=1 on a core without fused multiply-add: build firmware and host twin with MCU_HAS_FMA=0"
#endif

#define MCU_ROUND_LIMIT 4194304      /* 2^22: mcu_round_even saturates here */
#define MCU_STOCHASTIC_LIMIT 1073741824 /* 2^30: mcu_stochastic_round saturates here */
#define MCU_BIAS_LIMIT 1073741824    /* 2^30: mcu_update_i32 saturates here */
#define MCU_FLT_MAX 3.40282347e+38f

/* The float32 with this bit pattern. */
static inline float mcu_f32(uint32_t bits) {
    float value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
}

/* The bit pattern of a float32. */
static inline uint32_t mcu_bits(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* a * b + c: one rounding with MCU_HAS_FMA, two without. */
static inline float mcu_fma(float a, float b, float c) {
#if MCU_HAS_FMA
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}

/* Nearest integer, halves to even; clamped to +-2^22, NaN gives 0.
 * Three forms with equal results: one instruction with an Arm FPU, integer operations on an Arm core without one
 * (four calls into the soft-float library otherwise), and a vectorisable sum for everyone else. */
static inline int32_t mcu_round_even(float v) {
#if MCU_ARM_FPU
    float converted; /* the integer's bits, in a float register */
    __asm__("vcvtr.s32.f32 %0, %1" : "=t"(converted) : "t"(v));
    const int32_t rounded = (int32_t)mcu_bits(converted); /* saturated, NaN is 0 already */
    const int32_t low = rounded < -MCU_ROUND_LIMIT ? -MCU_ROUND_LIMIT : rounded;
    return low > MCU_ROUND_LIMIT ? MCU_ROUND_LIMIT : low;
#elif defined(__arm__)
    const uint32_t bits = mcu_bits(v);
    const uint32_t magnitude = bits & 0x7FFFFFFFu;
    uint32_t rounded;
    if (magnitude > 0x7F800000u) {
        return 0; /* NaN */
    }
    if (magnitude >= 0x4A800000u) { /* |v| >= 2^22 */
        rounded = MCU_ROUND_LIMIT;
    } else if (magnitude <= 0x3F000000u) { /* |v| <= 0.5 */
        rounded = 0;
    } else {
        const uint32_t shift = 150u - (magnitude >> 23); /* fraction bits below the unit: 2..24 */
        const uint32_t significand = (magnitude & 0x007FFFFFu) | 0x00800000u;
        const uint32_t whole = significand >> shift;
        const uint32_t half = 1u << (shift - 1u);
        /* whole's last bit decides a tie */
        rounded = (significand + half - 1u + (whole & 1u)) >> shift;
    }
    return (bits >> 31) != 0u ? -(int32_t)rounded : (int32_t)rounded;
#else
    const float low = v > -(float)MCU_ROUND_LIMIT ? v : -(float)MCU_ROUND_LIMIT;
    const float clamped = low < (float)MCU_ROUND_LIMIT ? low : (float)MCU_ROUND_LIMIT;
    /* 1.5 * 2^23 pushes every fraction bit out of the significand; what is left is the integer, biased */
    const int32_t rounded = (int32_t)(mcu_bits(clamped + 12582912.0f) - 0x4B400000u);
    return v == v ? rounded : 0;
#endif
}

/* 1: 64 bit products from 16 bit halves, for cores without a product of 32 by 32 bits into 64 (Armv6-M and the
 * baseline of Armv8-M, which have the first Thumb's instructions). */
#ifndef MCU_NARROW_PRODUCT
#if defined(__ARM_ARCH_ISA_THUMB) && __ARM_ARCH_ISA_THUMB == 1
#define MCU_NARROW_PRODUCT 1
#else
#define MCU_NARROW_PRODUCT 0
#endif
#endif

/* x * multiplier in two words: the upper one, and *low. multiplier in [0, 2^31). */
static inline int32_t mcu_product(int32_t x, int32_t multiplier, uint32_t *low) {
#if MCU_NARROW_PRODUCT
    const uint32_t a = (uint32_t)x, b = (uint32_t)multiplier;
    const uint32_t lowest = (a & 0xFFFFu) * (b & 0xFFFFu);
    const uint32_t middle = (a >> 16) * (b & 0xFFFFu) + (lowest >> 16);
    const uint32_t other = (a & 0xFFFFu) * (b >> 16) + (middle & 0xFFFFu);
    const uint32_t high = (a >> 16) * (b >> 16) + (middle >> 16) + (other >> 16);
    *low = (other << 16) | (lowest & 0xFFFFu);
    return (int32_t)(high - (x < 0 ? b : 0u)); /* a stands for x + 2^32 there */
#else
    const int64_t product = (int64_t)x * multiplier;
    *low = (uint32_t)product;
    return (int32_t)(product >> 32);
#endif
}

/* x * multiplier / 2^31, halves up. multiplier in [0, 2^31). */
static inline int32_t mcu_high_product(int32_t x, int32_t multiplier) {
#if MCU_NARROW_PRODUCT
    uint32_t low;
    const uint32_t upper = (uint32_t)mcu_product(x, multiplier, &low);
    return (int32_t)((upper << 1) + (((low >> 30) + 1u) >> 1));
#else
    return (int32_t)(((int64_t)x * multiplier + (1 << 30)) >> 31);
#endif
}

/* x * multiplier / 2^31 * 2^shift as TFLite's reference kernels round it: halves up behind the product, halves away
 * from zero behind a shift to the right. multiplier in [0, 2^31), shift -31 .. 30, x * 2^shift inside int32. */
static inline int32_t mcu_multiply_tflite(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t left = shift > 0 ? shift : 0;
    const int32_t right = left - shift;
    const int32_t high = mcu_high_product((int32_t)((uint32_t)x << left), multiplier);
    const int32_t mask = (int32_t)((1u << right) - 1u);
    const int32_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
    return (high >> right) + ((high & mask) > threshold ? 1 : 0);
}

/* The same product rounded once, halves up: TVM's fixed-point multiplication. On 32 bit cores in two words: of a factor
 * below a half, which most are, the upper one is enough. */
static inline int32_t mcu_multiply_upward(int32_t x, int32_t multiplier, int32_t shift) {
    const int32_t places = 31 - shift;
#if defined(__arm__) || MCU_NARROW_PRODUCT
    uint32_t low;
    const int32_t high = mcu_product(x, multiplier, &low);
    if (places > 32) {
        return (high + (1 << (places - 33))) >> (places - 32);
    }
    const uint32_t half = 1u << (places - 1);
    const uint32_t carried = (uint32_t)high + (low + half < low ? 1u : 0u);
    return (int32_t)(places == 32 ? carried : (carried << (32 - places)) | ((low + half) >> places));
#else
    return (int32_t)(((int64_t)x * multiplier + ((int64_t)1 << (places - 1))) >> places);
#endif
}

/* e^x. Below ln(FLT_MIN) = -87.3365: 0 (no denormals); above ln(FLT_MAX) = 88.7228: FLT_MAX, never infinity; NaN: NaN.
 * Relative error below 1e-7 (1.1 units in the last place). x = n ln 2 + r, e^r by a degree 6 polynomial. */
static inline float mcu_expf(float x) {
    if (x != x) {
        return mcu_f32(0x7FC00000u);
    }
    if (x < -87.3365448f) {
        return 0.0f;
    }
    if (x > 88.7228317f) {
        return MCU_FLT_MAX;
    }
    const int32_t n = mcu_round_even(x * 1.44269502f);
    const float count = (float)n;
    /* ln 2 in two parts; the first has 10 bits, so that n * part is exact */
    const float r = (x - count * 0.693359375f) + count * 2.12194442e-4f;
    const float q = 0.5f + r * (0.166665763f + r * (0.0416665561f + r * (0.00836317893f + r * 0.0013926184f)));
    const float e = 1.0f + (r + r * r * q);
    /* 2^n in two factors: n reaches 128, beyond one exponent field */
    const int32_t half = n / 2;
    const float first = mcu_f32((uint32_t)(half + 127) << 23);
    const float second = mcu_f32((uint32_t)(n - half + 127) << 23);
    const float result = e * first * second;
    return result > MCU_FLT_MAX ? MCU_FLT_MAX : result;
}

/* 1 / (1 + e^-x), 0 and 1 far out; NaN: NaN. Within 4 units in the last place, below -87.3365 0. */
static inline float mcu_sigmoidf(float x) {
    const float e = mcu_expf(x < 0.0f ? x : -x);
    return (x < 0.0f ? e : 1.0f) / (1.0f + e);
}

/* Hyperbolic tangent, +-1 far out; NaN: NaN. Within 4 units in the last place. An odd polynomial of degree 11 up to
 * 0.625, e^2x behind. */
static inline float mcu_tanhf(float x) {
    const float a = x < 0.0f ? -x : x;
    if (a < 0.625f) {
        const float z = x * x;
        const float tail = 0.133314422f + z * (-0.0537397155f + z * (0.0206390888f + z * -0.00570498873f));
        return x + x * z * (-0.333332819f + z * tail);
    }
    const float t = 1.0f - 2.0f / (mcu_expf(a + a) + 1.0f);
    return x < 0.0f ? -t : t;
}

/* The error function, +-1 far out; NaN: NaN. Within 4 units in the last place. An odd polynomial of degree 13 up to 1;
 * behind, 1 - e^-x^2 q(1 / x^2) / x, which is 1 from 4 on. */
static inline float mcu_erff(float x) {
    const float a = x < 0.0f ? -x : x;
    if (a < 1.0f) {
        const float z = x * x;
        const float high = 5.18832768e-3f + z * (-8.01019363e-4f + z * 7.85386115e-5f);
        return x * (1.12837917f + z * (-0.376126258f + z * (0.112835851f + z * (-0.0268538138f + z * high))));
    }
    if (a >= 4.0f) {
        return x < 0.0f ? -1.0f : 1.0f;
    }
    const float r = 1.0f / a;
    const float y = r * r;
    float q;
    if (a < 2.0f) {
        q = 0.368742467f + y * (-0.138703939f + y * 0.0232681997f);
        q = 0.621000462f + y * (-0.582473303f + y * q);
        q = 0.340487994f + y * (-0.494451532f + y * q);
        q = 0.563825943f + y * (-0.274112703f + y * q);
    } else {
        q = -7.49551872f + y * (12.9771996f + y * -10.477664f);
        q = -1.01526528f + y * (2.92101902f + y * q);
        q = -0.282076774f + y * (0.421846336f + y * q);
        q = 0.56418951f + y * q;
    }
    const float t = 1.0f - mcu_expf(-(a * a)) * r * q;
    return x < 0.0f ? -t : x > 0.0f ? t : x; /* NaN is neither */
}

/* Natural logarithm. 0: -FLT_MAX, infinity: FLT_MAX (no infinities leave), negative or NaN: NaN.
 * Within 2 units in the last place, denormals too. x = 2^n m, m in [0.70, 1.42), ln m = 2 atanh(s), s = (m-1)/(m+1). */
static inline float mcu_logf(float x) {
    uint32_t bits = mcu_bits(x);
    int32_t n = 0;
    if (x == 0.0f) {
        return -MCU_FLT_MAX;
    }
    if (bits > 0x7F800000u) { /* the sign, or NaN */
        return mcu_f32(0x7FC00000u);
    }
    if (bits == 0x7F800000u) {
        return MCU_FLT_MAX;
    }
    if (bits < 0x00800000u) { /* denormal: scale by 2^23 */
        bits = mcu_bits(x * 8388608.0f);
        n = -23;
    }
    /* move the exponent so that m's range is centred on 1: 0x3F3504F3 is sqrt(1/2) */
    bits += 0x3F800000u - 0x3F3504F3u;
    n += (int32_t)(bits >> 23) - 127;
    const float m = mcu_f32((bits & 0x007FFFFFu) + 0x3F3504F3u);
    const float f = m - 1.0f;
    const float s = f / (2.0f + f);
    const float z = s * s;
    const float tail = s * z * (0.666666687f + z * (0.400001228f + z * (0.285508752f + z * 0.233316138f)));
    const float count = (float)n;
    return count * 0.693359375f + ((s + s) + (tail - count * 2.12194442e-4f));
}

/* 32 well mixed bits from (seed, step, element): the randomness of stochastic rounding, without a state.
 * Give each tensor a seed of its own. The part that does not depend on `element` leaves a loop over elements. */
static inline uint32_t mcu_hash(uint32_t seed, uint32_t step, uint32_t element) {
    uint32_t key = seed * 0x85EBCA77u + (step + 0x3C6EF372u) * 0x9E3779B1u;
    key = (key ^ (key >> 15)) * 0x2C1B3C6Du;
    key ^= key >> 13;
    uint32_t h = element * 0x9E3779B1u + key;
    h = (h ^ (h >> 16)) * 0x7FEB352Du;
    h += key; /* a second time: two keys must not give permutations of one sequence */
    h = (h ^ (h >> 15)) * 0x846CA68Bu;
    return h ^ (h >> 16);
}

/* floor(v + u) with u = (random >> 8) * 2^-24 in [0, 1): rounds up with probability v - floor(v).
 * Clamped to +-2^30, NaN gives 0. */
static inline int32_t mcu_stochastic_round(float v, uint32_t random) {
    if (v != v) {
        return 0;
    }
    if (v >= (float)MCU_STOCHASTIC_LIMIT) {
        return MCU_STOCHASTIC_LIMIT;
    }
    if (v <= -(float)MCU_STOCHASTIC_LIMIT) {
        return -MCU_STOCHASTIC_LIMIT;
    }
    const float sum = v + (float)(int32_t)(random >> 8) * 5.96046448e-8f;
    const int32_t truncated = (int32_t)sum;
    return (float)truncated > sum ? truncated - 1 : truncated;
}

/* w - delta, stochastically rounded, saturating at +-127. */
static inline int8_t mcu_update_i8(int8_t w, float delta, uint32_t random) {
    const int32_t updated = (int32_t)w - mcu_stochastic_round(delta, random);
    return (int8_t)(updated > 127 ? 127 : updated < -127 ? -127 : updated);
}

/* w - delta, stochastically rounded, saturating at +-2^30: a bias leaves room for the products that are added to it.
 * A value that already lies beyond may only come back. */
static inline int32_t mcu_update_i32(int32_t w, float delta, uint32_t random) {
    const int64_t updated = (int64_t)w - mcu_stochastic_round(delta, random);
    const int32_t high = w > MCU_BIAS_LIMIT ? w : MCU_BIAS_LIMIT;
    const int32_t low = w < -MCU_BIAS_LIMIT ? w : -MCU_BIAS_LIMIT;
    return (int32_t)(updated > high ? high : updated < low ? low : updated);
}

#endif
