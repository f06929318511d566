/* tvmgen_tiny: inference and on-device training of one network. Not reentrant: one arena, one caller.
 *
 * Input:  int8 8x8x3 (HWC), real = (x - -3) * 0.02
 * Output: float32 4 logits
 * Every function returns MCU_OK or an mcu_status (mcu_runtime.h). */
#ifndef TVMGEN_TINY_H
#define TVMGEN_TINY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct tvmgen_tiny_inputs {
    void *input;
};

struct tvmgen_tiny_outputs {
    void *output;
};

extern uint8_t tvmgen_tiny_arena[];

/* Puts the initial trained state into the arena: call it once, and again to forget what was learnt. */
int32_t tvmgen_tiny_init(void);

/* Where the network reads its input. Filled directly and passed as `input`, it saves a copy and its memory. */
int8_t *tvmgen_tiny_input(void);

/* Inference, as microTVM's AOT executor has it. */
int32_t tvmgen_tiny_run(struct tvmgen_tiny_inputs *inputs, struct tvmgen_tiny_outputs *outputs);

/* The same on the arena alone: the input lies at tvmgen_tiny_input(). */
int32_t tvmgen_tiny_infer_arena(void);

struct tvmgen_tiny_train_inputs {
    void *input;
    int32_t *label; /* 0 .. 4 - 1 */
};

struct tvmgen_tiny_train_outputs {
    float *loss;  /* nats, before the update */
    void *output; /* logits before the update, or NULL */
};

/* One sample: forward, backward, update in place. */
int32_t tvmgen_tiny_train_step(struct tvmgen_tiny_train_inputs *inputs, struct tvmgen_tiny_train_outputs *outputs);

/* The two learning rates: [0] of the network, [1] of the head. Valid after init. */
float *tvmgen_tiny_learning_rate(void);

/* The same on the arena alone: input and label lie in their places. */
int32_t tvmgen_tiny_train_arena(void);

#ifdef __cplusplus
}
#endif

#endif
