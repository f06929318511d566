/* A linear classifier by hand, in the shape of an emitted model: 16 int8 inputs, 4 classes. */
#ifndef TVMGEN_FAKE_H
#define TVMGEN_FAKE_H

#include <stdint.h>

#define FAKE_ARENA_BYTES 2048

extern uint8_t tvmgen_fake_arena[FAKE_ARENA_BYTES];
int32_t tvmgen_fake_init(void);
int32_t tvmgen_fake_infer_arena(void);
int32_t tvmgen_fake_train_arena(void);

#endif
