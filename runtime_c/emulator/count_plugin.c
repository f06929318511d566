/* A plugin of QEMU that counts how often each instruction runs, and for which op of a profile build.
 *
 * Arguments: out=FILE; of a profile build also ticks=ADDRESS and ops=N (the array that holds a counter an op), and
 * hook=FIRST:END and some program=FIRST:END (addresses of mcu_profile_op and of the functions that call the model).
 * FILE, little-endian: u64 marks of each op, N of them; then records {u32 op, u32 address, u64 executions}; op N: no op.
 *
 * The profile hook stores into an op's counter when that op ends, which tells whose the instructions since the last
 * mark were. A block is counted when it begins; run without -icount, under which an access to a device breaks a block
 * off and begins it again. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The part of the plugin interface that is used (QEMU's documentation: TCG plugins). */
#define EXPORT __attribute__((visibility("default")))
#ifndef PLUGIN_API
#define PLUGIN_API 1
#endif
typedef uint64_t plugin_id;
struct qemu_info;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { CALLBACK_NO_REGISTERS = 0, MEMORY_BOTH = 3, MOST_PROGRAMS = 16 };
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*call)(plugin_id, struct qemu_plugin_tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb, void (*call)(unsigned, void *), int flags,
                                                 void *data);
extern void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *insn, void (*call)(unsigned, void *),
                                                   int flags, void *data);
extern void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *insn,
                                             void (*call)(unsigned, uint32_t, uint64_t, void *), int flags, int access,
                                             void *data);
extern void qemu_plugin_register_atexit_cb(plugin_id id, void (*call)(plugin_id, void *), void *data);
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
extern struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *tb, size_t index);
extern bool qemu_plugin_mem_is_store(uint32_t info);
extern uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);
EXPORT int qemu_plugin_version = PLUGIN_API;

/* One translated block. A block that is translated again gets a record of its own. */
struct block {
    struct block *next;
    struct block *next_pending;
    uint64_t pending;    /* executions since the last mark */
    uint64_t *by_op;     /* [ops + 1], made when the first op takes its share */
    size_t count;
    uint32_t address[];
};

struct range {
    uint32_t first, end;
};

struct record {
    uint32_t op, address;
    uint64_t executions;
};

static const char *out;
static uint32_t ticks, ops;
static struct range hook, programs[MOST_PROGRAMS];
static size_t program_count;
static struct block *blocks, *pending_blocks;
static uint64_t *marks;
static int op_runs; /* from the first mark of a call to its end */

_Noreturn static void stop(const char *message) {
    fprintf(stderr, "count plugin: %s\n", message);
    exit(1);
}

static void *zeros(size_t count, size_t nbytes) {
    void *memory = calloc(count, nbytes);
    if (memory == NULL) {
        stop("out of memory");
    }
    return memory;
}

/* The executions since the last mark are op's. */
static void give_pending(uint32_t op) {
    for (struct block *block = pending_blocks; block != NULL; block = block->next_pending) {
        if (block->by_op == NULL) {
            block->by_op = zeros(ops + 1u, sizeof *block->by_op);
        }
        block->by_op[op] += block->pending;
        block->pending = 0;
    }
    pending_blocks = NULL;
}

static void on_block(unsigned cpu, void *data) {
    struct block *block = data;
    (void)cpu;
    if (block->pending++ == 0) {
        block->next_pending = pending_blocks;
        pending_blocks = block;
    }
}

/* The hook's first instruction: what came before the first op of a call is no op's. */
static void on_hook(unsigned cpu, void *data) {
    (void)cpu;
    (void)data;
    if (!op_runs) {
        give_pending(ops);
        op_runs = 1;
    }
}

/* An access of the hook (data is NULL) or of the program, which ends the call. An op's counter is stored to when the op
 * ends; also before a call, where the program sets all to 0, but then no op runs. */
static void on_access(unsigned cpu, uint32_t info, uint64_t address, void *data) {
    (void)cpu;
    if (op_runs && qemu_plugin_mem_is_store(info) && address >= ticks && address - ticks < 4u * (uint64_t)ops) {
        const uint32_t op = (uint32_t)(address - ticks) / 4u;
        give_pending(op);
        marks[op]++;
        op_runs = data == NULL;
    }
}

