// SPDX-License-Identifier: MIT
#include "core/problem.h"

#include <sstream>
#include <tuple>

namespace pyconv {

namespace {

constexpr const char* kPassNames[] = {"forward", "grad_input", "grad_weight"};
constexpr const char* kModeNames[] = {"zeros", "reflect", "replicate", "circular"};

// No size, stride or extent may pass this: sums and products of two stay inside int64.
constexpr int64_t kLargest = int64_t{1} << 40;

std::string pair_text(int64_t a, int64_t b) { return std::to_string(a) + " x " + std::to_string(b); }

Status check_sizes(const Problem& a) {
    if (a.n < 0 || a.c < 0 || a.h < 0 || a.w < 0 || a.k < 0)
        return Status::invalid("conv2d: sizes must not be negative, got input (" + std::to_string(a.n) + ", " +
                               std::to_string(a.c) + ", " + std::to_string(a.h) + ", " + std::to_string(a.w) +
                               ") and " + std::to_string(a.k) + " filters");
    if (a.r < 1 || a.s < 1)
        return Status::invalid("conv2d: kernel size must be at least 1 x 1, got " + pair_text(a.r, a.s));
    for (int64_t value : {a.n, a.c, a.h, a.w, a.k, a.r, a.s, a.stride_h, a.stride_w, a.pad_top, a.pad_bottom,
                          a.pad_left, a.pad_right, a.dilation_h, a.dilation_w})
        if (value > kLargest)
            return Status::invalid("conv2d: " + std::to_string(value) + " is too large; no size may pass 2^40");
    return {};
}

Status check_parameters(const Problem& a) {
    if (a.groups <= 0)
        return Status::invalid("non-positive groups is not supported, got groups = " + std::to_string(a.groups));
    if (a.stride_h <= 0 || a.stride_w <= 0)
        return Status::invalid("non-positive stride is not supported, got " + pair_text(a.stride_h, a.stride_w));
    if (a.pad_top < 0 || a.pad_bottom < 0 || a.pad_left < 0 || a.pad_right < 0)
        return Status::invalid("negative padding is not supported, got (top, bottom, left, right) = (" +
                               std::to_string(a.pad_top) + ", " + std::to_string(a.pad_bottom) + ", " +
                               std::to_string(a.pad_left) + ", " + std::to_string(a.pad_right) + ")");
    if (a.dilation_h <= 0 || a.dilation_w <= 0)
        return Status::invalid("dilation should be greater than zero, got " + pair_text(a.dilation_h, a.dilation_w));
    if (a.c % a.groups != 0)
        return Status::invalid("conv2d: input channels must be divisible by groups, got " + std::to_string(a.c) +
                               " channels and groups = " + std::to_string(a.groups));
    if (a.k % a.groups != 0)
        return Status::invalid("conv2d: output channels must be divisible by groups, got " + std::to_string(a.k) +
                               " filters and groups = " + std::to_string(a.groups));
    return {};
}

Status check_extents(const Problem& a) {
    const int64_t padded_h = a.h + a.pad_top + a.pad_bottom, padded_w = a.w + a.pad_left + a.pad_right;
    // Division keeps dilation * (r - 1) from overflowing before it can be compared.
    const bool tall = a.r > 1 && (a.r - 1) > (kLargest / a.dilation_h);
    const bool wide = a.s > 1 && (a.s - 1) > (kLargest / a.dilation_w);
    if (tall || wide || a.dilation_h * (a.r - 1) + 1 > padded_h || a.dilation_w * (a.s - 1) + 1 > padded_w) {
        const std::string kernel = tall || wide
                                       ? pair_text(a.r, a.s) + " at dilation " + pair_text(a.dilation_h, a.dilation_w)
                                       : pair_text(a.dilation_h * (a.r - 1) + 1, a.dilation_w * (a.s - 1) + 1);
        return Status::invalid("Calculated padded input size per channel: (" + pair_text(padded_h, padded_w) +
                               "). Kernel size: (" + kernel + "). Kernel size can't be greater than actual input size");
    }
    return {};
}

Status check_padding_mode(const Problem& a) {
    auto check = [&](const char* axis, int64_t size, int64_t before, int64_t after) -> Status {
        const int64_t largest = before > after ? before : after;
        if (largest == 0) return {};
        const std::string got = std::string("; got padding (") + std::to_string(before) + ", " + std::to_string(after) +
                                ") for " + axis + " " + std::to_string(size);
        if (a.padding_mode == PaddingMode::reflect && largest >= size)
            return Status::invalid(
                "conv2d: Padding size should be less than the corresponding input dimension in reflect mode" + got);
        if (a.padding_mode == PaddingMode::circular && largest > size)
            return Status::invalid("conv2d: Padding value causes wrapping around more than once in circular mode" +
                                   got);
        if (a.padding_mode == PaddingMode::replicate && size == 0)
            return Status::invalid("conv2d: replicate padding needs a non-empty input dimension" + got);
        return {};
    };
    if (a.padding_mode == PaddingMode::zeros) return {};
    Status status = check("height", a.h, a.pad_top, a.pad_bottom);
    if (!status.ok()) return status;
    return check("width", a.w, a.pad_left, a.pad_right);
}

}  // namespace

const char* name_of(Pass pass) { return kPassNames[static_cast<int>(pass)]; }
const char* name_of(PaddingMode mode) { return kModeNames[static_cast<int>(mode)]; }

bool parse_pass(const std::string& text, Pass* pass) {
    for (int i = 0; i < 3; ++i)
        if (text == kPassNames[i]) return *pass = static_cast<Pass>(i), true;
    return false;
}

bool parse_padding_mode(const std::string& text, PaddingMode* mode) {
    for (int i = 0; i < 4; ++i)
        if (text == kModeNames[i]) return *mode = static_cast<PaddingMode>(i), true;
    return false;
}

double Problem::flops() const {
    double count = 2;  // the product of the sizes need not fit in an int64
    for (int64_t size : {n, k, p(), q(), channels_per_group(), r, s}) count *= static_cast<double>(size);
    return count;
}

Status Problem::validate() const {
    Status status = check_sizes(*this);
    if (status.ok()) status = check_parameters(*this);
    if (status.ok()) status = check_extents(*this);
    if (status.ok()) status = check_padding_mode(*this);
    return status;
}

std::string Problem::to_string() const {
    std::ostringstream text;
    auto pair = [&](const char* key, int64_t a, int64_t b) {
        text << '_' << key << a;
        if (a != b) text << 'x' << b;
    };
    text << 'n' << n << "_c" << c << "_k" << k << "_i" << h << 'x' << w << "_f" << r << 'x' << s;
    pair("s", stride_h, stride_w);
    if (pad_top == pad_bottom && pad_left == pad_right)
        pair("p", pad_top, pad_left);
    else
        text << "_p" << pad_top << 'x' << pad_bottom << 'x' << pad_left << 'x' << pad_right;
    pair("d", dilation_h, dilation_w);
    text << "_g" << groups;
    if (padding_mode != PaddingMode::zeros) text << '_' << name_of(padding_mode);
    if (dtype != DType::f32) text << '_' << short_name(dtype);
    return text.str();
}

namespace {

// "3" or "3x5" or "1x2x0x1" into values; returns how many, 0 if the text is anything else.
int parse_numbers(const std::string& text, int64_t values[4]) {
    int count = 0;
    size_t at = 0;
    while (count < 4) {
        size_t digits = 0;
        int64_t value = 0;
        while (at < text.size() && text[at] >= '0' && text[at] <= '9' && digits < 18) {
            value = value * 10 + (text[at] - '0');
            ++at, ++digits;
        }
        if (digits == 0 || digits == 18) return 0;
        values[count++] = value;
        if (at == text.size()) return count;
        if (text[at++] != 'x') return 0;
    }
    return 0;
}

// What a word sets, 'm' for the padding mode, 't' for the type; 0 if the token is not one of the words.
char parse_word(const std::string& token, Problem* problem) {
    PaddingMode mode;
    if (parse_padding_mode(token, &mode)) return problem->padding_mode = mode, 'm';
    for (DType dtype : {DType::f32, DType::f64, DType::bf16, DType::f16, DType::i64})
        if (token == short_name(dtype)) return problem->dtype = dtype, 't';
    return 0;
}

bool assign(char key, const int64_t* v, int count, Problem* a) {
    const int64_t second = count == 2 ? v[1] : v[0];
    const bool one = count == 1, pair = count == 1 || count == 2;
    switch (key) {
        case 'n': return a->n = v[0], one;
        case 'c': return a->c = v[0], one;
        case 'k': return a->k = v[0], one;
        case 'g': return a->groups = v[0], one;
        case 'i': return a->h = v[0], a->w = second, pair;
        case 'f': return a->r = v[0], a->s = second, pair;
        case 's': return a->stride_h = v[0], a->stride_w = second, pair;
        case 'd': return a->dilation_h = v[0], a->dilation_w = second, pair;
        case 'p':
            if (count == 4) {
                a->pad_top = v[0], a->pad_bottom = v[1], a->pad_left = v[2], a->pad_right = v[3];
                return true;
            }
            a->pad_top = a->pad_bottom = v[0], a->pad_left = a->pad_right = second;
            return pair;
        default: return false;
    }
}

}  // namespace

Status Problem::parse(const std::string& text, Problem* problem) {
    Problem result;
    std::string seen;
    for (size_t begin = 0, end = 0; end != std::string::npos; begin = end + 1) {
        end = text.find('_', begin);
        const std::string token = text.substr(begin, end == std::string::npos ? end : end - begin);
        int64_t values[4];
        // f16, f32, f64 and i64 are sizes until the kernel's and the image's are known, and types after that.
        const int count = token.size() < 2 ? 0 : parse_numbers(token.substr(1), values);
        const bool first_of_its_kind = seen.find(token[0]) == std::string::npos;
        char key = count && !first_of_its_kind ? parse_word(token, &result) : 0;
        if (!key && count && assign(token[0], values, count, &result)) key = token[0];
        if (!key && !count) key = parse_word(token, &result);
        if (!key)
            return Status::invalid("problem string '" + text + "': cannot read '" + token +
                                   "'; the form is n8_c64_k128_i56x56_f3x3_s1_p1_d1_g1[_reflect][_f64]");
        if (seen.find(key) != std::string::npos)
            return Status::invalid("problem string '" + text + "': '" + token + "' comes after another of its kind");
        seen += key;
    }
    for (char needed : {'c', 'k', 'i', 'f'})
        if (seen.find(needed) == std::string::npos)
            return Status::invalid("problem string '" + text + "': '" + needed + "' is missing");
    *problem = result;
    return {};
}

bool Problem::operator==(const Problem& b) const {
    auto all = [](const Problem& a) {
        return std::make_tuple(a.n, a.c, a.h, a.w, a.k, a.r, a.s, a.stride_h, a.stride_w, a.pad_top, a.pad_bottom,
                               a.pad_left, a.pad_right, a.dilation_h, a.dilation_w, a.groups, a.padding_mode, a.dtype);
    };
    return all(*this) == all(b);
}

}  // namespace pyconv
