# `make demo` and `make test` need Python 3.10 or newer with pip and venv, nothing else.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check format pictures app-pictures methods-page docs docs-serve notebooks proof times bench causes confidence whisper train test-training model-card clean

RUN ?= run

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
	$(BIN)/voxray explain src/voxray/assets/clips/en_noise_burst.wav --target word:2 --dpi 120 --out docs/images
	$(BIN)/voxray explain src/voxray/assets/clips/zh_happy_speech.wav --target emotion --kind labels --dpi 120 --out docs/images
	$(BIN)/voxray languages src/voxray/assets/clips/*.wav --dpi 100 --out docs/images
	rm docs/images/languages.csv docs/images/languages-forced.png

# The pictures of the web page, which needs Chromium and Playwright.
app-pictures: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python scripts/app_pictures.py

# The part of the documentation that the methods say themselves.
methods-page: $(VENV)/.run
	$(BIN)/python scripts/methods_page.py

# The documentation site, in site/: open site/index.html. Its gallery is drawn anew where the code has changed.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

docs-serve: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

# The tutorial notebooks, run and written to examples.
notebooks: $(VENV)/.dev
	$(BIN)/python scripts/notebooks.py

# Which explanation can be trusted: the whole benchmark on the bundled model, docs/proof.md, and what maps may be called.
# A run that was stopped goes on. An hour on two cores.
proof: $(VENV)/.dev
	$(BIN)/voxray bench --out $(RUN)/proof --processes 2
	$(BIN)/python scripts/proof_page.py $(RUN)/proof
	$(BIN)/python scripts/methods_page.py

# How far the times of words are off: docs/times.md.
times: $(VENV)/.dev
	$(BIN)/python benchmarks/times.py --write

bench: $(VENV)/.dev
	$(BIN)/pip install --quiet torch==2.13.0
	$(BIN)/pip install --quiet -e '.[bench]'
	PYTHONPATH=training $(BIN)/python benchmarks/run.py
	PYTHONPATH=training $(BIN)/python benchmarks/explain.py
	PYTHONPATH=training $(BIN)/python benchmarks/evaluate.py

# Mistakes with planted causes: how often is the right cause named? Writes docs/causes.md and docs/causes.csv.
causes: $(VENV)/.dev
	PYTHONPATH=training $(BIN)/python benchmarks/causes.py

# What confidences mean: fits the bundled model's calibration and writes docs/confidence.md.
confidence: $(VENV)/.dev
	PYTHONPATH=training $(BIN)/python benchmarks/confidence.py --write

# Real weights of Whisper base as ONNX, held to OpenAI's code; word times against it. In an environment of its own, about 5 GB.
whisper:
	$(PYTHON) -m venv .venv-whisper
	.venv-whisper/bin/python -m pip install --quiet torch==2.13.0
	.venv-whisper/bin/python -m pip install --quiet -e '.[dev,whisper]'
	.venv-whisper/bin/python scripts/whisper_base.py $(RUN)/whisper
	.venv-whisper/bin/python scripts/whisper_reference.py $(RUN)/whisper
	VOXRAY_WHISPER_BASE=$(RUN)/whisper .venv-whisper/bin/python -m pytest tests/acceptance/test_whisper_base.py

# The bundled model, from nothing; see training/README.md. What it writes is not put into src/voxray/assets by itself.
train: $(VENV)/.train
	PYTHONPATH=training $(BIN)/python -m recipe train $(RUN)
	PYTHONPATH=training $(BIN)/python -m recipe export $(RUN) $(RUN)/export
	PYTHONPATH=training $(BIN)/python -m recipe agree $(RUN)/export --out $(RUN)/golden.json
	PYTHONPATH=training $(BIN)/python -m recipe clips $(RUN)/export/funasr/model.onnx \
		$(RUN)/export/funasr/model_quant.onnx --out $(RUN)/clips

test-training: $(VENV)/.train
	$(BIN)/python -m pytest tests/unit/training

# Measures the committed weights; PyTorch is not needed.
model-card: $(VENV)/.dev
	PYTHONPATH=training $(BIN)/python -m recipe evaluate src/voxray/assets/model/model.onnx \
		src/voxray/assets/model/model_quant.onnx --out training/figures.json
	PYTHONPATH=training $(BIN)/python -m recipe card src/voxray/assets/model --figures training/figures.json --log training/log.csv

$(VENV)/.run: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(BIN)/python -m pip install --quiet -e '.[dev]'
	@touch $@

$(VENV)/.train: $(VENV)/.dev
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -e '.[train]'
	@touch $@

clean:
	rm -rf $(VENV) voxray-demo build dist site
