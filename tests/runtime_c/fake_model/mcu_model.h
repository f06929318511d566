/* What the verify program must know of the fake model. */
#include "mcu_runtime.h"
#include "tvmgen_fake.h"
#define MCU_MODEL_ARENA tvmgen_fake_arena
#define MCU_MODEL_ARENA_BYTES FAKE_ARENA_BYTES
#define MCU_MODEL_INIT tvmgen_fake_init
#define MCU_MODEL_INFER tvmgen_fake_infer_arena
#ifndef FAKE_INFERENCE_ONLY
#define MCU_MODEL_TRAIN tvmgen_fake_train_arena
#define MCU_MODEL_TRAINS 1
#define MCU_MODEL_LABEL_OFFSET 16
#define MCU_MODEL_LABEL_BYTES 4
#define MCU_MODEL_TRAIN_LOGITS_OFFSET 32
#define MCU_MODEL_LOSS_OFFSET 48
#define MCU_MODEL_HYPER_OFFSET 52
#define MCU_MODEL_HYPER_BYTES 8
#define MCU_MODEL_TRAIN_OPS 3
#define MCU_MODEL_SEGMENTS 2
static const mcu_segment mcu_model_segments[] = {{64, 64}, {128, 16}};
#else
#define MCU_MODEL_TRAINS 0
#define MCU_MODEL_SEGMENTS 0
#endif
#define MCU_MODEL_INPUT_OFFSET 0
#define MCU_MODEL_INPUT_BYTES 16
#define MCU_MODEL_INFER_LOGITS_OFFSET 32
#define MCU_MODEL_LOGITS_BYTES 16
#define MCU_MODEL_INFER_OPS 1
