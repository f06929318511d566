/* Writes the results of every backward case to results.bin. */
#include "backward_cases.h"
#include "semihost.h"

static float out[FLOATS];

int main(void) {
    const int32_t results = semihost_open_write("results.bin");
    for (int32_t number = 0; backward_case(number, out) != 0; number++) {
        if (!semihost_write(results, out, sizeof out)) {
            return 2;
        }
    }
    semihost_close(results);
    return 0;
}
