/* The generic verify program: runs an emitted model on inputs from the host and hands back all that can be measured.
 *
 * Files, little-endian, in the emulator's working folder:
 *   samples.bin  u32 magic "MCUS", u32 n_infer, u32 n_steps; n_infer x [input]; n_steps x [hyper][input][label]
 *   results.bin  u32 magic "MCUR", u32 version, u32 n_infer, u32 n_steps, u32 logits bytes, u32 state bytes,
 *                u32 infer ops, u32 train ops;
 *                n_infer x [u64 instructions][logits]; n_steps x [u64 instructions][f32 loss][logits];
 *                the bytes of the trained state, segment after segment; u32 stack peak;
 *                u32 instructions of each op of the last inference, then of the last step (0 without MCU_PROFILE)
 *   gradients.bin (only with MCU_GRADIENTS)  [u32 index][u32 nbytes][bytes] in the order in which they complete
 * Inputs are read straight into the arena and outputs written straight from it; no tensor is ever copied.
 * Instructions are counted around the model's call alone, in steps of the timer (mcu_device.h). */
#include "mcu_device.h"
#include "mcu_model.h"
#include "mcu_runtime.h"
#include "semihost.h"

#define SAMPLES_MAGIC 0x5355434Du
#define RESULTS_MAGIC 0x5255434Du
#define RESULTS_VERSION 1u

#if MCU_MODEL_TRAINS
#define TRAIN_OPS MCU_MODEL_TRAIN_OPS
#else
#define TRAIN_OPS 0
#endif
#define OPS (MCU_MODEL_INFER_OPS + TRAIN_OPS)

