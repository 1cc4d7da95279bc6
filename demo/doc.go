// Package demo is what a new user sees first: a small application whose calls
// all go through sidecars, under load, to be scaled, hurt and watched; and two
// experiments on it that run by themselves.
//
// The application is three services. front calls fast and slow for each of
// its calls and answers 200 only if both did. slow has a few workers and a
// queue: its latency depends on how much of it is asked.
package demo
