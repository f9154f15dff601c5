# make demo   everything from nothing: virtual environment, torch, build, then the demo
# make test   the same set-up, then the tests
# make bench  the same set-up, then the benchmark; BENCH="--suite planes --pass forward" passes arguments on
# make clean  removes the environment, the build and what the demo wrote
#
# TORCH     the torch to install, as pip reads it. Left alone, a torch >= 2.11 that is already there is used as it is;
#           given, it is what gets installed: make demo TORCH="torch==2.12.0"
# PYTHON    the interpreter to make the environment from, 3.10 or newer
# MAX_JOBS  compilers to run at once
# PYTEST    more arguments for pytest

PYTHON ?= python3
MAX_JOBS ?= $(shell nproc 2>/dev/null || getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
BENCH ?=
PYTEST ?=

# Whether the reader chose a torch decides if one that is already there will do.
ifeq ($(origin TORCH),undefined)
TORCH := torch==2.13.0
TORCH_CHOSEN := no
else
TORCH_CHOSEN := yes
endif

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
TORCH_WILL_DO := import re, torch; assert tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) >= (2, 11)
SOURCES := setup.py pyproject.toml README.md \
	$(shell find csrc pyconv -type f ! -name '*.pyc' ! -name '*.so' ! -name '*.md' 2>/dev/null)

export MAX_JOBS
# What is exported for other projects must not leak into this environment.
unexport PYTHONPATH PYTHONHOME

.PHONY: demo test bench install clean always
.DELETE_ON_ERROR:

demo: install
	$(BIN)/pyconv demo

# From inside tests/, so that `import pyconv` and `python -m pyconv` find the installed package and not the source
# folder, which has no compiled half.
test: install
	cd tests && ../$(BIN)/python -m pytest . $(PYTEST)

bench: install
	$(BIN)/pyconv bench $(BENCH)

install: $(VENV)/installed

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	  echo "pyconv needs Python 3.10 or newer; $(PYTHON) is `$(PYTHON) --version 2>&1`. Try: make PYTHON=python3.12"; \
	  exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) cannot make virtual environments. On Debian or Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(PYTHON) -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
	  || { echo "Python.h is missing, the build needs it. On Debian or Ubuntu: apt-get install python3-dev"; exit 1; }
	@command -v "$${CXX:-c++}" >/dev/null || { \
	  echo "No C++ compiler ($${CXX:-c++}). On Debian or Ubuntu: apt-get install g++"; exit 1; }
	@echo "Making the virtual environment $(VENV)"
	@# A torch of the system's own is used as it is (a GPU machine has one that fits its driver); without one,
	@# nothing of the system's packages should be seen.
	@$(PYTHON) -m venv --clear --system-site-packages $(VENV)
	@$(BIN)/python -c '$(TORCH_WILL_DO)' 2>/dev/null || $(PYTHON) -m venv --clear $(VENV)

# Written anew only when it says something else, so that a changed choice reinstalls and an unchanged one does not.
$(VENV)/choices: always | $(VENV)/bin/python
	@echo '$(TORCH_CHOSEN) $(TORCH) $(CXX) $(PYCONV_CUDA) $(TORCH_CUDA_ARCH_LIST)' > $@.new
	@if cmp -s $@ $@.new; then rm $@.new; else mv $@.new $@; fi

$(VENV)/torch: $(VENV)/choices
	@if test $(TORCH_CHOSEN) = no && $(BIN)/python -c '$(TORCH_WILL_DO)' 2>/dev/null; then \
	  echo "Using torch `$(BIN)/python -c 'import torch; print(torch.__version__)'`"; \
	else \
	  $(PIP) install "$(TORCH)"; \
	fi
	@$(PIP) install --quiet 'setuptools>=77' wheel ninja
	@touch $@

# build/temp* keeps the objects, so only what changed is compiled; build/lib* would keep deleted modules alive.
$(VENV)/installed: $(VENV)/torch $(SOURCES)
	@rm -rf build/lib*
	@echo "Building pyconv with $(MAX_JOBS) jobs (a few minutes the first time)"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --quiet --no-build-isolation '.[demo,test,bench]'
	@touch $@

clean:
	rm -rf $(VENV) build demo_output *.egg-info

always:
