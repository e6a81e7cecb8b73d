# Each target sets up what it needs and is safe to repeat.
#   make demo    trains, calibrates and converts a pair on images of MNIST's digits, into runs/demo
#   make test    all tests
#   make bench   cycles, instructions and code size of the TensorFlow Lite Micro operators, into tflm_ops/bench;
#                with CMSIS_NN_DIR=(a tree of CMSIS-NN) its int8 convolutions beside them
#   make lint    style, types and spelling of the sources
#   make docs    the documentation site, into build/docs, with broken links as errors
#   make sources what C++ has of the Python package: the list of the operators' C++ files, from tflite/operators.py, and
#                the planner's table, from device/plan_costs.json
# PYTHON selects the interpreter (3.10 to 3.13): make test PYTHON=python3.12

PYTHON ?=
TEST_PACKAGES := gcc-arm-none-eabi libnewlib-arm-none-eabi libstdc++-arm-none-eabi-newlib \
	picolibc-arm-none-eabi qemu-system-arm chromium cmake g++ clang lld libclang-rt-dev clang-format make git
CPP_SOURCES = $(shell find tflm_ops -name build -prune -o \( -name '*.cc' -o -name '*.h' \) -print 2>/dev/null)

.PHONY: demo test bench lint docs sources venv packages

demo: venv
	.venv/bin/bcnet demo

test: packages venv
	.venv/bin/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder

bench: packages venv
	CMSIS_NN_DIR=$(CMSIS_NN_DIR) TF_CPP_MIN_LOG_LEVEL=3 .venv/bin/python tflm_ops/bench/bench.py
	TF_CPP_MIN_LOG_LEVEL=3 .venv/bin/python tflm_ops/bench/flags.py

lint: packages venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/codespell $$(git ls-files '*.py' '*.md' '*.cc' '*.h' '*.sh' '*.toml' '*.txt')
	.venv/bin/shellcheck --severity=warning .ci/run scripts/*.sh findings/*.sh
	$(if $(CPP_SOURCES),clang-format --dry-run -Werror $(CPP_SOURCES))

docs: venv
	.venv/bin/python scripts/draw_diagrams.py
	TF_CPP_MIN_LOG_LEVEL=3 .venv/bin/python scripts/make_reference.py
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict

sources: venv
	.venv/bin/python -m bcnet_keras.tflite.operators > tflm_ops/sources.txt
	.venv/bin/python -m bcnet_keras.device.plan_costs > tflm_ops/kernels/bconv2d/plan_costs.h

venv:
	@scripts/make_venv.sh $(PYTHON)

packages:
	@scripts/debian_packages.sh $(TEST_PACKAGES)
