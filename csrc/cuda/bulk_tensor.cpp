// SPDX-License-Identifier: MIT
#include "cuda/bulk_tensor.h"

#include <string>

#if !defined(PYCONV_SIMT)
#include <cuda_runtime.h>
#endif

namespace pyconv::cuda {

namespace {

constexpr std::int64_t kElementBytes = 2, kStrideBytes = 16;
constexpr std::int64_t kLongestStride = (std::int64_t{1} << 40) - 1, kLargestSize = std::int64_t{1} << 32;
constexpr std::int64_t kLargestStep = 8, kLargestTap = 255;
constexpr std::int64_t kLowestCorner = -128, kHighestCorner = 127;

bool may_walk(const BulkSide& side, std::int64_t size) {
    auto fits = [](std::int64_t corner) { return corner >= kLowestCorner && corner <= kHighestCorner; };
    return side.step >= 1 && side.step <= kLargestStep && side.furthest >= 0 && side.furthest <= kLargestTap &&
           fits(lower_corner(side)) && fits(upper_corner(side, size));
}

}  // namespace

bool may_copy_boxes(const BulkTensor& tensor) {
    if (reinterpret_cast<std::uintptr_t>(tensor.data) % kStrideBytes != 0) return false;
    for (int axis = 0; axis < tensor.axes; ++axis) {
        if (tensor.size[axis] < 1 || tensor.size[axis] > kLargestSize) return false;
        if (axis == 0 || tensor.size[axis] == 1) continue;
        const std::int64_t bytes = tensor.stride[axis] * kElementBytes;
        if (bytes <= 0 || bytes > kLongestStride || bytes % kStrideBytes != 0) return false;
    }
    return tensor.size[0] == 1 || tensor.stride[0] == 1;
}

bool may_copy_pixels(const BulkTensor& images, const BulkSide& y, const BulkSide& x) {
    return may_copy_boxes(images) && may_walk(x, images.size[1]) && may_walk(y, images.size[2]);
}

#if !defined(PYCONV_SIMT)

namespace {

// A function of the driver, found without linking to it; null where there is none.
template <typename Function>
Function driver_function(const char* name) {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
#if CUDART_VERSION >= 12050
    const cudaError_t error = cudaGetDriverEntryPointByVersion(name, &function, 12000, cudaEnableDefault, &found);
#else
    const cudaError_t error = cudaGetDriverEntryPoint(name, &function, cudaEnableDefault, &found);
#endif
    if (error != cudaSuccess) (void)cudaGetLastError();
    const bool exists = error == cudaSuccess && found == cudaDriverEntryPointSuccess;
    return exists ? reinterpret_cast<Function>(function) : nullptr;
}

// The driver encodes for the thread's current context. A thread that has launched nothing yet, such as autograd's, may have
// none: naming its device makes it that of the device.
void take_context() {
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess || cudaSetDevice(device) != cudaSuccess) (void)cudaGetLastError();
}

// What both encoders are told of a tensor.
struct Encoded {
    cuuint64_t size[BulkTensor::kMostAxes], stride[BulkTensor::kMostAxes];  // bytes, from the second axis on

    explicit Encoded(const BulkTensor& tensor) {
        for (int axis = 0; axis < BulkTensor::kMostAxes; ++axis) {
            size[axis] = static_cast<cuuint64_t>(tensor.size[axis]);
            if (axis == 0) continue;
            // The stride of a single position means nothing, but has to be one that may be.
            stride[axis - 1] =
                static_cast<cuuint64_t>(tensor.size[axis] > 1 ? tensor.stride[axis] * kElementBytes : kStrideBytes);
        }
    }
};

Status made(CUresult result, const char* what) {
    if (result == CUDA_SUCCESS) return {};
    return Status::failed(std::string("CUDA tensor map of ") + what + ": error " + std::to_string(result));
}

}  // namespace

Status map_boxes(const BulkTensor& tensor, const int (&box)[BulkTensor::kMostAxes], TensorMap* map) {
    static const auto encode = driver_function<decltype(&cuTensorMapEncodeTiled)>("cuTensorMapEncodeTiled");
    if (!encode) return Status::failed("the CUDA driver has no cuTensorMapEncodeTiled");
    take_context();
    const Encoded a(tensor);
    cuuint32_t sizes[BulkTensor::kMostAxes];
    const cuuint32_t steps[BulkTensor::kMostAxes] = {1, 1, 1, 1, 1};
    for (int axis = 0; axis < BulkTensor::kMostAxes; ++axis) sizes[axis] = static_cast<cuuint32_t>(box[axis]);
    return made(encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT16, BulkTensor::kMostAxes, const_cast<void*>(tensor.data),
                       a.size, a.stride, sizes, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                       CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
                "boxes");
}

Status map_pixels(const BulkTensor& images, const BulkSide& y, const BulkSide& x, int pixels, TensorMap* map) {
    static const auto encode = driver_function<decltype(&cuTensorMapEncodeIm2col)>("cuTensorMapEncodeIm2col");
    if (!encode) return Status::failed("the CUDA driver has no cuTensorMapEncodeIm2col");
    take_context();
    const Encoded a(images);
    // Corners are given as the axes are, columns first.
    const int lower[2] = {static_cast<int>(lower_corner(x)), static_cast<int>(lower_corner(y))};
    const int upper[2] = {static_cast<int>(upper_corner(x, images.size[1])),
                          static_cast<int>(upper_corner(y, images.size[2]))};
    const cuuint32_t steps[4] = {1, static_cast<cuuint32_t>(x.step), static_cast<cuuint32_t>(y.step), 1};
    return made(
        encode(map, CU_TENSOR_MAP_DATA_TYPE_UINT16, 4, const_cast<void*>(images.data), a.size, a.stride, lower, upper,
               kBoxElements, static_cast<cuuint32_t>(pixels), steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
               CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE),
        "pixels");
}

int processors() {
    int device = 0, count = 0;
    if (cudaGetDevice(&device) != cudaSuccess ||
        cudaDeviceGetAttribute(&count, cudaDevAttrMultiProcessorCount, device) != cudaSuccess) {
        (void)cudaGetLastError();
        return 1;
    }
    return count;
}

#endif

}  // namespace pyconv::cuda
