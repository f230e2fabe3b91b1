# eic-keys: see README.md. Each target installs what it needs (tools/prepare) where it is missing.

CARGO ?= cargo
PREFIX ?= /usr
DESTDIR ?=

# Static: musl where that target is installed, else glibc linked statically (the process makes no name-service call).
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
MUSL := $(subst -gnu,-musl,$(HOST))
TARGET ?= $(if $(wildcard $(shell rustc --print sysroot)/lib/rustlib/$(MUSL)),$(MUSL),$(HOST))
STATIC := -C target-feature=+crt-static
BINARY := target/$(TARGET)/release/eic-keys

export EIC_KEYS_BIN := $(abspath $(BINARY))

.PHONY: build
build:
	RUSTFLAGS='$(STATIC)' $(CARGO) build --locked --release --bin eic-keys --target $(TARGET)
	@echo "$(BINARY): $$(wc -c < $(BINARY)) bytes, static"
