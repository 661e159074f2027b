# Every target says beside its name what it does; `make` prints that list. Releases of tools are pinned here and nowhere else.
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
CONCURRENT    := ./comm/... ./launcher/... ./fsdp/... ./train/...
VENV          := .venv-peers
VENDOR        := .cuda
FUZZTIME      := 10m
# Go's minimizer tries to leave out every stretch of an input, of which a Parquet file of 6,000 bytes has 16 million, for a minute an input.
FUZZ           = go test -run '^$$' -fuzztime $(FUZZTIME) -fuzzminimizetime 100x -fuzz

.PHONY: help train loss recipes test race heavy test-torch test-tokenizers test-hf fuzz digests kills mutate bench bench-peers lint verify generate sz chaos abi images images-check sim-test sim-layouts gpu-bundle gpu-check gpu-sim mutate-gpu

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

train: ## two ranks train the debug model in float8, as the README does
	go run ./cmd/octet run --nproc-per-node 2 train --config configs/debugmodel.toml

loss: ## the picture in the README: the debug model in float8 and in float32, 300 steps each
	go build -o bin/ ./cmd/octet
	bin/octet run --nproc-per-node 2 train --config configs/debugmodel.toml --job.dump_folder=outputs/float8
	bin/octet run --nproc-per-node 2 train --config configs/debugmodel_f32.toml --job.dump_folder=outputs/f32
	bin/octet plot --out docs/loss.svg --title "Llama, 6.2 million parameters, on Go's source code, two ranks" \
		float32=outputs/f32/metrics.jsonl float8=outputs/float8/metrics.jsonl

recipes: ## the table and the picture in docs/float8.md: the debug model in every float8 recipe, 3 seeds, 500 steps each (a quarter of an hour)
	mkdir -p out
	go run ./cmd/octet bench recipes --threads 2 --batch 2 --seq_len 128 -o out/recipes.csv --plot docs/recipes.svg

test: ## every test
	go test ./...

race: ## the concurrent packages under the race detector, but for tests that are arithmetic and take minutes there
	go test -race -skip 'TestGoldenRuns|TestTheREADMEsRun' $(CONCURRENT)
	go test -race -skip 'TestConformance|TestAMXHasTheBits|TestFloat8TNHas|TestMatMulScales|TestMatMulIsWithin' ./device/cpu

heavy: ## every test, those included that take minutes: two hours on two cores
	OCTET_HEAVY=1 go test -timeout 120m ./...

digests: ## the README's two runs, 300 steps each, against the bits of before (ten minutes and more; OCTET_CPU_ISA chooses the kernels)
	OCTET_HEAVY=1 go test -timeout 60m -count 1 -run '^TestTheREADMEsRunKeepsItsBits$$' -v ./train

kills: ## jobs that are killed, stopped and signaled at random moments, a few hundred, and one of 256 ranks
	OCTET_HEAVY=1 go test -timeout 20m -count 1 -v -run 'Kill|Pause|SIGTERMWhile|ManyRanks' ./cmd/octet

chaos: ## training that is killed and signaled at random moments, in saves too, two hundred times: it comes to the same bits
	OCTET_HEAVY=1 go test -timeout 60m -count 1 -v -run 'TestKilledTrainingGoesOn|TestASignalSaves' ./cmd/octet

test-torch: $(VENV)/installed ## beside the real PyTorch: its programs under octet run, its clients in octet's store
	OCTET_TORCH_PYTHON=$(CURDIR)/$(VENV)/bin/python go test -count 1 -v ./test/torch

test-hf: $(VENV)/installed-hf ## beside the real transformers and TensorBoard: each reads what octet writes, and octet what they do
	OCTET_HF_PYTHON=$(CURDIR)/$(VENV)/bin/python go test -count 1 -v ./test/hf ./metrics/tensorboard

test-tokenizers: $(VENV)/tokenizers ## octet's tokenizer beside the Rust library: ids and texts of all of GOROOT and of 10,000 random strings, and speed
	OCTET_TOKENIZERS_PYTHON=$(CURDIR)/$(VENV)/bin/python go test -count 1 -timeout 60m -v ./test/tokenizers

abi: $(VENDOR)/installed ## what octet says of NVIDIA's libraries, beside their headers and themselves (620 MB of wheels; no GPU)
	OCTET_CUDA_WHEELS=$(CURDIR)/$(VENDOR) go test -count 1 -v -run ABI ./device/cuda/api

NVRTC := $(CURDIR)/$(VENDOR)/compiler/nvidia/cu13/lib/libnvrtc.so.13

images: $(VENDOR)/nvrtc ## compile the GPU's kernels anew (a wheel of 90 MB; no GPU)
	cd device/cuda/kernels && OCTET_NVRTC_LIB=$(NVRTC) go run ./gen

images-check: $(VENDOR)/nvrtc ## compile them, and want the bytes that are checked in
	OCTET_NVRTC_LIB=$(NVRTC) go test -count 1 -v -run Reproduced ./device/cuda/kernels/gen

