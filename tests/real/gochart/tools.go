//go:build tools

// Package tools names the programs that look at the chart; build.sh builds them.
package tools

import (
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
	_ "helm.sh/helm/v3/cmd/helm"
)
