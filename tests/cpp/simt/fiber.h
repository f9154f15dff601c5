// SPDX-License-Identifier: MIT
// A fiber: a stack of its own that runs a function until it hands control back, and goes on from there later.
// The SIMT shim gives one to every thread of a block. On x86-64 the switch is written here, because the C
// library's saves the signal mask (two system calls a switch) and makes AddressSanitizer forget the stack's red
// zones; elsewhere, or with SIMT_USE_UCONTEXT, it is the C library's.
#pragma once

#include <cstddef>
#include <memory>

#if !defined(__x86_64__) && !defined(SIMT_USE_UCONTEXT)
#define SIMT_USE_UCONTEXT 1
#endif

#if defined(SIMT_USE_UCONTEXT)
#include <ucontext.h>
#endif

namespace simt {

class Fiber {
public:
    using Function = void (*)(void* argument);

    Fiber() = default;
    Fiber(const Fiber&) = delete;
    Fiber& operator=(const Fiber&) = delete;

    // Sets the fiber to the start of function(argument). A fiber that was abandoned half way gets a new stack, so
    // that nothing of its old frames is left in the sanitizer's books.
    void start(Function function, void* argument);

    // Runs the fiber until it yields or ends. Called outside any fiber.
    void resume();

    // Hands control back to the resume() that runs this fiber. Called inside the fiber.
    void yield();

    bool ended() const { return ended_; }

private:
    static constexpr std::size_t kStackBytes = 128 * 1024;

    static void entry();
    void enter();
    void switch_in();
    void switch_out(bool last);

    std::unique_ptr<char[]> stack_;
    Function function_ = nullptr;
    void* argument_ = nullptr;
    bool ended_ = true;
#if defined(SIMT_USE_UCONTEXT)
    ucontext_t context_{};
    ucontext_t caller_{};
#else
    void* context_ = nullptr;
    void* caller_ = nullptr;
#endif
    // What AddressSanitizer wants to know about the two stacks at each switch.
    void* fake_stack_ = nullptr;
    void* caller_fake_stack_ = nullptr;
    const void* caller_stack_ = nullptr;
    std::size_t caller_stack_bytes_ = 0;
};

}  // namespace simt
