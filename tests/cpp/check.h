// SPDX-License-Identifier: MIT
// Counting checks. A failed one prints where and what and the test goes on; finish() prints the counts and is the exit
// status of main.
#pragma once

#include <cstdio>
#include <sstream>
#include <string>

namespace check {

inline long passed = 0, failed = 0;
constexpr long kShown = 20;  // one broken rule can fail thousands of checks

inline std::string text() { return {}; }

template <class... Parts>
std::string text(const Parts&... parts) {
    std::ostringstream out;
    (out << ... << parts);
    return out.str();
}

// `context` is called only if the check failed.
template <class Context>
bool note(bool ok, const char* file, int line, const std::string& what, const Context& context) {
    ++(ok ? passed : failed);
    if (ok || failed > kShown) return ok;
    const std::string more = context();
    std::fprintf(stderr, "%s:%d: %s%s%s\n", file, line, what.c_str(), more.empty() ? "" : "  # ", more.c_str());
    if (failed == kShown) std::fprintf(stderr, "further failures are counted only\n");
    return ok;
}

template <class A, class B, class Context>
bool equal(const A& a, const B& b, const char* file, int line, const char* names, const Context& context) {
    if (a == b) return note(true, file, line, {}, context);
    return note(false, file, line, text(names, ": ", a, " != ", b), context);
}

inline int finish(const char* name) {
    std::printf("%s: %ld passed, %ld failed\n", name, passed, failed);
    return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace check

// CHECK(condition, parts of a message...); CHECK_EQ(a, b, parts of a message...). Both are true if the check passed.
#define CHECK(condition, ...) \
    check::note(static_cast<bool>(condition), __FILE__, __LINE__, #condition, [&] { return check::text(__VA_ARGS__); })
#define CHECK_EQ(a, b, ...) \
    check::equal(a, b, __FILE__, __LINE__, #a " == " #b, [&] { return check::text(__VA_ARGS__); })
