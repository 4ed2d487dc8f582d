# The few commands that everybody needs. `make help` lists them; each can be given again at any time and does nothing twice.
.DEFAULT_GOAL := build
.PHONY: help setup build demo test test-slow oracle format clean

export PATH := $(PATH):/usr/sbin

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup:  ## install what is missing: Debian packages, LibTorch
	@tools/setup

build: setup  ## build build/ponder
	@tools/build ponder

demo: build  ## train the tiny base model by reinforcement learning alone, about a minute
	@build/ponder train recipes/r1_zero_tiny.toml

test: setup oracle  ## build and run the tests
	@tools/build
	@ctest --preset release

test-slow: setup oracle  ## the tests that take longer (soak, many seeds)
	@tools/build
	@ctest --preset slow

oracle: setup
	@tools/oracle

format:  ## format every source file
	@git ls-files '*.h' '*.cpp' | xargs clang-format -i

clean:  ## remove what was built
	@rm -rf build build-dev build-asan build-tsan
