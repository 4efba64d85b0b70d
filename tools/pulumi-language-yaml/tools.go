//go:build tools

// Package tools pins the YAML language host that tests/go_program.py builds for tests/engine/test_examples.py.
package tools

import _ "github.com/pulumi/pulumi-yaml/cmd/pulumi-language-yaml"
