//go:build !race

// Package race tells tests whether they run under the race detector, which
// makes time and memory many times what they are without it: what asserts
// those cannot be asked then.
package race

// Enabled is false: the race detector is not built in.
const Enabled = false
