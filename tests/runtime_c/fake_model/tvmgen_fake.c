/* The fake model: logits = (w x + b) / 64, softmax cross-entropy, stochastic int8 and int32 updates. */
#include "tvmgen_fake.h"
#include "mcu_math.h"
#include "mcu_runtime.h"

enum { INPUTS = 16, CLASSES = 4 };
enum { INPUT = 0, LABEL = 16, LOGITS = 32, LOSS = 48, HYPER = 52, WEIGHTS = 64, BIAS = 128, GRADIENT = 144 };

__attribute__((aligned(16))) uint8_t tvmgen_fake_arena[FAKE_ARENA_BYTES];

static int8_t *bytes(int offset) {
    return (int8_t *)(void *)&tvmgen_fake_arena[offset];
}

static int32_t *words(int offset) {
    return (int32_t *)(void *)&tvmgen_fake_arena[offset];
}

static float *floats(int offset) {
    return (float *)(void *)&tvmgen_fake_arena[offset];
}

int32_t tvmgen_fake_init(void) {
    for (int i = 0; i < INPUTS * CLASSES; i++) {
        bytes(WEIGHTS)[i] = (int8_t)(mcu_hash(1, 2, (uint32_t)i) % 61u) - 30;
    }
    for (int c = 0; c < CLASSES; c++) {
        words(BIAS)[c] = c - 2;
    }
    return MCU_OK;
}

static void linear(const int8_t *x, const int8_t *w, const int32_t *b, float *logits) {
    for (int c = 0; c < CLASSES; c++) {
        int32_t sum = b[c];
        for (int i = 0; i < INPUTS; i++) {
            sum += x[i] * w[c * INPUTS + i];
        }
        logits[c] = (float)mcu_round_even((float)sum * 0.015625f) * 0.125f;
    }
}

static void softmax(const float *logits, uint32_t label, float *gradient, float *loss) {
    float total = 0.0f;
    for (int c = 0; c < CLASSES; c++) {
        gradient[c] = mcu_expf(logits[c] - logits[label]);
        total += gradient[c];
    }
    for (int c = 0; c < CLASSES; c++) {
        gradient[c] = gradient[c] / total - ((uint32_t)c == label ? 1.0f : 0.0f);
    }
    *loss = mcu_logf(total);
}

static void update(const int8_t *x, const float *gradient, float rate, uint32_t step, int8_t *w, int32_t *b) {
    for (int c = 0; c < CLASSES; c++) {
        for (int i = 0; i < INPUTS; i++) {
            const uint32_t random = mcu_hash(7, step, (uint32_t)(c * INPUTS + i));
            w[c * INPUTS + i] =
                mcu_update_i8(w[c * INPUTS + i], mcu_fma(rate * (float)x[i], gradient[c], 1e-3f), random);
        }
        b[c] = mcu_update_i32(b[c], rate * 64.0f * gradient[c], mcu_hash(8, step, (uint32_t)c));
    }
}

int32_t tvmgen_fake_infer_arena(void) {
    MCU_OP(0);
    linear(bytes(INPUT), bytes(WEIGHTS), words(BIAS), floats(LOGITS));
    return MCU_OK;
}

int32_t tvmgen_fake_train_arena(void) {
    const uint32_t label = (uint32_t)words(LABEL)[0];
    if (label >= CLASSES) {
        return MCU_ERROR_LABEL;
    }
    MCU_OP(0);
    linear(bytes(INPUT), bytes(WEIGHTS), words(BIAS), floats(LOGITS));
    MCU_OP(1);
    softmax(floats(LOGITS), label, floats(GRADIENT), floats(LOSS));
    MCU_GRADIENT(0, floats(GRADIENT), CLASSES * sizeof(float));
    MCU_OP(2);
    update(bytes(INPUT), floats(GRADIENT), floats(HYPER)[0], (uint32_t)words(HYPER)[1], bytes(WEIGHTS), words(BIAS));
    return MCU_OK;
}
