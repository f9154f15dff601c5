// SPDX-License-Identifier: MIT
// Which instruction sets this CPU has, and which of them this process may use.
#pragma once

#include <string>
#include <vector>

namespace pyconv {

// In order: each includes the ones before it.
enum class Isa : int { portable, avx2, avx512, avx512bf16 };
constexpr int kIsas = 4;

const char* name_of(Isa isa);
bool parse_isa(const std::string& text, Isa* isa);

Isa detected_isa();                 // the best of this CPU that the operating system saves the registers of
Isa current_isa();                  // the best that may be used: detected_isa() until capped
bool set_isa(Isa isa);              // false, and nothing changed, if this CPU does not have it
std::vector<Isa> available_isas();  // weakest first

// Whether this CPU starts two multiply-adds of 512 bits in a cycle: Intel's servers do, AMD's Zen 4 starts one.
bool starts_two_wide();

}  // namespace pyconv
