package main

import (
	"math/rand/v2"
	"time"
)

// A behaviour is how an instance treats calls.
type behaviour struct {
	// Mean is what a call takes: half of it for sure, the other half
	// exponentially distributed, as most things take; or always, if Constant.
	Mean     time.Duration
	Constant bool
	// Workers is how many calls it works on at once; the others wait, as long
	// as it takes, whoever has given up on them. 0 is no bound.
	Workers int
	// Rare calls take so many times longer: a share of 0 to 1.
	Rare       float64
	RareFactor float64
	// Fault is what it does wrong, if anything.
	Fault fault
	// Status is what it answers at once instead of working; 0: it works.
	Status int
}

// A fault is a way of failing of the connection that a call came on.
type fault string

// The faults.
const (
	well        fault = ""
	stuck       fault = "stuck"   // takes calls and answers none
	stopped     fault = "stopped" // its workers stand still, and go on when that is over
	halfAnswer  fault = "half"    // closes within the head of the answer
	resets      fault = "reset"   // resets the connection once the call has come
	garbage     fault = "garbage" // answers what is no HTTP
	closingIdle fault = "idle"    // closes each connection within 10 ms of its last call
)

// takes draws how long a call is worked on.
func (b behaviour) takes() time.Duration {
	d := float64(b.Mean)
	if !b.Constant {
		d *= 0.5 + 0.5*rand.ExpFloat64()
	}
	if b.Rare > 0 && rand.Float64() < b.Rare {
		d *= b.RareFactor
	}
	return time.Duration(d)
}
