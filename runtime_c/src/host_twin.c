/* The host twin's side of an emitted model: plain names that ctypes finds, and gradients handed to a callback. */
#include "mcu_model.h"
#include "mcu_runtime.h"

uint8_t *mcu_twin_arena(void);
uint32_t mcu_twin_arena_bytes(void);
int32_t mcu_twin_init(void);
int32_t mcu_twin_infer(void);
int32_t mcu_twin_train(void);

uint8_t *mcu_twin_arena(void) {
    return MCU_MODEL_ARENA;
}

uint32_t mcu_twin_arena_bytes(void) {
    return MCU_MODEL_ARENA_BYTES;
}

int32_t mcu_twin_init(void) {
    return MCU_MODEL_INIT();
}

int32_t mcu_twin_infer(void) {
    return MCU_MODEL_INFER();
}

int32_t mcu_twin_train(void) {
#if MCU_MODEL_TRAINS
    return MCU_MODEL_TRAIN();
#else
    return MCU_ERROR_STATE;
#endif
}

#if defined(MCU_GRADIENTS)
typedef void (*mcu_gradient_callback)(uint32_t index, const void *gradient, size_t nbytes);

void mcu_twin_on_gradient(mcu_gradient_callback callback);

static mcu_gradient_callback on_gradient;

void mcu_twin_on_gradient(mcu_gradient_callback callback) {
    on_gradient = callback;
}

void mcu_gradient(uint32_t index, const void *gradient, size_t nbytes) {
    if (on_gradient != NULL) {
        on_gradient(index, gradient, nbytes);
    }
}
#endif