#define INSIDE_ARENA(offset, nbytes)                                                                                   \
    _Static_assert((offset) + (nbytes) <= MCU_MODEL_ARENA_BYTES, #offset " lies outside the arena")
INSIDE_ARENA(MCU_MODEL_INPUT_OFFSET, MCU_MODEL_INPUT_BYTES);
INSIDE_ARENA(MCU_MODEL_INFER_LOGITS_OFFSET, MCU_MODEL_LOGITS_BYTES);
#if MCU_MODEL_TRAINS
INSIDE_ARENA(MCU_MODEL_HYPER_OFFSET, MCU_MODEL_HYPER_BYTES);
INSIDE_ARENA(MCU_MODEL_LABEL_OFFSET, MCU_MODEL_LABEL_BYTES);
INSIDE_ARENA(MCU_MODEL_TRAIN_LOGITS_OFFSET, MCU_MODEL_LOGITS_BYTES);
INSIDE_ARENA(MCU_MODEL_LOSS_OFFSET, 4);
#endif

static int32_t samples;
static int32_t results;
static uint32_t started; /* ticks at the start of the measured call */

_Noreturn static void stop(uint32_t code, const char *message) {
    semihost_print("ERROR ");
    semihost_print(message);
    semihost_print("\n");
    semihost_exit(code);
}

static void read_bytes(void *destination, uint32_t nbytes) {
    if (!semihost_read(samples, destination, nbytes)) {
        stop(MCU_EXIT_FILE, "samples.bin ends too early: it was written for another model");
    }
}

static void write_bytes(const void *source, uint32_t nbytes) {
    if (!semihost_write(results, source, nbytes)) {
        stop(MCU_EXIT_FILE, "cannot write results.bin: is the disk full?");
    }
}

static void write_word(uint32_t word) {
    write_bytes(&word, sizeof word);
}

#if defined(MCU_PROFILE)
/* Outside the budget, so that the profile build has the memory map of the real one. */
__attribute__((section(".measure"))) static uint32_t op_ticks[OPS];
static uint32_t first_op;    /* where the running entry point's ops begin in op_ticks */
static uint32_t op_count;
static uint32_t current_op;  /* op_count: none */
static uint32_t op_started;

static void close_op(void) {
    if (current_op < op_count) {
        op_ticks[first_op + current_op] += mcu_timer_ticks() - op_started;
    }
}

void mcu_profile_op(uint32_t index) {
    close_op();
    current_op = index;
    op_started = mcu_timer_ticks(); /* read anew: the hook's own instructions belong to no op */
}
#endif

static void begin_call(uint32_t first, uint32_t count) {
#if defined(MCU_PROFILE)
    for (uint32_t op = 0; op < count; op++) {
        op_ticks[first + op] = 0;
    }
    first_op = first;
    op_count = count;
    current_op = count;
#else
    (void)first;
    (void)count;
#endif
    started = mcu_timer_ticks();
}

/* The pieces of main that stay functions: in one frame they would lie under the model's calls, which need the stack. */
#define PIECE __attribute__((noinline)) static void

/* Checks the status of the call that begin_call began, and writes its instruction count. */
PIECE end_call(int32_t status, const char *failure) {
    const uint64_t instructions = (uint64_t)(mcu_timer_ticks() - started) * MCU_INSTRUCTIONS_PER_TICK;
#if defined(MCU_PROFILE)
    close_op();
#endif
    if (status != MCU_OK) {
        semihost_print("status ");
        semihost_print_hex((uint32_t)status);
        semihost_print("\n");
        stop(MCU_EXIT_MODEL, failure);
    }
    write_bytes(&instructions, sizeof instructions);
}

PIECE progress(const char *what, uint32_t done, uint32_t all) {
    semihost_print(what);
    semihost_print_number(done);
    semihost_print("/");
    semihost_print_number(all);
    semihost_print("\n");
}

PIECE infer(void) {
    read_bytes(MCU_MODEL_ARENA + MCU_MODEL_INPUT_OFFSET, MCU_MODEL_INPUT_BYTES);
    begin_call(0, MCU_MODEL_INFER_OPS);
    end_call(MCU_MODEL_INFER(), "the model's inference failed");
    write_bytes(MCU_MODEL_ARENA + MCU_MODEL_INFER_LOGITS_OFFSET, MCU_MODEL_LOGITS_BYTES);
}

#if MCU_MODEL_TRAINS
PIECE train(void) {
    read_bytes(MCU_MODEL_ARENA + MCU_MODEL_HYPER_OFFSET, MCU_MODEL_HYPER_BYTES);
    read_bytes(MCU_MODEL_ARENA + MCU_MODEL_INPUT_OFFSET, MCU_MODEL_INPUT_BYTES);
    read_bytes(MCU_MODEL_ARENA + MCU_MODEL_LABEL_OFFSET, MCU_MODEL_LABEL_BYTES);
    begin_call(MCU_MODEL_INFER_OPS, TRAIN_OPS);
    end_call(MCU_MODEL_TRAIN(), "the model's training step failed");
    write_bytes(MCU_MODEL_ARENA + MCU_MODEL_LOSS_OFFSET, 4);
    write_bytes(MCU_MODEL_ARENA + MCU_MODEL_TRAIN_LOGITS_OFFSET, MCU_MODEL_LOGITS_BYTES);
}
#endif

static uint32_t state_bytes(void) {
    uint32_t nbytes = 0;
#if MCU_MODEL_SEGMENTS > 0
    for (uint32_t i = 0; i < MCU_MODEL_SEGMENTS; i++) {
        nbytes += mcu_model_segments[i].nbytes;
    }
#endif
    return nbytes;
}

/* The trained state and the measurements. */
PIECE write_tail(void) {
#if MCU_MODEL_SEGMENTS > 0
    for (uint32_t i = 0; i < MCU_MODEL_SEGMENTS; i++) {
        write_bytes(MCU_MODEL_ARENA + mcu_model_segments[i].offset, mcu_model_segments[i].nbytes);
    }
#endif
    write_word(mcu_stack_peak());
    for (uint32_t op = 0; op < OPS; op++) {
#if defined(MCU_PROFILE)
        const uint64_t instructions = (uint64_t)op_ticks[op] * MCU_INSTRUCTIONS_PER_TICK;
        write_word(instructions < UINT32_MAX ? (uint32_t)instructions : UINT32_MAX);
#else
        write_word(0);
#endif
    }
}

#if defined(MCU_GRADIENTS)
static int32_t gradients;

void mcu_gradient(uint32_t index, const void *gradient, size_t nbytes) {
    const uint32_t head[2] = {index, (uint32_t)nbytes};
    if (!semihost_write(gradients, head, sizeof head) || !semihost_write(gradients, gradient, (uint32_t)nbytes)) {
        stop(MCU_EXIT_FILE, "cannot write gradients.bin: is the disk full?");
    }
}
#endif

/* counts: of inferences and steps. */
PIECE open_files(uint32_t counts[2]) {
    uint32_t magic;
    samples = semihost_open_read("samples.bin");
    results = semihost_open_write("results.bin");
    if (samples < 0 || results < 0) {
        stop(MCU_EXIT_FILE, "cannot open samples.bin or results.bin in the emulator's working folder");
    }
#if defined(MCU_GRADIENTS)
    gradients = semihost_open_write("gradients.bin");
#endif
    read_bytes(&magic, sizeof magic);
    read_bytes(counts, 2u * sizeof counts[0]);
    if (magic != SAMPLES_MAGIC || (!MCU_MODEL_TRAINS && counts[1] != 0u)) {
        stop(MCU_EXIT_FILE,
             "samples.bin is not for this program (wrong magic, or training steps for an inference model)");
    }
    const uint32_t head[8] = {RESULTS_MAGIC,          RESULTS_VERSION, counts[0],           counts[1],
                              MCU_MODEL_LOGITS_BYTES, state_bytes(),   MCU_MODEL_INFER_OPS, TRAIN_OPS};
    write_bytes(head, sizeof head);
}

int main(void) {
    uint32_t counts[2];
    mcu_timer_init();
#if defined(MCU_TEST_OVERRUN)
    ((volatile uint8_t *)mcu_ram_end)[MCU_TEST_OVERRUN] = 1; /* 0: one byte past the budget, -1: its last byte */
#endif
    open_files(counts);
    if (MCU_MODEL_INIT() != MCU_OK) {
        stop(MCU_EXIT_MODEL, "the model's initialisation failed");
    }
    for (uint32_t i = 0; i < counts[0]; i++) {
        infer();
        progress("infer ", i + 1u, counts[0]);
    }
#if MCU_MODEL_TRAINS
    for (uint32_t i = 0; i < counts[1]; i++) {
        train();
        progress("train ", i + 1u, counts[1]);
    }
#endif
    write_tail();
    semihost_close(results);
    return MCU_EXIT_OK;
}