static int inside(struct range range, uint64_t address) {
    return address >= range.first && address < range.end;
}

static void watch(struct qemu_plugin_insn *insn, uint64_t address) {
    if (ops > 0 && address == hook.first) {
        qemu_plugin_register_vcpu_insn_exec_cb(insn, on_hook, CALLBACK_NO_REGISTERS, NULL);
    }
    if (inside(hook, address)) {
        qemu_plugin_register_vcpu_mem_cb(insn, on_access, CALLBACK_NO_REGISTERS, MEMORY_BOTH, NULL);
    }
    for (size_t i = 0; i < program_count; i++) {
        if (inside(programs[i], address)) {
            qemu_plugin_register_vcpu_mem_cb(insn, on_access, CALLBACK_NO_REGISTERS, MEMORY_BOTH, &programs[i]);
        }
    }
}

static void on_translation(plugin_id id, struct qemu_plugin_tb *tb) {
    const size_t count = qemu_plugin_tb_n_insns(tb);
    struct block *block = zeros(1, sizeof *block + count * sizeof block->address[0]);
    (void)id;
    block->count = count;
    block->next = blocks;
    blocks = block;
    for (size_t i = 0; i < count; i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
        block->address[i] = (uint32_t)qemu_plugin_insn_vaddr(insn);
        watch(insn, block->address[i]);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, CALLBACK_NO_REGISTERS, block);
}

static void write_block(FILE *file, const struct block *block) {
    for (uint32_t op = 0; block->by_op != NULL && op <= ops; op++) {
        for (size_t i = 0; block->by_op[op] > 0 && i < block->count; i++) {
            const struct record record = {op, block->address[i], block->by_op[op]};
            fwrite(&record, sizeof record, 1, file);
        }
    }
}

static void on_exit(plugin_id id, void *data) {
    (void)id;
    (void)data;
    FILE *file = fopen(out, "wb");
    if (file == NULL) {
        fprintf(stderr, "count plugin: cannot write %s\n", out);
        return;
    }
    give_pending(ops);
    fwrite(marks, sizeof marks[0], ops, file);
    for (const struct block *block = blocks; block != NULL; block = block->next) {
        write_block(file, block);
    }
    if (ferror(file) != 0 || fclose(file) != 0) {
        fprintf(stderr, "count plugin: %s is not whole: is the disk full?\n", out);
        remove(out);
    }
}

static struct range parse_range(const char *text) {
    char *rest;
    const unsigned long first = strtoul(text, &rest, 0);
    if (*rest != ':') {
        stop("a range is written FIRST:END");
    }
    return (struct range){(uint32_t)first, (uint32_t)strtoul(rest + 1, NULL, 0)};
}

static void parse(const char *argument) {
    if (strncmp(argument, "out=", 4) == 0) {
        out = strdup(argument + 4);
    } else if (strncmp(argument, "ticks=", 6) == 0) {
        ticks = (uint32_t)strtoul(argument + 6, NULL, 0);
    } else if (strncmp(argument, "ops=", 4) == 0) {
        ops = (uint32_t)strtoul(argument + 4, NULL, 0);
    } else if (strncmp(argument, "hook=", 5) == 0) {
        hook = parse_range(argument + 5);
    } else if (strncmp(argument, "program=", 8) == 0 && program_count < MOST_PROGRAMS) {
        programs[program_count++] = parse_range(argument + 8);
    } else {
        stop("arguments are out=, ticks=, ops=, hook= and some program=");
    }
}

EXPORT int qemu_plugin_install(plugin_id id, const struct qemu_info *info, int argc, char **argv) {
    (void)info;
    for (int i = 0; i < argc; i++) {
        parse(argv[i]);
    }
    if (out == NULL) {
        stop("out= is missing");
    }
    marks = zeros(ops + 1u, sizeof *marks);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_atexit_cb(id, on_exit, NULL);
    return 0;
}
