# The few commands that everybody needs. `make help` lists them; each can be given again at any time and does nothing twice.
.DEFAULT_GOAL := build
.PHONY: help setup build demo test test-slow test-gpu oracle format lint clean

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
	@tools/run-tests release

test-slow: oracle  ## the tests that take longer (the demo with three seeds, tokenizers, soak, torchrun and Slurm, Parquet, llama.cpp's server)
	@tools/setup slow
	@tools/llama-server
	@tools/parquet
	@tools/build
	@tools/run-tests slow

test-gpu: setup  ## on a machine with an NVIDIA GPU: build the CUDA plugin and run its tests (docs/GPU.md)
	@cmake --preset cuda
	@cmake --build --preset cuda --target ponder_cuda gpu_test
	@build-cuda/tests/gpu/gpu_test

oracle: setup
	@tools/oracle

format:  ## format every source file
	@git ls-files '*.h' '*.cpp' | xargs clang-format -i

lint:  ## clang-tidy over every file that includes no LibTorch header
	@tools/lint

clean:  ## remove what was built
	@rm -rf build build-dev build-asan build-tsan build-cuda
