//go:build tools

// Package tools pins the ACME server that tests/go_program.py builds for tests/pebble.py.
package tools

import _ "github.com/letsencrypt/pebble/v2/cmd/pebble"
