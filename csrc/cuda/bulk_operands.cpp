// SPDX-License-Identifier: MIT
#include "cuda/bulk_operands.h"

#include "cuda/limits.h"

namespace pyconv::cuda {

namespace {

constexpr std::int64_t kElementBytes = 2;
constexpr std::int64_t kSteps = 16;           // channels of one product
constexpr std::int64_t kFewestChannels = 32;  // under several taps: fewer leave most of a slice empty

BulkSide side_of(const Axis& axis, std::int64_t before) {
    BulkSide side;
    side.first = axis.offset + before;
    side.last = side.first + (axis.out - 1) * axis.stride;
    side.step = axis.stride;
    side.furthest = (axis.taps - 1) * axis.dilation;
    return side;
}

BulkTensor rows_of_channels(const Correlation& a, const MmaImages& source, const BulkFilters& filters) {
    BulkTensor tensor;
    tensor.data = filters.data;
    tensor.add(source.padded, 1);
    tensor.add(a.taps(), source.padded);
    tensor.add(filters.count, filters.pitch);
    tensor.add(source.groups, filters.group_pitch);
    return tensor;
}

BulkTensor rows_of_pixels(const MmaImages& source, const View& images) {
    BulkTensor tensor;
    tensor.data = images.data;
    tensor.add(source.rows * source.columns, 1);
    tensor.add(source.channels, images.stride[1]);
    tensor.add(source.n, images.stride[0]);
    return tensor;
}

BulkTensor rows_of_images(const MmaImages& source, const View& images) {
    BulkTensor tensor;
    tensor.data = images.data;
    tensor.add(source.groups * source.padded, 1);
    tensor.add(source.columns, images.stride[3]);
    tensor.add(source.rows, images.stride[2]);
    tensor.add(source.n, images.stride[0]);
    return tensor;
}

// Filters side by side, in the weight itself; false if they lie otherwise.
bool turned_filters(const Correlation& a, BulkOperands* result) {
    if (a.filters > 1 && a.weight.stride[0] != 1) return false;
    const std::int64_t down = a.weight.stride[2], across = a.weight.stride[3];
    result->flipped_y = a.y.taps > 1 && down < 0, result->flipped_x = a.x.taps > 1 && across < 0;
    const std::int64_t lowest =
        (result->flipped_y ? (a.y.taps - 1) * down : 0) + (result->flipped_x ? (a.x.taps - 1) * across : 0);
    BulkTensor& tensor = result->turned;
    tensor.data = static_cast<const char*>(a.weight.data) + lowest * kElementBytes;
    tensor.add(a.filters, 1);
    tensor.add(a.x.taps, result->flipped_x ? -across : across);
    tensor.add(a.y.taps, result->flipped_y ? -down : down);
    tensor.add(a.channels, a.weight.stride[1]);
    tensor.add(a.groups, a.weight_group_stride);
    return may_copy_boxes(tensor);
}

}  // namespace

bool bulk_reads_planes(const MmaGroups& groups, const MmaImages& source) {
    if (groups.merged > 1 || (groups.count > 1 && source.group_channels % kBoxElements != 0)) return false;
    return may_copy_boxes(rows_of_pixels(source, source.view));
}

BulkOperands bulk_operands(const MmaGroups& groups, const Correlation& a, const MmaImages& source, const View& images,
                           const BulkFilters& filters) {
    BulkOperands result;
    result.taps_y = a.y.taps, result.taps_x = a.x.taps;
    const std::int64_t channels = source.planes ? source.group_channels : source.padded;
    if (size_of(a.dtype) != kElementBytes || a.folds()) return result;
    if (groups.count > 1 && channels % kBoxElements != 0) return result;
    if (a.taps() > 1 && (channels % kSteps != 0 || channels < kFewestChannels)) return result;
    if (a.taps() == 0) {
        result.exist = true;
        return result;
    }
    BulkTensor& tensor = result.source;
    if (source.planes) {
        tensor = rows_of_pixels(source, images);
        if (!may_copy_boxes(tensor)) return result;
    } else {
        tensor = rows_of_images(source, images);
        result.y = side_of(a.y, source.top), result.x = side_of(a.x, source.left);
        if (!may_copy_pixels(tensor, result.y, result.x)) return result;
    }
    result.filters = rows_of_channels(a, source, filters);
    result.may_turn = !filters.in_place && groups.merged == 1 && turned_filters(a, &result);
    result.exist = true;
    return result;
}

BulkGradOperands bulk_grad_operands(const WeightGradient& a, const MmaImages& output, const MmaImages& input,
                                    const View& gradients, const View& images) {
    BulkGradOperands result;
    if (size_of(a.dtype) != kElementBytes || output.planes || input.planes) return result;
    if (input.groups > 1 && (input.padded % kBoxElements != 0 || output.padded % kBoxElements != 0)) return result;
    if (a.taps() > 1 && input.padded < kFewestChannels) return result;
    result.gradient = rows_of_images(output, gradients), result.input = rows_of_images(input, images);
    result.y = side_of(a.y, input.top), result.x = side_of(a.x, input.left);
    result.gradient_y.last = a.y.out - 1, result.gradient_x.last = a.x.out - 1;
    result.exist = may_copy_pixels(result.gradient, result.gradient_y, result.gradient_x) &&
                   may_copy_pixels(result.input, result.y, result.x);
    return result;
}

}  // namespace pyconv::cuda
