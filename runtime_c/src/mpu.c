/* The memory guard: the core may touch flash, the budgeted RAM and the timer; one byte further is a fault.
 *
 * mcu_guard_install lists the ranges; what differs between architectures is only how a range becomes regions:
 * `cover` for PMSAv7 (Cortex-M3/M4/M7). PMSAv8 (M33, M55) takes base and limit pairs in steps of 32 bytes, one region
 * a range, and needs a `cover` of its own. */
#include "mcu_device.h"

#if defined(__ARM_ARCH_8M_MAIN__) || defined(__ARM_ARCH_8M_BASE__) || defined(__ARM_ARCH_8_1M_MAIN__)
#error "the memory guard is written for PMSAv7 (Cortex-M3, M4, M7); this core has a PMSAv8 MPU"
#endif

#define MPU ((volatile uint32_t *)0xE000ED90u)

enum { TYPE, CONTROL, NUMBER, BASE, ATTRIBUTES };

/* RASR fields of Armv7-M: XN, AP, TEX/S/C/B */
#define EXECUTE_NEVER (1u << 28)
#define PRIVILEGED_READ_WRITE (1u << 24)
#define READ_ONLY (6u << 24)
#define NORMAL_MEMORY ((1u << 19) | (1u << 17) | (1u << 16))
#define DEVICE_MEMORY (1u << 16)
#define MINIMUM_LOG2 5u  /* the smallest region is 32 bytes */
#define SUBREGION_LOG2 8u /* regions of 256 bytes and more have eight subregions */

/* Covers [base, base + size) exactly, `base` aligned to the next power of two above `size`, `size` a multiple of 32.
 * Each region is the power of two at or above what is left, with the subregions beyond the end switched off; it takes
 * three bits off the remainder, and what is left starts at an address aligned for the next, smaller region.
 * Returns the next free region, or `limit` + 1 where the regions do not suffice. */
static uint32_t cover(uint32_t region, uint32_t limit, uint32_t base, uint32_t size, uint32_t attributes) {
    while (size != 0u && region < limit) {
        uint32_t log2 = MINIMUM_LOG2;
        while ((1u << log2) < size) {
            log2++;
        }
        uint32_t covered = 1u << log2;
        uint32_t disabled = 0;
        if (covered > size && log2 < SUBREGION_LOG2) { /* no subregions: the power of two below */
            log2--;
            covered = 1u << log2;
        } else if (covered > size) {
            const uint32_t eighths = size >> (log2 - 3u);
            disabled = (0xFFu << eighths) & 0xFFu;
            covered = eighths << (log2 - 3u);
        }
        MPU[NUMBER] = region++;
        MPU[BASE] = base;
        MPU[ATTRIBUTES] = attributes | (disabled << 8) | ((log2 - 1u) << 1) | 1u;
        base += covered;
        size -= covered;
    }
    return size == 0u ? region : limit + 1u;
}

static uint32_t cover_symbols(uint32_t region, uint32_t limit, const uint32_t *start, const uint32_t *end,
                              uint32_t attributes) {
    const uint32_t base = (uint32_t)(uintptr_t)start;
    return cover(region, limit, base, (uint32_t)(uintptr_t)end - base, attributes);
}

int mcu_guard_install(void) {
    const uint32_t limit = (MPU[TYPE] >> 8) & 0xFFu;
    const uint32_t data = EXECUTE_NEVER | PRIVILEGED_READ_WRITE;
    uint32_t region = cover_symbols(0, limit, mcu_flash_start, mcu_flash_end, READ_ONLY | NORMAL_MEMORY);
    region = cover(region, limit, 0x40000000u, 4096u, data | DEVICE_MEMORY);
    region = cover_symbols(region, limit, mcu_measure_start, mcu_measure_end, data | NORMAL_MEMORY);
    region = cover_symbols(region, limit, mcu_ram_start, mcu_ram_end, data | NORMAL_MEMORY);
    if (region > limit) {
        return 0;
    }
    for (uint32_t unused = region; unused < limit; unused++) {
        MPU[NUMBER] = unused;
        MPU[ATTRIBUTES] = 0;
    }
    MPU[CONTROL] = 1; /* on; no background map for privileged code, off inside HardFault */
    __asm__ volatile("dsb\n\tisb" ::: "memory");
    return 1;
}
