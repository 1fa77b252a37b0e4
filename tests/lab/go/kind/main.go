// kind, as it is released: its loader reads kind-config.yaml for a test. No cluster of it ever runs here.
package main

import "sigs.k8s.io/kind/cmd/kind/app"

func main() { app.Main() }
