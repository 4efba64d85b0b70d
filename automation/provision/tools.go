//go:build tools

// Package provision pins the Pulumi engine that automation/provision/engine.py builds where no official one can be had.
package provision

import _ "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
