// SPDX-License-Identifier: MIT
// The functions that a forward pass may apply to its outputs.
#pragma once

#include <cstdint>
#include <string_view>

namespace pyconv {

// relu(y) = max(y, 0), silu(y) = y / (1 + exp(-y)), gelu(y) = y * (1 + erf(y / sqrt(2))) / 2; as torch's.
enum class Activation : uint8_t { none, relu, silu, gelu };

// "" is none.
inline bool parse_activation(std::string_view text, Activation* activation) {
    constexpr std::string_view kNames[] = {"", "relu", "silu", "gelu"};
    for (int i = 0; i < 4; ++i) {
        if (text != kNames[i]) continue;
        *activation = static_cast<Activation>(i);
        return true;
    }
    return false;
}

}  // namespace pyconv
