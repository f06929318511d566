/* memcpy, memmove and memset: all that the compiler asks of a C library. Words where the addresses allow it. */
#include <stddef.h>
#include <stdint.h>

/* Otherwise the compiler turns these loops into calls of the very functions that they are. */
#pragma GCC optimize("no-tree-loop-distribute-patterns")

typedef uint32_t __attribute__((may_alias)) word;

void *memcpy(void *restrict destination, const void *restrict source, size_t nbytes);
void *memmove(void *destination, const void *source, size_t nbytes);
void *memset(void *destination, int value, size_t nbytes);

static int aligned(const void *pointer) {
    return ((uintptr_t)pointer & 3u) == 0u;
}

void *memcpy(void *restrict destination, const void *restrict source, size_t nbytes) {
    uint8_t *to = destination;
    const uint8_t *from = source;
    if (aligned(to) && aligned(from)) {
        for (; nbytes >= 4u; nbytes -= 4u, to += 4, from += 4) {
            *(word *)(void *)to = *(const word *)(const void *)from;
        }
    }
    while (nbytes-- != 0u) {
        *to++ = *from++;
    }
    return destination;
}

void *memmove(void *destination, const void *source, size_t nbytes) {
    uint8_t *to = destination;
    const uint8_t *from = source;
    if ((uintptr_t)to <= (uintptr_t)from) {
        while (nbytes-- != 0u) {
            *to++ = *from++;
        }
    } else {
        while (nbytes-- != 0u) {
            to[nbytes] = from[nbytes];
        }
    }
    return destination;
}

void *memset(void *destination, int value, size_t nbytes) {
    uint8_t *to = destination;
    const uint32_t pattern = (uint8_t)value * 0x01010101u;
    for (; nbytes != 0u && !aligned(to); nbytes--) {
        *to++ = (uint8_t)value;
    }
    for (; nbytes >= 4u; nbytes -= 4u, to += 4) {
        *(word *)(void *)to = pattern;
    }
    while (nbytes-- != 0u) {
        *to++ = (uint8_t)value;
    }
    return destination;
}
