# The words of everyday work. `just` alone lists them.

export RUSTDOCFLAGS := env("RUSTDOCFLAGS", "-D warnings")

_list:
    @just --list --unsorted

# Format, lints, documentation: what must hold before tests are worth running.
check:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo doc --workspace --no-deps

# Tests without neighbours: no Postfix, no Dovecot, no browser.
test *args:
    cargo nextest run --workspace --exclude tidings-testkit -E 'not (package(tidings) & kind(test))' {{ args }}

# Everything that must hold, neighbours included; installs them from Debian's packages if it may.
test-all *args:
    ./test {{ args }}

# Run the server from this checkout.
run config="tidings.toml":
    cargo run --release -p tidings -- serve -c {{ config }}

# Show the whole job on a made-up company.
demo *args:
    cargo run --release -p tidings -- demo {{ args }}

# Measure: events accepted, letters delivered, memory.
bench *args:
    cargo run --release -p tidings-benches -- {{ args }}

# Break the server in every way we know, and count what becomes of its letters.
faults *args:
    cargo run --release -p tidings-faults -- {{ args }}

# Make the generated texts anew: configuration, commands, the sample configuration, man pages (target/man).
docs:
    docs/generate

# Fail if a generated text or the crate graph in ARCHITECTURE.md is out of date.
docs-check:
    docs/generate --check
    docs/check-crate-graph

# Licences, advisories, sources of everything we link. Without cargo-deny only the licences are looked at.
supply:
    @if command -v cargo-deny >/dev/null; then cargo deny check; else echo "cargo-deny is not installed; licences only" >&2; packaging/check-licences; fi
