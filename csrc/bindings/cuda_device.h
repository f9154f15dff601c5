// SPDX-License-Identifier: MIT
// What a Call says of the CUDA device and of torch's settings for it.
#pragma once

#include "layout/call.h"

namespace pyconv::bindings {

// Whether torch lets its own float32 convolutions, forward and backward, round products to tf32 on CUDA:
// cudnn.conv.fp32_precision, or cudnn.allow_tf32 before it.
bool tf32_allowed();

#if defined(PYCONV_CUDA_VERSION)
// Of the current device; nothing of it where there is none.
void set_device_facts(Call* call);
#endif

}  // namespace pyconv::bindings
