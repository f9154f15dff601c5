// SPDX-License-Identifier: MIT
// Checks that count, and say what failed: CHECK(condition, message parts...).
#pragma once

#include <iostream>
#include <sstream>

namespace check {

inline int passed = 0, failed = 0;

template <typename... Parts>
void report(bool ok, const char* file, int line, const Parts&... parts) {
    if (ok) {
        ++passed;
        return;
    }
    ++failed;
    std::ostringstream text;
    (text << ... << parts);
    std::cerr << file << ":" << line << ": " << text.str() << "\n";
}

// The closing line, and main's result.
inline int finish() {
    std::cout << passed << " passed, " << failed << " failed" << std::endl;
    return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition, ...) ::check::report((condition), __FILE__, __LINE__, __VA_ARGS__)
