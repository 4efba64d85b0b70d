//go:build tools

// Package tools pins the ACME server that tests/pebble.py builds.
package tools

import _ "github.com/letsencrypt/pebble/v2/cmd/pebble"
