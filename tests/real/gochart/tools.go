//go:build tools

// Package tools names the programs that chart.sh builds, so that `go mod tidy` keeps what they need.
package tools

import (
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
	_ "helm.sh/helm/v3/cmd/helm"
)
