# make demo   environment, handbook index, search page on http://127.0.0.1:8501 (PORT= changes it)
# make test   environment, then everything that CI runs: format, lint, types, tests, browser tests
# make test-engines   indexing against real engines: Milvus, Qdrant, Chroma, PostgreSQL, Annoy, a Ray cluster of
#                     three nodes (downloads 270 MB once)
# make mteb   an environment of its own with the mteb package; its tasks against our own figures (ANGLER_DATA)
# make first-hour  a new user's first hour in a real browser, on real files (ANGLER_DATA; minutes)
# make reproduce   every published figure, by its command (ANGLER_DATA)
# make kill-test  kill -9 at 240 random moments of the commands that write an index (minutes)
# make parity other libraries' vectors beside ours, live, and recorded anew for make test
# make peers  the libraries that python -m benchmarks.encode --peers times beside ours
# make fix    format and mend what ruff can mend

PYTHON ?= python3
PORT ?= 8501
VENV := .venv
BIN := $(VENV)/bin
PEERS := .parity
TIMED := .peers
ENGINES := .engines
DEMO := .demo/handbook
FILES := pyproject.toml constraints.txt

.PHONY: demo test first-hour check fix install clean kill-test parity peers mteb reproduce test-engines
.DEFAULT_GOAL := demo

demo: $(VENV)/.ready-app
	@$(BIN)/python -m indexing.build docs/en docs/zh --index $(DEMO)
	@echo
	@echo "  Angler is on http://127.0.0.1:$(PORT)  (Ctrl-C stops it)"
	@echo
	@ANGLER_INDEX=$(DEMO) $(BIN)/python -m streamlit run app/main.py --server.port $(PORT)

test: $(VENV)/.ready-dev
	@scripts/need-browser
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	# One process for each core, and one thread in each.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n logical --dist loadfile

test-engines: $(VENV)/.ready-ray $(ENGINES)/milvus/.ready $(ENGINES)/stores/.ready
	# gRPC's threads, of Milvus, must not look after processes that PostgreSQL's starter forks: they abort them.
	GRPC_ENABLE_FORK_SUPPORT=false $(ENGINES)/stores/bin/python -m pytest -m engines tests/indexing tests/test_benchmark_stores.py

$(ENGINES)/milvus/.ready: scripts/make-milvus-server
	@scripts/make-milvus-server $(PYTHON) $(ENGINES)/milvus
	@touch $@

$(ENGINES)/stores/.ready: scripts/make-store-engines $(FILES) | $(VENV)/.ready-dev
	@scripts/make-store-engines $(VENV) $(ENGINES)/stores
	@touch $@

first-hour: $(VENV)/.ready-dev
	@scripts/need-browser
	$(BIN)/python -m pytest tests/app/first_hour.py

mteb:
	@scripts/make-environment $(PYTHON) .venv-mteb openvino,faiss,mteb
	.venv-mteb/bin/python -m benchmarks.mteb_tasks

reproduce: $(VENV)/.ready-dev
	$(BIN)/python -m benchmarks.reproduce

kill-test: $(VENV)/.ready-dev
	nice -n 10 $(BIN)/python -m benchmarks.kill --rounds 240

fix: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

parity: $(VENV)/.ready-dev $(PEERS)/.ready
	HF_HUB_OFFLINE=1 $(PEERS)/bin/python -m benchmarks.parity record tests/encoder/peers.json
	$(BIN)/python -m benchmarks.parity compare tests/encoder/peers.json
	$(PEERS)/bin/python -m benchmarks.parity_static record tests/encoder/model2vec.json
	$(BIN)/python -m benchmarks.parity_static compare tests/encoder/model2vec.json
	$(PEERS)/bin/python -m benchmarks.parity_losses record tests/finetune/loss_peers.json
	$(BIN)/python -m pytest -q tests/finetune/test_loss_parity.py

$(PEERS)/.ready: scripts/make-peers
	@scripts/make-peers $(PYTHON) $(PEERS)
	@touch $@

peers: $(TIMED)/.ready

$(TIMED)/.ready: scripts/make-timed-peers
	@scripts/make-timed-peers $(PYTHON) $(TIMED)
	@touch $@

install: $(VENV)/.ready-dev

$(VENV)/.ready-app: $(FILES)
	@scripts/make-environment $(PYTHON) $(VENV) app,faiss,openvino
	@touch $@

$(VENV)/.ready-ray: $(VENV)/.ready-dev
	@scripts/make-environment $(PYTHON) $(VENV) ray
	@touch $@

$(VENV)/.ready-dev: $(FILES)
	@scripts/make-environment $(PYTHON) $(VENV) dev
	@touch $@ $(VENV)/.ready-app

clean:
	rm -rf $(VENV) $(ENGINES) $(PEERS) $(TIMED) .demo .mypy_cache .pytest_cache .ruff_cache
