//go:build tools

// Package tools pins the Pulumi engine that tools/provide_engine.py builds where no official one can be had.
package tools

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