sim-test: ## the trainer on 1, 2 and 4 simulated GPUs in every recipe, in 32 orders of everything, and on up to 6 that share layers (g++)
	OCTET_HEAVY=1 go test -count 1 -timeout 20m -v -run Simulated ./test/multigpu
	OCTET_TEST_DEVICE=sim go test -count 1 -timeout 10m -v -run '^(TestTPSP|TestTPWithoutSP|Test2D)$$' ./test/multigpu

sim-layouts: ## every layout on up to 8 simulated GPUs has the losses of one (a minute and a half)
	OCTET_TEST_DEVICE=sim go test -count 1 -timeout 10m -v -run '^TestEveryLayout$$' ./test/multigpu

gpu-bundle: ## what a GPU host needs that has neither Go nor a network: out/gpucheck.tar.gz, below 64 MiB
	go run ./test/gpucheck bundle -o out/gpucheck.tar.gz

gpu-check: gpu-bundle ## prove octet on this host's GPU, in under ten minutes; the record is out/gpucheck-out
	rm -rf out/gpucheck && tar xzf out/gpucheck.tar.gz -C out
	out/gpucheck/check.sh --out out/gpucheck-out

gpu-sim: ## the same bundle on a simulated GPU, without Go: that its checks run (a quarter of an hour)
	OCTET_HEAVY=1 go test -count 1 -timeout 60m -v -run TestTheBundleRuns ./test/gpucheck

fuzz: ## whatever strangers can send, and files, and casts beside the formats' definitions, each target for FUZZTIME (10m, or 1000x for a thousand inputs)
	$(FUZZ) '^FuzzAccept$$' ./internal/auth
	$(FUZZ) '^FuzzProve$$' ./internal/auth
	$(FUZZ) '^FuzzServer$$' ./comm/store
	$(FUZZ) '^FuzzMessages$$' ./launcher/agent
	$(FUZZ) '^FuzzGang$$' ./launcher/gang
	$(FUZZ) '^FuzzConfig$$' ./models/llama/hf
	$(FUZZ) '^FuzzParse$$' ./tokenizer
	$(FUZZ) '^FuzzLines$$' ./data/documents
	$(FUZZ) '^FuzzParquet$$' ./data/documents
	$(FUZZ) '^FuzzIndex$$' ./data
	$(FUZZ) '^FuzzCast$$' ./device/cpu
	$(FUZZ) '^FuzzCastLayouts$$' ./device/cpu
	$(FUZZ) '^FuzzScaledCast$$' ./device/cpu

mutate: ## plant sixty bugs in the configuration and its wiring (SEED=1 says which) and name those that no test notices: half an hour
	go run ./test/mutate --seed $(or $(SEED),1) -v

mutate-gpu: ## plant a hundred bugs in code for GPUs (SEED=1 says which) and name those that no test on simulated ones notices: an hour or two; RECORD=FILE goes on with a run
	go run ./test/mutate --of gpu --seed $(or $(SEED),1) -n 100 --record "$(RECORD)" --timeout 8m -v

bench: ## speed of kernels, collectives and the training step
	go test -run '^$$' -bench . -benchtime 200ms ./...

bench-peers: $(VENV)/installed ## octet against PyTorch, in turns: the tables of docs/performance.md (a quarter of an hour; less with ARGS=--quick)
	go build -o bin/ ./cmd/octet ./examples/allreduce ./bench/peers/kernels ./bench/peers/collectives
	$(VENV)/bin/python bench/peers/peers.py $(ARGS)

$(VENV)/installed: bench/peers/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $<
	touch $@

$(VENV)/installed-hf: $(VENV)/installed test/hf/requirements.txt
	$(VENV)/bin/pip install --quiet --requirement test/hf/requirements.txt
	touch $@

$(VENDOR)/installed: device/cuda/requirements.txt
	python3 -m pip install --quiet --no-deps --target $(VENDOR) --upgrade --requirement $<
	touch $@

$(VENDOR)/nvrtc: device/cuda/kernels/requirements.txt
	python3 -m pip install --quiet --target $(VENDOR)/compiler --upgrade --no-deps --requirement $<
	touch $@

$(VENV)/tokenizers: test/tokenizers/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $<
	touch $@

lint: ## golangci-lint, built from source (a minute or two the first time)
	go run $(GOLANGCI_LINT) run ./...

verify: ## what CI checks beside tests: gofmt, go.mod, vet
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -d $$(git ls-files '*.go'); exit 1; }
	go mod tidy -diff
	go vet ./...
	CGO_ENABLED=0 go vet ./...

generate: ## rewrite generated files
	go generate ./...

sz: ## lines of hand-written source per package, tests apart
	@git ls-files '*.go' '*.c' '*.h' '*.cc' '*.cu' '*.py' | grep -vE '_test\.go$$|\.pb\.go$$|testdata/' | xargs awk '\
		FNR == 1 { dir = FILENAME; if (!sub("/[^/]*$$", "", dir)) dir = "." } \
		{ lines[dir]++; all++ } \
		END { for (d in lines) printf "%6d %s\n", lines[d], d; printf "%6d together\n", all }' | sort -n
