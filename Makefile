# `make demo` and `make test` need Python 3.10 or newer with pip and venv, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check format pictures bench clean

demo: $(VENV)/.run
	$(BIN)/voxray demo --out voxray-demo

test: $(VENV)/.dev
	$(BIN)/python -m pytest

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The pictures in the README, made by the code.
pictures: $(VENV)/.run
	$(BIN)/voxray attention src/voxray/assets/clips/zh_happy_speech.wav --kind overlay --dpi 150 --out docs/images
	$(BIN)/voxray attention src/voxray/assets/clips/zh_happy_speech.wav --tags --dpi 120 --out docs/images
	$(BIN)/voxray attention src/voxray/assets/clips/en_noise_burst.wav --kind posteriors --dpi 120 --out docs/images

bench: $(VENV)/.dev
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -e '.[bench]'
	$(BIN)/python benchmarks/run.py

$(VENV)/.run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) voxray-demo build dist
