# eic-keys: see README.md. Each target installs what it needs (tools/prepare) where it is missing.

CARGO ?= cargo
comma := ,
PREFIX ?= /usr
DESTDIR ?=
ZSHDIR ?= $(PREFIX)/share/zsh/site-functions

# Static: musl where that target is installed, else glibc linked statically (the process makes no name-service call).
# Without rustc, as in root's `make install` after a user's `make build`: the existing build. tools/prepare reports a missing rustc.
# Absolute where cargo is told another place.
OUT := $(or $(CARGO_TARGET_DIR),target)
HOST := $(or $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p'),$(shell uname -m)-unknown-linux-gnu)
MUSL := $(subst -gnu,-musl,$(HOST))
LIBRARIES := $(shell rustc --print sysroot 2>/dev/null)
TARGET ?= $(if $(wildcard $(if $(LIBRARIES),$(LIBRARIES)/lib/rustlib/$(MUSL),$(OUT)/$(MUSL)/release/eic-keys)),$(MUSL),$(HOST))
BINARY := $(OUT)/$(TARGET)/release/eic-keys
VERSION := $(shell sed -n '/^\[workspace.package\]/,/^$$/s/^version = "\(.*\)"/\1/p' Cargo.toml)
SOURCE := $(OUT)/packages/eic-keys-$(VERSION).tar.xz
MANUAL := $(OUT)/eic-keys.8
# Of a release; another compiler or linker may need more.
MOST_BYTES := 3145728
# The laboratory's metadata service for whole systems, linked statically as well: it runs on whatever has Linux.
IMDS := $(OUT)/$(HOST)/debug/eic-imds
# The number of crates is in docs/dependencies.md; tests/repository/dependencies.rs checks it.
CRATES = $(shell sed -n 's/^\([0-9]* crates, including eic-keys itself\).*/\1/p' docs/dependencies.md)

# The laboratory tests the binary that ships.
export EIC_KEYS_BIN := $(abspath $(BINARY))

# Smaller: no tables for unwinding and no index of them, because a panic aborts; and packed relocations, where the C library that is
# linked can apply them at the start of a static program (glibc 2.36; musl may not).
PACKED := $(if $(findstring gnu,$(TARGET)),$(shell getconf GNU_LIBC_VERSION 2>/dev/null | awk '{split($$2, v, "."); if (v[1] > 2 || v[2] >= 36) print 1}'))
# Functions with the same machine code are one, where the linker is LLVM's.
FOLDS = $(shell work=$$(mktemp -d); echo 'fn main() {}' | rustc --target $(TARGET) -C link-arg=-Wl,--icf=all -o "$$work/try" - 2>/dev/null && echo 1; \
	rm -rf "$$work")
# What a run calls is in one place.
LINK_FLAGS = -C link-arg=-Wl,--no-eh-frame-hdr -C link-arg=-Wl,-T,packaging/no-unwind-tables.ld -C link-arg=-Wl,-T,packaging/rodata.ld \
	-C link-arg=-Wl,-T,packaging/order.ld $(if $(PACKED),-C link-arg=-Wl$(comma)-z$(comma)pack-relative-relocs) $(if $(FOLDS),-C link-arg=-Wl$(comma)--icf=all)

# Static, and the same bytes wherever it is built: no path of the building machine in it. The v0 names of functions contain their types,
# so that packaging/order.ld names one function, and not all that are made from the same generic one.
BUILD_FLAGS = -C target-feature=+crt-static $(LINK_FLAGS) --remap-path-prefix=$(CURDIR)=eic-keys \
	--remap-path-prefix=$(or $(CARGO_HOME),$(HOME)/.cargo)/registry/src=crates -C symbol-mangling-version=v0

# httparse would query the processor's features at each start, which takes longer in a virtual machine than parsing these replies.
export CARGO_CFG_HTTPARSE_DISABLE_SIMD := 1

.PHONY: build binary install source $(SOURCE) deb rpm repository test-packages test-fleet test-aws test-openssh test-kernel test-ansible try $(IMDS) reproducible release demo lab clients test test-quick lint audit bench order load scan hosts fuzz mutants clean

## build: the static binary, and its size
build: prepare-build binary

## binary: the same, if all that it needs is installed; the packages are built with this
binary: $(MANUAL)
	RUSTFLAGS='$(BUILD_FLAGS)' $(CARGO) build --locked --release --bin eic-keys --target $(TARGET)
	@readelf --program-headers --wide $(BINARY) | awk '/INTERP/ {dynamic = 1} /LOAD/ {read = 1} END {exit dynamic || !read}' || \
		{ echo "$(BINARY) is not static" >&2; exit 1; }
	@size=$$(wc -c <$(BINARY)); echo "$(BINARY): static, $$size bytes, made of $(CRATES)"; \
		test $$size -le $(MOST_BYTES) || echo "A release may have at most $(MOST_BYTES) bytes (docs/performance.md)." >&2

$(MANUAL): packaging/eic-keys.8.scd
	@mkdir -p $(@D)
	SOURCE_DATE_EPOCH=$$(packaging/epoch) scdoc <$< >$@

## install: into DESTDIR and PREFIX
install:
	@test -e $(BINARY) || { echo "run 'make build' first" >&2; exit 1; }
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/eic-keys
	install -D -m 0644 $(MANUAL) $(DESTDIR)$(PREFIX)/share/man/man8/eic-keys.8
	install -D -m 0644 packaging/completions/eic-keys.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/eic-keys
	install -D -m 0644 packaging/completions/_eic-keys $(DESTDIR)$(ZSHDIR)/_eic-keys
	install -D -m 0644 packaging/sysusers.conf $(DESTDIR)$(PREFIX)/lib/sysusers.d/eic-keys.conf
	for unit in enable.service user.path user.service; do \
		install -D -m 0644 packaging/eic-keys-$$unit $(DESTDIR)$(PREFIX)/lib/systemd/system/eic-keys-$$unit || exit 1; done

## deb, rpm: the packages, in target/packages
deb rpm: %: prepare-% $(SOURCE)
	packaging/build $@ $(SOURCE) $(OUT)/packages

## repository: the packages of target/packages, signed with the OpenPGP key KEY, are added to target/repository, for apt, dnf and yum
repository: prepare-repository
	packaging/repository $(OUT)/packages $(OUT)/repository $(if $(KEY),'$(KEY)')

## test-packages: the packages, on booted systems; then where SELinux enforces
test-packages: prepare-booted deb rpm $(IMDS)
	packaging/check-release $(VERSION) $(OUT)/packages
	tests/packages/run $(OUT)/packages $(IMDS)
	tests/selinux/run $(OUT)/packages $(IMDS)

## test-fleet: the user data for cloud-init and the Ansible collection, on booted systems
test-fleet: prepare-booted deb rpm $(IMDS) test-ansible
	tests/packages/run $(OUT)/packages $(IMDS) bookworm-cloud-init trixie-cloud-init

## test-aws: the swap cases with AWS's own packages, built from AWS=CLONE, a clone of aws-ec2-instance-connect-config
test-aws: prepare-booted deb rpm $(IMDS)
	@test -n "$(AWS)" || { echo "usage: make test-aws AWS=CLONE" >&2; exit 1; }
	tests/packages/aws $(AWS) $(OUT)/packages $(IMDS)

## test-openssh: the OpenSSH releases of other systems, 7.4 to 9.9, built from OPENSSH, a clone of openssh-portable (OPENSSH=CLONE)
test-openssh: prepare-lab build
	@test -n "$(OPENSSH)" || { echo "name a clone of openssh-portable: make test-openssh OPENSSH=CLONE" >&2; exit 1; }
	CARGO='$(CARGO)' tests/openssh/run '$(OPENSSH)' $(TAGS)

## test-kernel: the deb and a login on a kernel without Landlock, Debian 11's own
test-kernel: prepare-booted deb $(IMDS)
	tests/kernel/run $(OUT)/packages $(IMDS)

## test-ansible: the Ansible collection, by ansible-core from PyPI over SSH, on three booted systems at once
test-ansible: prepare-booted deb $(IMDS)
	tests/ansible/run $(OUT)/packages $(IMDS)

## try: an archive of the packages and their tests for another system (docs/release.md)
try: prepare-booted deb rpm $(IMDS)
	tests/packages/bundle $(OUT)/packages $(IMDS) $(OUT)/eic-keys-$(VERSION)-try.tar.gz
	@ls -l $(OUT)/eic-keys-$(VERSION)-try.tar.gz

$(IMDS): prepare-booted
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --locked --package eic-imds --target $(HOST)

## reproducible: the packages, built again in another directory, are the same to the byte
reproducible: prepare-booted deb rpm
	packaging/reproducible $(SOURCE) $(OUT)/packages

## release: all that is published, for both architectures, and the repository, signed with the OpenPGP key KEY (docs/release.md)
release: reproducible test-fleet
	packaging/check-release $(VERSION) $(OUT)/packages
	packaging/cross-build $(SOURCE) $(OUT)/packages aarch64
	tests/packages/arm64 $(OUT)/packages
	for arch in x86_64 aarch64; do \
		packaging/sbom $$arch-unknown-linux-gnu >$(OUT)/packages/eic-keys-$(VERSION).$$arch.cdx.json || exit 1; done
	cd $(OUT)/packages && rm -f SHA256SUMS && sha256sum *.tar.xz *.deb *.rpm *.json >SHA256SUMS
	packaging/repository $(OUT)/packages $(OUT)/repository $(if $(KEY),'$(KEY)')

## source: the release's source, the dependencies' too
source $(SOURCE): prepare-source
	packaging/source $(SOURCE)

## demo: a pushed key logs in, and other keys do not; on this machine, with the real sshd and ssh
demo: prepare-lab build
	$(CARGO) build --locked --package eic-lab
	@$(CARGO) run --locked --quiet --package eic-lab -- demo

## lab: the AWS services for clients on this machine; prints how to configure each client (for example LAB='--port 5000')
lab: prepare-lab build
	$(CARGO) build --locked --package eic-lab
	@$(CARGO) run --locked --quiet --package eic-lab -- serve $(LAB) $(OUT)/lab

## clients: AWS CLI 1 and 2, mssh and the other clients of the tests, in target/clients
clients: prepare-test
	tests/clients/prepare

## test: unit tests, and the shipped binary in the laboratory, also with AWS's own clients
test: prepare-test build clients
	$(CARGO) test --locked --workspace --no-fail-fast

## test-quick: unit tests, and whether documents, completions and dependencies agree with the code; needs no root
test-quick:
	$(CARGO) test --locked --lib --test repository

## lint: format, clippy and shellcheck; installs nothing
lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	shellcheck --severity=warning --exclude=SC3044 $$(git grep -lE '^#!/bin/(ba)?sh' -- ':!tests/data')

## audit: licences, sources and current advisories of the dependencies, by cargo-deny; needs a network, and five minutes the first time
audit:
	$(CARGO) install --quiet --locked --root $(OUT)/tools cargo-deny@0.20.2
	PATH=$(abspath $(OUT))/tools/bin:$$PATH $(CARGO) deny --locked check
	PATH=$(abspath $(OUT))/tools/bin:$$PATH $(CARGO) deny --locked --manifest-path tests/fuzz/Cargo.toml --config deny.toml check advisories sources

## bench: what a run costs, beside a C program that makes the same requests, linked with the C library of this machine
bench: prepare-lab build
	$(CARGO) build --locked --quiet --release --package eic-bench
	cc -static -O2 -Wall -o target/release/floor tests/bench/floor.c
	target/release/eic-bench

## order: packaging/order.ld, after a change of what a run calls; then make build
order: prepare-lab
	$(MAKE) binary BUILD_FLAGS='$(BUILD_FLAGS) -C strip=none'
	$(CARGO) build --locked --quiet --release --package eic-bench
	cc -static -O2 -Wall -o target/release/floor tests/bench/floor.c
	packaging/order $(BINARY) target/release/eic-bench

## load: a real sshd under RATE (50) logins a second for SECONDS (60), the metadata service throttling in the middle
load: prepare-lab build
	$(CARGO) build --locked --quiet --release --package eic-bench
	RATE=$(or $(RATE),50) SECONDS=$(or $(SECONDS),60) target/release/load

## scan: how many of IMDS's packets a scanner uses up, by sshd's settings; CLIENTS (8), SECONDS (10)
scan: prepare-lab build
	$(CARGO) build --locked --quiet --release --package eic-bench
	CLIENTS=$(or $(CLIENTS),8) SECONDS=$(or $(SECONDS),10) target/release/scan

## hosts: eic-keys --check --json on HOSTS (300) instances, JOBS (8) at a time, and the table of their reports
hosts: prepare-test build
	$(CARGO) build --locked --quiet --release --package eic-bench
	HOSTS=$(or $(HOSTS),300) JOBS=$(or $(JOBS),8) OUT=$(OUT)/hosts target/release/hosts

## fuzz: each target for SECONDS (600), from the corpus in tests/fuzz
fuzz: prepare-test
	SECONDS_EACH=$(or $(SECONDS),600) tests/fuzz/run $(TARGETS)

## mutants: finds changes of the code (FOLDERS: keys trust store imds) that no test notices; an hour or more; tests/mutants/run
mutants: prepare-test
	$(CARGO) install --quiet --locked --root $(OUT)/tools cargo-mutants@27.1.0
	PATH=$(abspath $(OUT))/tools/bin:$$PATH tests/mutants/run $(FOLDERS)

prepare-%:
	@tools/prepare $*

clean:
	$(CARGO) clean
