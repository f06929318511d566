/* Updates of integer parameters: quantisation-aware scaling, stochastic rounding. */
#include "mcu_core.h"

/* A gradient that is not finite costs one step of one element. */
INLINE float finite_or_zero(float g) {
    return g >= -MCU_FLT_MAX && g <= MCU_FLT_MAX ? g : 0.0f;
}

#define SGD(name, type, update)                                                                                        \
    void name(MCU_SGD_ARGUMENTS(type)) {                                                                               \
        const uint32_t seed = counter[0] ^ settings[2];                                                                \
        for (int32_t c = first; c < first + channels; c++, g += row) {                                                 \
            const float unit = scale[c] * mcu_f32(settings[0]), factor = rate / unit / unit;                           \
            if (scale[c] > mcu_f32(settings[1])) {                                                                     \
                for (int32_t i = 0; i < row; i++) {                                                                    \
                    const uint32_t random = mcu_hash(seed, counter[1], (uint32_t)(c * row + i));                       \
                    w[c * row + i] = update(w[c * row + i], finite_or_zero(g[i]) * factor, random);                    \
                }                                                                                                      \
            }                                                                                                          \
        }                                                                                                              \
    }
SGD(mcu_sgd_i8, int8_t, mcu_update_i8)
SGD(mcu_sgd_i32, int32_t, mcu_update_i32)
