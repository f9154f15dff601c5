#!/usr/bin/env bash
# Everything a machine with a GPU can say, in one command: build, tests, benchmarks.
#
#     benchmarks/gpu.sh [FOLDER] [SECONDS]
#
# FOLDER   where JSON and text go (default: benchmarks/results)
# SECONDS  for all of it (default: 570); what build and tests leave is divided among the four runs of the bench
#
# Builds in place unless pyconv imports and was built with CUDA. A step that fails does not stop the next one; the exit
# status is 1 in the end. PYTHON names the interpreter (default: python3), which needs torch, pytest, numpy and tqdm.
set -uo pipefail
results=$(mkdir -p "${1:-$(dirname "$0")/results}" && cd "${1:-$(dirname "$0")/results}" && pwd) || exit 1
total=${2:-570}
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
failed=()

# step NAME command...: runs it, says how long it took, and remembers that it failed
step() {
    local name=$1 start=$SECONDS
    shift
    echo "== $name"
    "$@" || failed+=("$name")
    echo "== $name: $((SECONDS - start)) s"
}

built() { "$python" -c 'from pyconv import _C; raise SystemExit(not _C.build_info()["cuda"])' 2>/dev/null; }

facts=$("$python" - <<'EOF'
import re, torch
major, minor = torch.cuda.get_device_capability()
name = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name().lower()).strip("-")
# The "a" of Hopper and Blackwell: instructions that other architectures lack, which some kernels are made of.
print(name, f"{major}.{minor}{'a' if major >= 9 else ''}")
EOF
) || { echo "gpu.sh: torch sees no CUDA device" >&2; exit 1; }
read -r device arch <<<"$facts"

build() {
    local log=$results/gpu-$device-build.txt
    PYCONV_CUDA=1 TORCH_CUDA_ARCH_LIST="${TORCH_CUDA_ARCH_LIST:-$arch}" MAX_JOBS="${MAX_JOBS:-$(nproc)}" \
        "$python" setup.py build_ext --inplace >"$log" 2>&1 && built || { tail -n 30 "$log"; return 1; }
}

tests() {
    local workers=()
    "$python" -c 'import xdist' 2>/dev/null && workers=(-n 6)
    timeout $((total / 3)) "$python" -m pytest -q tests/test_cuda.py "${workers[@]}" 2>&1 |
        tee "$results/gpu-$device-tests.txt" | tail -n 40
}

# bench NAME seconds options...: about 25 of the seconds are for start, peaks and the check of what was begun last
bench() {
    local file seconds=$2
    file=$results/gpu-$device-$1-$(date -u +%F)
    local limit=$((seconds > 50 ? seconds - 25 : 25))
    timeout $((seconds + 60)) "$python" -m pyconv bench --device cuda --limit "$limit" --tuning $((limit / 3)) \
        --json "$file.json" "${@:3}" 2>"$file.err" | tee "$file.txt" | tail -n 45
    local status=$?
    [ $status -eq 0 ] || tail -n 5 "$file.err"
    [ -s "$file.err" ] || rm -f "$file.err"
    return $status
}

built || step build build
step tests tests
runs=("bf16 --dtype bf16" "f32 --dtype f32 --precision ieee" "f32-tf32 --dtype f32 --precision tf32 --no-cold-start"
    "f64 --dtype f64 --no-cold-start")
left=${#runs[@]}
for run in "${runs[@]}"; do
    read -r name options <<<"$run"
    # shellcheck disable=SC2086  # options are words
    step "bench $name" bench "$name" $(((total - SECONDS) / left)) $options
    left=$((left - 1))
done

if [ ${#failed[@]} -gt 0 ]; then
    printf 'gpu.sh: failed: %s\n' "${failed[*]}" >&2
    exit 1
fi
