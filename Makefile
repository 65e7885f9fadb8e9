# Measures Cairn beside real etcd and writes docs/performance.md: some 20 minutes, on a machine that
# does nothing else. FLAGS="-quick" tries it in a minute or two; see difftest/compare/main.go.
.PHONY: compare
compare:
	cd difftest && go run ./compare $(FLAGS)
