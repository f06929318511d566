"""The fixed text around the generated C, as templates for str.format."""

LIB1 = """/* Kernels of {prefix}: one per distinct op, shape and attributes. Printed by TVM's C code generator. */
#include "{prefix}_kernels.h"
#include "mcu_kernels.h"
#include "mcu_math.h"

{functions}"""

LIB0 = """/* Parameters, memory and entry points of {prefix}. Offsets are the plan's; plan.csv lists them all. */
#include "{prefix}.h"

#include <string.h>

#include "mcu_runtime.h"
#include "{prefix}_kernels.h"

{parameters}
/* All memory of the model: inputs, outputs, trained state, activations, gradients, scratch. */
_Alignas(16) uint8_t {prefix}_arena[{arena}];

/* The tensor at this byte of the arena; every offset is aligned for its type. */
#define AT(type, offset) ((type *)(void *)({prefix}_arena + (offset)))

static int32_t ready; /* the trained state has been put into the arena */

int32_t {prefix}_init(void) {{
    uint8_t *const arena = {prefix}_arena;
    (void)arena;
{init}
    ready = 1;
    return MCU_OK;
}}

{entries}
{public}"""

RUN = """
{input_type} *{prefix}_input(void) {{ return AT({input_type}, {input}); }}

int32_t {prefix}_infer_arena(void) {{
    if (!ready) {{
        return MCU_ERROR_STATE;
    }}
    {prefix}_infer_ops();
    return MCU_OK;
}}

static int32_t {prefix}_take_input(const void *input) {{
    if (input == NULL) {{
        return MCU_ERROR_NULL;
    }}
    if (input != (const void *)({prefix}_arena + {input})) {{
        memcpy({prefix}_arena + {input}, input, {input_bytes});
    }}
    return ready ? MCU_OK : {prefix}_init();
}}

int32_t {prefix}_run(struct {prefix}_inputs *inputs, struct {prefix}_outputs *outputs) {{
    if (inputs == NULL || outputs == NULL || outputs->output == NULL) {{
        return MCU_ERROR_NULL;
    }}
    const int32_t status = {prefix}_take_input(inputs->input);
    if (status != MCU_OK) {{
        return status;
    }}
    {prefix}_infer_ops();
    memcpy(outputs->output, {prefix}_arena + {logits}, {logits_bytes});
    return MCU_OK;
}}
"""

TRAIN = """
float *{prefix}_learning_rate(void) {{ return AT(float, {rates}); }}

int32_t {prefix}_train_arena(void) {{
{label_declaration}    if (!ready) {{
        return MCU_ERROR_STATE;
    }}
{label_check}    {prefix}_train_ops();
    return MCU_OK;
}}

int32_t {prefix}_train_step(struct {prefix}_train_inputs *inputs, struct {prefix}_train_outputs *outputs) {{
    if (inputs == NULL || outputs == NULL || {label_missing}outputs->loss == NULL) {{
        return MCU_ERROR_NULL;
    }}
    int32_t status = {prefix}_take_input(inputs->input);
    if (status != MCU_OK) {{
        return status;
    }}
{label_copy}    status = {prefix}_train_arena();
    if (status != MCU_OK) {{
        return status;
    }}
    memcpy(outputs->loss, {prefix}_arena + {loss}, sizeof(float));
    if (outputs->output != NULL) {{
        memcpy(outputs->output, {prefix}_arena + {train_logits}, {logits_bytes});
    }}
    return MCU_OK;
}}
"""

HEADER = """/* {prefix}: inference and on-device training of one network. Not reentrant: one arena, one caller.
 *
 * Input:  {input}
 * Output: {output}
 * Every function returns MCU_OK or an mcu_status (mcu_runtime.h). */
#ifndef {guard}_H
#define {guard}_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {{
#endif

struct {prefix}_inputs {{
    void *input;
}};

struct {prefix}_outputs {{
    void *output;
}};

extern uint8_t {prefix}_arena[];

/* Puts the initial trained state into the arena: call it once, and again to forget what was learnt. */
int32_t {prefix}_init(void);

/* Where the network reads its input. Filled directly and passed as `input`, it saves a copy and its memory. */
{input_type} *{prefix}_input(void);

/* Inference, as microTVM's AOT executor has it. */
int32_t {prefix}_run(struct {prefix}_inputs *inputs, struct {prefix}_outputs *outputs);

/* The same on the arena alone: the input lies at {prefix}_input(). */
int32_t {prefix}_infer_arena(void);
{train}
#ifdef __cplusplus
}}
#endif

#endif
"""

TRAIN_HEADER = """
struct {prefix}_train_inputs {{
    void *input;
{label_member}}};

struct {prefix}_train_outputs {{
    float *loss;  /* {loss_unit}, before the update */
    void *output; /* logits before the update, or NULL */
}};

/* One sample: forward, backward, update in place. */
int32_t {prefix}_train_step(struct {prefix}_train_inputs *inputs, struct {prefix}_train_outputs *outputs);

/* The two learning rates: [0] of the network, [1] of the head. Valid after init. */
float *{prefix}_learning_rate(void);

/* The same on the arena alone: input and label lie in their places. */
int32_t {prefix}_train_arena(void);
"""

# How the label of each loss reaches the arena: what stands in the struct, and the check before a step.
LABELS = {
    "cross_entropy": (
        "    int32_t *label; /* 0 .. {classes} - 1 */\n",
        "    int32_t label;\n",
        """    memcpy(&label, {prefix}_arena + {label}, sizeof label);
    if (label < 0 || label >= {classes}) {{
        return MCU_ERROR_LABEL;
    }}
""",
    ),
    "binary_cross_entropy": (
        "    int32_t *label; /* {classes} values, each 0 or 1 */\n",
        "    int32_t label;\n",
        """    for (int32_t i = 0; i < {classes}; i++) {{
        memcpy(&label, {prefix}_arena + {label} + 4 * i, sizeof label);
        if (label != 0 && label != 1) {{
            return MCU_ERROR_LABEL;
        }}
    }}
""",
    ),
    "mse": ("    float *label; /* {classes} real values that the output should have */\n", "", ""),
    "autoencoder": ("", "", ""),
}
LABEL_COPY = "    memcpy({prefix}_arena + {label}, inputs->label, {label_bytes});\n"
LOSS_UNITS = {"mse": "mean squared error", "autoencoder": "mean squared error"}

MODEL_HEADER = """/* How a generic program drives {prefix}: entry points, and places in the arena (bytes). */
#ifndef MCU_MODEL_H
#define MCU_MODEL_H

#include "mcu_runtime.h"
#include "{prefix}.h"

{lines}

#endif
"""
