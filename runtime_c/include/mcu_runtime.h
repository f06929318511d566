/* What emitted code and the programs around it share: status codes, trained-state segments, measurement hooks. */
#ifndef MCU_RUNTIME_H
#define MCU_RUNTIME_H

#include <stddef.h>
#include <stdint.h>

/* What every emitted entry point returns, as int32_t. */
enum mcu_status {
    MCU_OK = 0,
    MCU_ERROR_NULL = -1,  /* a pointer argument is null */
    MCU_ERROR_LABEL = -2, /* a label is outside [0, classes) */
    MCU_ERROR_STATE = -3  /* the model has not been initialised */
};

/* A piece of the trained state: bytes [offset, offset + nbytes) of the arena. */
typedef struct mcu_segment {
    uint32_t offset;
    uint32_t nbytes;
} mcu_segment;

static inline int32_t mcu_min(int32_t a, int32_t b) {
    return a < b ? a : b;
}

/* MCU_OP(i) stands before the call of op i, i = 0, 1, ... in each entry point. With MCU_PROFILE the program around the
 * model defines mcu_profile_op; the instructions from one MCU_OP to the next (or to the return) are op i's. */
#if defined(MCU_PROFILE)
void mcu_profile_op(uint32_t index);
#define MCU_OP(index) mcu_profile_op((uint32_t)(index))
#else
#define MCU_OP(index) ((void)0)
#endif

/* MCU_GRADIENT(i, pointer, nbytes) stands where gradient i, or the next block of it, is complete and has not yet been
 * used by its update; the blocks come in order.
 * With MCU_GRADIENTS the program around the model defines mcu_gradient and may copy the bytes away. */
#if defined(MCU_GRADIENTS)
void mcu_gradient(uint32_t index, const void *gradient, size_t nbytes);
#define MCU_GRADIENT(index, pointer, nbytes) mcu_gradient((uint32_t)(index), (pointer), (size_t)(nbytes))
#else
#define MCU_GRADIENT(index, pointer, nbytes) ((void)0)
#endif

#endif
