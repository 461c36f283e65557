# Builds, tests and shows the module. `make help` lists the targets.

# Which nginx: debian (the packaged one), source (a newer one), asan or newest
# (that of Debian's unstable suite).
NGINX ?= debian
# nginx takes a variable of that name for a list of sockets that it inherits.
unexport NGINX
# Test files for the suite targets.
TESTS ?=

export CARGO_TARGET_DIR ?= $(CURDIR)/build/target

DEBIAN_ENV := NGINX_SOURCE_DIR=/usr/share/nginx/src NGINX_BUILD_DIR=$(CURDIR)/build/debian/objs

ifeq ($(NGINX),debian)
TEST_TARGETS := lint-code doc unit check-so demo-check suite
else
TEST_TARGETS := suite
endif

MISSING := $(addprefix missing-,build demo test lua supply-chain source valgrind asan newest bench deb musl arm64 fuzz)
MODULES := $(addprefix module-,debian source asan newest)
NGINXES := $(addprefix nginx-,debian source asan newest)
BUILT := $(addprefix built-,debian source asan newest)

.DEFAULT_GOAL := help
# cargo and the suite use all cores by themselves.
.NOTPARALLEL:
.PHONY: help module standin demo demo-check test suite test-release test-network test-lua test-valgrind test-asan \
	stress torture fuzz fuzz-quick fuzz-corpus miri loom conformance \
	bench bench-instructions bench-outage bench-revocation bench-connections bench-tenants bench-tools \
	unit lint lint-code supply-chain minimum-rust fmt doc check-so install module-for dist musl-check arm64-check reproducible \
	lint-workflows deb deb-check clean $(MISSING) $(MODULES) $(NGINXES) $(BUILT)

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  NGINX=debian|source|asan|newest"
	@echo "                             the nginx to build and test against (debian)"
	@echo "  NGINX_TREE=DIR             nginx's source for source, asan (a crate's) and module-for"
	@echo "  CONFIGURE='--add-module=…' more arguments for the configure of source and asan"
	@echo "  TESTS='t/a.t t/b.t'        only these files, for suite and test-…"
	@echo "  RELEASE=bookworm|trixie    the Debian of deb, deb-check and test-release"
	@echo "  MINUTES=3 SEED=n           how long to stress or torture (5), and which random choices"
	@echo "  SLOW=3                     time limits of stress and torture, on a busy machine"
	@echo "  MINUTES=1 or ALL_MINUTES=n how long to fuzz: each target, or all of them together"
	@echo "  TARGETS='token cookies'    only these fuzz targets"
	@echo "  SANITIZER=address|none     what fuzz targets are built with"
	@echo "  JOBS=N                     so many test files side by side (two for each core)"
	@echo "  ROUNDS=12 UNSEEN=5000      how much to measure; more in bench/README.md"
	@echo "  BASE=COMMIT|MODULE.so      the module that bench measures beside this one"

demo: missing-demo built-debian ## Show the module at work, until Ctrl-C
	@tools/demo.sh

demo-check: missing-demo built-debian ## Run the demo, check each answer, end by itself
	@tools/demo.sh --check

test: missing-test $(TEST_TARGETS) ## Run all checks; with another NGINX the suite alone

module: missing-build module-$(NGINX) ## Build the module into build/

suite: missing-test built-$(NGINX) ## Run the Test::Nginx suite
	@tools/suite.sh $(NGINX) $(TESTS)

test-network: missing-test built-$(NGINX) ## As root: fetch keys from addresses that drop packets, in a network namespace
	@tools/network.sh $(NGINX)

