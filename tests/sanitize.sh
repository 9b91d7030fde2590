#!/bin/sh
# The kernels under AddressSanitizer and UndefinedBehaviorSanitizer, then under ThreadSanitizer.
# Usage: [SANITIZERS=address|thread] tests/sanitize.sh [cases]
set -eu
cases=${1:-500}
source=$(cd "$(dirname "$0")/.." && pwd)
build=${BUILD_DIR:-$source/build/sanitize}

run() {
    name=$1
    flags=$2
    cmake -S "$source" -B "$build/$name" -DRANKCONV_PYTHON=OFF -DRANKCONV_TESTS=ON \
        -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_CXX_FLAGS="$flags -Wall -Wextra" >/dev/null
    cmake --build "$build/$name" --parallel "${JOBS:-1}" >/dev/null
    for isa in v2 v3 v4; do # an instruction set that this processor lacks runs as the next best
        RANKCONV_ISA=$isa "$build/$name/kernels_test" "$cases"
    done
}

export ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
for name in ${SANITIZERS:-address thread}; do
    case $name in
    address) run address "-fsanitize=address,undefined -fno-sanitize-recover=all" ;;
    thread) run thread "-fsanitize=thread" ;;
    *) echo "SANITIZERS=$name is neither address nor thread" >&2 && exit 2 ;;
    esac
done
