# The CUDA kernels without a GPU; included by Makefile.
#
# make simt   builds and runs, with sanitizers, the tests of the kernels compiled as plain C++ by the SIMT shim
# make nvcc   compiles every .cu for sm_80 and sm_90a; fails on a warning, a spill, or a byte of local memory
#
# NVCC        the CUDA compiler; found in CUDA_HOME, /usr/local/cuda or PATH if not given
# NVCC_ARCHES the architectures, e.g. NVCC_ARCHES="90a"

KERNELS := $(sort $(wildcard $(ROOT)/csrc/cuda/*.cu))

ifeq ($(MODE),)

NVCC ?= $(firstword $(wildcard $(CUDA_HOME)/bin/nvcc /usr/local/cuda/bin/nvcc) nvcc)
NVCC_ARCHES ?= 80 90a
NVCC_FLAGS := -std=c++17 -O3 -I$(ROOT)/csrc -Werror all-warnings -Xcompiler -Wall,-Wextra -Xptxas -v \
              $(foreach arch,$(NVCC_ARCHES),-gencode arch=compute_$(arch),code=sm_$(arch))
NVCC_OBJECTS := $(KERNELS:$(ROOT)/csrc/cuda/%.cu=build/nvcc/%.o)

.PHONY: simt nvcc
simt:
	@$(MAKE) --no-print-directory MODE=sanitize ONLY="test_simt test_simt_bulk test_cuda_kernels" run

nvcc: $(NVCC_OBJECTS)
	@echo "nvcc: $(words $(NVCC_OBJECTS)) passed, 0 failed"

# ptxas -v prints a line for every kernel: "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads".
build/nvcc/%.o: $(ROOT)/csrc/cuda/%.cu $(wildcard $(ROOT)/csrc/*/*.h $(ROOT)/csrc/cuda/*.cuh) simt.mk
	@mkdir -p $(@D)
	@echo "  nvcc  $(<:$(ROOT)/%=%)"
	@$(NVCC) $(NVCC_FLAGS) -c -o $@ $< > $@.log 2>&1 || { cat $@.log; rm -f $@; exit 1; }
	@grep -q 'bytes stack frame' $@.log || { cat $@.log; echo "nvcc: no kernel in $<"; rm -f $@; exit 1; }
	@! grep -B 2 -E '(^|[^0-9])[1-9][0-9]* bytes (stack|spill)' $@.log || { echo "nvcc: spills in $<"; rm -f $@; exit 1; }

# ThreadSanitizer cannot follow fibers, and blocks run one after another: there is nothing for it to see.
else ifneq ($(MODE),thread)

SIMT_FLAGS := -DPYCONV_SIMT -Wno-unknown-pragmas -Wno-psabi
SIMT_KERNELS := $(KERNELS:$(ROOT)/csrc/cuda/%.cu=$(BUILD)/simt/%.cu.o) \
                $(patsubst $(ROOT)/csrc/cuda/%.cpp,$(BUILD)/simt/%.o,$(wildcard $(ROOT)/csrc/cuda/*.cpp))
# Only what the kernels and their tests use, so that `make simt` need not compile the CPU's algorithms.
SIMT_HOST := $(filter $(foreach folder,$(BUILD) $(PACKAGE:%=%/csrc),$(addprefix $(folder)/,core/% layout/% \
             reference/% plan/%_cuda.o support.o)),$(OBJECTS))
SIMT_SHIM := $(patsubst %,$(BUILD)/simt/shim/%.o,bulk fiber simt warp warpgroup)
TESTS := $(filter-out test_simt test_simt_bulk,$(TESTS)) test_simt test_simt_bulk test_cuda_kernels

$(BUILD)/test_simt $(BUILD)/test_simt_bulk: $(BUILD)/test_%: $(BUILD)/simt/shim/test_%.o $(SIMT_SHIM) $(BUILD)/simt/bulk_tensor.o
	@$(CXX) $(CXXFLAGS) -o $@ $^

$(BUILD)/test_cuda_kernels: $(BUILD)/simt/shim/test_cuda_kernels.o $(SIMT_SHIM) $(SIMT_KERNELS) $(SIMT_HOST)
	@$(CXX) $(CXXFLAGS) -o $@ $^

$(BUILD)/simt/%.cu.o: $(ROOT)/csrc/cuda/%.cu Makefile simt.mk
	@mkdir -p $(@D)
	@echo "  $(MODE)  $(<:$(ROOT)/%=%)"
	@$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(SIMT_FLAGS) -x c++ -c -o $@ $<

$(BUILD)/simt/%.o: $(ROOT)/csrc/cuda/%.cpp Makefile simt.mk
	@mkdir -p $(@D)
	@echo "  $(MODE)  $(<:$(ROOT)/%=%)"
	@$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(SIMT_FLAGS) -c -o $@ $<

$(BUILD)/simt/shim/%.o: simt/%.cpp Makefile simt.mk
	@mkdir -p $(@D)
	@echo "  $(MODE)  $<"
	@$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(SIMT_FLAGS) -c -o $@ $<

$(BUILD)/simt/shim/%.o: %.cpp Makefile simt.mk
	@mkdir -p $(@D)
	@echo "  $(MODE)  $<"
	@$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(SIMT_FLAGS) -c -o $@ $<

else

TESTS := $(filter-out test_simt test_simt_bulk,$(TESTS))

endif
