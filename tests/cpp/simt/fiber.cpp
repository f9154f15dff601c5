// SPDX-License-Identifier: MIT
#include "simt/fiber.h"

#include <cstdint>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(SIMT_USE_UCONTEXT)
// simt_switch(save, load): pushes the registers that a callee must keep, stores the stack pointer to *save, and
// returns on the stack whose pointer is `load`.
extern "C" void simt_switch(void** save, void* load);
asm(R"(
    .text
    .globl simt_switch
    .type simt_switch, @function
simt_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size simt_switch, .-simt_switch
)");
#endif

namespace simt {
namespace {

Fiber* starting = nullptr;  // the fiber whose first resume() is under way

void announce_switch(void** save_fake_stack, const void* stack, std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(save_fake_stack, stack, bytes);
#else
    (void)save_fake_stack, (void)stack, (void)bytes;
#endif
}

void finish_switch(void* fake_stack, const void** old_stack, std::size_t* old_bytes) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake_stack, old_stack, old_bytes);
#else
    (void)fake_stack, (void)old_stack, (void)old_bytes;
#endif
}

}  // namespace

void Fiber::start(Function function, void* argument) {
    if (!ended_ || !stack_) stack_.reset(new char[kStackBytes]);
    function_ = function;
    argument_ = argument;
    ended_ = false;
    fake_stack_ = nullptr;
#if defined(SIMT_USE_UCONTEXT)
    getcontext(&context_);
    context_.uc_stack.ss_sp = stack_.get();
    context_.uc_stack.ss_size = kStackBytes;
    context_.uc_link = nullptr;
    makecontext(&context_, &Fiber::entry, 0);
#else
    // The first switch pops six registers and returns to entry(), which expects what a call leaves: a stack
    // pointer of 8 modulo 16.
    std::uintptr_t top = reinterpret_cast<std::uintptr_t>(stack_.get()) + kStackBytes;
    void** frame = reinterpret_cast<void**>(top & ~std::uintptr_t{15}) - 8;
    std::memset(frame, 0, 8 * sizeof(void*));
    frame[6] = reinterpret_cast<void*>(&Fiber::entry);
    context_ = frame;
#endif
}

void Fiber::entry() { starting->enter(); }

void Fiber::enter() {
    finish_switch(nullptr, &caller_stack_, &caller_stack_bytes_);
    function_(argument_);
    ended_ = true;
    switch_out(true);
}

void Fiber::resume() {
    starting = this;
    announce_switch(&caller_fake_stack_, stack_.get(), kStackBytes);
    switch_in();
    finish_switch(caller_fake_stack_, nullptr, nullptr);
}

void Fiber::yield() {
    switch_out(false);
    finish_switch(fake_stack_, &caller_stack_, &caller_stack_bytes_);
}

void Fiber::switch_in() {
#if defined(SIMT_USE_UCONTEXT)
    swapcontext(&caller_, &context_);
#else
    simt_switch(&caller_, context_);
#endif
}

// `last` tells the sanitizer that this stack's frames are gone for good.
void Fiber::switch_out(bool last) {
    announce_switch(last ? nullptr : &fake_stack_, caller_stack_, caller_stack_bytes_);
#if defined(SIMT_USE_UCONTEXT)
    swapcontext(&context_, &caller_);
#else
    simt_switch(&context_, caller_);
#endif
}

}  // namespace simt
