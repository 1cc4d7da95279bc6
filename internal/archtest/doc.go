// Package archtest holds the tests of the tree itself: which room may import
// which, what a binary may not carry, and the house rules that a program can
// check. There is nothing in it to import.
package archtest
