// SPDX-License-Identifier: MIT
// Every CPU algorithm, in order of preference at equal cost.
#include "plan/plan.h"
#include "reference/reference.h"

namespace pyconv {

const std::vector<const Algorithm*>& cpu_algorithms() {
    static const std::vector<const Algorithm*> table = {
        &f32_reference, &f64_reference, &bf16_reference, &f16_reference, &i64_reference,
    };
    return table;
}

}  // namespace pyconv
