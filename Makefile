# A thin front of CMakeLists.txt; `make help` lists the targets.
BUILD ?= build
# As many jobs as cores, but no more than memory holds at about 700 MB each.
MEMORY_LIMITS := /proc/meminfo /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes
JOBS ?= $(shell cat $(MEMORY_LIMITS) 2>/dev/null | awk -v n="$$(nproc)" ' \
    /^MemTotal/ { kb = $$2 } /^[0-9]+$$/ && $$1 / 1024 < kb { kb = $$1 / 1024 } \
    END { fit = int(kb / 700000); print fit < 1 ? 1 : fit < n ? fit : n }')

CMAKE_FLAGS ?=
MAKEFLAGS += --no-print-directory

FLOORS := kernels ggq models examples tests bench
SOURCES = $(shell find $(FLOORS) -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')
CONFIGURE = cmake -S . -B $(BUILD) $(CMAKE_FLAGS)
COMPILE = cmake --build $(BUILD) -j $(JOBS)
# Kernels use all cores themselves, so the tests run one after the other. What they skipped is said at the end.
CTEST = run() { ctest --test-dir $(BUILD) --output-on-failure "$$@"; status=$$?; \
    sh tests/list_skipped.sh $(BUILD); return $$status; }; run

.PHONY: help build built-tests built-programs test test-all test-gpu sanitize-gpu mutants check-archs demo base bench built-benches bench-json format format-check tidy floors check loc sanitize fuzz clean

build: ## the library and the programs, in build/bin
	$(CONFIGURE)
	$(COMPILE)

built-tests:
	.ci/packages test
	$(CONFIGURE) -DGGQ_TESTS=ON
	$(COMPILE)

built-programs:
	.ci/packages demo
	$(CONFIGURE)
	$(COMPILE) --target programs

test: built-tests ## install what is missing, build, run the quick tests
	@$(CTEST) -L quick

test-all: built-tests ## the quick and the slow tests
	@$(CTEST)

test-gpu: built-tests ## the tests that run on a GPU; without one they say so and count what they skipped
	@$(CTEST) -L gpu

sanitize-gpu: built-tests ## the op cases on a GPU under compute-sanitizer's memcheck, racecheck and synccheck; racecheck takes long
	set -e; for tool in memcheck racecheck synccheck; do \
	    compute-sanitizer --tool $$tool --error-exitcode 9 $(BUILD)/bin/ggq-tests --test-case='gpu: every op*'; done

mutants: ## are the tests awake: each fault of tests/mutants must turn its test red; builds a copy, takes long
	JOBS=$(JOBS) sh tests/mutants/run.sh $(BUILD)

check-archs: ## compile the CUDA code for every architecture (CUDA 12.8 or later)
	cmake -S . -B $(BUILD)-archs -DGGQ_CUDA=ON -DGGQ_CUDA_ARCH=all $(CMAKE_FLAGS)
	cmake --build $(BUILD)-archs -j $(JOBS) --target ggq_kernels_cuda

demo: built-programs ## install what is missing, build, fine-tune a small Llama and show what it learned
	sh examples/demo/run.sh

base: built-programs ## make the base model of the demo again
	sh examples/demo/make_base.sh

built-benches:
	.ci/packages bench
	$(CONFIGURE) -DGGQ_BENCH=ON
	$(COMPILE) --target benches

bench: built-benches ## the benchmarks of the kernels, a table a family; BENCH_FLAGS as --device cpu --benchmark_filter=nf4
	set -e; for bench in $(BUILD)/bin/bench_*; do $$bench $(BENCH_FLAGS); done

bench-json: built-benches ## the same, three times, into bench/results/<card>.json; build/bin/results compares two of them
	sh bench/results.sh $(BUILD) $(BENCH_FLAGS)

format: ## lay out all sources
	clang-format -i $(SOURCES)

format-check:
	clang-format --dry-run -Werror $(SOURCES)

tidy:
	cmake -S . -B $(BUILD)-tidy -DGGQ_ISAS=portable
	sed -n 's/.*"file": "\(.*\.cpp\)".*/\1/p' $(BUILD)-tidy/compile_commands.json | sort -u | \
	    xargs -P $(JOBS) -n 1 clang-tidy -p $(BUILD)-tidy --quiet

floors:
	sh tests/check_floors.sh

check: format-check tidy floors ## layout, clang-tidy, and that no include points upward

loc: ## lines of code in each folder
	@for floor in $(FLOORS); do \
	    find $$floor -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' | xargs -r cat | wc -l | \
	    awk -v floor=$$floor '{ printf "%-10s %6d\n", floor, $$1 }'; \
	done | awk '{ print; sum += $$2 } END { printf "%-10s %6d\n", "all", sum }'

sanitize: ## all tests under AddressSanitizer and UndefinedBehaviorSanitizer
	$(MAKE) test-all BUILD=$(BUILD)-sanitize CMAKE_FLAGS="$(CMAKE_FLAGS) -DGGQ_SANITIZE=ON -DGGQ_CUDA=OFF"

fuzz: ## every reader of files under libFuzzer, FUZZ_SECONDS (5) each
	.ci/packages fuzz
	cmake -S . -B $(BUILD)-fuzz -DCMAKE_CXX_COMPILER=clang++ -DGGQ_FUZZ=ON -DGGQ_ISAS=portable -DGGQ_CUDA=OFF $(CMAKE_FLAGS)
	cmake --build $(BUILD)-fuzz -j $(JOBS) --target fuzzers
	sh tests/fuzz/run.sh $(BUILD)-fuzz

clean:
	rm -rf $(BUILD) $(BUILD)-fuzz $(BUILD)-tidy $(BUILD)-sanitize $(BUILD)-archs $(BUILD)-mutants

help:
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile
