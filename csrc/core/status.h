// SPDX-License-Identifier: MIT
// How everything below the bindings reports failure: a value, never an exception.
#pragma once

#include <string>
#include <utility>

namespace pyconv {

enum class StatusCode { ok, invalid, unsupported, failed };

struct Status {
    StatusCode code = StatusCode::ok;
    std::string message;  // what, value, rule; empty when ok

    bool ok() const { return code == StatusCode::ok; }

    static Status invalid(std::string text) { return {StatusCode::invalid, std::move(text)}; }
    static Status unsupported(std::string text) { return {StatusCode::unsupported, std::move(text)}; }
    static Status failed(std::string text) { return {StatusCode::failed, std::move(text)}; }
};

}  // namespace pyconv
