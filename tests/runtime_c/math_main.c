/* Reads math_in records from samples.bin, 256 at a time, and writes the math_out records to results.bin. */
#include "math_cases.h"
#include "semihost.h"

enum { CHUNK = 256 };

static struct math_in in[CHUNK];
static struct math_out out[CHUNK];

int main(void) {
    const int32_t samples = semihost_open_read("samples.bin");
    const int32_t results = semihost_open_write("results.bin");
    while (semihost_read(samples, in, sizeof in)) {
        math_cases(in, out, CHUNK);
        if (!semihost_write(results, out, sizeof out)) {
            return 2;
        }
    }
    semihost_close(results);
    return 0;
}
