# eic-keys: see README.md. Each target installs what it needs (tools/prepare) where it is missing.

CARGO ?= cargo
PREFIX ?= /usr
DESTDIR ?=

# Static: musl where that target is installed, else glibc linked statically (the process makes no name-service call).
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
MUSL := $(subst -gnu,-musl,$(HOST))
TARGET ?= $(if $(wildcard $(shell rustc --print sysroot)/lib/rustlib/$(MUSL)),$(MUSL),$(HOST))
BINARY := target/$(TARGET)/release/eic-keys
MOST_BYTES := 3145728

# What the laboratory tests is what ships.
export EIC_KEYS_BIN := $(CURDIR)/$(BINARY)

.PHONY: build install demo lab clients test lint bench prepare clean

## build: the static binary, and its size
build: prepare
	RUSTFLAGS='-C target-feature=+crt-static' $(CARGO) build --locked --release --bin eic-keys --target $(TARGET)
	@size=$$(wc -c <$(BINARY)); echo "$(BINARY): static, $$size bytes"; test $$size -le $(MOST_BYTES)

## install: into DESTDIR and PREFIX
install:
	@test -e $(BINARY) || { echo "run 'make build' first" >&2; exit 1; }
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/eic-keys

## demo: a pushed key lets its user in, and nothing else does; on this machine, by the real sshd and ssh
demo: build
	$(CARGO) run --locked --quiet --package eic-lab -- demo

## lab: the service too, for AWS's clients on this machine; says how to point each at it (LAB='--port 5000', say)
lab: build
	$(CARGO) run --locked --quiet --package eic-lab -- serve $(LAB) target/lab

## clients: AWS CLI 1 and 2, mssh and what else the tests log in with, below target/clients
clients: prepare
	tests/clients/prepare

## test: unit tests, and the shipped binary in the laboratory, by AWS's own clients too
test: build clients
	$(CARGO) test --locked --workspace --no-fail-fast

## lint: format and clippy
lint: prepare
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

## bench: what a run costs
bench: build
	$(CARGO) build --locked --quiet --release --package eic-bench
	target/release/eic-bench

prepare:
	@tools/prepare

clean:
	$(CARGO) clean