test-lua: missing-test missing-lua built-$(NGINX) ## Run the tests beside ngx_lua: Debian's, or one built into NGINX_TREE's nginx
	@tools/suite.sh $(NGINX) t/lua/*.t

test-release: missing-deb ## As root: run the suite on the nginx of RELEASE, another Debian, in a chroot
	@tools/suite-in.sh $(RELEASE) $(TESTS)

test-valgrind: missing-test missing-valgrind built-debian ## Run the suite under valgrind
	@tools/suite.sh debian --valgrind $(TESTS)

test-asan: missing-test missing-asan built-asan ## Run the suite with nginx and module under AddressSanitizer; LEAKS=0 without LeakSanitizer
	@tools/suite.sh asan $(TESTS)

stress: missing-test built-$(NGINX) ## Mix all that can happen to keys, users, resolver and Redis at random for some minutes
	@tools/stress.sh $(NGINX)

torture: missing-test missing-asan built-asan ## Send odd requests to random configurations, under AddressSanitizer
	@tools/torture.sh asan

fuzz: missing-fuzz ## Run each fuzz target for MINUTES, with its corpus as seed (fuzz/)
	@tools/fuzz.sh

fuzz-quick: missing-fuzz ## Run all fuzz targets for a minute together, built like the unit tests
	@ALL_MINUTES=$(or $(ALL_MINUTES),1) tools/fuzz.sh --quick

fuzz-corpus: missing-build nginx-debian ## Run each fuzz target over its committed corpus, without libFuzzer
	@tools/unit.sh fuzz

conformance: ## State to a real server all that is relied on: AUTHGEAR=FILE (docs/conformance.md)
	@python3 tools/conformance.py $(AUTHGEAR)

bench: missing-bench module-$(NGINX) bench-tools ## Measure CPU time per request, beside auth_request
	@bench/run.sh $(NGINX) $(if $(MARKDOWN),--markdown)

bench-instructions: missing-bench missing-valgrind module-$(NGINX) bench-tools ## Count instructions per request with callgrind
	@bench/run.sh $(NGINX) --instructions

bench-outage: missing-bench module-$(NGINX) bench-tools ## Measure JWTs while the resolver is frozen and made-up cookies arrive
	@bench/run.sh $(NGINX) --outage

bench-revocation: missing-bench missing-test module-$(NGINX) bench-tools ## Measure how long a disabled user stays in, at two nodes
	@bench/run.sh $(NGINX) --revocation

bench-connections: missing-bench missing-test module-$(NGINX) bench-tools ## Measure open connections with authgear_close_expired, and how soon one ends
	@bench/run.sh $(NGINX) --connections

bench-tenants: missing-bench module-$(NGINX) bench-tools ## Measure ten thousand tenants, of which some cannot be reached or are hostile
	@bench/run.sh $(NGINX) --tenants

unit: missing-build nginx-debian ## Run the tests of the crates that know no nginx
	@tools/unit.sh

miri: ## Run the tests of shared memory under Miri (SEEDS=4 for those with threads)
	@tools/miri.sh

loom: ## Check the protocols of shared memory in every order of what processes do
	@cargo test --locked --package authgear-tables --features loom --lib \
	    $(foreach crate,loom generator authgear-tables,--config 'profile.dev.package.$(crate).opt-level=3') \
	    -- --nocapture

check-so: module-$(NGINX) ## Check what the .so exports, links and contains
	@tools/check-so.sh $(NGINX)

lint-code: missing-test nginx-debian ## Check formatting and run clippy
	@tools/lint.sh

lint: ADVISORIES = no
lint: lint-code supply-chain ## Check all that needs no run: lint-code, and supply-chain without advisories

supply-chain: missing-supply-chain ## Check licences, sources, duplicates and advisories of all crates (ADVISORIES=no without network)
	@cargo deny --workspace check bans licenses sources $(if $(filter no,$(ADVISORIES)),,advisories)

minimum-rust: missing-build nginx-debian ## Compile with the oldest Rust that Cargo.toml states
	@tools/minimum-rust.sh

doc: missing-build nginx-debian ## Build the docs, warnings denied
	$(DEBIAN_ENV) RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps

fmt: missing-test ## Format the sources
	cargo fmt --all

install: module ## Copy the module to nginx's modules folder (DESTDIR, NGINX)
	@tools/install-module.sh $(NGINX)

module-for: ## Build the module for the nginx of NGINX_TREE, a source tree, into build/for/
	@tools/build-for.sh "$(NGINX_TREE)"

dist: ## Make the source with its crates, licences, bill of materials and checksums, into build/dist/
	@tools/dist.sh

musl-check: missing-musl nginx-source standin ## Build nginx and the module with musl, as Dockerfile.alpine does, and try them
	@tools/musl-check.sh

arm64-check: missing-arm64 standin ## Cross-compile for arm64, and try the module with Debian's arm64 nginx under qemu
	@tools/arm64-check.sh

reproducible: missing-build ## Build the module in two folders and compare the files
	@tools/reproducible.sh

lint-workflows: ## Check .github/workflows with actionlint (needs Go)
	go run github.com/rhysd/actionlint/cmd/actionlint@v1.7.12

deb: missing-deb ## Build the Debian package of RELEASE (this machine's) into build/deb/
	@tools/deb.sh $(RELEASE)

deb-check: missing-deb standin ## As root: install, try, upgrade and purge that package in a clean Debian, as docs/install.md says
	@tools/deb-check.sh $(RELEASE)

clean: ## Remove all that was built
	rm -rf build

# --workspace for the features of the dependencies: those of clippy and tests.
STANDIN := cargo build --workspace --bin authgear-standin

standin:
	@$(STANDIN)

# The module and the stand-in at once: the link of the module keeps one core busy.
$(BUILT): built-%: missing-build nginx-%
	@nice $(STANDIN) --quiet & standin=$$!; trap "kill $$standin" INT TERM; \
	tools/build-module.sh $*; status=$$?; \
	wait $$standin && exit $$status

bench-tools:
	@cargo build --release --package authgear-standin --package authgear-core \
		--bin authgear-standin --example rs256_floor

$(MODULES): module-%: missing-build nginx-%
	@tools/build-module.sh $*

nginx-newest: missing-newest

$(NGINXES): nginx-%: missing-build
	@tools/build-nginx.sh $*

$(MISSING): missing-%:
	@tools/install-missing.sh $*
